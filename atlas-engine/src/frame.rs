//! Messages as frames: four bytes of length (little-endian), the version, and the message in postcard.
//!
//! The length counts what follows it. One byte of version in each frame costs nothing, and tells at the first frame
//! what speaks at the other end. A frame that is too long, and anything in it over its limit
//! ([`limits`](crate::limits)), is refused before memory is taken for it; memory grows with what has arrived, not with
//! what was promised. Nothing that is read panics.
//!
//! After an error the stream is out of step: whoever reads gives it up.

use std::io::{self, Read, Write};

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::FRAME_BYTES_MAX;

/// The version that this side speaks, and the only one that it understands.
pub const WIRE_VERSION: u8 = 1;

/// A message cannot be encoded: a mistake of this side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The whole is too large.
    #[error("the message would take {bytes} bytes, at most {FRAME_BYTES_MAX} may be sent")]
    TooLarge {
        /// What it would take.
        bytes: usize,
    },
    /// A list or byte string is over its limit.
    #[error("a list or byte string of the message is over its limit")]
    OverLimit(#[source] postcard::Error),
}

/// Bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are none.
    #[error("the frame is empty: it lacks even its version")]
    Empty,
    /// The other side speaks another version.
    #[error(
        "the frame is of version {version}, and this side speaks version {WIRE_VERSION}: build the program with the \
         version of Atlas that the server has"
    )]
    Version {
        /// The other side's.
        version: u8,
    },
    /// More was promised than is allowed.
    #[error("the frame has {bytes} bytes, at most {FRAME_BYTES_MAX} are allowed")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// The bytes are no message, or something in it is over its limit.
    #[error("the frame is malformed, or over a limit")]
    Malformed(#[source] postcard::Error),
    /// Something follows the message.
    #[error("{bytes} bytes follow the message's end")]
    Trailing {
        /// How much.
        bytes: usize,
    },
}

/// A message cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// What came is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The stream failed, or ended within a frame.
    #[error("the stream cannot be read, or ends within a frame")]
    Io(#[from] io::Error),
}

/// A message cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It is over a limit. Nothing was written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The stream failed.
    #[error("the stream cannot be written")]
    Io(#[from] io::Error),
}

/// The message as one frame, its length first.
///
/// # Errors
/// The message, or something in it, is over its limit.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, EncodeError> {
    let mut frame = vec![0; LENGTH_BYTES];
    frame.push(WIRE_VERSION);
    let mut frame = append(message, frame).map_err(EncodeError::OverLimit)?;
    let bytes = frame.len() - LENGTH_BYTES;
    let length = u32::try_from(bytes)
        .ok()
        .filter(|_| bytes <= FRAME_BYTES_MAX);
    let Some(length) = length else {
        return Err(EncodeError::TooLarge { bytes });
    };
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// The bytes, with the message in postcard behind them.
///
/// [`postcard::to_extend`] copies byte by byte, for any collection: of a result of a megabyte that is a millisecond.
///
/// # Errors
/// A list or byte string of the message is over its limit.
pub fn append<M: Serialize + ?Sized>(message: &M, bytes: Vec<u8>) -> postcard::Result<Vec<u8>> {
    postcard::serialize_with_flavor(message, Appending(bytes))
}

struct Appending(Vec<u8>);

impl Flavor for Appending {
    type Output = Vec<u8>;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// The message of a frame without its length.
///
/// # Errors
/// It is no message of this version.
pub fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, DecodeError> {
    let Some((&version, message)) = body.split_first() else {
        return Err(DecodeError::Empty);
    };
    if version != WIRE_VERSION {
        return Err(DecodeError::Version { version });
    }
    if body.len() > FRAME_BYTES_MAX {
        return Err(DecodeError::TooLarge { bytes: body.len() });
    }
    match postcard::take_from_bytes(message).map_err(DecodeError::Malformed)? {
        (message, []) => Ok(message),
        (_, rest) => Err(DecodeError::Trailing { bytes: rest.len() }),
    }
}

/// Writes one message, in one call of `write_all`.
///
/// # Errors
/// See [`WriteError`].
pub fn write<M: Serialize>(stream: &mut impl Write, message: &M) -> Result<(), WriteError> {
    stream.write_all(&encode(message)?)?;
    Ok(stream.flush()?)
}

/// Reads one message; none if the stream has ended where a frame would begin.
///
/// # Errors
/// See [`ReadError`].
pub fn read<M: DeserializeOwned>(stream: &mut impl Read) -> Result<Option<M>, ReadError> {
    let mut length = Vec::with_capacity(LENGTH_BYTES);
    read_up_to(stream, LENGTH_BYTES, &mut length)?;
    if length.is_empty() {
        return Ok(None);
    }
    let length: [u8; LENGTH_BYTES] = length.try_into().map_err(|_| cut_off())?;
    let bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if bytes > FRAME_BYTES_MAX {
        return Err(DecodeError::TooLarge { bytes }.into());
    }
    let mut body = Vec::new();
    read_up_to(stream, bytes, &mut body)?;
    if body.len() < bytes {
        return Err(cut_off().into());
    }
    Ok(Some(decode(&body)?))
}

/// Reads so many bytes, or those up to the stream's end.
fn read_up_to(stream: &mut impl Read, bytes: usize, to: &mut Vec<u8>) -> io::Result<()> {
    let limit = u64::try_from(bytes).unwrap_or(u64::MAX);
    stream.take(limit).read_to_end(to).map(drop)
}

fn cut_off() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

const LENGTH_BYTES: usize = 4;
