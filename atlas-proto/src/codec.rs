//! Packets as bytes.
//!
//! A packet is one version byte, then the [`Packet`] as postcard encodes it, and nothing else: whoever
//! carries packets says how long each is. `docs/protocol.md` has the rules for changing the format; a test
//! holds the bytes of one packet of each kind.
//!
//! What a peer sends is checked while it is decoded. A packet, list or byte string over its limit in
//! [`limits`](crate::limits) is refused before memory is taken for it, and a length that promises more than
//! has arrived is refused, too: decoding takes at most the size of the packet and one list at its limit.
//! Encoding keeps the same limits, so that a node which breaks one hears of it itself and does not lose
//! its peer: whatever [`encode`] gives, [`decode`] takes, and the other way round, at the same length.

pub(crate) mod bounded;

use atlas_engine::frame;
use bytes::Bytes;
use postcard::ser_flavors::Size;

use crate::limits::PACKET_BYTES_MAX;
use crate::message::Packet;

/// The version that this node speaks, and the only one that it understands.
pub const PROTOCOL_VERSION: u8 = 1;

/// The packet as bytes, allocated once.
///
/// # Errors
///
/// The packet, or something in it, is over its limit.
pub fn encode(packet: &Packet) -> Result<Bytes, EncodeError> {
    let bytes = checked_len(packet)?;
    if bytes > PACKET_BYTES_MAX {
        return Err(EncodeError::TooLarge { bytes });
    }
    let mut encoded = Vec::with_capacity(bytes);
    encoded.push(PROTOCOL_VERSION);
    let encoded = frame::append(packet, encoded).map_err(EncodeError::OverLimit)?;
    Ok(encoded.into())
}

/// How many bytes [`encode`] gives, without allocating them.
///
/// Where `encode` refuses, this is more than [`PACKET_BYTES_MAX`]; where it does not, it is not.
#[must_use]
pub fn encoded_len(packet: &Packet) -> usize {
    checked_len(packet).unwrap_or(PACKET_BYTES_MAX + 1)
}

/// The packet that these bytes are, all of them.
///
/// # Errors
///
/// The bytes are not one packet of this version, or something in it is over its limit. The peer is broken
/// or hostile: nothing that it says later can be trusted to be in order.
pub fn decode(encoded: &[u8]) -> Result<Packet, DecodeError> {
    let Some((&version, body)) = encoded.split_first() else {
        return Err(DecodeError::Empty);
    };
    if version != PROTOCOL_VERSION {
        return Err(DecodeError::Version { version });
    }
    if encoded.len() > PACKET_BYTES_MAX {
        return Err(DecodeError::TooLarge {
            bytes: encoded.len(),
        });
    }
    let mut deserializer = postcard::Deserializer::from_bytes(body);
    let packet = serde::Deserialize::deserialize(&mut deserializer);
    let rest = deserializer.finalize().unwrap_or_default().len();
    let packet = packet.map_err(|source| DecodeError::Malformed {
        at: encoded.len() - rest,
        source,
    })?;
    if rest > 0 {
        return Err(DecodeError::Trailing { bytes: rest });
    }
    // Numbers may be padded with zeros; then what is taken in could be too large to be sent on.
    if encoded_len(&packet) != encoded.len() {
        return Err(DecodeError::Padded);
    }
    Ok(packet)
}

/// Why a packet cannot be encoded. Each is a mistake of this node, not of its peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The whole is too large.
    #[error(
        "the packet would have {bytes} bytes, at most {PACKET_BYTES_MAX} may be sent: split the message"
    )]
    TooLarge {
        /// What it would have.
        bytes: usize,
    },
    /// A part of the message is over its limit.
    #[error("a list or byte string of the message is over its limit: split the message")]
    OverLimit(#[source] postcard::Error),
}

/// Why bytes are no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are none.
    #[error("the packet is empty: it lacks even its version")]
    Empty,
    /// The peer speaks another version.
    #[error(
        "the packet is of protocol version {version}, this node speaks version {PROTOCOL_VERSION}: \
         upgrade the older one of the two nodes"
    )]
    Version {
        /// The peer's.
        version: u8,
    },
    /// The whole is too large.
    #[error("the packet has {bytes} bytes, at most {PACKET_BYTES_MAX} are allowed")]
    TooLarge {
        /// What it has.
        bytes: usize,
    },
    /// The bytes are cut off, are no message, or something in the message is over its limit.
    #[error("the packet is malformed, or over a limit, before byte {at}")]
    Malformed {
        /// Where decoding stopped.
        at: usize,
        /// What was wrong there.
        source: postcard::Error,
    },
    /// Something follows the packet.
    #[error("{bytes} bytes follow the packet's end")]
    Trailing {
        /// How much.
        bytes: usize,
    },
    /// A number is not in its shortest form.
    #[error("a number in the packet is longer than it need be")]
    Padded,
}

/// The version byte and the body; an error if a part of the packet is over its limit.
fn checked_len(packet: &Packet) -> Result<usize, EncodeError> {
    let body = postcard::serialize_with_flavor(packet, Size::default());
    body.map(|body| 1 + body).map_err(EncodeError::OverLimit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::message::Message;

    fn keep_alive() -> Packet {
        Packet {
            from: Epoch(1),
            to: Epoch(2),
            seq: 0,
            ack: 3,
            message: Message::KeepAlive,
        }
    }

    #[test]
    fn other_versions_are_refused_with_both_named() {
        let mut encoded = encode(&keep_alive()).unwrap().to_vec();
        encoded[0] = 7;
        let error = decode(&encoded).unwrap_err();
        assert_eq!(error, DecodeError::Version { version: 7 });
        let text = error.to_string();
        assert!(
            text.contains("version 7") && text.contains("version 1") && text.contains("upgrade")
        );
    }

    #[test]
    fn nothing_may_follow_or_lack() {
        let encoded = encode(&keep_alive()).unwrap();
        assert_eq!(encoded[..], [PROTOCOL_VERSION, 1, 2, 0, 3, 5]);
        assert_eq!(decode(&encoded), Ok(keep_alive()));
        let longer = [&encoded[..], &[0, 0]].concat();
        assert_eq!(decode(&longer), Err(DecodeError::Trailing { bytes: 2 }));
        assert_eq!(decode(&[]), Err(DecodeError::Empty));
        let shorter = decode(&encoded[..5]).unwrap_err();
        assert!(
            matches!(shorter, DecodeError::Malformed { at: 5, .. }),
            "{shorter:?}"
        );
    }

    #[test]
    fn numbers_are_as_short_as_can_be() {
        let padded = [PROTOCOL_VERSION, 0x81, 0, 2, 0, 3, 5];
        assert_eq!(decode(&padded), Err(DecodeError::Padded));
    }
}
