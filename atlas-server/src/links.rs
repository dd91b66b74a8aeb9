//! The ways to neighbours: the connection to the manager, and to siblings that the machine speaks with.
//!
//! A sibling is dialled when the machine first has something to say to it; where the manager says that it is. If it cannot be
//! reached there, or is of another domain than this server, the manager relays. It does so from early on: that nobody answers is
//! known only after seconds, for which a thief would stand still. A direct way that is found later takes over. Packets are no safer here than on a wire: what cannot
//! be sent is dropped, and the machine sends it again if it matters.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlas_fs::{BlobName, Store, exchange};
use atlas_net::identity::Expected;
use atlas_net::relay::PacketPipe;
use atlas_net::{Connection, Endpoint, Measuring, Stream, StreamError, StreamKind};
use atlas_proto::Transmit;
use atlas_proto::control::{FRAME_BYTES_MAX, NODE_TOPIC, NodeAnswer, NodeRequest};
use atlas_proto::ids::{Epoch, NodeId};
use atlas_proto::message::Packet;
use atlas_proto::path::Path;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::node::Event;

/// All ways of a server.
#[derive(Debug)]
pub(crate) struct Links {
    endpoint: Arc<Endpoint>,
    store: Store,
    manager: watch::Receiver<Option<Connection>>,
    tell: mpsc::Sender<Event>,
    up: HashMap<NodeId, Up>,
    dialled: HashMap<NodeId, Dialled>,
    last_id: u64,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Up {
    id: u64,
    way: Way,
    /// The sibling's membership that was spoken with there last. Its next one may be of another process, elsewhere.
    epoch: Option<Epoch>,
    /// Relayed ways that were found before this one: the sibling may still speak there.
    others: Vec<Arc<PacketPipe>>,
}

/// A sibling to which a way is being looked for.
#[derive(Debug)]
struct Dialled {
    epoch: Epoch,
    /// What is to be said as soon as there is a way.
    waiting: VecDeque<Packet>,
}

/// A way to a neighbour.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    peer: NodeId,
    kind: WayKind,
}

#[derive(Clone, Debug)]
enum WayKind {
    Direct(Connection),
    /// By the manager, to whom the connection leads.
    Relayed(Arc<PacketPipe>, Connection),
}

impl Way {
    /// A connection to the neighbour itself.
    pub(crate) fn direct(connection: Connection) -> Self {
        let peer = connection.peer().node;
        let kind = WayKind::Direct(connection);
        Self { peer, kind }
    }

    fn relayed(peer: NodeId, stream: Stream, manager: Connection) -> Self {
        let kind = WayKind::Relayed(PacketPipe::new(stream).into(), manager);
        Self { peer, kind }
    }

    pub(crate) fn peer(&self) -> NodeId {
        self.peer
    }

    fn is_direct(&self) -> bool {
        matches!(self.kind, WayKind::Direct(_))
    }

    /// What it costs.
    pub(crate) fn path(&self) -> Path {
        match &self.kind {
            WayKind::Direct(connection) => connection.path(),
            // The second half is taken to be like the first.
            WayKind::Relayed(_, manager) => manager.path().then(manager.path()),
        }
    }

    fn send(&self, packet: &Packet) {
        let sent = match &self.kind {
            WayKind::Direct(connection) => connection
                .try_send_packet(packet)
                .map_err(|error| error.to_string()),
            WayKind::Relayed(pipe, _) => pipe
                .try_send_packet(packet)
                .map_err(|error| error.to_string()),
        };
        if let Err(error) = sent {
            tracing::debug!(peer = %self.peer, error, "a packet is not sent");
        }
    }

    async fn recv(&self) -> Option<Packet> {
        match &self.kind {
            WayKind::Direct(connection) => connection.recv_packet().await.ok(),
            WayKind::Relayed(pipe, _) => pipe.recv_packet().await.ok(),
        }
    }
}

impl Links {
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        store: Store,
        manager: watch::Receiver<Option<Connection>>,
        tell: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            endpoint,
            store,
            manager,
            tell,
            up: HashMap::new(),
            dialled: HashMap::new(),
            last_id: 0,
            tasks: JoinSet::new(),
        }
    }

    /// Sends a packet to a neighbour, dialling it if need be.
    pub(crate) fn send(&mut self, Transmit { to, packet }: Transmit) {
        let is_manager = |manager: &Connection| manager.peer().node == to;
        let to_manager = self.manager.borrow().as_ref().is_some_and(is_manager);
        let epoch = packet.to;
        if let Some(up) = self.up.get_mut(&to) {
            if to_manager || up.epoch.is_none_or(|spoken_with| spoken_with >= epoch) {
                up.epoch = Some(epoch);
                return up.way.send(&packet);
            }
            tracing::info!(peer = %to, "a sibling has begun anew, and is dialled again");
            self.abandon(to);
        }
        if let Some(dialled) = self.dialled.get_mut(&to)
            && dialled.epoch >= epoch
        {
            if dialled.waiting.len() < WAITING_MAX {
                dialled.waiting.push_back(packet);
            }
            return;
        }
        // The manager is dialled all the time, by others.
        let manager = self.manager.borrow().clone();
        let Some(manager) = manager.filter(|_| !to_manager) else {
            return;
        };
        let waiting = [packet].into();
        self.dialled.insert(to, Dialled { epoch, waiting });
        let (endpoint, tell) = (self.endpoint.clone(), self.tell.clone());
        self.tasks.spawn(async move {
            if let Err(error) = find(&endpoint, &manager, to, &tell).await {
                tracing::info!(peer = %to, %error, "no way to a sibling");
                let _ = tell.send(Event::NoWay(to, epoch)).await;
            }
        });
        while self.tasks.try_join_next().is_some() {}
    }

    /// There is a new connection to the manager.
    pub(crate) fn manager_is(&mut self, connection: Connection) {
        let (store, tell) = (self.store.clone(), self.tell.clone());
        self.tasks
            .spawn(serve_manager(connection.clone(), store, tell));
        self.insert(Way::direct(connection));
    }

    /// The manager does not act any more, or is not reached: nothing is said to it.
    pub(crate) fn manager_is_gone(&mut self, manager: NodeId) {
        self.up.remove(&manager);
    }

    pub(crate) fn is_up(&self, peer: NodeId) -> bool {
        self.up.contains_key(&peer)
    }

    /// There is a way to a sibling.
    pub(crate) fn sibling_is(&mut self, way: Way) {
        let dialled = self.dialled.remove(&way.peer);
        self.insert(way.clone());
        for packet in dialled.into_iter().flat_map(|dialled| dialled.waiting) {
            self.send(Transmit {
                to: way.peer,
                packet,
            });
        }
    }

    /// There is no way to a sibling's membership now.
    pub(crate) fn give_up(&mut self, peer: NodeId, epoch: Epoch) {
        if self
            .dialled
            .get(&peer)
            .is_some_and(|dialled| dialled.epoch <= epoch)
        {
            self.dialled.remove(&peer);
        }
    }

    /// A way is over.
    pub(crate) fn forget(&mut self, peer: NodeId, id: u64) {
        if let Some(up) = self.up.remove(&peer) {
            if up.id == id {
                self.finish(up.others);
            } else {
                self.up.insert(peer, up);
            }
        }
    }

    /// Says goodbye to all.
    pub(crate) async fn shut_down(mut self) {
        self.tasks.abort_all();
        for (_, up) in self.up.drain() {
            if let WayKind::Direct(connection) = up.way.kind {
                connection.shut_down().await;
            }
        }
    }

    fn insert(&mut self, way: Way) {
        self.last_id += 1;
        let id = self.last_id;
        self.tasks.spawn(hear(way.clone(), id, self.tell.clone()));
        let mut up = Up {
            id,
            way,
            epoch: None,
            others: Vec::new(),
        };
        if let Some(mut before) = self.up.remove(&up.way.peer) {
            up.others = std::mem::take(&mut before.others);
            if before.way.is_direct() && !up.way.is_direct() {
                std::mem::swap(&mut before.id, &mut up.id);
                std::mem::swap(&mut before.way, &mut up.way);
                std::mem::swap(&mut before.epoch, &mut up.epoch);
            }
            if let WayKind::Relayed(pipe, _) = before.way.kind {
                up.others.push(pipe);
            }
        }
        // Which of two relayed ways the sibling takes is not known; of a direct one both ends know.
        if up.way.is_direct() {
            self.finish(std::mem::take(&mut up.others));
        }
        self.up.insert(up.way.peer, up);
    }

    /// Whoever was spoken with there may not be there any more.
    fn abandon(&mut self, peer: NodeId) {
        let Some(Up {
            way, mut others, ..
        }) = self.up.remove(&peer)
        else {
            return;
        };
        match way.kind {
            WayKind::Direct(connection) => {
                self.tasks
                    .spawn(async move { connection.shut_down().await });
            }
            WayKind::Relayed(pipe, _) => others.push(pipe),
        }
        self.finish(others);
    }

    /// Nothing more is said there. What was said still arrives.
    fn finish(&mut self, pipes: Vec<Arc<PacketPipe>>) {
        for pipe in pipes {
            self.tasks.spawn(async move { pipe.finish().await });
        }
    }
}

/// Passes on what a neighbour says, until there is no more.
async fn hear(way: Way, id: u64, tell: mpsc::Sender<Event>) {
    let mut measuring = Measuring::default();
    while let Some(packet) = way.recv().await {
        let due = measuring.is_due(Instant::now());
        let event = Event::Packet {
            from: way.peer,
            packet,
            path: due.then(|| way.path()),
        };
        if tell.send(event).await.is_err() {
            return;
        }
    }
    let _ = tell.send(Event::Over(way.peer, id)).await;
}

/// Answers the manager's streams: what the root of a job has left, and siblings that need a relay.
async fn serve_manager(connection: Connection, store: Store, tell: mpsc::Sender<Event>) {
    while let Ok((kind, stream)) = connection.accept_stream().await {
        match kind {
            StreamKind::Blob { hash, .. } => {
                tokio::spawn(exchange::answer(store.clone(), BlobName(hash), stream));
            }
            StreamKind::Relay { peer } => {
                let way = Way::relayed(peer, stream, connection.clone());
                let _ = tell.send(Event::Sibling(way)).await;
            }
            // A manager asks its servers for nothing else.
            StreamKind::Renew | StreamKind::Request { .. } | _ => drop(stream),
        }
    }
}

/// Finds a way to a sibling: its own address, or by the manager. Tells of each that there is; of a second one, if a sibling
/// answers late.
async fn find(
    endpoint: &Endpoint,
    manager: &Connection,
    peer: NodeId,
    tell: &mpsc::Sender<Event>,
) -> Result<(), StreamError> {
    let found = async |way| {
        let _ = tell.send(Event::Sibling(way)).await;
    };
    let Some(address) = locate(manager, peer).await? else {
        found(by_manager(manager, peer).await?).await;
        return Ok(());
    };
    // A manager tells where those of the server's own domain are, also to a guest.
    let expected = Expected::node(peer, endpoint.identity().peer().domain.clone());
    let mut dial = pin!(endpoint.connect(address, &expected));
    let early = timeout(HEAD_START, &mut dial).await;
    if let Ok(Ok(connection)) = early {
        found(Way::direct(connection)).await;
        return Ok(());
    }
    let relayed = match by_manager(manager, peer).await {
        Ok(way) => {
            found(way).await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    let late = match early {
        Ok(failed) => failed,
        Err(_) => {
            if relayed.is_ok() {
                tracing::info!(%peer, "the manager relays, since no answer has come yet");
            }
            dial.await
        }
    };
    match late {
        Ok(connection) => {
            found(Way::direct(connection)).await;
            Ok(())
        }
        Err(error) => {
            tracing::info!(%peer, %error, "the manager relays, since there is no direct way");
            relayed
        }
    }
}

async fn by_manager(manager: &Connection, peer: NodeId) -> Result<Way, StreamError> {
    let stream = manager.open_stream(StreamKind::Relay { peer }).await?;
    Ok(Way::relayed(peer, stream, manager.clone()))
}

async fn locate(manager: &Connection, peer: NodeId) -> Result<Option<SocketAddr>, StreamError> {
    let kind = StreamKind::Request { topic: NODE_TOPIC };
    let mut stream = manager.open_stream(kind).await?;
    stream.send_frame(&NodeRequest::Locate { peer }).await?;
    stream.finish()?;
    match stream.recv_frame(FRAME_BYTES_MAX).await? {
        Some(NodeAnswer::Address(address)) => Ok(address),
        Some(
            NodeAnswer::Stored | NodeAnswer::Refused(_) | NodeAnswer::Pinned(_) | NodeAnswer::Away,
        )
        | None => Err(StreamError::Garbage),
    }
}

/// For so long a direct way alone is tried: as RFC 8305, section 5, has it for the first of two addresses. In a domain's own network
/// a handshake takes some milliseconds.
const HEAD_START: Duration = Duration::from_millis(250);
/// Packets that wait for a way: what comes later is sent again by the machine.
const WAITING_MAX: usize = 64;
