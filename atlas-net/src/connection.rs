//! A connection between two nodes that know each other.
//!
//! ```text
//! send_packet --> outbox --> writer --[control stream]--> reader --> inbox --> recv_packet
//! open_stream ------------------------[bidirectional streams]-----> header --> accept_stream
//! ```
//!
//! Each direction has one control stream, with one frame per packet. Both queues are bounded in packets and in bytes: who
//! sends more than the peer reads waits. All that is received is cancel-safe, since tasks of the connection's own do
//! the reading. The connection closes when its last handle is dropped, when a frame is no packet, and when the
//! peer's certificate ends, so that nobody stays for longer than their manager vouches for them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use atlas_proto::codec::{self, EncodeError};
use atlas_proto::message::Packet;
use atlas_proto::path::Path;
use bytes::Bytes;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::close::{CloseCode, Closing, ConnectionLost};
use crate::frame::{self, FrameError};
use crate::identity::{Leaf, Peer, Relation};
use crate::places::Place;
use crate::stream::{Stream, StreamError, StreamKind};

/// A handle to a connection; clones are handles to the same one.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    closing: Closing,
    leaf: Leaf,
    relation: Relation,
    outbox: mpsc::Sender<Outgoing>,
    outbox_room: Arc<Semaphore>,
    inbox: Mutex<mpsc::Receiver<Incoming>>,
    streams: Mutex<mpsc::Receiver<(StreamKind, Stream)>>,
    /// They end with this.
    _tasks: JoinSet<()>,
    /// Those that were accepted have one.
    _place: Option<Place>,
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

/// Why a packet is not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The connection is over.
    #[error(transparent)]
    Lost(#[from] ConnectionLost),
    /// The peer reads less than is sent.
    #[error(
        "the queue to the peer is full, since it reads less than is sent: wait with `send_packet`, or send later"
    )]
    Full,
}

impl Connection {
    pub(crate) fn start(
        closing: Closing,
        leaf: Leaf,
        relation: Relation,
        control: (SendStream, RecvStream),
        place: Option<Place>,
    ) -> Self {
        // Strangers get less: see the endpoint.
        closing.quinn.set_receive_window(RECEIVED_BYTES_MAX);
        closing.quinn.set_max_concurrent_bi_streams(STREAMS_MAX);
        let (outbox, outgoing) = mpsc::channel(QUEUE_PACKETS_MAX);
        let (incoming, inbox) = mpsc::channel(QUEUE_PACKETS_MAX);
        let (opened, streams) = mpsc::channel(STREAMS_WAITING_MAX);
        let outbox_room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let mut tasks = JoinSet::new();
        tasks.spawn(write(
            control.0,
            outgoing,
            outbox_room.clone(),
            closing.clone(),
        ));
        tasks.spawn(read(control.1, incoming, closing.clone()));
        tasks.spawn(accept_streams(opened, closing.quinn.clone()));
        tasks.spawn(end_with_certificate(leaf.ends, closing.clone()));
        Self(Arc::new(Inner {
            closing,
            leaf,
            relation,
            outbox,
            outbox_room,
            inbox: Mutex::new(inbox),
            streams: Mutex::new(streams),
            _tasks: tasks,
            _place: place,
        }))
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.0.leaf.peer
    }

    /// What the peer is to this node.
    #[must_use]
    pub fn relation(&self) -> Relation {
        self.0.relation
    }

    /// From where the peer is heard now.
    #[must_use]
    pub fn remote_address(&self) -> std::net::SocketAddr {
        self.0.closing.quinn.remote_address()
    }

    /// The connection ends then, with the certificate that the peer has shown.
    #[must_use]
    pub fn ends_at(&self) -> SystemTime {
        self.0.leaf.ends
    }

    /// Sends a packet, as soon as the queue has room for it. A packet that was sent may still be lost with the connection.
    ///
    /// # Errors
    ///
    /// The packet cannot be encoded, or the connection is over.
    pub async fn send_packet(&self, packet: &Packet) -> Result<(), SendError> {
        let frame = codec::encode(packet)?;
        let room = self
            .0
            .outbox_room
            .clone()
            .acquire_many_owned(permits(&frame))
            .await;
        let room = room.map_err(|_| self.lost())?;
        self.0
            .outbox
            .send(Outgoing::Frame(frame, room))
            .await
            .map_err(|_| self.lost())?;
        Ok(())
    }

    /// As [`send_packet`](Self::send_packet), but never waits.
    ///
    /// # Errors
    ///
    /// Also if the queue has no room for the packet now.
    pub fn try_send_packet(&self, packet: &Packet) -> Result<(), SendError> {
        let frame = codec::encode(packet)?;
        let room = self
            .0
            .outbox_room
            .clone()
            .try_acquire_many_owned(permits(&frame));
        let room = room.map_err(|error| match error {
            tokio::sync::TryAcquireError::Closed => SendError::Lost(self.lost()),
            tokio::sync::TryAcquireError::NoPermits => SendError::Full,
        })?;
        self.0
            .outbox
            .try_send(Outgoing::Frame(frame, room))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::Lost(self.lost()),
            })
    }

    /// The next packet. Those that came before the connection ended are still given. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The connection is over, and all that came was given.
    pub async fn recv_packet(&self) -> Result<Packet, ConnectionLost> {
        let incoming = self.0.inbox.lock().await.recv().await;
        incoming
            .map(|incoming| incoming.packet)
            .ok_or_else(|| self.lost())
    }

    /// Opens a stream of its own, for something large or for a question. Waits while the peer has as many open as it takes.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub async fn open_stream(&self, kind: StreamKind) -> Result<Stream, StreamError> {
        let opened = self.0.closing.quinn.open_bi().await;
        let (send, recv) = opened.map_err(|_| self.lost())?;
        let mut stream = Stream { send, recv };
        stream.send_kind(kind).await?;
        Ok(stream)
    }

    /// The next stream that the peer has opened. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub async fn accept_stream(&self) -> Result<(StreamKind, Stream), ConnectionLost> {
        let opened = self.0.streams.lock().await.recv().await;
        opened.ok_or_else(|| self.lost())
    }

    /// The way to the peer: the latency is half of the measured round trip, the bandwidth is assumed.
    #[must_use]
    pub fn path(&self) -> Path {
        let latency = self.0.closing.quinn.rtt() / 2;
        Path {
            latency,
            ..Path::ASSUMED
        }
    }

    /// Waits until the connection is over.
    pub async fn closed(&self) -> ConnectionLost {
        self.0.closing.quinn.closed().await;
        self.lost()
    }

    /// Ends the connection at once; what waits in queues is lost.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.0.closing.close(code, reason);
    }

    /// Ends the connection when the peer has read all packets, or after some seconds.
    pub async fn shut_down(&self) {
        let (finished, wait) = oneshot::channel();
        let shut_down = async {
            if self.0.outbox.send(Outgoing::Finish(finished)).await.is_ok() && wait.await.is_ok() {
                // The peer closes when it has read the end of the stream.
                self.0.closing.quinn.closed().await;
            }
        };
        let _ = timeout(SHUT_DOWN_TIMEOUT, shut_down).await;
        self.close(CloseCode::Done, "nothing more is to be said");
    }

    fn lost(&self) -> ConnectionLost {
        self.0.closing.lost()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Connection({} at {})",
            self.peer(),
            self.remote_address()
        )
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.closing
            .close(CloseCode::Done, "the connection is no longer used");
    }
}

async fn write(
    mut control: SendStream,
    mut outbox: mpsc::Receiver<Outgoing>,
    room: Arc<Semaphore>,
    closing: Closing,
) {
    while let Some(outgoing) = outbox.recv().await {
        match outgoing {
            Outgoing::Frame(frame, _room) => {
                if frame::write(&mut control, frame).await.is_err() {
                    closing.close(CloseCode::Garbage, &FrameError::BrokenOff.to_string());
                    break;
                }
            }
            Outgoing::Finish(finished) => {
                let _ = control.finish();
                let _ = finished.send(());
                break;
            }
        }
    }
    // Whoever waits for room hears that there will be none.
    room.close();
}

async fn read(mut control: RecvStream, inbox: mpsc::Sender<Incoming>, closing: Closing) {
    let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    let error = loop {
        let frame = match frame::read(&mut control).await {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                closing.close(CloseCode::Done, "all was read");
                return;
            }
            Err(error) => break error,
        };
        let packet = match codec::decode(&frame) {
            Ok(packet) => packet,
            Err(error) => break error.into(),
        };
        let Ok(room) = room.clone().acquire_many_owned(permits(&frame)).await else {
            return;
        };
        if inbox
            .send(Incoming {
                packet,
                _room: room,
            })
            .await
            .is_err()
        {
            return;
        }
    };
    if let Some(code) = error.code() {
        tracing::warn!(remote = %closing.quinn.remote_address(), %error, "closing a connection");
        closing.close(code, &error.to_string());
    }
}

async fn accept_streams(opened: mpsc::Sender<(StreamKind, Stream)>, quinn: quinn::Connection) {
    // Bounded by the number of streams that a peer may have open.
    let mut headers = JoinSet::new();
    while let Ok((send, recv)) = quinn.accept_bi().await {
        while headers.try_join_next().is_some() {}
        let opened = opened.clone();
        headers.spawn(async move {
            let mut stream = Stream { send, recv };
            if let Some(kind) = stream.recv_kind().await {
                let _ = opened.send((kind, stream)).await;
                return;
            }
            let code = VarInt::from_u32(CloseCode::Garbage as u32);
            let _ = stream.send.reset(code);
            let _ = stream.recv.stop(code);
        });
    }
}

async fn end_with_certificate(ends: SystemTime, closing: Closing) {
    // Looked at again now and then, since clocks are set and machines sleep.
    while let Ok(left) = ends.duration_since(SystemTime::now()) {
        tokio::time::sleep(left.min(CLOCK_LOOK).max(Duration::from_millis(1))).await;
    }
    let reason = "your certificate has ended: connect again with a new one";
    closing.close(CloseCode::CertificateEnded, reason);
}

/// What a frame takes of a queue.
fn permits(frame: &Bytes) -> u32 {
    u32::try_from(frame.len().clamp(1, QUEUE_BYTES_MAX)).unwrap_or(u32::MAX)
}

/// Packets that wait in either direction: most are small, and one wake-up moves many.
const QUEUE_PACKETS_MAX: usize = 256;
/// Their bytes: the largest packet twice, so that one is made while the other is sent.
const QUEUE_BYTES_MAX: usize = 2 * atlas_proto::limits::PACKET_BYTES_MAX;
/// Blobs and requests of one peer at a time.
const STREAMS_MAX: VarInt = VarInt::from_u32(256);
/// What is kept of all streams of a peer and not yet read: each may hold a little over a MiB, so that fifty which nobody
/// reads do not hold up the others.
const RECEIVED_BYTES_MAX: VarInt = VarInt::from_u32(64 << 20);
/// Streams whose header is read and that wait to be accepted; more wait in their tasks.
const STREAMS_WAITING_MAX: usize = 16;
/// For a peer that reads, handing over the last packets takes a round trip or two.
const SHUT_DOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// A certificate may outlive its end by this if the clock is set.
const CLOCK_LOOK: Duration = Duration::from_secs(60);
