//! A connection between two nodes that know each other.
//!
//! ```text
//! send_packet ------------------------[control stream]-------------------> recv_packet
//! open_stream ------------------------[bidirectional streams]--> header --> accept_stream
//! ```
//!
//! Each direction has one control stream, with one frame per packet and bounded queues (`packets.rs`). All that is received
//! is cancel-safe, since tasks of the connection's own do the reading. The connection closes when its last handle is
//! dropped, when a frame is no packet, and when the peer's certificate ends, so that nobody stays for longer than their
//! manager vouches for them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use atlas_proto::codec::EncodeError;
use atlas_proto::message::Packet;
use atlas_proto::path::Path;
use quinn::{RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::wait_until;
use crate::close::{CloseCode, Closing, ConnectionLost};
use crate::frame::FrameError;
use crate::identity::{Leaf, Peer, Relation};
use crate::packets::{Packets, QueueError, Reader, Writer};
use crate::places::Place;
use crate::stream::{Stream, StreamError, StreamKind};

/// A handle to a connection; clones are handles to the same one.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    closing: Closing,
    leaf: Leaf,
    relation: Relation,
    packets: Packets,
    streams: Mutex<mpsc::Receiver<(StreamKind, Stream)>>,
    /// They end with this.
    _tasks: JoinSet<()>,
    /// Those that were accepted have one.
    _place: Option<Place>,
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
        let (packets, writer, reader) = Packets::new();
        let (opened, streams) = mpsc::channel(STREAMS_WAITING_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(write(control.0, writer, closing.clone()));
        tasks.spawn(read(control.1, reader, closing.clone()));
        tasks.spawn(accept_streams(opened, closing.quinn.clone()));
        tasks.spawn(end_with_certificate(leaf.ends, closing.clone()));
        Self(Arc::new(Inner {
            closing,
            leaf,
            relation,
            packets,
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

    /// Both are handles to one connection.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Both are handles to one connection, or there is neither.
    #[must_use]
    pub fn are_same(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => one.is_same(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
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

    /// What the peer has shown: its own first, and that one verified; the others may be any.
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let shown = self.0.closing.quinn.peer_identity();
        let shown = shown.and_then(|shown| shown.downcast().ok());
        shown.map(|shown| *shown).unwrap_or_default()
    }

    /// Sends a packet, as soon as the queue has room for it. A packet that was sent may still be lost with the connection.
    ///
    /// # Errors
    ///
    /// The packet cannot be encoded, or the connection is over.
    pub async fn send_packet(&self, packet: &Packet) -> Result<(), SendError> {
        let sent = self.0.packets.send(packet).await;
        sent.map_err(|error| self.send_error(error))
    }

    /// As [`send_packet`](Self::send_packet), but never waits.
    ///
    /// # Errors
    ///
    /// Also if the queue has no room for the packet now.
    pub fn try_send_packet(&self, packet: &Packet) -> Result<(), SendError> {
        let sent = self.0.packets.try_send(packet);
        sent.map_err(|error| self.send_error(error))
    }

    /// The next packet. Those that came before the connection ended are still given. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The connection is over, and all that came was given.
    pub async fn recv_packet(&self) -> Result<Packet, ConnectionLost> {
        self.0.packets.recv().await.ok_or_else(|| self.lost())
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

    /// How many bytes may be on their way at a time.
    #[cfg(test)]
    pub(crate) fn window(&self) -> u64 {
        self.0.closing.quinn.stats().path.cwnd
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
        let shut_down = async {
            if self.0.packets.finish().await {
                // The peer closes when it has read the end of the stream.
                self.0.closing.quinn.closed().await;
            }
        };
        let _ = timeout(SHUT_DOWN_TIMEOUT, shut_down).await;
        self.close(CloseCode::Done, "nothing more is to be said");
    }

    fn send_error(&self, error: QueueError) -> SendError {
        match error {
            QueueError::Encode(error) => error.into(),
            QueueError::Full => SendError::Full,
            QueueError::Over => self.lost().into(),
        }
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

async fn write(mut control: SendStream, mut writer: Writer, closing: Closing) {
    if writer.run(&mut control).await.is_err() {
        closing.close(CloseCode::Garbage, &FrameError::BrokenOff.to_string());
    }
}

async fn read(mut control: RecvStream, mut reader: Reader, closing: Closing) {
    match reader.run(&mut control).await {
        Ok(()) => closing.close(CloseCode::Done, "all was read"),
        Err(error) => {
            if let Some(code) = error.code() {
                tracing::warn!(remote = %closing.quinn.remote_address(), %error, "closing a connection");
                closing.close(code, &error.to_string());
            }
        }
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
    wait_until(ends).await;
    let reason = "your certificate has ended: connect again with a new one";
    closing.close(CloseCode::CertificateEnded, reason);
}

/// Blobs and requests of one peer at a time.
const STREAMS_MAX: VarInt = VarInt::from_u32(256);
/// What is kept of all streams of a peer and not yet read: each may hold a little over a MiB, so that fifty which nobody
/// reads do not hold up the others.
const RECEIVED_BYTES_MAX: VarInt = VarInt::from_u32(64 << 20);
/// Streams whose header is read and that wait to be accepted; more wait in their tasks.
const STREAMS_WAITING_MAX: usize = 16;
/// For a peer that reads, handing over the last packets takes a round trip or two.
const SHUT_DOWN_TIMEOUT: Duration = Duration::from_secs(5);
