//! All sessions of a node, and what it has to send.
//!
//! A packet belongs to a session by the epochs of both sides. Between a child and its manager both are the
//! child's membership; between siblings each has its own, and a sibling with a later epoch than
//! the known one has joined anew: the session with its former self is over. A packet of a session that is over
//! is dropped.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{Epoch, NodeId};
use crate::limits::{Bound, PATHS_MAX};
use crate::link::Link;
use crate::message::{Message, Packet};
use crate::path::Path;
use crate::time::Time;

/// A packet for the driver to carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: NodeId,
    /// What.
    pub packet: Packet,
}

/// The sessions of one node, by neighbour.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    links: BTreeMap<NodeId, Link>,
    paths: BTreeMap<NodeId, Path>,
    outbox: VecDeque<Transmit>,
    overflowed: Vec<NodeId>,
    scratch: Vec<Packet>,
}

impl Sessions {
    /// Begins a session; an earlier one with the same neighbour must have been closed.
    pub(crate) fn open(&mut self, now: Time, peer: NodeId, mine: Epoch, theirs: Epoch) {
        let path = self.path(peer);
        let before = self.links.insert(peer, Link::new(mine, theirs, path, now));
        debug_assert!(before.is_none(), "a session with {peer} is open");
    }

    /// Ends a session. What was not sent or acknowledged is lost.
    pub(crate) fn close(&mut self, peer: NodeId) {
        self.links.remove(&peer);
        self.overflowed.retain(|&overflowed| overflowed != peer);
    }

    pub(crate) fn link(&self, peer: NodeId) -> Option<&Link> {
        self.links.get(&peer)
    }

    pub(crate) fn is_open(&self, peer: NodeId) -> bool {
        self.links.contains_key(&peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// What the sessions make this node hold.
    pub(crate) fn bounds(&self) -> Vec<Bound> {
        let mut bounds = vec![Bound::new("paths", self.paths.len(), PATHS_MAX)];
        bounds.extend(self.links.values().flat_map(Link::bounds));
        bounds
    }

    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.links.keys().copied().collect()
    }

    pub(crate) fn path(&self, peer: NodeId) -> Path {
        self.paths.get(&peer).copied().unwrap_or(Path::ASSUMED)
    }

    pub(crate) fn set_path(&mut self, peer: NodeId, path: Path) {
        let path = path.bounded();
        if self.paths.len() >= PATHS_MAX && !self.paths.contains_key(&peer) {
            let links = &self.links;
            self.paths.retain(|peer, _| links.contains_key(peer));
        }
        if self.paths.len() < PATHS_MAX || self.paths.contains_key(&peer) {
            self.paths.insert(peer, path);
        }
        if let Some(link) = self.links.get_mut(&peer) {
            link.set_path(path);
        }
    }

    /// Sends in the session with `peer`. Without one there is nobody to tell, and nothing is done.
    pub(crate) fn send(&mut self, now: Time, peer: NodeId, message: Message) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if link.send(now, message, &mut self.scratch).is_err() && !self.overflowed.contains(&peer) {
            self.overflowed.push(peer);
        }
        self.flush(peer);
    }

    /// Sends a message that makes or ends a session.
    pub(crate) fn send_sessionless(&mut self, to: NodeId, epoch: Epoch, message: Message) {
        debug_assert!(message.is_sessionless());
        self.outbox.push_back(Transmit {
            to,
            packet: Packet {
                from: epoch,
                to: epoch,
                seq: 0,
                ack: 0,
                message,
            },
        });
    }

    /// Takes in a packet of the open session with `peer`, and gives what it delivers.
    /// A packet of another session delivers nothing.
    pub(crate) fn receive(&mut self, now: Time, peer: NodeId, packet: Packet) -> Vec<Message> {
        let mut delivered = Vec::new();
        if let Some(link) = self.links.get_mut(&peer)
            && (packet.from, packet.to) == (link.theirs(), link.mine())
        {
            link.receive(now, packet, &mut delivered, &mut self.scratch);
            self.flush(peer);
        }
        delivered
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        let due = |link: &Link| link.poll_timeout().is_some_and(|at| at <= now);
        let peers: Vec<NodeId> = self
            .links
            .iter()
            .filter(|(_, link)| due(link))
            .map(|(&peer, _)| peer)
            .collect();
        for peer in peers {
            if let Some(link) = self.links.get_mut(&peer) {
                link.handle_timeout(now, &mut self.scratch);
            }
            self.flush(peer);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.links.values().filter_map(Link::poll_timeout).min()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// A neighbour that lets messages pile up: its session must end.
    pub(crate) fn poll_overflow(&mut self) -> Option<NodeId> {
        self.overflowed.pop()
    }

    fn flush(&mut self, to: NodeId) {
        self.outbox
            .extend(self.scratch.drain(..).map(|packet| Transmit { to, packet }));
    }
}
