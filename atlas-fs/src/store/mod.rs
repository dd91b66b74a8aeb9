//! [`Store`]: a folder of blobs.
//!
//! A blob lies there in one form or more, each one file beside the others:
//!
//! | file | is |
//! | --- | --- |
//! | `<name>.packed` | the bytes that travel: see `pack.rs` |
//! | `<name>.plain` | the content, mode 0444 |
//! | `<name>.run` | the content, mode 0555 |
//! | `.incoming-*` | what is not a blob yet |
//! | `lock` | held by all who have the folder open |
//!
//! **Nothing unverified or half-written ever has a blob's name**: files are written under another one, and renamed once
//! their content is known to be right. Nothing is synced: after a power failure a packed blob that is not whole is
//! found by who unpacks it, and a plain one by its length where the length is known.
//!
//! Hard links share their content. So that one who wrote to a linked file is found out, plain blobs have the modification time
//! [`made_at`], and a file with another one, or another mode, is not taken for a blob. That is against accidents: who owns
//! the files can forge the time, too. When a blob was last used is in its access time, which `trim.rs` goes by.

mod incoming;

use std::fs::{self, DirBuilder, File, FileTimes, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) use incoming::{Incoming, cannot_link, seal};

use crate::file_error::FileError;
use crate::name::BlobName;

/// A folder of blobs. Clones share it, and so may other processes on the same machine.
///
/// Calls that are not `async` block for as long as the disk takes.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// Locked, shared with others, as long as it is open: `.incoming-*` belong to somebody who lives.
    _lock: File,
}

/// How a blob lies in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    Packed,
    Plain,
    Run,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error("cannot open the blob store {}", folder.display())]
pub struct OpenError {
    /// Its folder.
    pub folder: PathBuf,
    /// What was refused.
    pub source: FileError,
}

impl Store {
    /// Opens the store in a folder, which is made (for this user alone) if there is none. What killed processes left
    /// half-written is removed, unless somebody else has the store open.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or not be written to.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let folder = folder.into();
        match lock(&folder) {
            Ok(lock) => Ok(Self {
                shared: Arc::new(Shared {
                    folder,
                    _lock: lock,
                }),
            }),
            Err(source) => Err(OpenError { folder, source }),
        }
    }

    /// Where the blobs lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Whether the blob is there as it travels.
    #[must_use]
    pub fn has_packed(&self, name: BlobName) -> bool {
        self.lookup(name, Form::Packed).is_some()
    }

    /// Whether the blob's content is there as a file.
    #[must_use]
    pub fn has_plain(&self, name: BlobName) -> bool {
        self.plain_path(name).is_some()
    }

    /// The file with the blob's content, if there is one; an executable one rather than another. Nobody may write to it.
    #[must_use]
    pub fn plain_path(&self, name: BlobName) -> Option<PathBuf> {
        [Form::Run, Form::Plain]
            .into_iter()
            .find_map(|form| self.lookup(name, form))
            .map(|(path, _)| path)
    }

    /// The blob in this form, which counts as a use.
    pub(crate) fn lookup(&self, name: BlobName, form: Form) -> Option<(PathBuf, Metadata)> {
        let path = self.path(name, form);
        let metadata = path.symlink_metadata().ok()?;
        if !form.is_intact(&metadata) {
            return None;
        }
        touch(&path, &metadata);
        Some((path, metadata))
    }

    pub(crate) fn path(&self, name: BlobName, form: Form) -> PathBuf {
        self.folder().join(format!("{name}.{}", form.suffix()))
    }

    /// Each file with a blob's name. Those that others remove meanwhile may be among them or not.
    pub(crate) fn files(&self) -> Result<Vec<(BlobName, Form, Metadata)>, FileError> {
        let reading = |error| FileError::reading(self.folder(), error);
        let mut files = Vec::new();
        for entry in fs::read_dir(self.folder()).map_err(reading)? {
            let entry = entry.map_err(reading)?;
            if let Some((name, form)) = entry.file_name().to_str().and_then(parse_file_name)
                && let Ok(metadata) = entry.metadata()
            {
                files.push((name, form, metadata));
            }
        }
        Ok(files)
    }
}

impl Form {
    /// The plain form of a file that is executable or not.
    pub(crate) fn plain(executable: bool) -> Self {
        if executable { Self::Run } else { Self::Plain }
    }

    pub(crate) fn mode(self) -> u32 {
        match self {
            Self::Packed | Self::Plain => 0o444,
            Self::Run => 0o555,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Packed => "packed",
            Self::Plain => "plain",
            Self::Run => "run",
        }
    }

    /// Whether a file is as it was when it got its name.
    pub(crate) fn is_intact(self, metadata: &Metadata) -> bool {
        metadata.is_file()
            && metadata.permissions().mode() & 0o7777 == self.mode()
            && metadata.modified().is_ok_and(|at| at == made_at())
    }
}

/// Opens and locks; with the folder for itself alone it also cleans. Conversion of a lock is not atomic, but files come
/// to be under the shared lock only, so that nobody who has the exclusive one can meet any that belong to somebody.
fn lock(folder: &Path) -> Result<File, FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| FileError::making(folder, error))?;
    let path = folder.join("lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|error| FileError::making(&path, error))?;
    match file.try_lock() {
        Ok(()) => incoming::remove_leftovers(folder)?,
        Err(TryLockError::WouldBlock) => {}
        // There are file systems without locks. What is left over stays there, which is only a waste.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            return Ok(file);
        }
        Err(TryLockError::Error(error)) => return Err(FileError::refused("lock", &path, error)),
    }
    file.lock_shared()
        .map_err(|error| FileError::refused("lock", &path, error))?;
    Ok(file)
}

fn parse_file_name(file_name: &str) -> Option<(BlobName, Form)> {
    let (name, suffix) = file_name.split_once('.')?;
    let form = [Form::Packed, Form::Plain, Form::Run]
        .into_iter()
        .find(|form| form.suffix() == suffix)?;
    Some((name.parse().ok()?, form))
}

/// Notes a use. That it cannot be noted makes the blob look older than it is, and nothing else.
fn touch(path: &Path, metadata: &Metadata) {
    let now = SystemTime::now();
    let is_noted = metadata.accessed().is_ok_and(|at| {
        now.duration_since(at)
            .is_ok_and(|since| since < USE_RESOLUTION)
    });
    if !is_noted && let Ok(file) = File::open(path) {
        let _ = file.set_times(FileTimes::new().set_accessed(now));
    }
}

/// The modification time of all blobs: one second after the epoch, as in other stores of immutable files. Those with zero
/// are taken for broken by some programs.
pub(crate) fn made_at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
}

/// Uses are noted no finer than that, so that one of many uses costs a system call, and not each.
const USE_RESOLUTION: Duration = Duration::from_secs(60);
