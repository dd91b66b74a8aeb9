//! Jobs as clients see them, and what a native engine is told of one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::files::FilesName;
use crate::limits::ENGINE_OPTIONS_BYTES_MAX;

/// A job's number at the manager where it was submitted: they count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for JobId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its number.
    pub id: JobId,
    /// What people call it.
    pub name: String,
    /// Its command line, for people.
    pub args: Vec<String>,
    /// What has become of it.
    pub state: JobState,
    /// When it was submitted, in milliseconds since 1970.
    pub submitted_ms: u64,
    /// How long it has been running, or ran.
    pub elapsed: Duration,
    /// Closures that were finished for it on all machines: those that could be stolen, not each call.
    pub closures: u64,
    /// Processor time spent on it on all machines.
    pub work: Duration,
    /// Servers that work for it now.
    pub servers: u32,
    /// Workers that they give it.
    pub workers: u32,
    /// Bytes printed to standard output and standard error.
    pub output_bytes: [u64; 2],
    /// The files that it has left in its working directory, once it has ended.
    pub files: Option<Files>,
}

/// What has become of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Nobody runs it yet.
    Waiting,
    /// Somebody does.
    Running,
    /// `main` has ended, with this exit code.
    Exited {
        /// As the program gave it.
        code: u8,
    },
    /// It could not be run, or not to its end.
    Failed {
        /// Why, for people.
        message: String,
    },
    /// A client has ended it.
    Killed,
}

/// Files that a job has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// The blob of their tree.
    pub tree: [u8; 32],
    /// How many.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
}

/// What a server must know to start the native engine of a job, beside its artifact. It travels in
/// [`JobSpec::options`](crate::job::JobSpec::options).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeOptions {
    /// The program's name: the first word of its command line.
    pub name: String,
    /// What follows it.
    pub command_line: Vec<Vec<u8>>,
    /// The blob of the tree of files that each engine finds in its working directory.
    pub inputs: Option<[u8; 32]>,
    /// What its client's own files are called, if it serves some. It follows the others, and is left out if there are none.
    #[serde(skip)]
    pub files: Option<FilesName>,
}

/// Options that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// They are too long.
    #[error(
        "the command line has {bytes} bytes, at most {ENGINE_OPTIONS_BYTES_MAX} are allowed: let the program read what is \
         long from a file, which --input ships"
    )]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// They are none.
    #[error("the job's options are not those of a native program of this version of Atlas")]
    Malformed,
}

impl JobState {
    /// Nothing more will happen to it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Waiting | Self::Running => false,
            Self::Exited { .. } | Self::Failed { .. } | Self::Killed => true,
        }
    }
}

impl NativeOptions {
    /// As they travel.
    ///
    /// # Errors
    ///
    /// They are too long to travel.
    pub fn to_bytes(&self) -> Result<Bytes, OptionsError> {
        let mut bytes = postcard::to_stdvec(self).map_err(|_| OptionsError::Malformed)?;
        if let Some(FilesName(name)) = &self.files {
            bytes.extend_from_slice(name);
        }
        if bytes.len() > ENGINE_OPTIONS_BYTES_MAX {
            return Err(OptionsError::TooLong { bytes: bytes.len() });
        }
        Ok(bytes.into())
    }

    /// What [`NativeOptions::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// It did not write this.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OptionsError> {
        let (options, rest): (Self, _) =
            postcard::take_from_bytes(bytes).map_err(|_| OptionsError::Malformed)?;
        let files = match rest {
            [] => None,
            rest => Some(FilesName(
                rest.try_into().map_err(|_| OptionsError::Malformed)?,
            )),
        };
        Ok(Self { files, ..options })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_travel_unless_they_are_too_long() {
        let mut options = NativeOptions {
            name: "fib".into(),
            command_line: vec![b"24".to_vec(), vec![0xff]],
            inputs: Some([3; 32]),
            files: None,
        };
        let mut bytes = options.to_bytes().unwrap().to_vec();
        assert_eq!(NativeOptions::from_bytes(&bytes), Ok(options.clone()));
        bytes.push(0);
        assert_eq!(
            NativeOptions::from_bytes(&bytes),
            Err(OptionsError::Malformed)
        );
        options.files = Some(FilesName([7; 16]));
        let with_files = options.to_bytes().unwrap();
        assert_eq!(NativeOptions::from_bytes(&with_files), Ok(options.clone()));
        options.command_line.push(vec![0; ENGINE_OPTIONS_BYTES_MAX]);
        let refused = options.to_bytes().unwrap_err().to_string();
        assert!(refused.contains("--input"), "{refused}");
    }

    #[test]
    fn a_job_ends_once() {
        let ended = [
            JobState::Exited { code: 0 },
            JobState::Failed {
                message: String::new(),
            },
            JobState::Killed,
        ];
        assert!(ended.iter().all(JobState::has_ended));
        assert!(!JobState::Waiting.has_ended() && !JobState::Running.has_ended());
    }
}
