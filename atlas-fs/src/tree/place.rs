//! Making a tree in a folder for a job to run in: by hard links, so that large inputs cost nothing, and read-only, since
//! they are the store's own files.

use std::path::{Path, PathBuf};

use super::target::Target;
use super::{FileTree, TargetError, TreeEntry, TreeFile, TreePath};
use crate::content::ReadBlobError;
use crate::file_error::FileError;
use crate::link::link_or_copy;
use crate::store::Store;

/// Why a tree cannot be placed. What was placed until then is there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// A blob cannot be had.
    #[error("cannot place {path}")]
    Blob {
        /// Of which file.
        path: TreePath,
        /// What is wrong with it.
        source: ReadBlobError,
    },
    /// The tree lies about a length.
    #[error("{path} has {bytes} bytes, and not {said} as the list of files says: submit it again")]
    Length {
        /// Of which file.
        path: TreePath,
        /// What it says.
        said: u64,
        /// What is right.
        bytes: u64,
    },
    /// A folder cannot be made.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A file cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
}

impl FileTree {
    /// Makes the tree in a folder, which is made if there is none. Files are read-only, and hard links to those of the
    /// store where that is possible, else copies; folders can be written to. Blocks for as long as it takes.
    ///
    /// Who runs as the owner of the store can make its files writable, through any of their names: programs that are
    /// not trusted must run as another user, or see them on a read-only mount.
    ///
    /// # Errors
    ///
    /// A blob is not there, there is something in the place of a file, or the folder cannot be written to.
    pub fn place(&self, store: &Store, into: &Path) -> Result<(), PlaceError> {
        let mut target = Target::open(into)?;
        for (path, entry) in self {
            match entry {
                TreeEntry::Folder => {
                    target.folder(path)?;
                }
                TreeEntry::File(file) => {
                    let place = target.holder(path)?.join(path.name());
                    place_file(store, path, file, &place)?;
                }
            }
        }
        Ok(())
    }
}

fn place_file(
    store: &Store,
    path: &TreePath,
    file: TreeFile,
    place: &Path,
) -> Result<(), PlaceError> {
    let blob = plain_file(store, path, file)?;
    Ok(link_or_copy(&blob, file.executable, place)?)
}

fn plain_file(store: &Store, path: &TreePath, file: TreeFile) -> Result<PathBuf, PlaceError> {
    let blob = store
        .plain_file(file.blob, file.executable)
        .map_err(|source| PlaceError::Blob {
            path: path.clone(),
            source,
        })?;
    let bytes = blob
        .metadata()
        .map_err(|error| FileError::reading(&blob, error))?
        .len();
    if bytes == file.bytes {
        return Ok(blob);
    }
    // Either the tree is wrong, or the blob is not what it was.
    store.verify(file.blob).map_err(|source| PlaceError::Blob {
        path: path.clone(),
        source,
    })?;
    Err(PlaceError::Length {
        path: path.clone(),
        said: file.bytes,
        bytes,
    })
}
