//! [`JobJudge`]: which version of a file by URL a job has seen first, as the manager knows where the job was submitted. Each manager
//! on the way there asks the next one.

use std::time::Duration;

use atlas_fs::url::{Judge, Judging};
use atlas_net::{Connection, StreamError, StreamKind};
use atlas_proto::control::{FRAME_BYTES_MAX, NODE_TOPIC, NodeAnswer, NodeRequest};
use atlas_proto::ids::JobAlias;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::output::connected;

/// Asks for one job.
#[derive(Debug)]
pub(super) struct JobJudge {
    manager: watch::Receiver<Option<Connection>>,
    job: JobAlias,
}

impl JobJudge {
    pub(super) fn new(manager: watch::Receiver<Option<Connection>>, job: JobAlias) -> Self {
        Self { manager, job }
    }

    async fn ask(&self, url: [u8; 32], version: Bytes) -> Result<Vec<u8>, String> {
        let mut manager = self.manager.clone();
        let end = Instant::now() + PATIENCE;
        let mut silences = 0;
        loop {
            let Ok(connection) = timeout_at(end, connected(&mut manager)).await else {
                return Err(format!(
                    "the manager was not reached within {} seconds",
                    PATIENCE.as_secs()
                ));
            };
            let asked = self.ask_once(&connection, url, version.clone());
            match timeout(ANSWER_TIMEOUT, asked).await {
                Ok(Ok(Some(NodeAnswer::Pinned(first)))) => return Ok(first.into()),
                Ok(Ok(Some(NodeAnswer::Refused(refusal)))) => return Err(refusal.to_string()),
                Ok(Ok(Some(NodeAnswer::Away))) | Ok(Err(_)) | Err(_) => {}
                Ok(Ok(Some(NodeAnswer::Address(_) | NodeAnswer::Stored))) => {
                    return Err("the manager answers something else".to_owned());
                }
                Ok(Ok(None)) => {
                    silences += 1;
                    if silences == SILENCES_MAX {
                        tracing::warn!(job = %self.job, "the manager is too old to know which version of a file a job has seen first: \
                            this server sees to its own");
                        return Ok(version.into());
                    }
                }
            }
            if Instant::now() > end {
                return Err("where the job is from is not reached".to_owned());
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    async fn ask_once(
        &self,
        connection: &Connection,
        url: [u8; 32],
        version: Bytes,
    ) -> Result<Option<NodeAnswer>, StreamError> {
        let kind = StreamKind::Request { topic: NODE_TOPIC };
        let mut stream = connection.open_stream(kind).await?;
        let job = self.job;
        let request = NodeRequest::Pin { job, url, version };
        stream.send_frame(&request).await?;
        stream.finish()?;
        stream.recv_frame(FRAME_BYTES_MAX).await
    }
}

impl Judge for JobJudge {
    fn first(&self, url: [u8; 32], version: Vec<u8>) -> Judging<'_> {
        Box::pin(self.ask(url, version.into()))
    }
}

/// As long as a manager takes to be started anew.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than a manager waits for the next one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// Questions in a row that are understood by nobody. One may be asked of a manager that does not act yet.
const SILENCES_MAX: u32 = 10;
