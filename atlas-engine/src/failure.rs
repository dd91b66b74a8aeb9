//! Why a closure has no result, as bytes that only engines look into.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::frame;
use crate::limits::CLOSURE_BYTES_MAX;

/// What [`Outcome::Panic`](crate::Outcome::Panic) carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// A task panicked.
    Panicked {
        /// The path of the innermost task that did.
        task: Option<String>,
        /// What it said.
        message: String,
    },
    /// The closure can only be run by its lender, who does, and lends it no more.
    Refused {
        /// Why.
        reason: String,
    },
}

impl Failure {
    /// As bytes, within the limit of a closure's: a longer text is cut.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let cut = |text: &str| text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned();
        let bounded = match self {
            Self::Panicked { task, message } => Self::Panicked {
                task: task.as_deref().map(cut),
                message: cut(message),
            },
            Self::Refused { reason } => Self::Refused {
                reason: cut(reason),
            },
        };
        let bytes = frame::append(&bounded, vec![MARK]);
        bytes.expect("text can be encoded").into()
    }

    /// Reads what [`Failure::to_bytes`] wrote. Anything else was said by a machine on the way, as text: it is
    /// the message of a panic of no task.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let known = bytes.split_first().filter(|(mark, _)| **mark == MARK);
        let decoded = known.and_then(|(_, rest)| postcard::take_from_bytes(rest).ok());
        match decoded {
            Some((failure, [])) => failure,
            Some(_) | None => Self::Panicked {
                task: None,
                message: String::from_utf8_lossy(bytes).into_owned(),
            },
        }
    }
}

/// No text begins with it.
const MARK: u8 = 0;
/// Two of them and their lengths fit.
const TEXT_BYTES_MAX: usize = CLOSURE_BYTES_MAX / 2 - 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_survive_the_way() {
        for failure in [
            Failure::Panicked {
                task: Some("a::b".to_owned()),
                message: "no credit".to_owned(),
            },
            Failure::Panicked {
                task: None,
                message: String::new(),
            },
            Failure::Refused {
                reason: "too large".to_owned(),
            },
        ] {
            assert_eq!(Failure::from_bytes(&failure.to_bytes()), failure);
        }
    }

    #[test]
    fn what_no_engine_wrote_is_a_message() {
        for text in ["", "the task's result has 9 bytes", "\0\x07"] {
            let expected = Failure::Panicked {
                task: None,
                message: text.to_owned(),
            };
            assert_eq!(Failure::from_bytes(text.as_bytes()), expected);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let failure = Failure::Panicked {
            task: Some("\u{e9}".repeat(CLOSURE_BYTES_MAX)),
            message: "x".repeat(3 * CLOSURE_BYTES_MAX),
        };
        let bytes = failure.to_bytes();
        assert!(bytes.len() <= CLOSURE_BYTES_MAX, "{}", bytes.len());
        assert!(matches!(
            Failure::from_bytes(&bytes),
            Failure::Panicked { task: Some(task), .. } if task.ends_with('\u{e9}')
        ));
    }
}
