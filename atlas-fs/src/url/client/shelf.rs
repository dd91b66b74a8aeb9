//! [`Shelf`]: a folder of this machine, or the inputs of a job, from which others may read.
//!
//! A folder is held open, so that it stays the one that was meant, and the kernel resolves all names below it
//! (`openat2` with `RESOLVE_BENEATH`): no `..`, and no symbolic link that is absolute or leads out, is followed, whatever is moved about meanwhile.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statx};
use rustix::io::Errno;

use super::super::source::{Entry, Kind};
use super::super::version::Version;
use super::reply::{Found, Keeping, version};
use crate::store::Store;
use crate::tree::{FileTree, TreeEntry};

/// What others may read.
#[derive(Debug)]
pub struct Shelf {
    place: Place,
    keeping: Keeping,
    sent: AtomicU64,
}

#[derive(Debug)]
enum Place {
    Folder(OwnedFd),
    Inputs(Arc<FileTree>, Store),
}

/// A folder cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve files from {}: see that it is a folder which this user may read", folder.display())]
pub struct ShelfError {
    folder: PathBuf,
    source: io::Error,
}

/// A file that was found.
#[derive(Debug)]
pub(super) struct Taken {
    file: File,
    version: Version,
    /// The store of blobs changes none.
    may_change: bool,
}

impl Shelf {
    /// A folder, whose files caches keep.
    ///
    /// # Errors
    ///
    /// It is none, or cannot be opened.
    pub fn of_folder(folder: &Path) -> Result<Self, ShelfError> {
        Self::open(folder, Keeping::Kept)
    }

    /// A folder for programs of this same machine, where copies would only take room.
    ///
    /// # Errors
    ///
    /// It is none, or cannot be opened.
    pub fn of_own_folder(folder: &Path) -> Result<Self, ShelfError> {
        Self::open(folder, Keeping::Passing)
    }

    /// A job's inputs, whose blobs are in this store.
    #[must_use]
    pub fn of_inputs(inputs: Arc<FileTree>, store: Store) -> Self {
        Self {
            place: Place::Inputs(inputs, store),
            keeping: Keeping::Passing,
            sent: AtomicU64::new(0),
        }
    }

    fn open(folder: &Path, keeping: Keeping) -> Result<Self, ShelfError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(folder, flags, Mode::empty());
        let opened = opened.map_err(|errno| ShelfError {
            folder: folder.to_owned(),
            source: errno.into(),
        })?;
        Ok(Self {
            place: Place::Folder(opened),
            keeping,
            sent: AtomicU64::new(0),
        })
    }

    /// How many bytes of files were given.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn note_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn keeping(&self) -> Keeping {
        self.keeping
    }

    /// What is there, opened if it is a file. Blocks.
    pub(super) fn find(&self, names: &[String], kind: Kind) -> (Found, Option<Taken>) {
        let found = match &self.place {
            Place::Folder(folder) => find_in(folder, names, kind),
            Place::Inputs(tree, store) => find_input(tree, store, names, kind),
        };
        match found {
            Ok(Some(taken)) => (Found::File(taken.version.clone()), Some(taken)),
            Ok(None) => (Found::Folder, None),
            Err(errno) => (without(errno), None),
        }
    }

    /// The entries of a folder, by their names. Blocks.
    pub(super) fn list(&self, names: &[String]) -> Result<Vec<Entry>, Found> {
        let listed = match &self.place {
            Place::Folder(folder) => list_in(folder, names),
            Place::Inputs(tree, _) => Ok(list_inputs(tree, &names.join("/"))),
        };
        let mut entries = listed.map_err(without)?;
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }
}

impl Taken {
    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    /// Bytes of it, all of them, unless it has another version now. Blocks.
    pub(super) fn read(&self, at: u64, length: usize) -> io::Result<Result<Vec<u8>, Version>> {
        let mut bytes = vec![0; length];
        let read = self.file.read_exact_at(&mut bytes, at);
        // Whatever was written before these bytes were read shows now; a file that was cut short, too.
        if self.may_change {
            let now = version_of(&self.file)?;
            if now != self.version {
                return Ok(Err(now));
            }
        }
        read.map(|()| Ok(bytes))
    }
}

/// A file, or that it is a folder.
fn find_in(folder: &OwnedFd, names: &[String], kind: Kind) -> Result<Option<Taken>, Errno> {
    // A pipe that nobody writes to would not be opened before somebody does.
    let opened = beneath(
        folder,
        names,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
    )?;
    let file = File::from(opened);
    let metadata = file.metadata().map_err(|error| errno(&error))?;
    if metadata.is_dir() {
        return Ok(None);
    }
    if !metadata.is_file() || kind == Kind::Folder {
        return Err(Errno::NOENT);
    }
    let version = version_of(&file).map_err(|error| errno(&error))?;
    Ok(Some(Taken {
        file,
        version,
        may_change: true,
    }))
}

fn find_input(
    tree: &FileTree,
    store: &Store,
    names: &[String],
    kind: Kind,
) -> Result<Option<Taken>, Errno> {
    let path = names.join("/");
    let file = match tree.get(&path) {
        Some(TreeEntry::File(file)) if kind == Kind::File => file,
        Some(TreeEntry::File(_)) => return Err(Errno::NOENT),
        Some(TreeEntry::Folder) | None if names.is_empty() || tree.has_folder(&path) => {
            return Ok(None);
        }
        Some(TreeEntry::Folder) | None => return Err(Errno::NOENT),
    };
    let place = store.plain_file(file.blob, file.executable);
    let opened = File::open(place.map_err(|_| Errno::IO)?).map_err(|error| errno(&error))?;
    Ok(Some(Taken {
        file: opened,
        version: Version {
            etag: Some(format!("\"{}\"", file.blob)),
            modified: None,
            length: Some(file.bytes),
            seen: None,
        },
        may_change: false,
    }))
}

fn list_in(folder: &OwnedFd, names: &[String]) -> Result<Vec<Entry>, Errno> {
    let opened = beneath(folder, names, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut entries = Vec::new();
    for entry in Dir::read_from(&opened)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        // A name with a line's end would be two.
        if matches!(name, "." | "..") || name.contains('\n') {
            continue;
        }
        let path = [names, &[name.to_owned()]].concat();
        if let Some(entry) = entry_of(folder, &path, name) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// What can be read under this name, if anything.
fn entry_of(folder: &OwnedFd, path: &[String], name: &str) -> Option<Entry> {
    let there = beneath(folder, path, OFlags::PATH).ok()?;
    let known = statx(&there, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok()?;
    let there_is = FileType::from_raw_mode(known.stx_mode.into());
    let kind = if there_is == FileType::RegularFile {
        Kind::File
    } else if there_is == FileType::Directory {
        Kind::Folder
    } else {
        return None;
    };
    let since = u64::try_from(known.stx_mtime.tv_sec).ok();
    let modified =
        since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since)));
    Some(Entry {
        name: name.to_owned(),
        kind,
        size: (kind == Kind::File).then_some(known.stx_size),
        modified: modified.filter(|modified| *modified < far_future()),
    })
}

fn list_inputs(tree: &FileTree, folder: &str) -> Vec<Entry> {
    // What is within one folder need not stand together in the order of paths.
    let mut entries = BTreeMap::new();
    for (path, entry) in tree {
        let within = match folder {
            "" => Some(path.as_str()),
            folder => path
                .as_str()
                .strip_prefix(folder)
                .and_then(|rest| rest.strip_prefix('/')),
        };
        let Some(within) = within else { continue };
        let (name, kind) = match (within.split_once('/'), entry) {
            (Some((name, _)), _) => (name, Kind::Folder),
            (None, TreeEntry::Folder) => (within, Kind::Folder),
            (None, TreeEntry::File(_)) => (within, Kind::File),
        };
        if name.contains('\n') {
            continue;
        }
        let size = match entry {
            TreeEntry::File(file) if kind == Kind::File => Some(file.bytes),
            TreeEntry::File(_) | TreeEntry::Folder => None,
        };
        entries.entry(name).or_insert_with(|| Entry {
            name: name.to_owned(),
            kind,
            size,
            modified: None,
        });
    }
    entries.into_values().collect()
}

fn beneath(folder: &OwnedFd, names: &[String], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if names.is_empty() {
        ".".to_owned()
    } else {
        names.join("/")
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    for _ in 0..ATTEMPTS_MAX {
        match openat2(folder.as_fd(), path.as_str(), flags, Mode::empty(), resolve) {
            // Something was moved meanwhile, so that the kernel is not certain.
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

fn version_of(file: &File) -> io::Result<Version> {
    let metadata = file.metadata()?;
    let seconds = u64::try_from(metadata.mtime()).unwrap_or_default();
    let nanos = u32::try_from(metadata.mtime_nsec()).unwrap_or_default();
    let modified = Duration::new(seconds, nanos);
    Ok(version(metadata.len(), modified, metadata.ino()))
}

/// What an error of the system's says of a place.
fn without(errno: Errno) -> Found {
    let why = match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => return Found::Nothing,
        Errno::XDEV | Errno::LOOP => "it leads out of the folder that the client serves".to_owned(),
        Errno::ACCESS | Errno::PERM => "the client may not read it itself".to_owned(),
        Errno::NOSYS => "the client's system is older than Linux 5.6".to_owned(),
        errno => format!("the client cannot read it: {}", io::Error::from(errno)),
    };
    Found::Refused(why)
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Listings have no dates beyond.
fn far_future() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800)
}

/// More than anybody moves things in the time of one look.
const ATTEMPTS_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(path: &str) -> Vec<String> {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    }

    fn find(shelf: &Shelf, path: &str) -> Found {
        shelf.find(&names(path), Kind::File).0
    }

    #[test]
    fn nothing_but_what_is_below_the_folder_is_read() {
        let all = tempfile::tempdir().unwrap();
        let [folder, outside] = ["served", "outside"].map(|name| all.path().join(name));
        fs::create_dir_all(folder.join("more")).unwrap();
        fs::write(&outside, "secret").unwrap();
        fs::write(folder.join("x"), "hello").unwrap();
        symlink("../x", folder.join("more/within")).unwrap();
        symlink("../outside", folder.join("out")).unwrap();
        symlink(&outside, folder.join("absolute")).unwrap();
        symlink(folder.join("x"), folder.join("absolute-within")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        symlink("/proc/self/root", folder.join("magic")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.join("pipe"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let shelf = Shelf::of_folder(&folder).unwrap();
        assert!(matches!(find(&shelf, "x"), Found::File(_)));
        assert!(matches!(find(&shelf, "more/within"), Found::File(_)));
        assert_eq!(find(&shelf, "more"), Found::Folder);
        assert_eq!(find(&shelf, ""), Found::Folder);
        for nothing in ["none", "x/y", "pipe"] {
            assert_eq!(find(&shelf, nothing), Found::Nothing, "{nothing}");
        }
        for escape in [
            "out",
            "absolute",
            "absolute-within",
            "up",
            "up/outside",
            "../outside",
            "more/../../outside",
            "loop",
            "magic",
            "magic/etc/passwd",
        ] {
            let found = find(&shelf, escape);
            assert!(matches!(found, Found::Refused(_)), "{escape}: {found:?}");
            let listed = shelf.list(&names(escape));
            assert!(listed.is_err(), "{escape}: {listed:?}");
        }
        let listed = shelf.list(&[]).unwrap();
        let listed: Vec<_> = listed.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(listed, ["more", "x"]);
        // The folder that was opened stays the one that is served.
        fs::rename(&folder, all.path().join("moved")).unwrap();
        fs::create_dir(&folder).unwrap();
        assert!(matches!(find(&shelf, "x"), Found::File(_)));
    }

    #[test]
    fn a_file_that_is_written_to_while_it_is_read_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "hello").unwrap();
        let shelf = Shelf::of_folder(folder.path()).unwrap();
        let taken = |path: &str| shelf.find(&names(path), Kind::File).1.unwrap();
        let first = taken("x");
        assert_eq!(first.read(1, 3).unwrap().unwrap(), b"ell");
        fs::write(&path, "other").unwrap();
        let now = first.read(1, 3).unwrap().unwrap_err();
        assert_ne!(now, first.version);
        fs::write(&path, "").unwrap();
        assert!(first.read(1, 3).unwrap().is_err());
        // One that takes its place leaves those who read it what they have begun.
        let third = taken("x");
        fs::write(folder.path().join("y"), "third").unwrap();
        fs::rename(folder.path().join("y"), &path).unwrap();
        assert_eq!(third.read(0, 0).unwrap().unwrap(), b"");
        assert_ne!(taken("x").version, third.version);
    }

    #[test]
    fn inputs_are_read_from_their_blobs() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("blobs")).unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("data/more")).unwrap();
        fs::write(at("data/x"), "hello").unwrap();
        fs::write(at("data/more/y"), "").unwrap();
        let paths = [at("data")];
        let gathered = FileTree::of_inputs(&paths, &store, crate::AddAs::Plain).unwrap();
        let shelf = Shelf::of_inputs(Arc::new(gathered.tree), store);
        fs::write(at("data/x"), "changed").unwrap();
        let (found, taken) = shelf.find(&names("data/x"), Kind::File);
        assert!(matches!(found, Found::File(_)));
        assert_eq!(taken.unwrap().read(0, 5).unwrap().unwrap(), b"hello");
        for (path, expected) in [
            ("data", Found::Folder),
            ("", Found::Folder),
            ("none", Found::Nothing),
            ("../x", Found::Nothing),
        ] {
            assert_eq!(find(&shelf, path), expected, "{path}");
        }
        let listed = |path: &str| {
            let listed = shelf.list(&names(path)).unwrap();
            let listed = listed.into_iter().map(|entry| (entry.name, entry.size));
            listed.collect::<Vec<_>>()
        };
        assert_eq!(listed(""), [("data".to_owned(), None)]);
        let both = [("more".to_owned(), None), ("x".to_owned(), Some(5))];
        assert_eq!(listed("data"), both);
    }
}
