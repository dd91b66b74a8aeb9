//! Fields that have a limit, as serde's `with` wants them. Lists, byte strings and texts are those of what engines say.

use atlas_engine::bounded::check;
pub(crate) use atlas_engine::bounded::{ByteString, List, Text};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serializer};

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
