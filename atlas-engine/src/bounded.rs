//! Fields that have a limit, as serde's `with` wants them: one module for each limit.
//!
//! A limit holds in both directions. Reading looks at the length that is promised before anything is taken
//! from the input, and reserves no more elements than there are bytes left: every element has at least one.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};

use crate::limits;

/// A module for a list of at most so many elements.
macro_rules! list {
    ($module:ident, $max:expr) => {
        pub(crate) mod $module {
            use super::*;

            pub(crate) fn serialize<T: Serialize, S: Serializer>(
                list: &[T],
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                check(list.len(), $max).map_err(S::Error::custom)?;
                list.serialize(serializer)
            }

            pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Vec<T>, D::Error> {
                deserializer.deserialize_seq(ListVisitor {
                    max: $max,
                    element: PhantomData,
                })
            }
        }
    };
}

list!(lent, limits::LENT_CLOSURES_MAX);
list!(runs, limits::READY_RUNS_MAX);
list!(samples, limits::SAMPLES_MAX);

/// Arguments, a result or a panic.
pub(crate) mod closure_bytes {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        check(bytes.len(), limits::CLOSURE_BYTES_MAX).map_err(S::Error::custom)?;
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor {
            max: limits::CLOSURE_BYTES_MAX,
        })
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

fn check(len: usize, max: usize) -> Result<(), OverLimit> {
    if len > max {
        Err(OverLimit { len, max })
    } else {
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{len} is over the limit of {max}")]
struct OverLimit {
    len: usize,
    max: usize,
}
