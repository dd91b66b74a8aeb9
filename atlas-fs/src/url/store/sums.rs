//! What all processes that share the store have counted since it was made.
//!
//! Each adds to the sums what it has counted since it last did, under a lock. Who is killed takes the last of it along, and a file that is
//! not one of sums counts as none: nothing but people reads them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{UrlStore, open_locked, open_locked_if_there};
use crate::file_error::FileError;
use crate::url::counts::Figures;

impl UrlStore {
    /// Makes the file, which is not made later: what is told last, when a process ends, must not leave it in a folder that somebody has
    /// removed meanwhile, or is just removing.
    pub(super) fn make_sums(&self) {
        if let Err(error) = open_locked(&self.folder().join(SUMS)) {
            tracing::debug!(%error, "nothing is counted");
        }
    }

    /// The sums of all processes, as far as they have told.
    pub(crate) fn sums(&self) -> Result<Figures, FileError> {
        let path = self.folder().join(SUMS);
        match File::open(&path) {
            Ok(file) => read(&file, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Figures::default()),
            Err(error) => Err(FileError::reading(&path, error)),
        }
    }

    /// Adds what one process has counted.
    pub(crate) fn add_to_sums(&self, counted: Figures) -> Result<(), FileError> {
        let path = self.folder().join(SUMS);
        let file = open_locked_if_there(&path)?;
        let sums = read(&file, &path)?.plus(counted);
        let bytes = sums.to_words().map(u64::to_le_bytes);
        file.write_all_at(bytes.as_flattened(), 0)
            .map_err(|error| FileError::making(&path, error))
    }
}

/// What is not there was not counted yet when the file was written.
fn read(file: &File, path: &Path) -> Result<Figures, FileError> {
    let mut bytes = [[0; 8]; Figures::WORDS];
    let (words, mut filled) = (bytes.as_flattened_mut(), 0);
    while filled < words.len() {
        match file.read_at(&mut words[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileError::reading(path, error)),
        }
    }
    Ok(Figures::from_words(bytes.map(u64::from_le_bytes)))
}

const SUMS: &str = "sums";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_a_folder_that_was_removed_is_not_left_with_sums() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("urls");
        let store = UrlStore::open(path.clone(), None).unwrap();
        let counted = Figures {
            hits: 3,
            ..Figures::default()
        };
        store.add_to_sums(counted).unwrap();
        assert_eq!(store.sums().unwrap(), counted);
        // As it is for a moment while the folder is removed.
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(store.add_to_sums(counted).is_err());
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn sums_of_an_older_store_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = UrlStore::open(folder.path().to_owned(), None).unwrap();
        let before = Figures {
            hits: 3,
            stored_bytes: 5,
            ..Figures::default()
        };
        // Before files were passed through to the kernel, that was not counted.
        let words = before.to_words().map(u64::to_le_bytes);
        let older = &words.as_flattened()[..6 * 8];
        std::fs::write(folder.path().join(SUMS), older).unwrap();
        assert_eq!(store.sums().unwrap(), before);
        let counted = Figures {
            hits: 1,
            passed_through: 2,
            ..Figures::default()
        };
        store.add_to_sums(counted).unwrap();
        assert_eq!(store.sums().unwrap(), before.plus(counted));
    }
}
