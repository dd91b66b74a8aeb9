//! A tree as bytes, which are a blob like others. One version byte, the number of entries, then each path and entry in the order
//! of the paths, as postcard encodes them: equal trees are equal bytes and have one name.

use super::{ENTRIES_MAX, FileTree, InsertError, TreeEntry, TreePath, TreePathError};

/// Why bytes are no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeTreeError {
    /// There is too much of it.
    #[error(
        "a list of files has up to {BYTES_MAX} bytes and {ENTRIES_MAX} entries, and this has more"
    )]
    TooLarge,
    /// It is of another version.
    #[error(
        "a list of files is in version {0}, and only {VERSION} is known here: use the same version of Atlas everywhere"
    )]
    Version(u8),
    /// It is something else.
    #[error("this is no list of files: it was changed, or is another blob")]
    Garbled,
    /// A path in it is none.
    #[error("a list of files is refused")]
    Path(#[from] TreePathError),
    /// It contradicts itself.
    #[error("a list of files is refused")]
    Insert(#[from] InsertError),
}

impl FileTree {
    /// How long the bytes of a tree can be: who fetches the blob with one wants no more than that.
    pub const BYTES_MAX: usize = BYTES_MAX;

    /// The tree as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        encode(&self.entries.len(), &mut bytes);
        for (path, entry) in self {
            encode(path.as_str(), &mut bytes);
            encode(&entry, &mut bytes);
        }
        bytes
    }

    /// The tree that these bytes are, whoever made them.
    ///
    /// # Errors
    ///
    /// They are none, or one that cannot be placed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeTreeError> {
        let garbled = |_| DecodeTreeError::Garbled;
        if bytes.len() > BYTES_MAX {
            return Err(DecodeTreeError::TooLarge);
        }
        let (&version, rest) = bytes.split_first().ok_or(DecodeTreeError::Garbled)?;
        if version != VERSION {
            return Err(DecodeTreeError::Version(version));
        }
        let (entries, mut rest) = postcard::take_from_bytes::<u64>(rest).map_err(garbled)?;
        if entries > ENTRIES_MAX as u64 {
            return Err(DecodeTreeError::TooLarge);
        }
        let mut tree = Self::new();
        for _ in 0..entries {
            let ((path, entry), left) =
                postcard::take_from_bytes::<(&str, TreeEntry)>(rest).map_err(garbled)?;
            let path = TreePath::new(path)?;
            let is_in_order = tree
                .entries
                .last_key_value()
                .is_none_or(|(last, _)| *last <= path);
            if !is_in_order {
                return Err(DecodeTreeError::Garbled);
            }
            tree.insert(path, entry)?;
            rest = left;
        }
        if !rest.is_empty() {
            return Err(DecodeTreeError::Garbled);
        }
        Ok(tree)
    }
}

fn encode(part: &(impl serde::Serialize + ?Sized), to: &mut Vec<u8>) {
    to.extend(postcard::to_stdvec(part).expect("nothing in a tree has an unknown length"));
}

/// More than any tree's bytes: an entry beside its path takes less than 64 bytes.
const BYTES_MAX: usize = 16 << 20;
const VERSION: u8 = 1;
