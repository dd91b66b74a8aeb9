//! Folders of engines whose server was killed: removed by the next one, with what is still mounted there.
//!
//! Each folder is locked as long as its server lives. The kernel drops the locks of the killed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use atlas_fs::url::mount::take_off_dead;

/// Such a folder, which is nobody else's now.
#[derive(Debug)]
pub(crate) struct Leftover {
    folder: PathBuf,
    _lock: File,
}

/// All that are here. Those that servers use are not.
pub(crate) fn find(engines: &Path) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(engines)? {
        let entry = entry?;
        let is_engine = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !is_engine || !entry.file_type()?.is_dir() {
            continue;
        }
        let folder = entry.path();
        if let Some(lock) = lock(&folder)? {
            found.push(Leftover {
                folder,
                _lock: lock,
            });
        }
    }
    Ok(found)
}

/// Marks a folder as used, for as long as the file is open; none if it is used.
pub(super) fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = File::open(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Leftover {
    /// Removes it. May take a while.
    pub(crate) fn remove(self) -> io::Result<()> {
        take_off_dead(&self.folder.join(MOUNT))?;
        fs::remove_dir_all(&self.folder)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// What the names of engines' folders begin with.
pub(super) const PREFIX: &str = "engine-";
/// Where files by URL are in such a folder, if they are there.
pub(super) const MOUNT: &str = "atlas";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_found_and_removed() {
        let engines = tempfile::tempdir().unwrap();
        let [used, left, other] =
            ["engine-a", "engine-b", "other"].map(|name| engines.path().join(name));
        for folder in [&used, &left, &other] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("file"), "x").unwrap();
        }
        let _lock = lock(&used).unwrap().unwrap();
        let found = find(engines.path()).unwrap();
        assert_eq!(found.len(), 1);
        for leftover in found {
            // Nobody else removes it meanwhile.
            assert!(find(engines.path()).unwrap().is_empty());
            leftover.remove().unwrap();
        }
        assert!(used.exists() && other.exists() && !left.exists());
    }
}
