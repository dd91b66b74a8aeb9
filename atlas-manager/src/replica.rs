//! What a standby has of its manager: jobs, tokens, the domain's authority and settings, the blobs that jobs need or have left,
//! and what ended jobs have printed.
//!
//! ```text
//! standby                                      manager that acts
//!    | -- Request{REPLICA_TOPIC}, Follow ----->  |
//!    | <-- Domain, Everything, Record, Record -- |
//!    | -- Kept(number) ----------------------->  |   when it is on the standby's disk, with all that it names
//!    | -- Output{job} ------------------------>  |   on a stream of its own, when a job has ended
//! ```
//!
//! What a live job has printed is not copied: its root begins anew, and prints it again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlas_fs::BlobName;
use atlas_fs::daemon::chain;
use atlas_fs::exchange::FetchBlobError;
use atlas_net::identity::SecretAuthority;
use atlas_net::{Connection, Stream, StreamError, StreamKind};
use atlas_proto::control::{
    FRAME_BYTES_MAX, JobId, JobStatus, OutputFrame, OutputStream, REPLICA_TOPIC,
};
use atlas_proto::domain::{Domain, DomainPattern};
use atlas_proto::ids::JobAlias;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::ask::{Ask, Watched};
use crate::core::Core;
use crate::jobs::JobRecord;
use crate::node::Shared;
use crate::output::Sink;
use crate::standing::State;
use crate::store::{Everything, SaveError, Write};

/// What the domain's manager has beside its store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DomainPart {
    pub(crate) authority: SecretAuthority,
    pub(crate) parent: Option<(Domain, Vec<String>)>,
    pub(crate) inflow: Vec<DomainPattern>,
    pub(crate) outflow: Vec<DomainPattern>,
    pub(crate) blobs_bytes_max: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum ReplicaRequest {
    /// Everything, and what is written from then on.
    Follow,
    /// What a job has printed, as [`OutputFrame`]s.
    Output(JobId),
}

#[derive(Debug, Serialize, Deserialize)]
enum ToReplica {
    Domain(Box<DomainPart>),
    /// As it was when this record was the last.
    Everything(u64, Box<Everything>),
    Record(u64, Arc<Write>),
}

/// A standby has all up to this record.
#[derive(Debug, Serialize, Deserialize)]
struct Kept(u64);

/// Why following ends.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("the manager that acts is not reached")]
    Stream(#[from] StreamError),
    #[error("what the manager that acts has cannot be kept here")]
    Disk(#[from] SaveError),
    #[error("a job's output cannot be kept here: see that the disk is not full")]
    Output(#[from] std::io::Error),
    #[error("what the manager that acts has cannot be kept here")]
    State(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a blob cannot be had from the manager that acts")]
    Blob(#[from] FetchBlobError),
}

/// Answers a stream of the domain's other manager.
pub(crate) async fn answer(
    mut stream: Stream,
    connection: Connection,
    core: Arc<Core>,
    shared: Arc<Shared>,
) {
    let request = stream.recv_frame(FRAME_BYTES_MAX).await;
    let answered = match request {
        Ok(Some(ReplicaRequest::Follow)) => lead(stream, &connection, &core, &shared).await,
        Ok(Some(ReplicaRequest::Output(job))) => send_output(stream, job, &shared).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = answered {
        tracing::info!(peer = %connection.peer(), %error, "a standby takes no more");
    }
}

async fn lead(
    stream: Stream,
    connection: &Connection,
    core: &Core,
    shared: &Shared,
) -> Result<(), StreamError> {
    let node = connection.peer().node;
    let (mut sender, mut receiver) = stream.split();
    let (logged, mut to_send) = mpsc::channel(RECORDS_MAX);
    let Some(last) = core.standing.replicate(node, logged).await else {
        return Err(StreamError::BrokenOff);
    };
    tracing::info!(peer = %connection.peer(), "a standby follows");
    let Ok(everything) = shared.store.everything() else {
        return Err(StreamError::BrokenOff);
    };
    let Ok(recorded) = shared.store.all_records() else {
        return Err(StreamError::BrokenOff);
    };
    let send = async {
        let mut part = core.part(shared);
        sender.send(&ToReplica::Domain(part.clone().into())).await?;
        sender
            .send(&ToReplica::Everything(last, everything.into()))
            .await?;
        for records in recorded {
            let record = ToReplica::Record(last, Arc::new(records));
            sender.send(&record).await?;
        }
        loop {
            tokio::select! {
                record = to_send.recv() => match record {
                    Some((index, write)) => sender.send(&ToReplica::Record(index, write)).await?,
                    None => return Ok(()),
                },
                // The authority is signed anew now and then.
                () = sleep(LOOK_INTERVAL) => {
                    let now = core.part(shared);
                    if now.authority != part.authority {
                        part = now;
                        sender.send(&ToReplica::Domain(part.clone().into())).await?;
                    }
                }
            }
        }
    };
    let hear = async {
        while let Some(Kept(index)) = receiver.recv(FRAME_BYTES_MAX).await? {
            core.standing.kept(node, index).await;
        }
        Ok(())
    };
    tokio::select! {
        sent = send => sent,
        heard = hear => heard,
    }
}

async fn send_output(mut stream: Stream, job: JobId, shared: &Shared) -> Result<(), StreamError> {
    let asked = shared.asker.ask(|reply| Ask::Watch(job, reply));
    if let Some(Watched { output, .. }) = asked.await.flatten() {
        for which in OutputStream::BOTH {
            let mut at = 0;
            while let Ok(Some(frame)) = output.read(which, at) {
                at += u64::try_from(frame.bytes.len()).unwrap_or(0);
                stream.send_frame(&frame).await?;
            }
        }
    }
    stream.finish()?;
    let _ = stream.send.stopped().await;
    Ok(())
}

/// Follows whoever acts, as long as that is another. Does not return.
pub(crate) async fn follow(core: Arc<Core>) {
    let mut state = core.standing.state();
    loop {
        let manager = match state.wait_for(|state| state.manager.is_some()).await {
            Ok(state) => state.manager,
            Err(_) => return,
        };
        if let Some((node, term)) = manager
            && let Some(connection) = core.manager(node)
        {
            let over = async {
                // A later term is another life of it, too, which the old connection does not reach.
                let other = |state: &State| state.manager != Some((node, term));
                let _ = state.wait_for(other).await;
            };
            tokio::select! {
                followed = follow_at(&core, &connection) => if let Err(error) = followed {
                    tracing::warn!(manager = %connection.peer(), error = chain(&error), "this standby has not everything");
                },
                () = over => {}
            }
        }
        sleep(AGAIN).await;
    }
}

async fn follow_at(core: &Core, connection: &Connection) -> Result<(), FollowError> {
    let mut stream = open(connection, &ReplicaRequest::Follow).await?;
    while let Some(told) = stream.recv_frame(REPLICA_BYTES_MAX).await? {
        let index = match told {
            ToReplica::Domain(part) => {
                let kept = core.keep_part(*part).await;
                kept.map_err(|error| FollowError::State(error.into()))?;
                continue;
            }
            ToReplica::Everything(index, everything) => {
                for record in &everything.jobs {
                    take_job(core, connection, record).await?;
                }
                write(core, Write::Everything(everything)).await?;
                index
            }
            ToReplica::Record(index, record) => {
                if let Write::Job(record) = record.as_ref() {
                    take_job(core, connection, record).await?;
                }
                if let Write::Forget(jobs) = record.as_ref() {
                    jobs.iter()
                        .for_each(|job| remove_output(&core.folder, *job));
                }
                // It has one owner, having just been read.
                if let Some(record) = Arc::into_inner(record) {
                    write(core, record).await?;
                }
                index
            }
        };
        stream.send_frame(&Kept(index)).await?;
    }
    Ok(())
}

/// All that belongs to a job and is not here yet.
async fn take_job(core: &Core, from: &Connection, record: &JobRecord) -> Result<(), FollowError> {
    let ended = record.status.state.has_ended();
    let needs = record.needs.iter().filter(|_| !ended);
    for name in needs.chain(&record.left) {
        let name = BlobName(*name);
        match core.blobs.fetch(from, OF_NO_JOB, name).await {
            Ok(()) => {}
            // Nobody has it, or the connection is lost and the next thing fails.
            Err(error) if error.is_broken_off() => {
                tracing::warn!(%name, %error, "a standby lacks a blob")
            }
            Err(error) => return Err(error.into()),
        }
    }
    if ended && !core.has_ended(record.status.id) {
        take_output(&core.folder, from, &record.status).await?;
    }
    Ok(())
}

/// What another life has printed here may be of another run.
async fn take_output(
    folder: &Path,
    from: &Connection,
    status: &JobStatus,
) -> Result<(), FollowError> {
    remove_output(folder, status.id);
    let sink = Sink::open(&folder.join("jobs").join(status.id.to_string()))?;
    let mut stream = open(from, &ReplicaRequest::Output(status.id)).await?;
    while let Some(frame) = stream.recv_frame::<OutputFrame>(FRAME_BYTES_MAX).await? {
        sink.write(&frame)?;
    }
    Ok(())
}

fn remove_output(folder: &Path, job: JobId) {
    let folder = folder.join("jobs").join(job.to_string());
    if let Err(error) = std::fs::remove_dir_all(&folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "the output of an old job cannot be removed");
    }
}

async fn write(core: &Core, write: Write) -> Result<(), FollowError> {
    core.store.take(write).safe().await?;
    core.trim_blobs(Instant::now());
    Ok(())
}

async fn open(connection: &Connection, request: &ReplicaRequest) -> Result<Stream, StreamError> {
    let kind = StreamKind::Request {
        topic: REPLICA_TOPIC,
    };
    let mut stream = connection.open_stream(kind).await?;
    stream.send_frame(request).await?;
    Ok(stream)
}

/// Blobs of a standby are named by themselves.
const OF_NO_JOB: JobAlias = JobAlias(0);
/// A thousand jobs, each with the names of its files; the other side is trusted with the domain.
const REPLICA_BYTES_MAX: usize = 1 << 30;
/// Records that wait for a standby; one that is slower begins anew.
const RECORDS_MAX: usize = 4096;
/// Certificates of authorities last for months.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Between two attempts to follow.
const AGAIN: Duration = Duration::from_millis(300);
