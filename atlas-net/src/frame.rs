//! Frames on the control stream: four bytes of length, most significant first, then one packet's bytes.
//!
//! A length is checked before memory is taken for it, and memory is taken as bytes arrive: a peer that promises much
//! and sends little costs little.

use atlas_proto::codec::DecodeError;
use atlas_proto::limits::PACKET_BYTES_MAX;
use bytes::{Bytes, BytesMut};
use quinn::{ReadError, ReadExactError, RecvStream, SendStream, WriteError};

use crate::close::CloseCode;

/// Why no packet came out of a control stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(
        "a frame of {bytes} bytes was announced, at most {PACKET_BYTES_MAX} are allowed: do not send larger packets"
    )]
    Oversized { bytes: usize },
    #[error("the control stream ends within a frame: finish what was begun")]
    Cut,
    #[error("the control stream was broken off: it lasts as long as the connection")]
    BrokenOff,
    #[error("a frame is no packet ({0}): run the same version of Atlas on both sides")]
    Packet(#[from] DecodeError),
    #[error("the connection is over")]
    Lost,
}

impl FrameError {
    /// What the peer is told; nothing, if nobody is there to be told.
    pub(crate) fn code(&self) -> Option<CloseCode> {
        match self {
            Self::Oversized { .. } => Some(CloseCode::Oversized),
            Self::Cut | Self::BrokenOff | Self::Packet(_) => Some(CloseCode::Garbage),
            Self::Lost => None,
        }
    }
}

impl From<ReadError> for FrameError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(_) => Self::BrokenOff,
            ReadError::ConnectionLost(_)
            | ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => Self::Lost,
        }
    }
}

/// The next frame; none at the stream's end.
pub(crate) async fn read(stream: &mut RecvStream) -> Result<Option<Bytes>, FrameError> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(ReadExactError::FinishedEarly(_)) => return Err(FrameError::Cut),
        Err(ReadExactError::ReadError(error)) => return Err(error.into()),
    }
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if bytes > PACKET_BYTES_MAX {
        return Err(FrameError::Oversized { bytes });
    }
    let mut frame = BytesMut::new();
    while frame.len() < bytes {
        let chunk = stream
            .read_chunk(bytes - frame.len(), true)
            .await?
            .ok_or(FrameError::Cut)?;
        frame.extend_from_slice(&chunk.bytes);
    }
    Ok(Some(frame.freeze()))
}

/// The codec gives no packet beyond its limit, so that the length fits.
pub(crate) async fn write(stream: &mut SendStream, frame: Bytes) -> Result<(), WriteError> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let length = Bytes::copy_from_slice(&length.to_be_bytes());
    stream.write_all_chunks(&mut [length, frame]).await
}
