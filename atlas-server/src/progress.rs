//! Tells the manager how the jobs go on that have engines here: some times a second, and only what has changed.

use std::time::{Duration, Instant};

use atlas_net::{Connection, StreamError, StreamKind};
use atlas_proto::control::{JobProgress, NODE_TOPIC, NodeRequest};
use tokio::sync::{mpsc, watch};

use crate::engine::Engines;

/// What was told last, and when to look again.
#[derive(Debug)]
pub(crate) struct ProgressReport {
    told: Vec<JobProgress>,
    next: Option<Instant>,
    tell: mpsc::Sender<Vec<JobProgress>>,
}

impl ProgressReport {
    pub(crate) fn new(manager: watch::Receiver<Option<Connection>>) -> Self {
        let (tell, told) = mpsc::channel(1);
        tokio::spawn(tell_all(told, manager));
        Self {
            told: Vec::new(),
            next: None,
            tell,
        }
    }

    /// There may be something to look at.
    pub(crate) fn note(&mut self, engines: &Engines) {
        if self.next.is_none() && !engines.is_empty() {
            self.next = Some(Instant::now() + FIRST_LOOK);
        }
    }

    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.next
    }

    /// Looks, if it is time.
    pub(crate) fn look(&mut self, engines: &Engines) {
        let now = Instant::now();
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        let progress = engines.progress();
        if progress != self.told && self.tell.try_send(progress.clone()).is_ok() {
            self.told = progress;
        }
        self.next = (!engines.is_empty()).then_some(now + INTERVAL);
    }
}

/// One stream for as long as the connection holds.
async fn tell_all(
    mut progress: mpsc::Receiver<Vec<JobProgress>>,
    manager: watch::Receiver<Option<Connection>>,
) {
    let mut stream = None;
    while let Some(progress) = progress.recv().await {
        let told = async {
            if stream.is_none() {
                let connection = manager.borrow().clone().ok_or(StreamError::BrokenOff)?;
                let kind = StreamKind::Request { topic: NODE_TOPIC };
                let mut opened = connection.open_stream(kind).await?;
                opened.send_frame(&NodeRequest::Progress).await?;
                stream = Some(opened);
            }
            match &mut stream {
                Some(stream) => stream.send_frame(&progress).await,
                None => Ok(()),
            }
        };
        if told.await.is_err() {
            // What comes next says it all again.
            stream = None;
        }
    }
}

/// Short jobs are over before.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// As often as people can read.
const INTERVAL: Duration = Duration::from_millis(500);
