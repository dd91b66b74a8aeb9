//! Streams beside the control stream: one for each blob or request. Each begins with a small header that says what it
//! is for: one byte of length, then the [`StreamKind`] as postcard encodes it.

use std::time::Duration;

use quinn::{RecvStream, SendStream};
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
    },
    /// The opener asks for something else.
    Request {
        /// What, as the two agree.
        topic: u32,
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
}

impl Stream {
    /// Sends one message, the only one in this direction.
    pub(crate) async fn send_message(
        &mut self,
        message: &impl Serialize,
    ) -> Result<(), StreamError> {
        let message = postcard::to_stdvec(message).map_err(StreamError::Encode)?;
        self.send
            .write_all(&message)
            .await
            .map_err(|_| StreamError::BrokenOff)?;
        self.send.finish().map_err(|_| StreamError::BrokenOff)
    }

    /// Receives the only message of the other direction.
    pub(crate) async fn recv_message<T: DeserializeOwned>(
        &mut self,
        bytes_max: usize,
    ) -> Result<T, StreamError> {
        let message = self
            .recv
            .read_to_end(bytes_max)
            .await
            .map_err(|error| match error {
                quinn::ReadToEndError::TooLong => StreamError::Garbage,
                quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(error)) => {
                    StreamError::Lost(error.into())
                }
                quinn::ReadToEndError::Read(_) => StreamError::BrokenOff,
            })?;
        let (message, rest) =
            postcard::take_from_bytes(&message).map_err(|_| StreamError::Garbage)?;
        rest.is_empty()
            .then_some(message)
            .ok_or(StreamError::Garbage)
    }

    pub(crate) async fn send_kind(&mut self, kind: StreamKind) -> Result<(), StreamError> {
        let encoded = postcard::to_stdvec(&kind).map_err(StreamError::Encode)?;
        let length = u8::try_from(encoded.len()).map_err(|_| StreamError::Garbage)?;
        let header: Vec<u8> = std::iter::once(length).chain(encoded).collect();
        self.send
            .write_all(&header)
            .await
            .map_err(|_| StreamError::BrokenOff)
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

/// A header comes with its stream's first packet.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
