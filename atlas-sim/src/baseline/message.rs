//! What thieves and victims say to each other.

use atlas_proto::ids::EngineLease;
use atlas_proto::job::{Closure, Finished};

use super::{KIND_BYTES, NUMBER_BYTES};
use crate::world::{HEADER_BYTES, Parcel};

/// A message between two servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StealMessage {
    /// A thief asks for a closure.
    Request {
        /// Which of its requests.
        line: Line,
    },
    /// The victim has none.
    Refusal {
        /// Which request.
        line: Line,
    },
    /// The victim's oldest closure.
    Grant {
        /// Which request.
        line: Line,
        /// The lender's name for it.
        lease: EngineLease,
        /// What is lent.
        closure: Closure,
    },
    /// The result of a closure goes straight to its lender.
    Result {
        /// The lender's name for it.
        lease: EngineLease,
        /// How it ended.
        finished: Finished,
    },
}

/// Which of a thief's requests: at most one of each is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line(pub u8);

impl Parcel for StealMessage {
    fn bytes(&self) -> u64 {
        HEADER_BYTES
            + match self {
                Self::Request { .. } | Self::Refusal { .. } => NUMBER_BYTES,
                Self::Grant { closure, .. } => {
                    2 * NUMBER_BYTES + KIND_BYTES + closure.size() as u64
                }
                Self::Result { finished, .. } => 2 * NUMBER_BYTES + finished.outcome.size() as u64,
            }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Request { .. } => "request",
            Self::Refusal { .. } => "refusal",
            Self::Grant { .. } => "grant",
            Self::Result { .. } => "result",
        }
    }
}
