//! What moves between machines: jobs, closures, results. Opaque bytes with sizes; of large results their names.
//!
//! A job says which kind of engine runs it and from which artifact; the protocol looks into neither, so
//! that kinds of jobs can be added without touching it. Closures and results move as engines know them.

pub use atlas_engine::{Closure, ClosureKind, Finished, Outcome, SharedName};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::bounded::{ByteString, Text};
use crate::domain::Domain;
use crate::ids::GlobalJobId;
use crate::limits::{CLOSURE_BYTES_MAX, ENGINE_NAME_BYTES_MAX, ENGINE_OPTIONS_BYTES_MAX};

/// What a server must know to start an engine for a job, and where the job may go.
///
/// It carries no name, address or key of the client: `origin` is the domain where it was submitted, `id` is drawn by lot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The same in all lives of the manager where it was submitted.
    pub id: GlobalJobId,
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

/// What can be sent of a finished closure: of what is too large for a message, and does not lie in a blob, a panic that says so. An
/// engine does no such thing.
pub(crate) fn bounded(finished: Finished) -> Finished {
    let bytes = finished.outcome.size();
    if bytes <= CLOSURE_BYTES_MAX {
        return finished;
    }
    let what = match finished.outcome {
        Outcome::Value(_) | Outcome::Blob { .. } => "result",
        Outcome::Panic(_) => "panic",
    };
    let text = format!(
        "the task's {what} has {bytes} bytes, at most {CLOSURE_BYTES_MAX} can go to another machine in a message: its \
         engine was to keep it as a blob"
    );
    Finished {
        outcome: Outcome::Panic(text.into()),
        ..finished
    }
}
