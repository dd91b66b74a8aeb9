//! Packets on a stream in each direction, with a queue before the one and behind the other.
//!
//! ```text
//! send --> outbox --> Writer --[stream]-->          --[stream]--> Reader --> inbox --> recv
//! ```
//!
//! Both queues are bounded in packets and in bytes: who sends more than the peer reads waits. Sending and receiving are
//! cancel-safe, since the writer and the reader run in tasks of their own.

use std::sync::Arc;

use atlas_proto::codec::{self, EncodeError};
use atlas_proto::message::Packet;
use bytes::Bytes;
use quinn::{RecvStream, SendStream, WriteError};
use tokio::sync::{
    Mutex, OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, mpsc::error::TrySendError,
    oneshot,
};

use crate::frame::{self, FrameError};

/// The near ends of both queues.
#[derive(Debug)]
pub(crate) struct Packets {
    outbox: mpsc::Sender<Outgoing>,
    outbox_room: Arc<Semaphore>,
    inbox: Mutex<mpsc::Receiver<Incoming>>,
}

/// Takes packets from the outbox. When it is dropped, whoever waits for room hears that there will be none.
#[derive(Debug)]
pub(crate) struct Writer {
    outbox: mpsc::Receiver<Outgoing>,
    room: Arc<Semaphore>,
}

/// Puts packets into the inbox. When it is dropped, whoever has received all hears that no more will come.
#[derive(Debug)]
pub(crate) struct Reader {
    inbox: mpsc::Sender<Incoming>,
    room: Arc<Semaphore>,
}

/// Why a packet is not sent.
#[derive(Debug)]
pub(crate) enum QueueError {
    Encode(EncodeError),
    Full,
    /// The writer has ended.
    Over,
}

#[derive(Debug)]
enum Outgoing {
    Frame(Bytes, OwnedSemaphorePermit),
    /// All that was to be said has been; the sender hears when it has been handed over.
    Finish(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Incoming {
    packet: Packet,
    _room: OwnedSemaphorePermit,
}

impl Packets {
    pub(crate) fn new() -> (Self, Writer, Reader) {
        let (outbox, outgoing) = mpsc::channel(QUEUE_PACKETS_MAX);
        let (incoming, inbox) = mpsc::channel(QUEUE_PACKETS_MAX);
        let outbox_room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let writer = Writer {
            outbox: outgoing,
            room: outbox_room.clone(),
        };
        let reader = Reader {
            inbox: incoming,
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
        };
        let inbox = Mutex::new(inbox);
        let packets = Self {
            outbox,
            outbox_room,
            inbox,
        };
        (packets, writer, reader)
    }

    /// As soon as there is room.
    pub(crate) async fn send(&self, packet: &Packet) -> Result<(), QueueError> {
        let frame = codec::encode(packet)?;
        let room = self.outbox_room.clone();
        let room = room.acquire_many_owned(permits(&frame)).await;
        let room = room.map_err(|_| QueueError::Over)?;
        let sent = self.outbox.send(Outgoing::Frame(frame, room)).await;
        sent.map_err(|_| QueueError::Over)
    }

    pub(crate) fn try_send(&self, packet: &Packet) -> Result<(), QueueError> {
        let frame = codec::encode(packet)?;
        let room = self.outbox_room.clone();
        let room = room.try_acquire_many_owned(permits(&frame));
        let room = room.map_err(|error| match error {
            TryAcquireError::Closed => QueueError::Over,
            TryAcquireError::NoPermits => QueueError::Full,
        })?;
        let sent = self.outbox.try_send(Outgoing::Frame(frame, room));
        sent.map_err(|error| match error {
            TrySendError::Full(_) => QueueError::Full,
            TrySendError::Closed(_) => QueueError::Over,
        })
    }

    /// The next packet; none if the reader has ended and all were given.
    pub(crate) async fn recv(&self) -> Option<Packet> {
        let incoming = self.inbox.lock().await.recv().await;
        incoming.map(|incoming| incoming.packet)
    }

    /// Nothing more is sent. Returns when all that was has been handed over: true, unless the writer has ended before.
    pub(crate) async fn finish(&self) -> bool {
        let (finished, wait) = oneshot::channel();
        self.outbox.send(Outgoing::Finish(finished)).await.is_ok() && wait.await.is_ok()
    }
}

impl Writer {
    /// Until all has been said, or the stream takes no more.
    pub(crate) async fn run(&mut self, stream: &mut SendStream) -> Result<(), WriteError> {
        while let Some(outgoing) = self.outbox.recv().await {
            match outgoing {
                Outgoing::Frame(frame, _room) => frame::write(stream, frame).await?,
                Outgoing::Finish(finished) => {
                    let _ = stream.finish();
                    let _ = finished.send(());
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Reader {
    /// Until the stream ends or nobody receives any more.
    pub(crate) async fn run(&mut self, stream: &mut RecvStream) -> Result<(), FrameError> {
        while let Some(frame) = frame::read(stream).await? {
            let packet = codec::decode(&frame)?;
            let room = self.room.clone().acquire_many_owned(permits(&frame)).await;
            let Ok(_room) = room else { break };
            if self.inbox.send(Incoming { packet, _room }).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl From<EncodeError> for QueueError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

/// What a frame takes of a queue.
fn permits(frame: &Bytes) -> u32 {
    u32::try_from(frame.len().clamp(1, QUEUE_BYTES_MAX)).unwrap_or(u32::MAX)
}

/// Packets that wait in either direction: most are small, and one wake-up moves many.
const QUEUE_PACKETS_MAX: usize = 256;
/// Their bytes: the largest packet twice, so that one is made while the other is sent.
const QUEUE_BYTES_MAX: usize = 2 * atlas_proto::limits::PACKET_BYTES_MAX;
