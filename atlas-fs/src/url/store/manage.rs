//! What there is in a store, one by one, for people who look after it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use url::Url;

use super::entry::{DATA, MAP, block_span, blocks_of, describe};
use super::{FILES, UrlStore};
use crate::file_error::FileError;
use crate::url::Version;

/// One version of one file, as far as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Where it is from.
    pub url: Url,
    /// Which one it is.
    pub version: Version,
    /// The file's length in bytes.
    pub bytes: u64,
    /// How many of them are there.
    pub bytes_stored: u64,
    /// When somebody opened it last.
    pub used: SystemTime,
    /// It stays, whatever room is needed.
    pub is_pinned: bool,
    pub(crate) data: PathBuf,
}

impl Stored {
    /// Whether all of it is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.bytes == self.bytes_stored
    }
}

impl UrlStore {
    /// All versions of all files, by their URLs. Looking at them is no use of them.
    pub(crate) fn stored(&self) -> Result<Vec<Stored>, FileError> {
        let folder = self.folder().join(FILES);
        let reading = |error| FileError::reading(&folder, error);
        let mut all = Vec::new();
        for entry in fs::read_dir(&folder).map_err(reading)? {
            let path = entry.map_err(reading)?.path();
            if path.extension().is_some_and(|extension| extension == MAP) {
                // What is gone by now, or damaged, is not there.
                all.extend(stored(&path));
            }
        }
        all.sort_by(|one, other| (&one.url, one.used).cmp(&(&other.url, other.used)));
        Ok(all)
    }

    /// Pins a stored file, or not any more.
    pub(crate) fn pin(&self, stored: &Stored, is_pinned: bool) -> Result<(), FileError> {
        let path = pin_of(&stored.data);
        if is_pinned {
            File::create(&path).map_err(|error| FileError::making(&path, error))?;
            return Ok(());
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError::refused("remove", &path, error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes those of these that nobody has open: how many, and how many bytes they had on the disk.
    pub(crate) fn remove(&self, stored: &[Stored]) -> Result<(u64, u64), FileError> {
        let data: HashSet<_> = stored.iter().map(|stored| stored.data.as_path()).collect();
        self.ledger().remove(&data)
    }
}

/// The mark of a file that stays.
pub(super) fn pin_of(data: &Path) -> PathBuf {
    data.with_extension(PIN)
}

fn stored(map_path: &Path) -> Option<Stored> {
    let map = File::open(map_path).ok()?;
    let (description, table_at) = describe(&map)?;
    let data = map_path.with_extension(DATA);
    let bytes = description.version.length?;
    if fs::metadata(&data).ok()?.size() != bytes {
        return None;
    }
    let mut table = vec![0; usize::try_from(blocks_of(bytes)).ok()? * HASH];
    let mut filled = 0;
    // The table ends with the last hash that was written.
    while let Ok(came @ 1..) = map.read_at(&mut table[filled..], table_at + filled as u64) {
        filled += came;
    }
    let blocks = table.chunks_exact(HASH).zip(0..);
    let there = blocks.filter(|(hash, _)| hash.iter().any(|byte| *byte != 0));
    let bytes_stored = there.map(|(_, block)| {
        let (start, end) = block_span(block, bytes);
        end - start
    });
    Some(Stored {
        url: Url::parse(&description.url).ok()?,
        version: description.version,
        bytes,
        bytes_stored: bytes_stored.sum(),
        used: fs::metadata(map_path).and_then(|map| map.modified()).ok()?,
        is_pinned: pin_of(&data).exists(),
        data,
    })
}

const PIN: &str = "pin";
/// The length of a block's hash.
const HASH: usize = 32;
