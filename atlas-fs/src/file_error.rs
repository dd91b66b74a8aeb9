//! [`FileError`]: what the file system of this machine refused, with the file or folder that it is about. It is part of
//! the errors of all that touches files, so that a full disk reads the same everywhere.

use std::io;
use std::path::{Path, PathBuf};

/// The file system refused something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is no room for what should be written.
    #[error(
        "there is no room left in {}: free some space on its disk, raise the quota or the limit of a file's size, or use a folder on another disk",
        folder.display()
    )]
    Full {
        /// Where it should go.
        folder: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Something else went wrong.
    #[error("cannot {action} {}: {hint}", path.display())]
    Refused {
        /// What should be done, as in "read".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What to do about it.
        hint: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

impl FileError {
    /// Of reading, or looking at, a file or folder.
    pub(crate) fn reading(path: &Path, source: io::Error) -> Self {
        Self::refused("read", path, source)
    }

    /// Of writing into a folder.
    pub(crate) fn writing(folder: &Path, source: io::Error) -> Self {
        if is_full(&source) {
            Self::Full {
                folder: folder.to_owned(),
                source,
            }
        } else {
            Self::refused("write to", folder, source)
        }
    }

    /// Of copying a file into a folder: which of the two it was, is known only of a full disk.
    pub(crate) fn copying(from: &Path, to: &Path, source: io::Error) -> Self {
        if is_full(&source) {
            Self::writing(to, source)
        } else {
            Self::refused("copy", from, source)
        }
    }

    /// Of a certain file: the folder that it is in is full, or the file itself is refused.
    pub(crate) fn making(path: &Path, source: io::Error) -> Self {
        if is_full(&source) {
            Self::writing(path.parent().unwrap_or(path), source)
        } else {
            Self::refused("make", path, source)
        }
    }

    pub(crate) fn refused(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Refused {
            action,
            path: path.to_owned(),
            hint: hint(source.kind()),
            source,
        }
    }

    /// Whether there is no room: work may go on once there is some.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the system has dozens of errors and adds some"
)]
fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "it does not exist, or was removed meanwhile",
        io::ErrorKind::PermissionDenied => "let this user read and write it, or name another one",
        io::ErrorKind::ReadOnlyFilesystem => {
            "its file system is read-only; mount it writable, or name another one"
        }
        io::ErrorKind::NotADirectory => "a part of its path is no folder; name another one",
        io::ErrorKind::IsADirectory => "there is a folder of that name; move it away",
        io::ErrorKind::AlreadyExists => "there is something of that name already; move it away",
        _ => "see the system's message; the disk may be damaged or gone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_names_the_folder_and_what_to_do() {
        for kind in [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ] {
            let error = FileError::making(Path::new("/var/blobs/x"), kind.into());
            assert!(error.is_full());
            let error = error.to_string();
            assert!(
                error.contains("in /var/blobs:") && error.contains("free some"),
                "{error}"
            );
        }
    }
}
