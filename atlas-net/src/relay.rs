//! Packets between two nodes that cannot dial each other, by way of a third that both have a connection with.
//!
//! ```text
//! A                       M                          B
//! | -- Relay { peer: B } --> | -- Relay { peer: A } --> |    streams, one on each connection
//! | PacketPipe <--------> relay <--------> PacketPipe   |
//! ```
//!
//! Who stands in between decides whether to [`relay`], and for whom: it alone knows who has opened the stream, and says so
//! to the other. It understands nothing of what it copies and keeps one chunk of it for each direction; who sends
//! more than is read at the other end waits. What it copies it could also read and change, as a manager may.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use atlas_proto::codec::EncodeError;
use atlas_proto::message::Packet;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::close::CloseCode;
use crate::frame::FrameError;
use crate::packets::{Packets, QueueError, Reader, Writer};
use crate::stream::Stream;

/// Packets on a stream, as on a connection: with bounded queues, and cancel-safe. What waits in queues when it is dropped is
/// lost.
#[derive(Debug)]
pub struct PacketPipe {
    packets: Packets,
    end: Arc<OnceLock<PipeEnd>>,
    /// It ends with this.
    _task: JoinSet<()>,
}

/// Why a pipe is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PipeEnd {
    /// One of the two ends has closed it.
    #[error("the pipe was closed: open another one if there is more to say")]
    Closed,
    /// Who relays has given up, or a connection was lost.
    #[error("the pipe broke, since one of its connections was lost or is not used: open another")]
    Broken,
    /// What came was no packet.
    #[error("the other end of the pipe sent something else than packets: {what}")]
    Garbage {
        /// What it was.
        what: String,
    },
}

/// Why a packet is not sent through a pipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipeError {
    /// It cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The pipe is over.
    #[error(transparent)]
    Ended(#[from] PipeEnd),
    /// The other end reads less than is sent.
    #[error(
        "the pipe is full, since its other end reads less than is sent: wait with `send_packet`, or send later"
    )]
    Full,
}

impl PacketPipe {
    /// Sends and receives packets on this stream from now on. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        let (packets, writer, reader) = Packets::new();
        let end = Arc::default();
        let mut task = JoinSet::new();
        task.spawn(run(stream, writer, reader, Arc::clone(&end)));
        Self {
            packets,
            end,
            _task: task,
        }
    }

    /// Sends a packet, as soon as the queue has room for it. A packet that was sent may still be lost with the pipe.
    ///
    /// # Errors
    ///
    /// The packet cannot be encoded, or the pipe is over.
    pub async fn send_packet(&self, packet: &Packet) -> Result<(), PipeError> {
        let sent = self.packets.send(packet).await;
        sent.map_err(|error| self.error(error))
    }

    /// As [`send_packet`](Self::send_packet), but never waits.
    ///
    /// # Errors
    ///
    /// Also if the queue has no room for the packet now.
    pub fn try_send_packet(&self, packet: &Packet) -> Result<(), PipeError> {
        let sent = self.packets.try_send(packet);
        sent.map_err(|error| self.error(error))
    }

    /// The next packet. Those that came before the pipe ended are still given. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The pipe is over, and all that came was given.
    pub async fn recv_packet(&self) -> Result<Packet, PipeEnd> {
        self.packets.recv().await.ok_or_else(|| self.end())
    }

    /// Closes the pipe when all packets have been handed over, or after some seconds.
    pub async fn shut_down(self) {
        self.finish().await;
    }

    /// Sends nothing more. Returns when all packets have been handed over, or after some seconds; what the other end sends is
    /// still received.
    pub async fn finish(&self) {
        let _ = timeout(SHUT_DOWN_TIMEOUT, self.packets.finish()).await;
    }

    fn error(&self, error: QueueError) -> PipeError {
        match error {
            QueueError::Encode(error) => error.into(),
            QueueError::Full => PipeError::Full,
            QueueError::Over => self.end().into(),
        }
    }

    /// The writer may hear before the reader that nobody is there any more.
    fn end(&self) -> PipeEnd {
        self.end.get().cloned().unwrap_or(PipeEnd::Closed)
    }
}

async fn run(
    mut stream: Stream,
    mut writer: Writer,
    mut reader: Reader,
    end: Arc<OnceLock<PipeEnd>>,
) {
    let read = {
        let mut reading = pin!(reader.run(&mut stream.recv));
        tokio::select! {
            read = &mut reading => read,
            _ = writer.run(&mut stream.send) => {
                drop(writer);
                // What the other end has sent before it went away.
                reading.await
            }
        }
    };
    let _ = end.set(match read {
        Ok(()) => PipeEnd::Closed,
        Err(FrameError::BrokenOff | FrameError::Lost) => PipeEnd::Broken,
        Err(error @ (FrameError::Oversized { .. } | FrameError::Cut | FrameError::Packet(_))) => {
            tracing::warn!(%error, "closing a pipe");
            let code = VarInt::from_u32(CloseCode::Garbage as u32);
            let _ = stream.send.reset(code);
            let _ = stream.recv.stop(code);
            let what = error.to_string();
            PipeEnd::Garbage { what }
        }
    });
}

/// Copies bytes between two streams, both ways, until one of the two ends; then ends the other, which has a moment to
/// say what it has begun. What was copied in part only is broken off and not ended cleanly.
pub async fn relay(a: Stream, b: Stream) {
    // An end that went away may leave the way to it silent, and the way from it full.
    let (a_gone, b_gone) = (a.send.stopped(), b.send.stopped());
    let mut there = pin!(OneWay::new(a.recv, b.send).run());
    let mut back = pin!(OneWay::new(b.recv, a.send).run());
    let (there, back) = tokio::select! {
        () = &mut there => (None, Some(back)),
        () = &mut back => (Some(there), None),
        _ = a_gone => (Some(there), Some(back)),
        _ = b_gone => (Some(there), Some(back)),
    };
    let last_words = async { tokio::join!(run_on(there), run_on(back)) };
    let _ = timeout(LAST_WORDS, last_words).await;
}

async fn run_on(way: Option<impl Future<Output = ()>>) {
    if let Some(way) = way {
        way.await;
    }
}

/// One direction. Dropped before its end has come through, it is broken off.
struct OneWay {
    from: RecvStream,
    to: SendStream,
    ended: bool,
}

impl OneWay {
    fn new(from: RecvStream, to: SendStream) -> Self {
        let ended = false;
        Self { from, to, ended }
    }

    async fn run(mut self) {
        loop {
            match self.from.read_chunk(CHUNK_BYTES_MAX, true).await {
                Ok(Some(chunk)) => {
                    if self.to.write_chunk(chunk.bytes).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {
                    self.ended = true;
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

impl Drop for OneWay {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.to.reset(VarInt::from_u32(CloseCode::Done as u32));
        }
    }
}

/// What is kept of each direction.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Handing over the last packets takes a round trip or two.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// As for a connection.
const SHUT_DOWN_TIMEOUT: Duration = Duration::from_secs(5);
