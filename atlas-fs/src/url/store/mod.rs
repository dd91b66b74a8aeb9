//! [`UrlStore`]: what is known of URLs, on disk, for all processes of this machine that name the same folder.
//!
//! | file | is |
//! | --- | --- |
//! | `files/<key>.data` | the bytes of one version of one URL, as far as they are there; the rest is a hole |
//! | `files/<key>.map` | its URL and version, and the BLAKE3 hash of each block that is there: see `entry.rs` |
//! | `files/<key>.pin` | there, if the file is to stay |
//! | `spools/<any>` | a file that is on its way and whose length nobody knows yet: see `spooled.rs` |
//! | `heads/<key>` | what the origin has said of a URL, or a folder's page: see `records.rs` |
//! | `ledger` | how much room is taken: see `quota.rs` |
//! | `sums` | how much was asked for and fetched: see `sums.rs` |
//!
//! **There is no index that could be wrong**: a key is the hash of what it stands for. Each record is written under another name, and renamed;
//! blocks count as soon as their hash is written, which is after their bytes. So whoever is killed leaves nothing that is taken for
//! something else, and what a power failure takes is found by its hash. Nothing is synced.
//!
//! A file that is open somewhere is locked, shared; only who gets it locked alone removes it.

mod claim;
mod entry;
mod manage;
mod quota;
mod records;
mod spooled;
mod sums;

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use url::Url;

pub(crate) use entry::{BLOCK, Check, Entry, block_span, blocks_of, hashes_of};
pub use manage::Stored;
pub use quota::Usage;
pub(crate) use quota::{Ledger, Reserved};
pub(crate) use records::Page;
pub(crate) use spooled::Spooled;

use super::version::Version;
use crate::file_error::FileError;

/// A folder of files by URL.
#[derive(Debug)]
pub(crate) struct UrlStore {
    folder: PathBuf,
    ledger: Ledger,
}

impl UrlStore {
    /// Opens the store in a folder, which is made, for this user alone, if there is none.
    pub(crate) fn open(folder: PathBuf, quota: Option<u64>) -> Result<Self, FileError> {
        for part in [FILES, HEADS, SPOOLS] {
            let path = folder.join(part);
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder
                .create(&path)
                .map_err(|error| FileError::making(&path, error))?;
        }
        let ledger = Ledger::open(&folder, quota)?;
        let store = Self { folder, ledger };
        store.make_sums();
        Ok(store)
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The stored file of this version; an empty one, if there was none; one that nothing can be stored in, if there is no room for that.
    pub(crate) fn find_or_make(&self, url: &Url, version: &Version) -> Result<Entry, FileError> {
        let files = self.files();
        match self
            .ledger
            .with_room(|| Entry::find_or_make(&files, url, version))
        {
            Err(error) if error.is_full() => {
                tracing::warn!(%url, "a file is not kept: {error}");
                Entry::without_room(&files, url, version)
            }
            made => made,
        }
    }

    /// Whether all bytes of this version are there.
    pub(crate) fn has_whole(&self, url: &Url, version: &Version) -> Result<bool, FileError> {
        let Some(entry) = Entry::find(&self.files(), url, version)? else {
            return Ok(false);
        };
        let blocks = blocks_of(entry.length());
        let present = entry.present(&(0..blocks))?;
        Ok((0..blocks).all(|block| present.get(block)))
    }

    fn files(&self) -> PathBuf {
        self.folder.join(FILES)
    }

    fn record_path(&self, url: &Url, what: &str) -> PathBuf {
        let hash = blake3::Hasher::new()
            .update(what.as_bytes())
            .update(b"\0")
            .update(url.as_str().as_bytes())
            .finalize();
        self.folder.join(HEADS).join(hash.to_hex().as_str())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A file of what all processes count together, which is made if there is none, locked against all others.
fn open_locked(path: &Path) -> Result<File, FileError> {
    lock(path, true)
}

/// The same, if it is there.
fn open_locked_if_there(path: &Path) -> Result<File, FileError> {
    lock(path, false)
}

fn lock(path: &Path, make: bool) -> Result<File, FileError> {
    let refused = |error| FileError::making(path, error);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(make)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(refused)?;
    file.lock().map_err(refused)?;
    Ok(file)
}

pub(super) const FILES: &str = "files";
pub(super) const HEADS: &str = "heads";
pub(super) const SPOOLS: &str = "spools";
