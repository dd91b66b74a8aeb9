//! [`Entry`]: one version of one file on disk. Two files: the bytes, with holes where none are yet, and a map that says which
//! blocks are there.
//!
//! ```text
//! map:   magic, length of the description, description, its BLAKE3 hash | padding | hash of block 0 | hash of block 1 | ...
//! ```
//!
//! A hash of zeros is that of a block that is not there: the table is the bitmap. A block's bytes are written before its hash, so
//! a killed process leaves blocks that are there and blocks that are not. Two processes that store one block store the same bytes.
//!
//! A complete file whose blocks have all been checked is *sealed* by its modification time: who writes to it by hand breaks the seal. A seal
//! is of one boot of the machine: nothing is synced, so that after a power failure a file may be sealed and not have its bytes.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use url::Url;

use super::super::plan::{Bits, Blocks};
use super::super::version::Version;
use super::manage::pin_of;
use crate::file_error::FileError;

/// One version of one file. As long as it is open, nobody removes it.
#[derive(Debug)]
pub(crate) struct Entry {
    data: File,
    data_path: PathBuf,
    map: File,
    map_path: PathBuf,
    table_at: u64,
    length: u64,
    /// Not so if there was no room for its files: then no block of it is stored.
    can_store: bool,
}

/// What a map's file says of its file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) url: String,
    pub(super) version: Version,
    length: u64,
}

/// How a block on disk compares with what was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The same.
    Intact,
    /// Not there, or not yet.
    Absent,
    /// Something else.
    Damaged {
        stored: blake3::Hash,
        found: blake3::Hash,
    },
}

impl Entry {
    /// The file of this version, if there is one.
    pub(super) fn find(
        folder: &Path,
        url: &Url,
        version: &Version,
    ) -> Result<Option<Self>, FileError> {
        let Some(length) = version.length else {
            return Ok(None);
        };
        let (data_path, map_path) = paths(folder, url, version);
        let data = match OpenOptions::new().read(true).write(true).open(&data_path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::reading(&data_path, error)),
        };
        let reading = |error| FileError::reading(&data_path, error);
        data.lock_shared().map_err(reading)?;
        let metadata = data.metadata().map_err(reading)?;
        // Somebody has removed it between the two.
        if metadata.nlink() == 0 || metadata.len() != length {
            return Ok(None);
        }
        let Some((map, table_at)) = open_map(&map_path, url, version)? else {
            return Ok(None);
        };
        // That it was used now, for who makes room.
        let used = FileTimes::new().set_modified(SystemTime::now());
        if let Err(error) = map.set_times(used) {
            tracing::debug!(path = %map_path.display(), %error, "the time of a file's use cannot be noted");
        }
        Ok(Some(Self {
            data,
            data_path,
            map,
            map_path,
            table_at,
            length,
            can_store: true,
        }))
    }

    /// The file of this version, which is made if there is none, or none that can be used.
    pub(super) fn find_or_make(
        folder: &Path,
        url: &Url,
        version: &Version,
    ) -> Result<Self, FileError> {
        for _ in 0..MAKE_ATTEMPTS {
            if let Some(entry) = Self::find(folder, url, version)? {
                return Ok(entry);
            }
            make(folder, url, version)?;
        }
        let (data_path, _) = paths(folder, url, version);
        let error = io::Error::other("others remove it again and again");
        Err(FileError::making(&data_path, error))
    }

    /// A file that nobody else finds, with bytes that are there already.
    pub(super) fn nameless(
        folder: &Path,
        url: &Url,
        version: &Version,
        data: File,
    ) -> Result<Self, FileError> {
        let (data_path, map_path) = paths(folder, url, version);
        let length = version.length.unwrap_or_default();
        let making = |error| FileError::making(&map_path, error);
        let mut map = tempfile::tempfile_in(folder).map_err(making)?;
        let front = encode(&Description::of(url, version));
        map.write_all(&front).map_err(making)?;
        Ok(Self {
            data,
            data_path,
            map,
            map_path,
            table_at: front.len() as u64,
            length,
            can_store: true,
        })
    }

    /// A file of which nothing is stored: on a disk that has no room for its description, bytes can be passed on all the same.
    pub(super) fn without_room(
        folder: &Path,
        url: &Url,
        version: &Version,
    ) -> Result<Self, FileError> {
        let (data_path, map_path) = paths(folder, url, version);
        let length = version.length.unwrap_or_default();
        let making = |error: io::Error| FileError::making(&map_path, error);
        let in_memory = |name| {
            let file = memfd_create(name, MemfdFlags::CLOEXEC);
            file.map(File::from).map_err(|error| making(error.into()))
        };
        let (data, map) = (in_memory("atlas-data")?, in_memory("atlas-map")?);
        data.set_len(length).map_err(making)?;
        Ok(Self {
            data,
            data_path,
            map,
            map_path,
            table_at: 0,
            length,
            can_store: false,
        })
    }

    pub(crate) fn can_store(&self) -> bool {
        self.can_store
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether its bytes are those of this file, by whatever name that was opened.
    pub(crate) fn is_data(&self, file: &File) -> bool {
        let place = |file: &File| file.metadata().map(|data| (data.dev(), data.ino())).ok();
        place(&self.data).is_some_and(|mine| place(file) == Some(mine))
    }

    pub(crate) fn data(&self) -> &File {
        &self.data
    }

    pub(super) fn map(&self) -> &File {
        &self.map
    }

    /// Which blocks are there.
    pub(crate) fn present(&self, blocks: &Blocks) -> Result<Bits, FileError> {
        let mut bits = Bits::new(blocks_of(self.length));
        let mut at = blocks.start;
        while at < blocks.end {
            let end = blocks.end.min(at + TABLE_STEP);
            let hashes = self.hashes(&(at..end))?;
            for (block, hash) in (at..end).zip(&hashes) {
                bits.set(block, *hash != ABSENT);
            }
            at = end;
        }
        Ok(bits)
    }

    /// Stores whole blocks in a row, the file's last one excepted, which ends with it; with the hashes of [`hashes_of`].
    pub(crate) fn write(
        &self,
        first: u64,
        chunks: &[Bytes],
        hashes: &[blake3::Hash],
    ) -> Result<(), FileError> {
        write_chunks(&self.data, chunks, first * BLOCK)
            .map_err(|error| FileError::making(&self.data_path, error))?;
        self.note(first, hashes)
    }

    /// Says of whole blocks in a row that they are there.
    pub(crate) fn note(&self, first: u64, hashes: &[blake3::Hash]) -> Result<(), FileError> {
        let table: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
        self.map
            .write_all_at(&table, self.table_at + first * HASH)
            .map_err(|error| FileError::making(&self.map_path, error))
    }

    /// The hash of a block as it was stored, if it was.
    pub(crate) fn hash(&self, block: u64) -> Result<Option<blake3::Hash>, FileError> {
        let hashes = self.hashes(&(block..block + 1))?;
        let stored = hashes.first().copied().unwrap_or(ABSENT);
        Ok((stored != ABSENT).then(|| blake3::Hash::from_bytes(stored)))
    }

    /// Reads a block into a buffer of its length, and compares.
    pub(crate) fn check(&self, block: u64, buffer: &mut Vec<u8>) -> Result<Check, FileError> {
        let Some(stored) = self.hash(block)? else {
            return Ok(Check::Absent);
        };
        let (start, end) = block_span(block, self.length);
        buffer.resize(usize::try_from(end - start).unwrap_or_default(), 0);
        match self.data.read_exact_at(buffer, start) {
            Ok(()) => {}
            // Cut short by hand.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => buffer.clear(),
            Err(error) => return Err(FileError::reading(&self.data_path, error)),
        }
        let found = blake3::hash(buffer);
        Ok(if found == stored {
            Check::Intact
        } else {
            Check::Damaged { stored, found }
        })
    }

    /// Reads bytes that are there.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        self.data
            .read_exact_at(buffer, offset)
            .map_err(|error| FileError::reading(&self.data_path, error))
    }

    /// Forgets a block.
    pub(crate) fn forget(&self, block: u64) -> Result<(), FileError> {
        self.map
            .write_all_at(&ABSENT, self.table_at + block * HASH)
            .map_err(|error| FileError::making(&self.map_path, error))
    }

    /// Says that all blocks are there and have been checked.
    pub(crate) fn seal(&self) -> Result<(), FileError> {
        self.seal_at(sealed_at())
    }

    fn seal_at(&self, time: SystemTime) -> Result<(), FileError> {
        let times = FileTimes::new().set_modified(time);
        self.data
            .set_times(times)
            .map_err(|error| FileError::making(&self.data_path, error))
    }

    /// Whether nobody has written to it since all blocks were there and had been checked, and the machine has not been down since.
    pub(crate) fn is_sealed(&self) -> bool {
        self.is_sealed_at(sealed_at())
    }

    fn is_sealed_at(&self, time: SystemTime) -> bool {
        let metadata = self.data.metadata();
        metadata.is_ok_and(|data| data.len() == self.length && data.modified().ok() == Some(time))
    }

    /// Takes its names away: who has it open goes on, nobody else finds it, and with the last who has it open it is gone, however that one ends.
    pub(crate) fn unname(&self) -> Result<(), FileError> {
        remove(&self.map_path)?;
        remove(&self.data_path)?;
        remove(&pin_of(&self.data_path))
    }

    fn hashes(&self, blocks: &Blocks) -> Result<Vec<[u8; 32]>, FileError> {
        let bytes = usize::try_from((blocks.end - blocks.start) * HASH).unwrap_or_default();
        let mut table = vec![0; bytes];
        let mut filled = 0;
        // The table ends with the last hash that was written.
        while filled < table.len() {
            let at = self.table_at + blocks.start * HASH + filled as u64;
            match self.map.read_at(&mut table[filled..], at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::reading(&self.map_path, error)),
            }
        }
        let (hashes, _) = table.as_chunks::<32>();
        Ok(hashes.to_vec())
    }
}

impl Description {
    fn of(url: &Url, version: &Version) -> Self {
        Self {
            url: url.as_str().to_owned(),
            version: version.clone(),
            length: version.length.unwrap_or_default(),
        }
    }
}

/// Writes chunks one after the other, by as few calls as possible: the kernel makes one large folio of what comes in one call, and many small ones of
/// pieces that end anywhere.
pub(super) fn write_chunks(data: &File, chunks: &[Bytes], mut at: u64) -> io::Result<()> {
    let mut slices: Vec<_> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let now = rest.len().min(SLICES_MAX);
        match rustix::io::pwritev(data, &rest[..now], at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The hashes of blocks in a row, of which the last may be shorter.
pub(crate) fn hashes_of(chunks: &[Bytes]) -> Vec<blake3::Hash> {
    let mut hashes = Vec::new();
    let (mut hasher, mut hashed) = (blake3::Hasher::new(), 0);
    for chunk in chunks {
        let mut rest: &[u8] = chunk;
        while !rest.is_empty() {
            let room = usize::try_from(BLOCK - hashed).unwrap_or(rest.len());
            let (now, later) = rest.split_at(rest.len().min(room));
            hasher.update(now);
            hashed += now.len() as u64;
            rest = later;
            if hashed == BLOCK {
                hashes.push(hasher.finalize());
                hasher.reset();
                hashed = 0;
            }
        }
    }
    if hashed > 0 {
        hashes.push(hasher.finalize());
    }
    hashes
}

/// Makes the two files, unless somebody else does.
fn make(folder: &Path, url: &Url, version: &Version) -> Result<(), FileError> {
    let (data_path, map_path) = paths(folder, url, version);
    let length = version.length.unwrap_or_default();
    // What cannot be used stays with those who have it open.
    if open_map(&map_path, url, version)?.is_none() {
        remove(&map_path)?;
    }
    if fs::metadata(&data_path).is_ok_and(|data| data.len() != length) {
        remove(&data_path)?;
    }
    let making = |error| FileError::making(&data_path, error);
    let data = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&data_path)
        .map_err(making)?;
    data.set_len(length).map_err(making)?;
    let description = Description::of(url, version);
    let making = |error| FileError::making(&map_path, error);
    let mut map = tempfile::Builder::new()
        .prefix(INCOMING)
        .tempfile_in(folder)
        .map_err(making)?;
    map.write_all(&encode(&description)).map_err(making)?;
    match map.persist_noclobber(&map_path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(making(error.error)),
    }
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::refused("remove", path, error)),
    }
}

fn encode(description: &Description) -> Vec<u8> {
    let text = postcard::to_stdvec(description).expect("text and numbers have an encoding");
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&text);
    bytes.extend_from_slice(blake3::hash(&text).as_bytes());
    let padded = bytes.len().next_multiple_of(PADDING);
    bytes.resize(padded, 0);
    bytes
}

/// A map's file, and where its table begins. One that was damaged is none.
fn open_map(path: &Path, url: &Url, version: &Version) -> Result<Option<(File, u64)>, FileError> {
    let map = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(map) => map,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::reading(path, error)),
    };
    let described = describe(&map).filter(|(description, _)| {
        description.url == url.as_str()
            && description.version == *version
            && Some(description.length) == version.length
    });
    Ok(described.map(|(_, table_at)| (map, table_at)))
}

/// What a map's file says, if it is one.
pub(super) fn describe(map: &File) -> Option<(Description, u64)> {
    let mut front = [0; FRONT];
    map.read_exact_at(&mut front, 0).ok()?;
    let (magic, length) = front.split_at(MAGIC.len());
    let length = u64::from_le_bytes(length.try_into().ok()?);
    if magic != MAGIC || length > DESCRIPTION_MAX {
        return None;
    }
    let mut text = vec![0; usize::try_from(length).ok()?];
    map.read_exact_at(&mut text, FRONT as u64).ok()?;
    let mut hash = [0; 32];
    map.read_exact_at(&mut hash, FRONT as u64 + length).ok()?;
    if blake3::hash(&text) != hash {
        return None;
    }
    let description = postcard::from_bytes(&text).ok()?;
    let end = FRONT as u64 + length + HASH;
    Some((description, end.next_multiple_of(PADDING as u64)))
}

fn paths(folder: &Path, url: &Url, version: &Version) -> (PathBuf, PathBuf) {
    let version = postcard::to_stdvec(version).expect("text and numbers have an encoding");
    let key = blake3::Hasher::new()
        .update(url.as_str().as_bytes())
        .update(b"\0")
        .update(&version)
        .finalize()
        .to_hex();
    let path = |suffix| folder.join(format!("{key}.{suffix}"));
    (path(DATA), path(MAP))
}

/// Where the bytes of this version are.
pub(super) fn data_path(folder: &Path, url: &Url, version: &Version) -> PathBuf {
    paths(folder, url, version).0
}

/// How many blocks a file has.
pub(crate) fn blocks_of(length: u64) -> u64 {
    length.div_ceil(BLOCK)
}

/// The first byte of a block and the one behind its last.
pub(crate) fn block_span(block: u64, length: u64) -> (u64, u64) {
    (block * BLOCK, ((block + 1) * BLOCK).min(length))
}

/// When files that are sealed now say they were modified.
fn sealed_at() -> SystemTime {
    *SEALED_AT
}

/// When files that were sealed in this boot of the machine say they were modified: a time that nobody's clock shows, between September
/// 2001 and October 2003, in whole seconds, since some file systems have no others.
fn sealed_in(boot: &[u8]) -> SystemTime {
    let [a, b, c, ..] = *blake3::hash(boot).as_bytes();
    let seconds = u32::from_le_bytes([a, b, c, 0]);
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + u64::from(seconds) * 4)
}

/// What differs from boot to boot; where the system does not tell, from process to process.
fn boot() -> Vec<u8> {
    fs::read(BOOT).unwrap_or_else(|_| fastrand::u128(..).to_le_bytes().to_vec())
}

/// What is hashed, stored and asked for at the least, in bytes. Small enough for who reads here and there, large enough that hashes
/// are a two-thousandth of the bytes.
pub(crate) const BLOCK: u64 = 1 << 16;
static SEALED_AT: LazyLock<SystemTime> = LazyLock::new(|| sealed_in(&boot()));
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
const HASH: u64 = 32;
const ABSENT: [u8; 32] = [0; 32];
const MAGIC: &[u8; 16] = b"atlas url map 1\n";
const FRONT: usize = MAGIC.len() + 8;
const PADDING: usize = 4096;
/// No URL that is asked for is as long.
const DESCRIPTION_MAX: u64 = 1 << 20;
/// Hashes that are read at once: 1 MiB.
const TABLE_STEP: u64 = 1 << 15;
/// Others may remove an entry between its making and its opening; they do so when there is no room, and not the newest.
const MAKE_ATTEMPTS: u32 = 10;
/// Pieces that Linux writes at once.
const SLICES_MAX: usize = 1024;
pub(super) const DATA: &str = "data";
pub(super) const MAP: &str = "map";
/// What is not a record yet.
pub(super) const INCOMING: &str = ".incoming-";

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> Url {
        Url::parse("http://example.org/x").unwrap()
    }

    fn version(length: u64) -> Version {
        Version {
            etag: Some("\"a\"".to_owned()),
            modified: None,
            length: Some(length),
            seen: None,
        }
    }

    #[test]
    fn blocks_are_there_for_whoever_opens_it_next() {
        let folder = tempfile::tempdir().unwrap();
        let length = 2 * BLOCK + 10;
        let bytes = Bytes::from(vec![7; usize::try_from(length).unwrap()]);
        let entry = Entry::find_or_make(folder.path(), &url(), &version(length)).unwrap();
        let chunks = [bytes.slice(..100), bytes.slice(100..)];
        let hashes = hashes_of(&chunks);
        assert_eq!(hashes.len(), 3);
        entry.write(0, &chunks, &hashes).unwrap();
        entry.forget(1).unwrap();
        let again = Entry::find(folder.path(), &url(), &version(length))
            .unwrap()
            .unwrap();
        let present = again.present(&(0..3)).unwrap();
        assert_eq!(
            [0, 1, 2].map(|block| present.get(block)),
            [true, false, true]
        );
        let mut buffer = Vec::new();
        assert_eq!(again.check(2, &mut buffer).unwrap(), Check::Intact);
        assert_eq!(buffer, [7; 10]);
        assert_eq!(again.check(1, &mut buffer).unwrap(), Check::Absent);
    }

    #[test]
    fn what_is_changed_by_hand_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Entry::find_or_make(folder.path(), &url(), &version(100)).unwrap();
        let chunks = [Bytes::from_static(&[1; 100])];
        entry.write(0, &chunks, &hashes_of(&chunks)).unwrap();
        entry.seal().unwrap();
        assert!(entry.is_sealed());
        entry.data.write_all_at(b"x", 50).unwrap();
        assert!(!entry.is_sealed());
        let check = entry.check(0, &mut Vec::new()).unwrap();
        assert!(matches!(check, Check::Damaged { .. }));
    }

    #[test]
    fn regression_a_seal_does_not_outlive_the_boot_that_it_is_of() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Entry::find_or_make(folder.path(), &url(), &version(100)).unwrap();
        let [before, after] = [&b"one boot"[..], b"the next"].map(sealed_in);
        assert_ne!(before, after);
        entry.seal_at(before).unwrap();
        assert!(entry.is_sealed_at(before));
        assert!(!entry.is_sealed_at(after), "it is verified once");
        assert!(!entry.is_sealed());
        entry.seal_at(after).unwrap();
        assert!(entry.is_sealed_at(after) && !entry.is_sealed_at(before));
        entry.seal().unwrap();
        assert!(entry.is_sealed());
        assert_eq!(sealed_at(), sealed_in(&fs::read(BOOT).unwrap()));
    }

    #[test]
    fn a_damaged_map_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Entry::find_or_make(folder.path(), &url(), &version(100)).unwrap();
        let chunks = [Bytes::from_static(&[1; 100])];
        entry.write(0, &chunks, &hashes_of(&chunks)).unwrap();
        fs::write(&entry.map_path, b"garbage").unwrap();
        drop(entry);
        assert!(
            Entry::find(folder.path(), &url(), &version(100))
                .unwrap()
                .is_none()
        );
        let entry = Entry::find_or_make(folder.path(), &url(), &version(100)).unwrap();
        assert!(!entry.present(&(0..1)).unwrap().get(0));
    }
}
