//! Writing a tree into a folder of the user's: a client's outputs. Files are the user's own afterwards, and are replaced whole:
//! whoever reads one sees the old one or the new one.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::Builder;

use super::target::Target;
use super::{FileTree, TargetError, TreeEntry, TreeFile, TreePath};
use crate::content::ReadBlobError;
use crate::file_error::FileError;
use crate::store::Store;

/// Why a tree cannot be copied out. What was written until then is there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyOutError {
    /// A blob cannot be had, or not be written.
    #[error("cannot write {path}")]
    Blob {
        /// Of which file.
        path: TreePath,
        /// What is wrong with it.
        source: ReadBlobError,
    },
    /// The tree lies about a length.
    #[error(
        "{path} has {bytes} bytes, and not {said} as the list of files says: it was not written"
    )]
    Length {
        /// Of which file.
        path: TreePath,
        /// What it says.
        said: u64,
        /// What is right.
        bytes: u64,
    },
    /// There is a link in the place of a file.
    #[error("{} is a symbolic link, and is not written through or replaced: remove it", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A folder cannot be made.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A file cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
}

impl FileTree {
    /// Writes the tree into a folder, which is made if there is none; files that are there are replaced. Blobs may be in
    /// the store in any form. Blocks for as long as it takes.
    ///
    /// # Errors
    ///
    /// A blob is not there, something is in the way, a symbolic link leads out of the folder or is in the place of a
    /// file, or the folder cannot be written to.
    pub fn copy_out(&self, store: &Store, into: &Path) -> Result<(), CopyOutError> {
        let mut target = Target::open(into)?;
        for (path, entry) in self {
            match entry {
                TreeEntry::Folder => {
                    target.folder(path)?;
                }
                TreeEntry::File(file) => {
                    let folder = target.holder(path)?;
                    write_file(store, path, file, &folder)?;
                }
            }
        }
        Ok(())
    }
}

fn write_file(
    store: &Store,
    path: &TreePath,
    file: TreeFile,
    folder: &Path,
) -> Result<(), CopyOutError> {
    let place = folder.join(path.name());
    if place.is_symlink() {
        return Err(CopyOutError::Link { path: place });
    }
    // Less what the user's mask takes away.
    let mode = if file.executable { 0o777 } else { 0o666 };
    let writing = |error| FileError::writing(folder, error);
    let mut incoming = Builder::new()
        .prefix(".atlas-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)
        .map_err(writing)?;
    let bytes = store
        .content(file.blob, u64::MAX, |piece| {
            incoming.write_all(piece).map_err(writing)
        })
        .map_err(|source| CopyOutError::Blob {
            path: path.clone(),
            source,
        })?;
    if bytes != file.bytes {
        return Err(CopyOutError::Length {
            path: path.clone(),
            said: file.bytes,
            bytes,
        });
    }
    incoming
        .persist(&place)
        .map_err(|error| FileError::making(&place, error.error))?;
    Ok(())
}
