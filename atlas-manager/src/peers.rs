//! The connections of a manager, by node: children, the parent, clients.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use atlas_net::identity::{Relation, Role};
use atlas_net::{Connection, Measuring};
use atlas_proto::Transmit;
use atlas_proto::domain::Domain;
use atlas_proto::ids::NodeId;
use atlas_proto::message::{ChildInfo, Message, Packet};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::node::Event;

/// Those who are connected. Of two connections with one node the later one is used.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    up: HashMap<NodeId, (u64, Connection)>,
    last_id: u64,
    tasks: JoinSet<()>,
}

impl Peers {
    /// Somebody is connected: what it says is told from now on.
    pub(crate) fn insert(&mut self, connection: Connection, tell: mpsc::Sender<Event>) {
        self.last_id += 1;
        let (id, node) = (self.last_id, connection.peer().node);
        self.tasks.spawn(hear(connection.clone(), id, tell));
        self.up.insert(node, (id, connection));
        while self.tasks.try_join_next().is_some() {}
    }

    /// A connection is over. True if there is no other with the node.
    pub(crate) fn remove(&mut self, node: NodeId, id: u64) -> bool {
        let is_last = self.up.get(&node).is_some_and(|(last, _)| *last == id);
        if is_last {
            self.up.remove(&node);
        }
        is_last
    }

    /// What is said to and by this node does not count any more.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.up.remove(&node);
    }

    pub(crate) fn send(&self, Transmit { to, packet }: &Transmit) {
        // Packets to whom is away are lost; the machine sends again what matters.
        if let Some((_, connection)) = self.up.get(to)
            && let Err(error) = connection.try_send_packet(packet)
        {
            tracing::debug!(peer = %to, %error, "a packet is not sent");
        }
    }

    pub(crate) fn connection(&self, node: NodeId) -> Option<&Connection> {
        self.up.get(&node).map(|(_, connection)| connection)
    }

    /// From where a node is heard: since it dials and listens at one port, it can be dialled there.
    pub(crate) fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.connection(node).map(Connection::remote_address)
    }

    /// A node's own domain.
    pub(crate) fn domain(&self, node: NodeId) -> Option<Domain> {
        let connection = self.connection(node)?;
        Some(connection.peer().domain.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.up.len()
    }
}

/// What a peer may say by its certificate. Clients have no part in the protocol, and nobody joins as somebody else.
pub(crate) fn may_say(connection: &Connection, packet: &Packet) -> bool {
    let peer = connection.peer();
    match (&packet.message, peer.role, connection.relation()) {
        (_, Role::Client | Role::Admin | Role::Standby, _) => false,
        (_, Role::Manager, Relation::Parent) => true,
        (Message::JoinDomain { child, .. }, role, _) => match child {
            ChildInfo::Server { .. } => role == Role::Server,
            ChildInfo::Manager { domain, .. } => role == Role::Manager && *domain == peer.domain,
        },
        (_, Role::Server | Role::Manager, _) => true,
    }
}

async fn hear(connection: Connection, id: u64, tell: mpsc::Sender<Event>) {
    let node = connection.peer().node;
    let mut measuring = Measuring::default();
    while let Ok(packet) = connection.recv_packet().await {
        if !may_say(&connection, &packet) {
            tracing::warn!(peer = %connection.peer(), "it says what is not its to say");
            connection.close(atlas_net::CloseCode::Garbage, "this is not for you to say");
            break;
        }
        let due = measuring.is_due(Instant::now());
        let event = Event::Packet {
            from: node,
            packet,
            path: due.then(|| connection.path()),
        };
        if tell.send(event).await.is_err() {
            return;
        }
    }
    let _ = tell.send(Event::Over(node, id)).await;
}
