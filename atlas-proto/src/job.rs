//! What moves between machines: jobs, closures, results. Opaque bytes with sizes.
//!
//! A job says which kind of engine runs it and from which artifact; the protocol looks into neither, so
//! that kinds of jobs can be added without touching it.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::bounded::{ByteString, Text};
use crate::domain::Domain;
use crate::ids::TaskId;
use crate::limits::{CLOSURE_BYTES_MAX, ENGINE_NAME_BYTES_MAX, ENGINE_OPTIONS_BYTES_MAX};

/// What a server must know to start an engine for a job, and where the job may go.
///
/// It carries no name, address or key of the client: `origin` is the domain where it was submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The domain that vouches for the job; policies look at it.
    pub origin: Domain,
    /// Which engine runs it: `native`, and later others. At most [`ENGINE_NAME_BYTES_MAX`] bytes.
    #[serde(with = "Text::<ENGINE_NAME_BYTES_MAX>")]
    pub engine: String,
    /// The BLAKE3 name of what the engine runs.
    pub artifact: [u8; 32],
    /// Whatever else the engine needs. At most [`ENGINE_OPTIONS_BYTES_MAX`] bytes.
    #[serde(with = "ByteString::<ENGINE_OPTIONS_BYTES_MAX>")]
    pub options: Bytes,
}

/// What closures are measured by: those of one task at one depth are expected to be alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClosureKind {
    /// The task.
    pub task: TaskId,
    /// How many closures are above it in the job.
    pub depth: u32,
}

/// A task with its arguments: the unit of work that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// Which task, how deep.
    pub kind: ClosureKind,
    /// The encoded arguments.
    #[serde(with = "ByteString::<CLOSURE_BYTES_MAX>")]
    pub args: Bytes,
    /// The work that its lender expects in it and all that descends from it; zero if unknown.
    pub expected: Duration,
}

/// How a closure ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The encoded result.
    Value(#[serde(with = "ByteString::<CLOSURE_BYTES_MAX>")] Bytes),
    /// The encoded panic: task, path, message.
    Panic(#[serde(with = "ByteString::<CLOSURE_BYTES_MAX>")] Bytes),
}

/// A finished closure: what came out, and how much work went in, descendants included, wherever they ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// What came out.
    pub outcome: Outcome,
    /// The processor time that it took on all machines together.
    pub work: Duration,
}

impl Finished {
    /// What can be sent of it: a result that is too large becomes a panic that says so.
    pub(crate) fn bounded(self) -> Self {
        let bytes = self.outcome.bytes().len();
        if bytes <= CLOSURE_BYTES_MAX {
            return self;
        }
        let what = match self.outcome {
            Outcome::Value(_) => "result",
            Outcome::Panic(_) => "panic",
        };
        let text = format!(
            "the task's {what} has {bytes} bytes, at most {CLOSURE_BYTES_MAX} can go to another machine: return \
             less, or share it as a blob"
        );
        Self {
            outcome: Outcome::Panic(text.into()),
            ..self
        }
    }
}

impl Outcome {
    /// The encoded result or panic.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Value(bytes) | Self::Panic(bytes) => bytes,
        }
    }
}
