//! [`Ledger`]: how much room the store takes, for all processes that share it, and who makes room.
//!
//! Room is taken before bytes are fetched: under a lock on the ledger the sum is raised, and the file's part is allocated. So the sum
//! is never less than what lies on the disk, whoever is killed when. It may be more (a part allocated twice, files that were
//! removed): when it reaches the quota, the files are looked at, the sum is set right, and the files that were used least recently go,
//! down to nine tenths of the quota, so that this is seldom. Open files stay. **Nothing goes for the sake of a file that does not fit all
//! the same**: how much could go is looked at before.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::entry::{DATA, INCOMING, MAP};
use super::manage::pin_of;
use super::{FILES, HEADS, SPOOLS, open_locked};
use crate::file_error::FileError;

/// How much room is taken.
#[derive(Debug)]
pub(crate) struct Ledger {
    folder: PathBuf,
    quota: Option<u64>,
}

/// What became of the wish for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// It may be written.
    Yes,
    /// All that could go is in use.
    QuotaReached,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files, one for each version of each URL.
    pub files: u64,
    /// On the disk, with maps and what else is known.
    pub bytes: u64,
}

/// What there is, and what of it can go.
type Looked = (Usage, Vec<Candidate>);

/// A file, or a record, that could go.
#[derive(Debug)]
struct Candidate {
    used: SystemTime,
    bytes: u64,
    /// Of the file that may be locked.
    data: Option<PathBuf>,
    other: PathBuf,
}

impl Ledger {
    pub(super) fn open(folder: &Path, quota: Option<u64>) -> Result<Self, FileError> {
        let ledger = Self {
            folder: folder.to_owned(),
            quota,
        };
        let (file, sum) = ledger.lock()?;
        if ledger.remove_left_spools()? || sum.is_none() {
            let (usage, _) = ledger.look()?;
            ledger.write(&file, usage.bytes)?;
        }
        Ok(ledger)
    }

    /// A new file that is locked from the beginning: who removes what others have left does so under the ledger's lock, too.
    pub(super) fn begin_spooled(&self) -> Result<(File, PathBuf), FileError> {
        let (_ledger, _) = self.lock()?;
        let folder = self.folder.join(SPOOLS);
        let making = |error| FileError::writing(&folder, error);
        let spooled = tempfile::NamedTempFile::new_in(&folder).map_err(making)?;
        spooled.as_file().lock().map_err(making)?;
        spooled.keep().map_err(|error| making(error.error))
    }

    /// Removes what killed processes were about to write. Whether there was anything.
    fn remove_left_spools(&self) -> Result<bool, FileError> {
        let folder = self.folder.join(SPOOLS);
        let reading = |error| FileError::reading(&folder, error);
        let mut removed = false;
        for entry in fs::read_dir(&folder).map_err(reading)? {
            let path = entry.map_err(reading)?.path();
            let now = SystemTime::now();
            removed |= remove(&of_data(path, 0, now));
        }
        Ok(removed)
    }

    /// Takes room for a part of a file, and allocates it, if there can be room for `expected` bytes, of which these are the first.
    pub(crate) fn reserve(
        &self,
        data: &File,
        part: Range<u64>,
        expected: u64,
    ) -> Result<Reserved, FileError> {
        let length = part.end - part.start;
        let expected = expected.max(length);
        let (file, sum) = self.lock()?;
        let mut sum = sum.unwrap_or_default();
        let free = self.free();
        if self.is_above(sum.saturating_add(expected)) || free < expected {
            let looked = self.look()?;
            sum = looked.0.bytes;
            let could_go = could_go(&looked.1);
            let stays = sum.saturating_sub(could_go);
            if self.is_above(stays.saturating_add(expected)) {
                self.write(&file, sum)?;
                return Ok(Reserved::QuotaReached);
            }
            if free.saturating_add(could_go) < expected {
                self.write(&file, sum)?;
                return Err(self.full());
            }
            if self.is_above(sum.saturating_add(length)) {
                sum = self.make_room(looked, length);
            }
            if free < length {
                sum = sum.min(self.make_room_of(length)?);
            }
            if self.is_above(sum.saturating_add(length)) {
                self.write(&file, sum)?;
                return Ok(Reserved::QuotaReached);
            }
        }
        self.write(&file, sum.saturating_add(length))?;
        self.allocate(&file, data, part.start, length)?;
        Ok(Reserved::Yes)
    }

    /// Allocates what has been counted. What is refused is counted no more.
    fn allocate(
        &self,
        file: &File,
        data: &File,
        offset: u64,
        length: u64,
    ) -> Result<(), FileError> {
        let mut allocated = allocate(data, offset, length);
        if allocated == Err(Errno::NOSPC) || allocated == Err(Errno::DQUOT) {
            // The disk is smaller than the quota, or others fill it, in a way that it does not tell.
            let (_, candidates) = self.look()?;
            if could_go(&candidates) >= length {
                let sum = self.make_room_of(length)?;
                self.write(file, sum.saturating_add(length))?;
                allocated = allocate(data, offset, length);
            }
        }
        if allocated.is_err() {
            let (usage, _) = self.look()?;
            self.write(file, usage.bytes)?;
        }
        allocated.map_err(|error| FileError::writing(&self.folder, error.into()))
    }

    /// What the disk has left for this user, as far as it tells.
    fn free(&self) -> u64 {
        match rustix::fs::statvfs(&self.folder) {
            Ok(disk) if disk.f_blocks > 0 => disk.f_bavail.saturating_mul(disk.f_frsize),
            // One that says that it has no blocks at all does not tell.
            Ok(_) | Err(_) => u64::MAX,
        }
    }

    fn full(&self) -> FileError {
        self.refused(Errno::NOSPC.into())
    }

    /// What the system refuses to write below its folder.
    pub(super) fn refused(&self, error: io::Error) -> FileError {
        FileError::writing(&self.folder, error)
    }

    /// Counts a small record, which is written whatever the sum.
    pub(super) fn take_note_of(&self, bytes: u64) -> Result<(), FileError> {
        let bytes = bytes.next_multiple_of(4096);
        let (file, sum) = self.lock()?;
        let mut sum = sum.unwrap_or_default().saturating_add(bytes);
        if self.is_above(sum) {
            sum = self.make_room(self.look()?, bytes).saturating_add(bytes);
        }
        self.write(&file, sum)
    }

    /// Makes something small, and again if there was no room for it and some could be made.
    pub(super) fn with_room<T>(
        &self,
        make: impl Fn() -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        match make() {
            Err(error) if error.is_full() => {}
            made => return made,
        }
        let (file, _) = self.lock()?;
        let sum = self.make_room_of(SMALL)?;
        self.write(&file, sum)?;
        drop(file);
        make()
    }

    /// Looks at all files.
    pub(crate) fn usage(&self) -> Result<Usage, FileError> {
        let (usage, _) = self.look()?;
        Ok(usage)
    }

    /// Removes what was used least recently, until no more than this is left; gives what is there then.
    pub(crate) fn shrink_to(&self, bytes: u64) -> Result<Usage, FileError> {
        let (file, _) = self.lock()?;
        let sum = evict(self.look()?, bytes);
        self.write(&file, sum)?;
        self.usage()
    }

    /// Removes those of these files that are not open: how many, and how many bytes they had.
    pub(super) fn remove(&self, data: &HashSet<&Path>) -> Result<(u64, u64), FileError> {
        let (file, sum) = self.lock()?;
        let (mut files, mut bytes) = (0, 0);
        let (_, candidates) = self.look()?;
        let wanted = |candidate: &&Candidate| {
            let candidate = candidate.data.as_deref();
            candidate.is_some_and(|candidate| data.contains(candidate))
        };
        for candidate in candidates.iter().filter(wanted) {
            if remove(candidate) {
                files += 1;
                bytes += candidate.bytes;
            }
        }
        self.write(&file, sum.unwrap_or_default().saturating_sub(bytes))?;
        Ok((files, bytes))
    }

    fn is_above(&self, sum: u64) -> bool {
        self.quota.is_some_and(|quota| sum > quota)
    }

    /// Room for so many bytes within the quota, if there can be.
    fn make_room(&self, looked: Looked, bytes: u64) -> u64 {
        let quota = self.quota.unwrap_or(u64::MAX);
        evict(looked, (quota / 10 * 9).saturating_sub(bytes))
    }

    /// Room for so many bytes on the disk, if there can be.
    fn make_room_of(&self, bytes: u64) -> Result<u64, FileError> {
        let looked = self.look()?;
        let wanted = looked.0.bytes.saturating_sub(2 * bytes);
        Ok(evict(looked, wanted))
    }

    fn look(&self) -> Result<Looked, FileError> {
        let (mut usage, mut candidates) = (Usage::default(), Vec::new());
        for part in [FILES, HEADS, SPOOLS] {
            let folder = self.folder.join(part);
            let reading = |error| FileError::reading(&folder, error);
            for entry in fs::read_dir(&folder).map_err(reading)? {
                let path = entry.map_err(reading)?.path();
                let Ok(metadata) = path.symlink_metadata() else {
                    continue;
                };
                let bytes = metadata.blocks() * 512;
                usage.bytes += bytes;
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                let extension = path.extension().and_then(|extension| extension.to_str());
                if extension == Some(DATA) {
                    usage.files += 1;
                    if !pin_of(&path).exists() {
                        candidates.push(of_data(path, bytes, used));
                    }
                } else if part == SPOOLS {
                    candidates.push(of_data(path, bytes, used));
                } else if part == HEADS && !is_incoming(&path) || is_left_behind(&path, used) {
                    candidates.push(Candidate {
                        used,
                        bytes,
                        data: None,
                        other: path,
                    });
                }
            }
        }
        Ok((usage, candidates))
    }

    /// The ledger, locked against all others, and its sum, if it has one.
    fn lock(&self) -> Result<(File, Option<u64>), FileError> {
        let path = self.folder.join(LEDGER);
        let file = open_locked(&path)?;
        let mut sum = [0; 8];
        let sum = match file.read_exact_at(&mut sum, 0) {
            Ok(()) => Some(u64::from_le_bytes(sum)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(FileError::making(&path, error)),
        };
        Ok((file, sum))
    }

    fn write(&self, file: &File, sum: u64) -> Result<(), FileError> {
        file.write_all_at(&sum.to_le_bytes(), 0)
            .map_err(|error| FileError::making(&self.folder.join(LEDGER), error))
    }
}

fn of_data(data: PathBuf, bytes: u64, used: SystemTime) -> Candidate {
    let map = data.with_extension(MAP);
    // The map's time says when the file was opened, and the data's only when it was written or that it is sealed.
    let (map_bytes, used) = match map.symlink_metadata() {
        Ok(map) => (map.blocks() * 512, map.modified().unwrap_or(used)),
        Err(_) => (0, used),
    };
    Candidate {
        used,
        bytes: bytes + map_bytes,
        data: Some(data),
        other: map,
    }
}

/// Removes it unless it is in use. The map goes first: data without a map is nothing.
fn remove(candidate: &Candidate) -> bool {
    let lock = match &candidate.data {
        Some(data) => match File::open(data) {
            Ok(file) if file.try_lock().is_ok() => Some(file),
            Ok(_) | Err(_) => return false,
        },
        None => None,
    };
    let removed = fs::remove_file(&candidate.other);
    if let Some(data) = &candidate.data {
        let removed = fs::remove_file(data);
        drop(lock);
        return removed.is_ok();
    }
    removed.is_ok()
}

/// Removes what was used least recently, until no more than this is left; gives what is there then.
fn evict((usage, mut candidates): Looked, wanted: u64) -> u64 {
    let mut sum = usage.bytes;
    candidates.sort_by_key(|candidate| candidate.used);
    for candidate in candidates {
        if sum <= wanted {
            break;
        }
        if remove(&candidate) {
            sum = sum.saturating_sub(candidate.bytes);
        }
    }
    sum
}

/// How many bytes of these are not in use.
fn could_go(candidates: &[Candidate]) -> u64 {
    let free = candidates.iter().filter(|candidate| match &candidate.data {
        Some(data) => File::open(data).is_ok_and(|file| file.try_lock().is_ok()),
        None => true,
    });
    free.map(|candidate| candidate.bytes).sum()
}

fn is_incoming(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(INCOMING))
}

/// Whether it is what a killed process was about to write.
fn is_left_behind(path: &Path, written: SystemTime) -> bool {
    let age = SystemTime::now()
        .duration_since(written)
        .unwrap_or_default();
    is_incoming(path) && age > LEFT_BEHIND
}

fn allocate(data: &File, offset: u64, length: u64) -> Result<(), Errno> {
    match rustix::fs::fallocate(data, FallocateFlags::KEEP_SIZE, offset, length) {
        // Some file systems cannot; then the writing says that there is no room.
        Err(error) if error == Errno::OPNOTSUPP || error == Errno::NOSYS => Ok(()),
        allocated => allocated,
    }
}

const LEDGER: &str = "ledger";
/// Room for a record, or a map without hashes, several times over: who needs it seldom comes alone.
const SMALL: u64 = 256 << 10;
/// Records are written within milliseconds.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);
