//! Keeping a store within its quota. What was used least recently goes first, to the minute; use is noted in the access
//! times of the files, so that it is known after a restart, too.

use std::fs;
use std::io;
use std::time::SystemTime;

use crate::file_error::FileError;
use crate::name::BlobName;
use crate::store::Store;

/// What was removed, and what is there still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// How many files were removed.
    pub files_removed: usize,
    /// How long they were. Those that lie elsewhere by hard links, too, take their room there still.
    pub bytes_removed: u64,
    /// How long the others are. It is more than the quota if more is to be kept.
    pub bytes_left: u64,
}

/// Why a store cannot be trimmed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error("cannot trim the blob store")]
pub struct TrimError(#[from] FileError);

impl Store {
    /// Removes blobs until no more than `bytes_max` bytes are left: the least recently used first, and none of those that
    /// `keep` says are to be kept. Those that are being sent go on until they are.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or a file not be removed.
    pub fn trim(
        &self,
        bytes_max: u64,
        keep: impl Fn(&BlobName) -> bool,
    ) -> Result<Trimmed, TrimError> {
        let mut files: Vec<_> = self
            .files()?
            .into_iter()
            .map(|(name, form, metadata)| {
                let used = metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH);
                (used, name, form, metadata.len())
            })
            .collect();
        files.sort_unstable();
        let mut trimmed = Trimmed {
            bytes_left: files.iter().map(|(.., bytes)| bytes).sum(),
            ..Trimmed::default()
        };
        for (_, name, form, bytes) in files {
            if trimmed.bytes_left <= bytes_max {
                break;
            }
            if keep(&name) {
                continue;
            }
            let path = self.path(name, form);
            match fs::remove_file(&path) {
                Ok(()) => {
                    trimmed.files_removed += 1;
                    trimmed.bytes_removed += bytes;
                    trimmed.bytes_left -= bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    trimmed.bytes_left -= bytes;
                }
                Err(error) => return Err(FileError::refused("remove", &path, error).into()),
            }
        }
        Ok(trimmed)
    }
}
