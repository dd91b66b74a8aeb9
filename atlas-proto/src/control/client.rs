//! What clients ask of the manager of their domain.

use core::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::files::{FilesKey, FilesName};
use super::job::{JobId, JobStatus};
use crate::domain::Domain;
use crate::ids::NodeId;
use crate::message::Load;

/// A question of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientRequest {
    /// Run a program. The manager fetches the blobs that it lacks from the client on the same connection;
    /// then it answers with [`ClientAnswer::Accepted`]. Asked the same again, it begins no second job, but names the first, however
    /// far that is.
    Submit(Submission),
    /// All jobs that the manager remembers: [`ClientAnswer::Jobs`].
    Jobs,
    /// How a job stands: [`ClientAnswer::Job`], now and whenever that has changed, at most some times a second, until it has
    /// ended.
    Watch {
        /// Which.
        job: JobId,
    },
    /// What a job has printed: [`ClientAnswer::Output`] again and again, in the order of printing where it is still known.
    Output {
        /// Which.
        job: JobId,
        /// What the client has already: bytes of standard output, and of standard error.
        skip: [u64; 2],
        /// Go on until the job has ended.
        follow: bool,
    },
    /// End a job: [`ClientAnswer::Job`].
    Kill {
        /// Which.
        job: JobId,
    },
    /// The servers of the domain: [`ClientAnswer::Servers`].
    Servers,
    /// The domain and those directly below: [`ClientAnswer::Domains`].
    Domains,
    /// Make a join token: [`ClientAnswer::Token`]. The administrator on the manager's own machine may, and who is logged in
    /// as one, for servers and clients.
    CreateToken(TokenRequest),
    /// Whether this manager acts, and where the domain's managers are reached: [`ClientAnswer::Managers`].
    Managers,
    /// As [`ClientRequest::Submit`], of a job that finds files of this client's own under `atlas://client/`.
    SubmitServing {
        /// The program.
        submission: Submission,
        /// What they are called.
        files: FilesName,
    },
    /// This client serves the files of a job from now on, on this connection: [`ClientAnswer::Serving`]. The manager then asks for
    /// them by streams of [`FILES_TOPIC`](super::FILES_TOPIC).
    Serve {
        /// Which.
        job: JobId,
        /// That they are this client's.
        key: FilesKey,
    },
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// What people call the job: the program's name.
    pub name: String,
    /// Which engine runs it, as [`NATIVE`](super::NATIVE).
    pub engine: String,
    /// The blob that it runs.
    pub artifact: [u8; 32],
    /// What follows the program's name on its command line.
    pub command_line: Vec<Vec<u8>>,
    /// The blob of the tree of files that it finds in its working directory.
    pub inputs: Option<[u8; 32]>,
    /// Which submission of its user this is: who asks again, since the answer was lost with a connection, gets the same job.
    pub number: SubmissionNumber,
}

/// Tells a submission from all others of the same user: drawn by lot by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmissionNumber(pub [u8; 16]);

/// What token is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRequest {
    /// `server`, `client`, `admin`, `manager` or `standby`.
    pub role: String,
    /// For how long it lets nodes in.
    pub lifetime: Duration,
    /// How many nodes it lets in.
    pub uses: u32,
    /// Where the manager is reached, as `host:port`; where it listens, if empty.
    pub addresses: Vec<String>,
}

/// An answer to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAnswer {
    /// What was asked for is not done, and why.
    Refused(Refusal),
    /// The job has been taken in.
    Accepted(Accepted),
    /// Jobs, oldest first.
    Jobs(Vec<JobStatus>),
    /// One job.
    Job(JobStatus),
    /// A part of the output.
    Output(OutputFrame),
    /// The servers of the domain.
    Servers(Vec<ServerStatus>),
    /// The domain itself first, then those directly below it.
    Domains(Vec<DomainStatus>),
    /// The token, as it is handed to the new node.
    Token(String),
    /// The managers of the domain.
    Managers(ManagersStatus),
    /// The client is asked for the job's files from now on.
    Serving,
}

/// The managers of a domain, as one of them knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagersStatus {
    /// The one that answers acts.
    pub acts: bool,
    /// Where they are reached, as `host:port`.
    pub addresses: Vec<String>,
}

/// A job was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Its number.
    pub job: JobId,
    /// How many workers the domain has now.
    pub workers: u32,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For people: what is wrong, and what to do.
    pub message: String,
}

/// What a job has printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFrame {
    /// Where to.
    pub stream: OutputStream,
    /// How many bytes of this stream came before.
    pub offset: u64,
    /// The next ones.
    pub bytes: Bytes,
}

/// One of a program's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OutputStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A server as its manager knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Which.
    pub node: NodeId,
    /// Its own domain, which is below the manager's if it is a guest; none if it is not connected now.
    pub domain: Option<Domain>,
    /// From where it is heard; none if it is not connected now.
    pub address: Option<SocketAddr>,
    /// How many workers it has, and what they have to do.
    pub load: Load,
}

/// A domain as its manager, or its parent's, knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainStatus {
    /// Which.
    pub domain: Domain,
    /// The sums of all that is below.
    pub load: Load,
    /// Its servers and sub-domains; none if it is not told.
    pub children: Option<u32>,
    /// The manager is connected now.
    pub connected: bool,
}

impl Refusal {
    /// A refusal with this reason.
    pub fn new(message: impl std::fmt::Display) -> Self {
        Self {
            message: message.to_string(),
        }
    }
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self { message }
    }
}

impl From<&str> for Refusal {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl OutputStream {
    /// Both, in the order of their places in lists.
    pub const BOTH: [Self; 2] = [Self::Out, Self::Err];

    /// Its place in lists.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Out => 0,
            Self::Err => 1,
        }
    }
}
