//! What nodes tell and ask their manager beside the protocol of the machines. All of it may be repeated or lost without
//! harm to results.

use core::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::client::{OutputFrame, Refusal};
use super::job::Files;
use crate::ids::{JobAlias, NodeId};

/// What a node begins a stream to its manager with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRequest {
    /// Where a sibling is reached: [`NodeAnswer::Address`].
    Locate {
        /// Which.
        peer: NodeId,
    },
    /// What the root closure of a job produces: [`Produced`] frames follow. When the stream has ended and all is in safety,
    /// [`NodeAnswer::Stored`] comes back: only then may the root's result be returned.
    Produce {
        /// The job, as the link of the two knows it.
        job: JobAlias,
    },
    /// How jobs go on below this node: a list of [`JobProgress`] in each frame, for as long as there is something new.
    Progress,
    /// There is a shared value of a job here. The receiver fetches its blob from the sender and keeps it as long as the job lives;
    /// then [`NodeAnswer::Stored`] comes back.
    Share {
        /// The job, as the link of the two knows it.
        job: JobAlias,
        /// The value's blob.
        name: [u8; 32],
    },
    /// The job has seen a version of a file by URL: [`NodeAnswer::Pinned`], with the one that it has seen first. Asked on, until
    /// it comes to where the job is from.
    Pin {
        /// The job, as the link of the two knows it.
        job: JobAlias,
        /// The BLAKE3 hash of the URL.
        url: [u8; 32],
        /// What the origin says of it, of at most [`VERSION_BYTES_MAX`](crate::limits::VERSION_BYTES_MAX) bytes.
        version: Bytes,
    },
}

/// An answer to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeAnswer {
    /// Where it is; none if it is not there.
    Address(Option<SocketAddr>),
    /// All that was produced is in safety, at the job's own manager; or the shared value at the manager that was told of it.
    Stored,
    /// It is not, and will not be.
    Refused(Refusal),
    /// The version that the job has seen first.
    Pinned(Bytes),
    /// Where the job is from is not reached now: to be asked again.
    Away,
}

/// What a root closure produces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Produced {
    /// It has printed something. What comes twice, because the root was run again, counts once, by its offset.
    Output(OutputFrame),
    /// It has ended and left these files. The receiver fetches those blobs that it lacks from the sender.
    Files(Files),
}

/// How a job goes on below a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// The job, as the link of the two knows it.
    pub job: JobAlias,
    /// Closures finished since the node joined.
    pub closures: u64,
    /// Processor time spent since then.
    pub work: Duration,
    /// Servers that work for it now.
    pub servers: u32,
    /// Workers that they give it now.
    pub workers: u32,
}
