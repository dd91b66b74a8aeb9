//! [`Spooled`]: a file that is on its way and whose length nobody knows yet, so that it can have no place among the others.
//!
//! It lies in a folder of its own, locked by who writes it. So it is counted with all that is there, it stays as long as it is written, and
//! what a killed process has left is known by its lock, which nobody has any more: it is removed by the next who opens the store, or who
//! needs room. **It becomes the stored file by its name alone**: nothing is copied, and no room is needed twice.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use url::Url;

use super::super::version::Version;
use super::entry::{BLOCK, Entry, data_path, write_chunks};
use super::{Ledger, Reserved, UrlStore};
use crate::file_error::FileError;

/// A file that is being written. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Spooled {
    file: File,
    /// None if its origin forbids to keep it: then it never has a name.
    path: Option<PathBuf>,
    is_nameless: bool,
    length: u64,
    reserved: u64,
}

impl UrlStore {
    /// A new one. It is nameless if nobody is to find it.
    pub(crate) fn spooled(&self, is_nameless: bool) -> Result<Spooled, FileError> {
        let (file, path) = self.ledger().begin_spooled()?;
        if is_nameless {
            fs::remove_file(&path).map_err(|error| FileError::refused("remove", &path, error))?;
        }
        Ok(Spooled {
            file,
            path: (!is_nameless).then_some(path),
            is_nameless,
            length: 0,
            reserved: 0,
        })
    }

    /// The stored file of this version, which is the one that has come, unless there was one before. What is in it remains to be said.
    pub(crate) fn take_in(
        &self,
        spooled: &mut Spooled,
        url: &Url,
        version: &Version,
    ) -> Result<Entry, FileError> {
        let refused = |error| FileError::writing(self.folder(), error);
        // What was allocated in advance is given back by this.
        spooled.file.set_len(spooled.length).map_err(refused)?;
        if spooled.is_nameless {
            let data = spooled.file.try_clone().map_err(refused)?;
            return Entry::nameless(&self.files(), url, version, data);
        }
        let to = data_path(&self.files(), url, version);
        let renamed = spooled
            .path
            .as_ref()
            .map(|path| renameat_with(CWD, path, CWD, &to, RenameFlags::NOREPLACE));
        // Otherwise there is one, or the disk cannot say that there is none: then it is copied.
        if renamed == Some(Ok(())) {
            spooled.path = None;
            // Whoever opens it waits for this.
            spooled.file.lock_shared().map_err(refused)?;
        }
        self.find_or_make(url, version)
    }
}

impl Spooled {
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn is_nameless(&self) -> bool {
        self.is_nameless
    }

    /// Writes what has come, if there is room for it or can be.
    pub(crate) fn append(
        &mut self,
        ledger: &Ledger,
        chunks: &[Bytes],
    ) -> Result<Reserved, FileError> {
        let end = self.length + chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        if self.reserve_to(ledger, end)? == Reserved::QuotaReached {
            return Ok(Reserved::QuotaReached);
        }
        write_chunks(&self.file, chunks, self.length).map_err(|error| ledger.refused(error))?;
        self.length = end;
        Ok(Reserved::Yes)
    }

    /// Takes room in advance, since that costs a lock; where there is little left, as much as is needed.
    fn reserve_to(&mut self, ledger: &Ledger, end: u64) -> Result<Reserved, FileError> {
        let Some(needed) = end.checked_sub(self.reserved).filter(|needed| *needed > 0) else {
            return Ok(Reserved::Yes);
        };
        let mut take = |bytes: u64| {
            let part = self.reserved..self.reserved + bytes;
            let reserved = ledger.reserve(&self.file, part, bytes);
            if let Ok(Reserved::Yes) = reserved {
                self.reserved += bytes;
            }
            reserved
        };
        let ahead = end.clamp(BLOCK, AHEAD_MAX).max(needed);
        match take(ahead) {
            Ok(Reserved::Yes) => Ok(Reserved::Yes),
            Ok(Reserved::QuotaReached) => take(needed),
            Err(error) if error.is_full() => take(needed),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(path = %path.display(), %error, "what has come of a file stays until the store is opened again");
        }
    }
}

/// As much as has come already is taken in advance, but no more than of files whose length is known.
const AHEAD_MAX: u64 = 8 << 20;
