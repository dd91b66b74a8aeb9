//! Fields that have a limit, as serde's `with` wants them: `#[serde(with = "List::<MEMBERS_MAX>")]`.
//!
//! A limit holds in both directions. Reading looks at the length that is promised before anything is taken
//! from the input, and reserves no more elements than there are bytes left: every element has at least one.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};

/// A list of at most so many elements.
#[derive(Debug)]
pub enum List<const MAX: usize> {}

impl<const MAX: usize> List<MAX> {
    /// Writes a list.
    ///
    /// # Errors
    /// It is over the limit, or an element cannot be written.
    pub fn serialize<T: Serialize, S: Serializer>(
        list: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        check(list.len(), MAX).map_err(S::Error::custom)?;
        list.serialize(serializer)
    }

    /// Reads a list.
    ///
    /// # Errors
    /// It is over the limit, or there is none.
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(ListVisitor {
            max: MAX,
            element: PhantomData,
        })
    }
}

/// A byte string of at most so many bytes.
#[derive(Debug)]
pub enum ByteString<const MAX: usize> {}

impl<const MAX: usize> ByteString<MAX> {
    /// Writes a byte string.
    ///
    /// # Errors
    /// It is over the limit.
    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        check(bytes.len(), MAX).map_err(S::Error::custom)?;
        serializer.serialize_bytes(bytes)
    }

    /// Reads a byte string.
    ///
    /// # Errors
    /// It is over the limit, or there is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor { max: MAX })
    }
}

/// Text of at most so many bytes.
#[derive(Debug)]
pub enum Text<const MAX: usize> {}

impl<const MAX: usize> Text<MAX> {
    /// Writes a text.
    ///
    /// # Errors
    /// It is over the limit.
    pub fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        check(text.len(), MAX).map_err(S::Error::custom)?;
        serializer.serialize_str(text)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// It is over the limit, or there is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(TextVisitor { max: MAX })
    }
}

/// The length of something that lies elsewhere: at most so many bytes.
#[derive(Debug)]
pub enum Length<const MAX: u64> {}

impl<const MAX: u64> Length<MAX> {
    /// Writes a length.
    ///
    /// # Errors
    /// It is over the limit.
    pub fn serialize<S: Serializer>(length: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        Self::check(*length).map_err(S::Error::custom)?;
        serializer.serialize_u64(*length)
    }

    /// Reads a length.
    ///
    /// # Errors
    /// It is over the limit, or there is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let length = u64::deserialize(deserializer)?;
        Self::check(length).map_err(D::Error::custom)?;
        Ok(length)
    }

    fn check(length: u64) -> Result<(), OverLimit> {
        let as_usize = |number| usize::try_from(number).unwrap_or(usize::MAX);
        check(as_usize(length), as_usize(MAX))
    }
}

struct ListVisitor<T> {
    max: usize,
    element: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {}", self.max)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        // The hint is what was promised, unless that is more than there are bytes left.
        let promised = elements.size_hint().unwrap_or(0);
        check(promised, self.max).map_err(A::Error::custom)?;
        let mut list = Vec::with_capacity(promised);
        while let Some(element) = elements.next_element()? {
            check(list.len() + 1, self.max).map_err(A::Error::custom)?;
            list.push(element);
        }
        Ok(list)
    }
}

struct BytesVisitor {
    max: usize,
}

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} bytes", self.max)
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        check(bytes.len(), self.max).map_err(E::custom)?;
        Ok(Bytes::copy_from_slice(bytes))
    }
}

struct TextVisitor {
    max: usize,
}

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "text of at most {} bytes", self.max)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        check(text.len(), self.max).map_err(E::custom)?;
        Ok(text.to_owned())
    }
}

/// Whether a length is within a limit.
///
/// # Errors
/// It is not.
pub fn check(len: usize, max: usize) -> Result<(), OverLimit> {
    if len > max {
        Err(OverLimit { len, max })
    } else {
        Ok(())
    }
}

/// A length is over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} is over the limit of {max}")]
pub struct OverLimit {
    /// What it is.
    pub len: usize,
    /// What it may be.
    pub max: usize,
}
