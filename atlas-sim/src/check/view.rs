//! A world as the checkers see it: both sides of each session, through read-only accessors alone.

use atlas_proto::ids::{LeaseId, NodeId};
use atlas_proto::inspect::SessionView;
use atlas_proto::ledger::Ledger;
use atlas_proto::message::Message;
use atlas_proto::{Manager, Server};

use crate::atlas::{Atlas, AtlasPacket};
use crate::topology::{Role, ServerIndex};
use crate::world::Stage;

/// All nodes and their stage, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) nodes: &'a Atlas,
    pub(super) stage: &'a Stage<AtlasPacket>,
}

/// A node that is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node<'a> {
    Server(&'a Server),
    Manager(&'a Manager),
}

impl<'a> Node<'a> {
    pub(super) fn ledger(self) -> &'a Ledger {
        match self {
            Self::Server(server) => server.ledger(),
            Self::Manager(manager) => manager.ledger(),
        }
    }

    pub(super) fn has_result_waiting(self, lender: NodeId, lease: LeaseId) -> bool {
        match self {
            Self::Server(server) => server.waiting_results(lender).any(|known| known == lease),
            Self::Manager(manager) => manager.waiting_results(lender).any(|known| known == lease),
        }
    }

    fn session(self, peer: NodeId) -> Option<SessionView<'a>> {
        match self {
            Self::Server(server) => server.session_view(peer),
            Self::Manager(manager) => manager.session_view(peer),
        }
    }
}

impl<'a> View<'a> {
    /// The node, if it is there: servers come and go.
    pub(super) fn node(self, node: NodeId) -> Option<Node<'a>> {
        match self.stage.topology.role(node)? {
            Role::Server(server) => self.nodes.server(server).map(Node::Server),
            Role::Manager(_) => self.nodes.manager(node).map(Node::Manager),
        }
    }

    /// All nodes that are there.
    pub(super) fn all(self) -> impl Iterator<Item = (NodeId, Node<'a>)> {
        let numbers = 0..self.stage.topology.nodes() as u64;
        numbers.filter_map(move |number| Some((NodeId(number), self.node(NodeId(number))?)))
    }

    /// Counts the machines that there have been at a node.
    pub(super) fn lives(self, node: NodeId) -> u64 {
        self.nodes.lives(self.stage, node)
    }

    /// How many closures are at a node.
    pub(super) fn held_at(self, node: NodeId) -> u64 {
        self.node(node).map_or(0, |node| node.ledger().len() as u64)
    }

    /// Both sides hold the same session.
    pub(super) fn in_session(self, one: NodeId, other: NodeId) -> bool {
        self.sides(one, other).is_some()
    }

    /// What `from` has said to `to` in the session that both hold, and `to` has not heard: under way, or still to
    /// be sent again.
    pub(super) fn unheard(self, from: NodeId, to: NodeId) -> impl Iterator<Item = &'a Message> {
        let sides = self.sides(from, to).into_iter();
        sides.flat_map(|(mine, theirs)| {
            let heard = theirs.received();
            let unheard = move |(seq, message)| (seq > heard).then_some(message);
            mine.unacknowledged().filter_map(unheard)
        })
    }

    /// A neighbour has told the node that the job is over, and the node has not heard it.
    pub(super) fn is_about_to_end_its_job(self, node: NodeId) -> bool {
        let topology = &self.stage.topology;
        let children = match self.node(node) {
            Some(Node::Manager(manager)) => manager.children().map(|(child, _)| child).collect(),
            Some(Node::Server(_)) | None => Vec::new(),
        };
        let above = topology.domain_above(node).into_iter();
        let parents = above.flat_map(|above| topology.managers(above));
        let mut neighbours = parents.chain(children);
        neighbours.any(|from| {
            self.unheard(from, node)
                .any(|message| matches!(message, Message::EndJob { .. }))
        })
    }

    /// The node and a manager above it hold the same session.
    pub(super) fn is_with_manager(self, node: NodeId) -> bool {
        let topology = &self.stage.topology;
        let above = topology.domain_above(node).into_iter();
        let mut managers = above.flat_map(|above| topology.managers(above));
        managers.any(|manager| self.in_session(node, manager))
    }

    /// One side of a session.
    pub(super) fn session(self, of: NodeId, with: NodeId) -> Option<SessionView<'a>> {
        self.node(of)?.session(with)
    }

    /// The servers directly inside the domain of a server, itself among them.
    pub(super) fn siblings(self, server: ServerIndex) -> impl Iterator<Item = ServerIndex> {
        let topology = &self.stage.topology;
        let place = topology.place(topology.home(server));
        place.servers.clone().map(ServerIndex)
    }

    fn sides(self, one: NodeId, other: NodeId) -> Option<(SessionView<'a>, SessionView<'a>)> {
        let mine = self.session(one, other)?;
        let theirs = self.session(other, one)?;
        let (here, there) = (mine.epochs(), theirs.epochs());
        ((here.0, here.1) == (there.1, there.0)).then_some((mine, theirs))
    }
}
