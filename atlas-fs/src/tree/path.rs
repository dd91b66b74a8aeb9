//! [`TreePath`]: where something is in a tree. A path comes from a peer as well as from this machine's disk, and files
//! are written by it: **no path leads out of the folder that it is joined to**, links on the disk excepted.

use std::borrow::Borrow;
use std::fmt;
use std::path::{Path, PathBuf};

/// A relative path with `/` between the names, in UTF-8: no name is empty, `.` or `..`, or holds a NUL, and none is longer than
/// file systems take.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(String);

/// Why a text cannot be a path in a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreePathError {
    /// It begins at the root of a file system.
    #[error("the path {0:?} is absolute: paths in a tree are relative to it")]
    Absolute(String),
    /// A name in it is empty, `.` or `..`, or has a NUL.
    #[error(
        "the path {0:?} has an empty name, `.`, `..` or a NUL in it: it could lead out of its tree"
    )]
    Name(String),
    /// It or a name in it is too long.
    #[error(
        "the path {0:?}... is too long: names have up to {NAME_BYTES_MAX} bytes, paths {PATH_BYTES_MAX}"
    )]
    TooLong(String),
}

impl TreePath {
    /// Checks a path.
    ///
    /// # Errors
    ///
    /// It is none of a tree.
    pub fn new(path: impl Into<String>) -> Result<Self, TreePathError> {
        let path = path.into();
        let is_long = |name: &str| name.len() > NAME_BYTES_MAX;
        if path.len() > PATH_BYTES_MAX || path.split('/').any(is_long) {
            let shown = path.chars().take(SHOWN_MAX).collect();
            return Err(TreePathError::TooLong(shown));
        }
        if path.starts_with('/') {
            return Err(TreePathError::Absolute(path));
        }
        let is_wrong = |name: &str| matches!(name, "" | "." | "..") || name.contains('\0');
        if path.split('/').any(is_wrong) {
            return Err(TreePathError::Name(path));
        }
        Ok(Self(path))
    }

    /// The path of something in the folder that this one leads to.
    ///
    /// # Errors
    ///
    /// What is added is no path, or the whole is too long.
    pub fn join(&self, path: &str) -> Result<Self, TreePathError> {
        Self::new(format!("{self}/{path}"))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The folders that it is in, from the outermost.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(end, _)| &self.0[..end])
    }

    /// Where it is, with the tree in this folder.
    #[must_use]
    pub fn within(&self, folder: &Path) -> PathBuf {
        folder.join(&self.0)
    }
}

impl Borrow<str> for TreePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What Linux's file systems take.
const NAME_BYTES_MAX: usize = 255;
/// Half of what Linux takes, so that there is something left for the folder of the tree.
const PATH_BYTES_MAX: usize = 2048;
/// How much of a path that is too long is shown.
const SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let wrong = [
            "",
            "/",
            "/etc/passwd",
            ".",
            "..",
            "../x",
            "a/../b",
            "a/..",
            "a//b",
            "a/",
            "a/./b",
            "./a",
            "a\0b",
            "\0",
        ];
        for path in wrong {
            assert!(TreePath::new(path).is_err(), "{path:?}");
        }
        assert!(TreePath::new("a".repeat(256)).is_err());
        assert!(TreePath::new("a/".repeat(1024) + "a").is_err());
        for path in [
            "a",
            "a/b",
            "..a/b..",
            "...",
            " ",
            "a\\b",
            "ä/\u{1F980}",
            "-rf",
        ] {
            assert_eq!(TreePath::new(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn a_path_knows_its_folders() {
        let path = TreePath::new("a/b/c").unwrap();
        assert_eq!(path.folders().collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(path.name(), "c");
        assert_eq!(path.within(Path::new("/x")), Path::new("/x/a/b/c"));
    }
}
