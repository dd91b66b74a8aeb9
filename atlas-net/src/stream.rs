//! Streams beside the control stream: one for each blob or request. Each begins with a small header that says what it
//! is for: one byte of length, then the [`StreamKind`] as postcard encodes it.
//!
//! What follows is up to the two: bytes, one message in each direction
//! ([`send_message`](Stream::send_message), [`recv_message`](Stream::recv_message)), or several
//! ([`send_frame`](Stream::send_frame), [`recv_frame`](Stream::recv_frame)), each behind four bytes of its length, least
//! significant first. Messages are encoded by postcard. Who receives says how large one may be, and memory is taken as
//! bytes arrive.

use std::time::Duration;

use atlas_proto::ids::NodeId;
use bytes::{Bytes, BytesMut};
use quinn::{ReadError, ReadExactError, ReadToEndError, RecvStream, SendStream, WriteError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::close::ConnectionLost;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StreamKind {
    /// The node asks for its next certificate: [`enrol::renew`](crate::enrol::renew).
    Renew,
    /// The opener asks for a blob.
    Blob {
        /// Its BLAKE3 hash.
        hash: [u8; 32],
        /// The job that it belongs to, by the job's alias between the two; zero if to none.
        job: u64,
    },
    /// The opener asks for something else.
    Request {
        /// What, as the two agree.
        topic: u32,
    },
    /// Packets between the opener and a third node: [`relay`](crate::relay).
    Relay {
        /// To whom the stream leads: the one that the opener wants to reach, or for whom it is opened.
        peer: NodeId,
    },
}

/// A stream with both directions. A dropped one is finished on this side and no longer read.
#[derive(Debug)]
pub struct Stream {
    /// To the peer.
    pub send: SendStream,
    /// From the peer.
    pub recv: RecvStream,
}

/// The half of a stream on which messages go to the peer, each behind its length.
#[derive(Debug)]
pub struct FrameSender(SendStream);

/// The half of a stream on which messages come from the peer.
#[derive(Debug)]
pub struct FrameReceiver(RecvStream);

/// Why a stream cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The connection is over.
    #[error(transparent)]
    Lost(#[from] ConnectionLost),
    /// The peer has broken it off.
    #[error(
        "the peer broke off the stream: it does not answer what was asked, or has given up; ask again later"
    )]
    BrokenOff,
    /// What came is too large or something else than expected.
    #[error(
        "the peer sent something else than expected on a stream: run the same version of Atlas on both sides"
    )]
    Garbage,
    /// What should be sent cannot be encoded.
    #[error("a message for a stream cannot be encoded")]
    Encode(#[source] postcard::Error),
    /// What should be sent is too long for its length to be told.
    #[error("a message of {bytes} bytes is too long for a stream: send it in parts")]
    TooLong {
        /// What it has.
        bytes: usize,
    },
}

impl Stream {
    /// Sends one message, the only one in this direction, which ends with it.
    ///
    /// # Errors
    ///
    /// The message cannot be encoded, or the peer takes no more.
    pub async fn send_message(&mut self, message: &impl Serialize) -> Result<(), StreamError> {
        let message = postcard::to_stdvec(message).map_err(StreamError::Encode)?;
        self.send.write_all(&message).await?;
        self.finish()
    }

    /// Receives the only message of the other direction. Cancelled, it loses the message.
    ///
    /// # Errors
    ///
    /// It does not come, is larger than `bytes_max`, or is not what is expected.
    pub async fn recv_message<T: DeserializeOwned>(
        &mut self,
        bytes_max: usize,
    ) -> Result<T, StreamError> {
        let message = self.recv.read_to_end(bytes_max).await;
        decode(&message.map_err(|error| match error {
            ReadToEndError::TooLong => StreamError::Garbage,
            ReadToEndError::Read(error) => error.into(),
        })?)
    }

    /// Sends one of several messages.
    ///
    /// # Errors
    ///
    /// The message cannot be encoded, or the peer takes no more.
    pub async fn send_frame(&mut self, message: &impl Serialize) -> Result<(), StreamError> {
        send_frame(&mut self.send, message).await
    }

    /// Receives the next of several messages; none at the end. **Not cancel-safe**: cancelled, it may have read a part
    /// of a message, and what comes next is garbage. Let a task of its own receive, or drop the stream.
    ///
    /// # Errors
    ///
    /// The stream ends within a message, or the message is larger than `bytes_max` or not what is expected.
    pub async fn recv_frame<T: DeserializeOwned>(
        &mut self,
        bytes_max: usize,
    ) -> Result<Option<T>, StreamError> {
        recv_frame(&mut self.recv, bytes_max).await
    }

    /// What the peer has answered that takes no more of what is sent, such as why; the error that sending has ended with, if
    /// it has answered nothing.
    ///
    /// # Errors
    ///
    /// That one.
    pub async fn recv_answer_after<T: DeserializeOwned>(
        &mut self,
        error: StreamError,
        bytes_max: usize,
    ) -> Result<T, StreamError> {
        match self.recv_frame(bytes_max).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(error),
        }
    }

    /// The two directions, for a task each.
    #[must_use]
    pub fn split(self) -> (FrameSender, FrameReceiver) {
        (FrameSender(self.send), FrameReceiver(self.recv))
    }

    /// Nothing more is sent; what was sent arrives.
    ///
    /// # Errors
    ///
    /// This direction has ended already.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        self.send.finish().map_err(|_| StreamError::BrokenOff)
    }

    pub(crate) async fn send_kind(&mut self, kind: StreamKind) -> Result<(), StreamError> {
        let encoded = postcard::to_stdvec(&kind).map_err(StreamError::Encode)?;
        let length = u8::try_from(encoded.len()).map_err(|_| StreamError::Garbage)?;
        let header: Vec<u8> = std::iter::once(length).chain(encoded).collect();
        Ok(self.send.write_all(&header).await?)
    }

    /// What a stream that the peer opened is for; none if it does not say so in time, or not in a way that is understood.
    pub(crate) async fn recv_kind(&mut self) -> Option<StreamKind> {
        let header = async {
            let mut length = [0];
            self.recv.read_exact(&mut length).await.ok()?;
            let mut header = vec![0; usize::from(length[0])];
            self.recv.read_exact(&mut header).await.ok()?;
            let (kind, rest) = postcard::take_from_bytes(&header).ok()?;
            rest.is_empty().then_some(kind)
        };
        timeout(HEADER_TIMEOUT, header).await.ok().flatten()
    }
}

impl FrameSender {
    /// As [`Stream::send_frame`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn send(&mut self, message: &impl Serialize) -> Result<(), StreamError> {
        send_frame(&mut self.0, message).await
    }
}

impl FrameReceiver {
    /// As [`Stream::recv_frame`]; not cancel-safe either.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn recv<T: DeserializeOwned>(
        &mut self,
        bytes_max: usize,
    ) -> Result<Option<T>, StreamError> {
        recv_frame(&mut self.0, bytes_max).await
    }
}

async fn send_frame(send: &mut SendStream, message: &impl Serialize) -> Result<(), StreamError> {
    let message = postcard::to_stdvec(message).map_err(StreamError::Encode)?;
    let bytes = message.len();
    let length = u32::try_from(bytes).map_err(|_| StreamError::TooLong { bytes })?;
    let length = Bytes::copy_from_slice(&length.to_le_bytes());
    let mut chunks = [length, message.into()];
    Ok(send.write_all_chunks(&mut chunks).await?)
}

async fn recv_frame<T: DeserializeOwned>(
    recv: &mut RecvStream,
    bytes_max: usize,
) -> Result<Option<T>, StreamError> {
    let mut length = [0; 4];
    match recv.read_exact(&mut length).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(ReadExactError::FinishedEarly(_)) => return Err(StreamError::Garbage),
        Err(ReadExactError::ReadError(error)) => return Err(error.into()),
    }
    let bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if bytes > bytes_max {
        return Err(StreamError::Garbage);
    }
    let mut frame = BytesMut::new();
    while frame.len() < bytes {
        let chunk = recv.read_chunk(bytes - frame.len(), true).await?;
        frame.extend_from_slice(&chunk.ok_or(StreamError::Garbage)?.bytes);
    }
    decode(&frame).map(Some)
}

/// All of the bytes are one message.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StreamError> {
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(|_| StreamError::Garbage)?;
    rest.is_empty()
        .then_some(message)
        .ok_or(StreamError::Garbage)
}

impl From<ReadError> for StreamError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => Self::Lost(error.into()),
            ReadError::Reset(_)
            | ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => Self::BrokenOff,
        }
    }
}

impl From<WriteError> for StreamError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => Self::Lost(error.into()),
            WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
                Self::BrokenOff
            }
        }
    }
}

/// A header comes with its stream's first packet.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
