//! [`FileTree`]: which files and folders there are, and which blob each file is. A job's inputs are one, and so are its
//! outputs.
//!
//! A tree knows no folder on a disk; `gather.rs` and `outputs.rs` make one of what lies there, `place.rs` and
//! `copy_out.rs` the reverse. **Every tree can be placed**: no path leads out of it, nothing is in a file, and nothing is
//! there twice, also when it was decoded from what a peer sent.

mod codec;
mod copy_out;
mod gather;
mod outputs;
mod path;
mod place;
mod target;

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

pub use codec::DecodeTreeError;
pub use copy_out::CopyOutError;
pub use gather::{GatherError, Gathered, LeftOut};
pub use path::{TreePath, TreePathError};
pub use place::PlaceError;
pub use target::TargetError;

use crate::name::BlobName;

/// Files and folders by their paths. Folders that hold something need not be named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileTree {
    entries: BTreeMap<TreePath, TreeEntry>,
    bytes: u64,
    path_bytes: usize,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TreeEntry {
    /// A folder.
    Folder,
    /// A file.
    File(TreeFile),
}

/// A file of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeFile {
    /// Its length.
    pub bytes: u64,
    /// Whether it may be run.
    pub executable: bool,
    /// Its content.
    pub blob: BlobName,
}

/// Why something cannot be added to a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InsertError {
    /// There is something.
    #[error("the tree has two entries called {0}")]
    Twice(TreePath),
    /// A file would be a folder, too.
    #[error("the tree has something within {0}, which is a file")]
    WithinFile(String),
    /// There is too much.
    #[error(
        "the tree has more than {ENTRIES_MAX} files and folders, or their paths more than {PATH_BYTES_SUM_MAX} bytes: pack them into an archive"
    )]
    TooMany,
    /// The lengths cannot be added up.
    #[error("the files of the tree are larger than any disk")]
    TooLarge,
}

impl FileTree {
    /// One without anything in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file or folder.
    ///
    /// # Errors
    ///
    /// There is something at this path already, it leads through a file, or the tree becomes too large; the tree is as
    /// before then.
    pub fn insert(&mut self, path: TreePath, entry: TreeEntry) -> Result<(), InsertError> {
        self.check(&path, entry)?;
        let path_bytes = self.path_bytes + path.as_str().len();
        if self.entries.len() >= ENTRIES_MAX || path_bytes > PATH_BYTES_SUM_MAX {
            return Err(InsertError::TooMany);
        }
        if let TreeEntry::File(file) = entry {
            self.bytes = self
                .bytes
                .checked_add(file.bytes)
                .ok_or(InsertError::TooLarge)?;
        }
        self.path_bytes = path_bytes;
        self.entries.insert(path, entry);
        Ok(())
    }

    /// What is at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<TreeEntry> {
        self.entries.get(path).copied()
    }

    /// All there is, in the order of the paths.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.entries.iter())
    }

    /// The files, in the order of the paths.
    pub fn files(&self) -> impl Iterator<Item = (&TreePath, TreeFile)> {
        self.iter().filter_map(|(path, entry)| match entry {
            TreeEntry::File(file) => Some((path, file)),
            TreeEntry::Folder => None,
        })
    }

    /// How many files and folders are named.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How long the files are together. What is there twice counts twice.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is a folder at this path, named or not.
    pub(crate) fn has_folder(&self, path: &str) -> bool {
        match self.get(path) {
            Some(entry) => entry == TreeEntry::Folder,
            None => self.has_within(path),
        }
    }

    fn check(&self, path: &TreePath, entry: TreeEntry) -> Result<(), InsertError> {
        if self.entries.contains_key(path) {
            return Err(InsertError::Twice(path.clone()));
        }
        let is_file = |folder: &&str| matches!(self.get(folder), Some(TreeEntry::File(_)));
        if let Some(file) = path.folders().find(is_file) {
            return Err(InsertError::WithinFile(file.to_owned()));
        }
        if entry != TreeEntry::Folder && self.has_within(path.as_str()) {
            return Err(InsertError::WithinFile(path.to_string()));
        }
        Ok(())
    }

    fn has_within(&self, folder: &str) -> bool {
        let prefix = format!("{folder}/");
        self.entries
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .next()
            .is_some_and(|(path, _)| path.as_str().starts_with(&prefix))
    }
}

/// Goes through a tree: [`FileTree::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a>(btree_map::Iter<'a, TreePath, TreeEntry>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a TreePath, TreeEntry);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(path, entry)| (path, *entry))
    }
}

impl<'a> IntoIterator for &'a FileTree {
    type Item = (&'a TreePath, TreeEntry);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// How many files and folders a tree has at most: a large source tree, and a manifest of some megabytes.
pub(crate) const ENTRIES_MAX: usize = 100_000;
/// How long the paths are together at most. With what else an entry takes, the whole is within what is decoded.
const PATH_BYTES_SUM_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> TreePath {
        TreePath::new(path).unwrap()
    }

    fn file(bytes: u64) -> TreeEntry {
        TreeEntry::File(TreeFile {
            bytes,
            executable: false,
            blob: BlobName([0; 32]),
        })
    }

    #[test]
    fn nothing_is_within_a_file() {
        let mut tree = FileTree::new();
        tree.insert(path("a/b"), file(1)).unwrap();
        tree.insert(path("a-b"), file(1)).unwrap();
        for (wrong, entry) in [
            ("a", file(1)),
            ("a/b/c", file(1)),
            ("a/b/c/d", TreeEntry::Folder),
        ] {
            let error = tree.insert(path(wrong), entry).unwrap_err();
            assert!(matches!(error, InsertError::WithinFile(_)), "{error}");
        }
        let error = tree.insert(path("a/b"), TreeEntry::Folder).unwrap_err();
        assert!(matches!(error, InsertError::Twice(_)), "{error}");
        tree.insert(path("a"), TreeEntry::Folder).unwrap();
        assert!(tree.has_folder("a") && !tree.has_folder("a/b") && !tree.has_folder("b"));
        assert_eq!((tree.len(), tree.bytes()), (3, 2));
    }

    #[test]
    fn a_tree_has_bounds() {
        let mut tree = FileTree::new();
        for index in 0..ENTRIES_MAX {
            tree.insert(path(&index.to_string()), TreeEntry::Folder)
                .unwrap();
        }
        let error = tree.insert(path("x"), TreeEntry::Folder).unwrap_err();
        assert_eq!(error, InsertError::TooMany);

        let mut tree = FileTree::new();
        tree.insert(path("a"), file(u64::MAX)).unwrap();
        let error = tree.insert(path("b"), file(1)).unwrap_err();
        assert_eq!((error, tree.len()), (InsertError::TooLarge, 1));
    }
}
