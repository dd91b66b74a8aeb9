//! Files by URL, as a program asks for them.
//!
//! A program fetches nothing itself: with [`FILES_VARIABLE`] set it connects to the Unix socket of that path, and asks whoever
//! listens there, who has the store that all programs of the machine share. One connection carries one question at a time, each
//! with one answer, in the [frames](crate::frame) of this crate; a program opens as many connections as it has questions
//! at a time. A file that was opened belongs to its connection, which holds one at a time, and is closed with it.
//!
//! Programs that only know paths find the same files in a folder, which [`MOUNT_VARIABLE`] names where it is mounted when the
//! program begins. Where it is not, it is mounted when somebody asks for it ([`FileQuestion::Mount`]).

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bounded::{ByteString, List, Text};
use crate::limits::{
    FILE_BYTES_MAX, FILE_ENTRIES_MAX, FILE_MESSAGE_BYTES_MAX, FILE_NAME_BYTES_MAX, PATH_BYTES_MAX,
    URL_BYTES_MAX,
};

/// The environment variable with the absolute path of the socket at which files by URL can be asked for.
pub const FILES_VARIABLE: &str = "ATLAS_FILES_SOCKET";

/// The environment variable with the absolute path of the folder where files by URL are mounted, if they are.
pub const MOUNT_VARIABLE: &str = "ATLAS_FILES_MOUNT";

/// What a program asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileQuestion {
    /// What is known of a URL without its content.
    Metadata {
        /// Of which.
        #[serde(with = "Text::<URL_BYTES_MAX>")]
        url: String,
    },
    /// To read a file: the job's version of it. Another one that this connection has open is closed.
    Open {
        /// Which.
        #[serde(with = "Text::<URL_BYTES_MAX>")]
        url: String,
    },
    /// Bytes of the file that is open.
    Read {
        /// Where they begin.
        offset: u64,
        /// How many at most; no more than [`FILE_BYTES_MAX`] come.
        bytes_max: u32,
    },
    /// The file that is open is not read any more.
    Close,
    /// The entries of a folder.
    List {
        /// Which; it ends in a slash.
        #[serde(with = "Text::<URL_BYTES_MAX>")]
        url: String,
        /// Leave out so many: the answers before this one had them.
        skip: u64,
    },
    /// To have all files by URL in a folder, for whoever only knows paths.
    Mount,
}

/// What a program is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileAnswer {
    /// Of a URL.
    Metadata(FileMetadata),
    /// The file is open.
    Opened(OpenedFile),
    /// Its bytes; none where it ends.
    Bytes(#[serde(with = "ByteString::<FILE_BYTES_MAX>")] Bytes),
    /// Of a folder.
    Entries {
        /// In the order in which the origin has them.
        #[serde(with = "List::<FILE_ENTRIES_MAX>")]
        entries: Vec<FileEntry>,
        /// There are more.
        more: bool,
    },
    /// None is open any more.
    Closed,
    /// It cannot be had.
    Failed(FileFailure),
    /// They are mounted at this path, as long as the job has this engine.
    Mounted(#[serde(with = "ByteString::<PATH_BYTES_MAX>")] Bytes),
}

/// What is known of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMetadata {
    /// It is a folder; otherwise a file.
    pub folder: bool,
    /// In bytes, where the origin tells.
    pub length: Option<u64>,
    /// When it was last changed, since 1970, where the origin tells.
    pub modified: Option<Duration>,
    /// The origin could not be asked; this is what was known before.
    pub stale: bool,
}

/// A version of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedFile {
    /// In bytes.
    pub length: u64,
    /// Its name for people: what the origin calls it.
    #[serde(with = "Text::<FILE_MESSAGE_BYTES_MAX>")]
    pub version: String,
    /// The origin could not be asked whether it is still the present one.
    pub stale: bool,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Decoded: one component of a path.
    #[serde(with = "Text::<FILE_NAME_BYTES_MAX>")]
    pub name: String,
    /// It is a folder; otherwise a file.
    pub folder: bool,
    /// In bytes, where the listing tells exactly.
    pub length: Option<u64>,
    /// When it was last changed, since 1970, where the listing tells.
    pub modified: Option<Duration>,
}

/// Why something cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFailure {
    /// The number of the system's error that says the most of it.
    pub errno: i32,
    /// The origin's status, if that is what went wrong.
    pub status: Option<u16>,
    /// What went wrong, with its causes and what to do, on one line. It names the URL.
    #[serde(with = "Text::<FILE_MESSAGE_BYTES_MAX>")]
    pub message: String,
}

impl FileFailure {
    /// With as much of the message as may be sent.
    #[must_use]
    pub fn new(errno: i32, status: Option<u16>, mut message: String) -> Self {
        message.truncate(message.floor_char_boundary(FILE_MESSAGE_BYTES_MAX));
        Self {
            errno,
            status,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "ä".repeat(FILE_MESSAGE_BYTES_MAX);
        let failure = FileFailure::new(2, Some(404), format!("x{long}"));
        assert!(failure.message.len() <= FILE_MESSAGE_BYTES_MAX);
        let answer = FileAnswer::Failed(failure);
        let bytes = frame::encode(&answer).unwrap();
        assert_eq!(frame::decode::<FileAnswer>(&bytes[4..]).unwrap(), answer);
    }

    #[test]
    fn what_is_over_a_limit_is_not_sent() {
        let url = "x".repeat(URL_BYTES_MAX + 1);
        frame::encode(&FileQuestion::Open { url }).unwrap_err();
        let bytes = Bytes::from(vec![0; FILE_BYTES_MAX + 1]);
        frame::encode(&FileAnswer::Bytes(bytes)).unwrap_err();
    }
}
