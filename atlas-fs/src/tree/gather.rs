//! From what lies on a disk to a tree: the inputs of a job, which its owner names. What cannot be sent is an error, so that
//! no job runs without a part of its input.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use super::{FileTree, InsertError, TreeEntry, TreeFile, TreePath, TreePathError};
use crate::add::{AddAs, AddError};
use crate::file_error::FileError;
use crate::store::Store;

/// A tree that was made of files on this machine, all of whose blobs are in the store.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// The tree.
    pub tree: FileTree,
    /// Symbolic links in the place of which there are the files that they lead to.
    pub followed: Vec<PathBuf>,
    /// What is not in the tree. For inputs that is an error, and this is empty.
    pub left_out: Vec<LeftOut>,
}

/// Something that is not in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it lies.
    pub path: PathBuf,
    /// Why it is left out, as in "a socket, pipe or device".
    pub why: &'static str,
}

/// Why no tree can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatherError {
    /// It would have no name in the tree.
    #[error("{} has no name of its own: give a file or a folder, and not the root", path.display())]
    NoName {
        /// What was given.
        path: PathBuf,
    },
    /// Two would have the same name.
    #[error(
        "{} and {} would both be called {name}: rename one, or give a folder that holds both",
        first.display(),
        second.display()
    )]
    SameName {
        /// The last name of both.
        name: String,
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Its name cannot be sent.
    #[error("the name of {} is not UTF-8: rename it", path.display())]
    NotUtf8 {
        /// What is called so.
        path: PathBuf,
    },
    /// Its path cannot be sent.
    #[error("{} cannot be sent", path.display())]
    Path {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong with it.
        source: TreePathError,
    },
    /// A socket, a device and the like.
    #[error("{} is a socket, pipe or device, which cannot be sent: leave it out", path.display())]
    Special {
        /// What it is.
        path: PathBuf,
    },
    /// A link leads nowhere.
    #[error("the symbolic link {} leads nowhere: remove it, or mend it", path.display())]
    DanglingLink {
        /// The link.
        path: PathBuf,
    },
    /// A link could lead in a circle.
    #[error("{} is a symbolic link to a folder: give that folder itself, too, or instead", path.display())]
    LinkToFolder {
        /// The link.
        path: PathBuf,
    },
    /// A file cannot be added.
    #[error(transparent)]
    Add(#[from] AddError),
    /// There is too much.
    #[error(transparent)]
    Insert(#[from] InsertError),
    /// Something cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl FileTree {
    /// The tree of these files and folders, each under its own last name and with all that is in it. Blocks for as long
    /// as it takes.
    ///
    /// A symbolic link to a file stands for the file. One to a folder does so only if it was given itself.
    ///
    /// # Errors
    ///
    /// Two have the same name, something is neither file nor folder or cannot be read, or there is too much.
    pub fn of_inputs(
        paths: &[PathBuf],
        store: &Store,
        add_as: AddAs,
    ) -> Result<Gathered, GatherError> {
        let mut gathered = Gathered::default();
        let mut pending = Vec::new();
        for (name, path) in names(paths)? {
            let at = tree_path(path, TreePath::new(name))?;
            let is_folder = path.is_dir();
            if is_folder {
                gathered.add_folder(path, at, &mut pending)?;
            } else {
                pending.push((path.clone(), at));
            }
        }
        while let Some((path, at)) = pending.pop() {
            let metadata = no_link(&path, &mut gathered.followed)?;
            if metadata.is_dir() {
                gathered.add_folder(&path, at, &mut pending)?;
            } else if metadata.is_file() {
                gathered.add_file(&path, at, store, add_as)?;
            } else {
                return Err(GatherError::Special { path });
            }
        }
        gathered.followed.sort();
        Ok(gathered)
    }
}

impl Gathered {
    pub(super) fn add_file(
        &mut self,
        path: &Path,
        at: TreePath,
        store: &Store,
        add_as: AddAs,
    ) -> Result<(), GatherError> {
        let added = store.add_file(path, add_as)?;
        let file = TreeFile {
            bytes: added.bytes,
            executable: added.executable,
            blob: added.name,
        };
        Ok(self.tree.insert(at, TreeEntry::File(file))?)
    }

    fn add_folder(
        &mut self,
        path: &Path,
        at: TreePath,
        pending: &mut Vec<(PathBuf, TreePath)>,
    ) -> Result<(), GatherError> {
        for child in children(path)? {
            let name = utf8_name(&child)?;
            let child_at = tree_path(&child, at.join(name))?;
            pending.push((child, child_at));
        }
        Ok(self.tree.insert(at, TreeEntry::Folder)?)
    }
}

/// What is given, by its name in the tree.
fn names(paths: &[PathBuf]) -> Result<BTreeMap<String, &PathBuf>, GatherError> {
    let mut names = BTreeMap::new();
    for path in paths {
        let name = match path.file_name() {
            Some(_) => utf8_name(path)?.to_owned(),
            // As in `.` and `..`.
            None => {
                let real = path
                    .canonicalize()
                    .map_err(|error| FileError::reading(path, error))?;
                utf8_name(&real)?.to_owned()
            }
        };
        if let Some(first) = names.insert(name.clone(), path) {
            return Err(GatherError::SameName {
                name,
                first: first.clone(),
                second: path.clone(),
            });
        }
    }
    Ok(names)
}

fn utf8_name(path: &Path) -> Result<&str, GatherError> {
    path.file_name()
        .ok_or_else(|| GatherError::NoName { path: path.into() })?
        .to_str()
        .ok_or_else(|| GatherError::NotUtf8 { path: path.into() })
}

fn tree_path(path: &Path, at: Result<TreePath, TreePathError>) -> Result<TreePath, GatherError> {
    at.map_err(|source| GatherError::Path {
        path: path.into(),
        source,
    })
}

/// What a path leads to, in the end. That it is not what it seems is noted.
fn no_link(path: &Path, followed: &mut Vec<PathBuf>) -> Result<Metadata, GatherError> {
    let metadata = path
        .symlink_metadata()
        .map_err(|error| FileError::reading(path, error))?;
    if !metadata.is_symlink() {
        return Ok(metadata);
    }
    let Ok(metadata) = path.metadata() else {
        return Err(GatherError::DanglingLink { path: path.into() });
    };
    if metadata.is_dir() {
        return Err(GatherError::LinkToFolder { path: path.into() });
    }
    followed.push(path.into());
    Ok(metadata)
}

/// What is in a folder.
pub(super) fn children(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let reading = |error| FileError::reading(folder, error);
    fs::read_dir(folder)
        .map_err(reading)?
        .map(|entry| Ok(entry.map_err(reading)?.path()))
        .collect()
}
