//! Fields that have a limit, as serde's `with` wants them. Lists and byte strings are those of what engines say.

use std::fmt;

use atlas_engine::bounded::check;
pub(crate) use atlas_engine::bounded::{ByteString, List};
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::ser::{Error as _, Serializer};

/// Text of at most so many bytes.
pub(crate) enum Text<const MAX: usize> {}

impl<const MAX: usize> Text<MAX> {
    pub(crate) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        check(text.len(), MAX).map_err(S::Error::custom)?;
        serializer.serialize_str(text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<String, D::Error> {
        deserializer.deserialize_str(TextVisitor { max: MAX })
    }
}

/// A part of a whole in 1/1024: not more than the whole.
pub(crate) mod share {
    use super::*;
    use crate::message::Share;

    pub(crate) fn serialize<S: Serializer>(share: &u16, serializer: S) -> Result<S::Ok, S::Error> {
        check((*share).into(), Share::WHOLE.0.into()).map_err(S::Error::custom)?;
        serializer.serialize_u16(*share)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
        let share = u16::deserialize(deserializer)?;
        check(share.into(), Share::WHOLE.0.into()).map_err(D::Error::custom)?;
        Ok(share)
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
