//! Which closures a recorded result is below, so that whoever keeps it knows when nobody can ask for it any more.
//!
//! Who computes a closure again asks for the results of its children, and for those of their children only where the children's own are
//! not there. So a result is of no use once that of any closure above it is known. The closures above are named, nearest first, by
//! the beginnings of their keys. Not only the parent is: many closures are never recorded, as too little is left to be lost with
//! them, and if the parent is one of these it is known that the result is of no use when the one above the parent is
//! recorded.
//!
//! What is said here may be wrong: two keys may begin alike, and one closure may have several parents of which one is named. It
//! is used for nothing but to forget results, and a result that is not found is computed.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bounded::List;
use crate::ids::ShortKey;

/// The nearest closures above one, the nearest first: as many as are known, and [`ABOVE_MAX`] at most.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Above {
    keys: [ShortKey; ABOVE_MAX],
    len: u8,
}

impl Above {
    /// Nothing is known.
    pub const NONE: Self = Self {
        keys: [ShortKey(0); ABOVE_MAX],
        len: 0,
    };

    /// What it takes at most.
    pub const BYTES_MAX: usize = ABOVE_MAX * ShortKey::BYTES;

    /// They, nearest first.
    #[must_use]
    pub fn keys(&self) -> &[ShortKey] {
        &self.keys[..usize::from(self.len)]
    }

    /// The bytes that are held and moved for it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.keys().len() * ShortKey::BYTES
    }
}

/// Of more than are kept, the first.
impl FromIterator<ShortKey> for Above {
    fn from_iter<I: IntoIterator<Item = ShortKey>>(keys: I) -> Self {
        let mut above = Self::NONE;
        for (place, key) in above.keys.iter_mut().zip(keys) {
            *place = key;
            above.len += 1;
        }
        above
    }
}

impl fmt::Debug for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

impl Serialize for Above {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        List::<ABOVE_MAX>::serialize(self.keys(), serializer)
    }
}

impl<'de> Deserialize<'de> for Above {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys: Vec<ShortKey> = List::<ABOVE_MAX>::deserialize(deserializer)?;
        Ok(keys.into_iter().collect())
    }
}

/// Closures that are named above one. Where results are small, one in four that stand above each other is recorded at least.
pub const ABOVE_MAX: usize = 4;
