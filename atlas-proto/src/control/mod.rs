//! What is said beside the protocol of the machines: between clients and managers, and between nodes about jobs'
//! output and progress. Messages only; drivers carry each on a stream of its own.
//!
//! Nothing here decides who computes what. A question is one frame, its answer one or more; large things are not in them
//! but travel as blobs, which the receiver fetches from whoever named them.

mod client;
mod files;
mod job;
mod node;
mod standby;

pub use client::{
    Accepted, ClientAnswer, ClientRequest, DomainStatus, ManagersStatus, OutputFrame, OutputStream,
    Refusal, ServerStatus, Submission, SubmissionNumber, TokenRequest,
};
pub use files::{FilesKey, FilesName, FilesOf, NoFilesName};
pub use job::{Files, JobId, JobState, JobStatus, NativeOptions, OptionsError};
pub use node::{JobProgress, NodeAnswer, NodeRequest, Produced};
pub use standby::{Above, ManagerWord};

/// The name of the engine that runs a program of the user's own, built with `#[atlas::main]`.
pub const NATIVE: &str = "native";
/// The topic of streams on which a client asks its manager: a [`ClientRequest`], then [`ClientAnswer`]s.
pub const CLIENT_TOPIC: u32 = 1;
/// The topic of streams on which a node asks its manager: a [`NodeRequest`], and what that says.
pub const NODE_TOPIC: u32 = 2;
/// The topic of streams on which a child hears from a manager who acts, and votes.
pub const WITNESS_TOPIC: u32 = 3;
/// The topic of streams on which the managers of one domain hear from each other who acts.
pub const STANDBY_TOPIC: u32 = 4;
/// The topic of streams on which a manager that follows takes what the one that acts has.
pub const REPLICA_TOPIC: u32 = 5;
/// The topic of streams on which a node asks its manager for files by URL, in words of their cache's own.
pub const URL_TOPIC: u32 = 6;
/// The topic of streams on which a node asks for a file of a job's client: a [`FilesOf`], then as of [`URL_TOPIC`]. They go to where the job is
/// from, and from there to the client.
pub const FILES_TOPIC: u32 = 7;
/// So many addresses of managers are kept: those of two, some for each, and some that are out of date.
pub const MANAGER_ADDRESSES_MAX: usize = 16;
/// As many domains may stand above one: authorities follow no more of each other.
pub const ABOVE_MAX: usize = 6;
/// A frame of these streams is refused beyond this size.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// So much of a job's output goes into one frame.
pub const OUTPUT_CHUNK_BYTES_MAX: usize = 64 << 10;
