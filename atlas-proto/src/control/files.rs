//! The files of a client's own, `atlas://client/..` to its job: how they are called between nodes, who may serve them, and whom a
//! question goes to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::job::JobId;
use crate::ids::JobAlias;

/// What one job's client serves is called so by all who carry it: the beginning of the BLAKE3 hash of its [`FilesKey`]. No other job has the
/// same, and nobody guesses it: who knows it may read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FilesName(pub [u8; 16]);

/// Proves to the job's manager that it is this client's files that are to be served. It is told to nobody else.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesKey(pub [u8; 16]);

/// What a stream of [`FILES_TOPIC`](super::FILES_TOPIC) begins with. Then it goes on as one of
/// [`URL_TOPIC`](super::URL_TOPIC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilesOf {
    /// To a node that is nearer to where the job is from.
    Job {
        /// The job, as the link of the two knows it.
        job: JobAlias,
        /// What its client's files are called.
        files: FilesName,
    },
    /// To the client itself: of this job.
    Submitted(JobId),
}

impl fmt::Display for FilesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FilesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilesName({self})")
    }
}

/// No name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not 32 digits, 0 to 9 and a to f")]
pub struct NoFilesName;

impl FromStr for FilesName {
    type Err = NoFilesName;

    fn from_str(text: &str) -> Result<Self, NoFilesName> {
        let digits = text.as_bytes();
        let mut name = [0; 16];
        if digits.len() != 2 * name.len() {
            return Err(NoFilesName);
        }
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(NoFilesName),
        };
        for (byte, pair) in name.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Ok(Self(name))
    }
}

impl fmt::Debug for FilesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilesKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_from_its_digits_and_from_no_others() {
        let name = FilesName([0x0f; 16]);
        let text = name.to_string();
        assert_eq!(text, "0f".repeat(16));
        assert_eq!(text.parse(), Ok(name));
        for wrong in ["", "client", "0F0f", &text[1..], &text.to_uppercase()] {
            assert_eq!(wrong.parse::<FilesName>(), Err(NoFilesName), "{wrong}");
        }
        assert_eq!(format!("{:?}", FilesKey([7; 16])), "FilesKey(..)");
    }
}
