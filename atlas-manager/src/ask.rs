//! What the tasks that answer others ask of the manager's loop, which alone owns the machine and the table of jobs.

use std::sync::Arc;

use atlas_fs::BlobName;
use atlas_net::Connection;
use atlas_proto::control::{
    Accepted, DomainStatus, Files, FilesName, JobId, JobProgress, JobStatus, Refusal, ServerStatus,
    Submission,
};
use atlas_proto::ids::{GlobalJobId, JobAlias, NodeId};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::node::Event;
use crate::output::Sink;
use crate::store::SaveError;

/// A question, with the way back.
#[derive(Debug)]
pub(crate) enum Ask {
    /// With the blobs that the job needs, which are here.
    Submit(Taken, Reply<Result<Accepted, Refusal>>),
    /// A job that was submitted is safe, or cannot be kept.
    Kept(JobId, Result<(), SaveError>),
    Jobs(Reply<Vec<JobStatus>>),
    Watch(JobId, Reply<Option<Watched>>),
    Kill(JobId, Reply<Option<Watched>>),
    Servers(Reply<Vec<ServerStatus>>),
    Domains(Reply<Vec<DomainStatus>>),
    /// Where a job is from that a neighbour calls so.
    Origin(NodeId, JobAlias, Reply<Option<Origin>>),
    Progress(NodeId, Vec<JobProgress>),
    /// A neighbour has a shared value of a job that it calls so; whether it is to be fetched.
    Share(NodeId, JobAlias, BlobName, Reply<Result<(), Refusal>>),
    /// A job that was submitted here has seen a version of a URL; the answer is the first one that it has seen.
    Pin(JobId, [u8; 32], Bytes, Reply<Bytes>),
    /// A job's root has left these files, which are in these blobs.
    Files(JobId, Files, Vec<[u8; 32]>),
    /// How a job has ended is safe.
    Saved(JobId),
    /// The connection with a node, while there is one.
    Connection(NodeId, Reply<Option<Connection>>),
    Counts(Reply<Counts>),
}

/// A job to be taken in.
#[derive(Debug)]
pub(crate) struct Taken {
    /// What it is called everywhere: the same if it is asked for again.
    pub(crate) global_id: GlobalJobId,
    pub(crate) submission: Submission,
    /// The blobs that it needs.
    pub(crate) needs: Vec<[u8; 32]>,
    /// What the files are called that its client is about to serve.
    pub(crate) files: Option<FilesName>,
}

/// The way back.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// A job with its news.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) status: watch::Receiver<JobStatus>,
    pub(crate) output: Arc<Sink>,
}

/// Where what belongs to a job goes, or comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The job was submitted here.
    Here(JobId, Arc<Sink>),
    /// A neighbour is nearer, and calls the job so.
    Peer(Connection, JobAlias),
    /// A neighbour is nearer and not connected now.
    Away,
}

/// What is counted for metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) acting: u64,
    pub(crate) servers: u64,
    pub(crate) sub_domains: u64,
    pub(crate) workers: u64,
    pub(crate) hungry: u64,
    pub(crate) surplus: u64,
    pub(crate) jobs_waiting: u64,
    pub(crate) jobs_running: u64,
    pub(crate) jobs_ended: u64,
    pub(crate) connections: u64,
    pub(crate) closures_held: u64,
    pub(crate) blobs_fetched: u64,
    pub(crate) blob_bytes_fetched: u64,
    pub(crate) urls: atlas_fs::url::Figures,
    pub(crate) stats: atlas_proto::stats::Stats,
}

/// Asks the loop.
#[derive(Clone, Debug)]
pub(crate) struct Asker(mpsc::Sender<Event>);

impl Asker {
    pub(crate) fn new(tell: mpsc::Sender<Event>) -> Self {
        Self(tell)
    }

    /// The answer; none if the manager is ending.
    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Event::Ask(ask(reply))).await.ok()?;
        answer.await.ok()
    }

    /// A child is connected.
    pub(crate) async fn tell_child(&self, connection: Connection) {
        let _ = self.0.send(Event::Child(connection)).await;
    }

    /// Tells the loop something.
    pub(crate) async fn tell(&self, ask: Ask) {
        let _ = self.0.send(Event::Ask(ask)).await;
    }
}
