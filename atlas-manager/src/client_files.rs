//! [`ClientFileWays`]: the ways to the files that clients serve to their jobs: to the client, of a job that was submitted here; to a node that is
//! nearer to it, of others. Which client is there, [`Attendance`] says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atlas_fs::daemon::Clock;
use atlas_fs::exchange;
use atlas_fs::url::client::{ClientWays, NoWay, Reached, ReachingClient, name_of};
use atlas_net::{CloseCode, Connection, ConnectionLost, Stream, StreamError};
use atlas_proto::attendance::{Attendance, Attending, PATIENCE, ServeError, SessionId};
use atlas_proto::control::{FilesKey, FilesName, FilesOf, JobId};
use atlas_proto::ids::{JobAlias, NodeId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::ask::{Ask, Asker, Origin};

/// Ways to clients.
#[derive(Debug)]
pub(crate) struct ClientFileWays {
    asker: Asker,
    clock: Clock,
    known: Mutex<Known>,
    /// Somebody has come.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Known {
    attendance: Attendance,
    sessions: HashMap<SessionId, Connection>,
    last_session: u64,
    /// Who has asked last for whose files, by its name for the job.
    askers: HashMap<FilesName, (NodeId, JobAlias)>,
}

impl ClientFileWays {
    pub(crate) fn new(asker: Asker) -> Self {
        Self {
            asker,
            clock: Clock::start(),
            known: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// A job that was submitted here begins, and its client is about to serve files of this name.
    pub(crate) fn begin(&self, job: JobId, files: FilesName) {
        let now = self.clock.now();
        self.known().attendance.handle_job(now, job, files);
    }

    /// Forgets the jobs that have ended.
    pub(crate) fn retain(&self, lives: impl Fn(JobId) -> bool) {
        self.known().attendance.retain(lives);
        self.changed.send_replace(());
    }

    /// A client serves the files of a job from now on, as long as it is connected.
    pub(crate) fn serve(
        self: &Arc<Self>,
        job: JobId,
        key: FilesKey,
        connection: &Connection,
    ) -> Result<(), ServeError> {
        let session = {
            let mut known = self.known();
            known.last_session += 1;
            let session = SessionId(known.last_session);
            known.attendance.handle_serve(job, name_of(key), session)?;
            known.sessions.insert(session, connection.clone());
            session
        };
        self.changed.send_replace(());
        let (this, connection) = (self.clone(), connection.clone());
        tokio::spawn(async move {
            let lost = connection.closed().await;
            let now = this.clock.now();
            let mut known = this.known();
            known
                .attendance
                .handle_over(now, session, is_goodbye(&lost));
            known.sessions.remove(&session);
            drop(known);
            this.changed.send_replace(());
        });
        Ok(())
    }

    /// A node asks for files of a job that it calls so.
    pub(crate) fn note(&self, files: FilesName, asker: NodeId, job: JobAlias) {
        let mut known = self.known();
        if known.askers.len() >= ASKERS_MAX {
            // Those who ask are noted anew.
            known.askers.clear();
        }
        known.askers.insert(files, (asker, job));
    }

    async fn find(&self, files: FilesName) -> Result<Reached, NoWay> {
        let asker = self.known().askers.get(&files).copied();
        let (node, job) = asker.ok_or_else(NoWay::none)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let origin = self.asker.ask(|reply| Ask::Origin(node, job, reply));
            match origin.await.flatten() {
                Some(Origin::Here(id, _)) => return self.find_client(id, files).await,
                Some(Origin::Peer(nearer, job)) => {
                    let of = FilesOf::Job { job, files };
                    if let Ok(stream) = open(&nearer, of).await {
                        return Ok(Reached {
                            way: stream.into(),
                            is_client: false,
                        });
                    }
                }
                Some(Origin::Away) => {}
                None => return Err(NoWay("the job is over".to_owned())),
            }
            if Instant::now() > end {
                return Err(NoWay(
                    "the manager where the job was submitted is not reached".to_owned(),
                ));
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    async fn find_client(&self, job: JobId, files: FilesName) -> Result<Reached, NoWay> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let attending = {
                let known = self.known();
                match known.attendance.attending(self.clock.now(), job, files) {
                    Attending::Here(session) => Ok(known.sessions.get(&session).cloned()),
                    other @ (Attending::Until(_) | Attending::Gone | Attending::Nobody) => {
                        Err(other)
                    }
                }
            };
            let until = match attending {
                Ok(Some(client)) => {
                    if let Ok(stream) = open(&client, FilesOf::Submitted(job)).await {
                        return Ok(Reached {
                            way: stream.into(),
                            is_client: true,
                        });
                    }
                    // That it is lost is known in a moment.
                    Instant::now() + RETRY_INTERVAL
                }
                Err(Attending::Until(until)) => self.clock.instant(until).into(),
                Err(Attending::Gone) => return Err(NoWay::gone()),
                Ok(None) | Err(Attending::Nobody | Attending::Here(_)) => {
                    return Err(NoWay::none());
                }
            };
            let _ = timeout_at(until, changed.changed()).await;
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change leaves it whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientWays for ClientFileWays {
    fn reach(&self, files: FilesName) -> ReachingClient<'_> {
        Box::pin(self.find(files))
    }
}

async fn open(connection: &Connection, of: FilesOf) -> Result<Stream, StreamError> {
    let asked = exchange::ask_client_files(connection, of);
    let opened = timeout(OPEN_TIMEOUT, asked).await;
    opened.map_err(|_| StreamError::BrokenOff)?
}

fn is_goodbye(lost: &ConnectionLost) -> bool {
    matches!(lost, ConnectionLost::ByPeer { code, .. } if code.known() == Some(CloseCode::Done))
}

/// Jobs whose files are asked for at a time; beyond that all are noted anew.
const ASKERS_MAX: usize = 4096;
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// A peer that takes no stream for so long takes none.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
