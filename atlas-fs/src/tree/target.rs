//! [`Target`]: the folder that a tree is written to. Whatever lies there already, **nothing outside of it is written
//! to**: each folder is looked at where it really is before anything is made in it. Against somebody who changes it at
//! the same time that is no protection; folders belong to one user.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};

use super::TreePath;
use crate::file_error::FileError;

/// A folder to write a tree to.
pub(super) struct Target {
    /// Without links.
    folder: PathBuf,
    /// Where folders of the tree really are, as far as that is known.
    known: BTreeMap<String, PathBuf>,
}

/// Why a folder cannot be written to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// It is something else.
    #[error("{} is no folder, and should be one: move it away", path.display())]
    NotAFolder {
        /// What it is.
        path: PathBuf,
    },
    /// A link leads to where nothing may be written.
    #[error(
        "{} is a symbolic link that leads out of {}, where nothing is written: remove it",
        path.display(),
        folder.display()
    )]
    Outside {
        /// The link.
        path: PathBuf,
        /// What it leads out of.
        folder: PathBuf,
    },
    /// It cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Target {
    /// This folder, which is made if there is none.
    pub(super) fn open(folder: &Path) -> Result<Self, TargetError> {
        DirBuilder::new()
            .recursive(true)
            .create(folder)
            .map_err(|error| FileError::making(folder, error))?;
        Ok(Self {
            folder: folder
                .canonicalize()
                .map_err(|error| FileError::reading(folder, error))?,
            known: BTreeMap::new(),
        })
    }

    /// The folder at a path, which is made if there is none.
    pub(super) fn folder(&mut self, path: &TreePath) -> Result<PathBuf, TargetError> {
        self.holder(path)?;
        self.make(path.as_str())
    }

    /// The folder that something at a path is in, which is made if there is none.
    pub(super) fn holder(&mut self, path: &TreePath) -> Result<PathBuf, TargetError> {
        let mut holder = self.folder.clone();
        for folder in path.folders() {
            holder = self.make(folder)?;
        }
        Ok(holder)
    }

    /// Makes a folder whose own holder is there.
    fn make(&mut self, path: &str) -> Result<PathBuf, TargetError> {
        if let Some(real) = self.known.get(path) {
            return Ok(real.clone());
        }
        let folder = self.folder.join(path);
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(FileError::making(&folder, error).into()),
        }
        let real = match folder.canonicalize() {
            Ok(real) => real,
            // A link that leads nowhere.
            Err(_) => return Err(TargetError::NotAFolder { path: folder }),
        };
        if !real.starts_with(&self.folder) {
            return Err(TargetError::Outside {
                path: folder,
                folder: self.folder.clone(),
            });
        }
        if !real.is_dir() {
            return Err(TargetError::NotAFolder { path: folder });
        }
        self.known.insert(path.to_owned(), real.clone());
        Ok(real)
    }
}
