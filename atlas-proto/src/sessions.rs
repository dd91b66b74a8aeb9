//! All sessions of a node, and what it has to send.
//!
//! A packet belongs to a session by the epochs of both sides. Between a child and its manager both are the
//! child's membership; between siblings each has its own, and a sibling with a later epoch than
//! the known one has joined anew: the session with its former self is over. A packet of a session that is over
//! is dropped.

use std::collections::VecDeque;

use crate::ids::{Epoch, LeaseId, NodeId};
use crate::ledger::LeasesByPeer;
use crate::limits::{Bound, LEASES_PER_MESSAGE_MAX, PATHS_MAX, SESSIONS_MAX};
use crate::link::{Link, LinkTimes};
use crate::message::{Message, Packet, ReturnReason};
use crate::path::Path;
use crate::sorted::SortedMap;
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
    open: SortedMap<NodeId, Session>,
    paths: SortedMap<NodeId, Path>,
    outbox: VecDeque<Transmit>,
    overflowed: Vec<NodeId>,
    scratch: Vec<Packet>,
}

#[derive(Debug)]
struct Session {
    /// The link's own, asked of all links after every input: so they are kept beside each other, apart from what is
    /// only looked at when a link has something to do.
    times: LinkTimes,
    link: Box<Link>,
}

impl Sessions {
    /// Begins a session; an earlier one with the same neighbour must have been closed.
    pub(crate) fn open(&mut self, now: Time, peer: NodeId, mine: Epoch, theirs: Epoch) {
        let path = self.path(peer);
        let link = Box::new(Link::new(mine, theirs, path, now));
        let times = link.times();
        let before = self.open.insert(peer, Session { times, link });
        debug_assert!(before.is_none(), "a session with {peer} is open");
    }

    /// Ends a session. What was not sent or acknowledged is lost.
    pub(crate) fn close(&mut self, peer: NodeId) {
        self.open.remove(&peer);
        self.overflowed.retain(|&overflowed| overflowed != peer);
    }

    pub(crate) fn link(&self, peer: NodeId) -> Option<&Link> {
        self.open.get(&peer).map(|session| &*session.link)
    }

    pub(crate) fn times(&self, peer: NodeId) -> Option<LinkTimes> {
        self.open.get(&peer).map(|session| session.times)
    }

    pub(crate) fn is_open(&self, peer: NodeId) -> bool {
        self.open.contains_key(&peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// What the sessions make this node hold.
    pub(crate) fn bounds(&self) -> Vec<Bound> {
        let mut bounds = vec![
            Bound::new("sessions", self.open.len(), SESSIONS_MAX),
            Bound::new("paths", self.paths.len(), PATHS_MAX),
        ];
        bounds.extend(self.open.values().flat_map(|session| session.link.bounds()));
        bounds
    }

    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.open.keys().copied().collect()
    }

    pub(crate) fn path(&self, peer: NodeId) -> Path {
        self.paths.get(&peer).copied().unwrap_or(Path::ASSUMED)
    }

    pub(crate) fn set_path(&mut self, peer: NodeId, path: Path) {
        let path = path.bounded();
        if self.paths.len() >= PATHS_MAX && !self.paths.contains_key(&peer) {
            let open = &self.open;
            self.paths.retain(|peer, _| open.contains_key(peer));
        }
        if self.paths.len() < PATHS_MAX || self.paths.contains_key(&peer) {
            self.paths.insert(peer, path);
        }
        if let Some(session) = self.open.get_mut(&peer) {
            session.link.set_path(path);
        }
    }

    /// Sends in the session with `peer`. Without one there is nobody to tell, and nothing is done.
    pub(crate) fn send(&mut self, now: Time, peer: NodeId, message: Message) {
        let Some(session) = self.open.get_mut(&peer) else {
            return;
        };
        let sent = session.link.send(now, message, &mut self.scratch);
        if sent.is_err() && !self.overflowed.contains(&peer) {
            self.overflowed.push(peer);
        }
        session.settle();
        self.flush(peer);
    }

    /// Gives the closures of these leases back to their lenders.
    pub(crate) fn give_back(
        &mut self,
        now: Time,
        returned: impl IntoIterator<Item = (NodeId, Vec<LeaseId>)>,
        reason: ReturnReason,
    ) {
        for (lender, leases) in returned {
            let message = |leases| Message::ReturnClosures { leases, reason };
            self.send_leases(now, lender, &leases, message);
        }
    }

    /// Tells the borrowers that nobody wants the results of these leases.
    pub(crate) fn abort_leases(&mut self, now: Time, aborted: LeasesByPeer) {
        for (borrower, leases) in aborted {
            self.send_leases(now, borrower, &leases, |leases| Message::AbortLeases {
                leases,
            });
        }
    }

    /// Names leases in as many messages as that takes.
    fn send_leases(
        &mut self,
        now: Time,
        peer: NodeId,
        leases: &[LeaseId],
        message: impl Fn(Vec<LeaseId>) -> Message,
    ) {
        for leases in leases.chunks(LEASES_PER_MESSAGE_MAX) {
            self.send(now, peer, message(leases.to_vec()));
        }
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
        if let Some(session) = self.open.get_mut(&peer)
            && (packet.from, packet.to) == (session.link.theirs(), session.link.mine())
        {
            let link = &mut session.link;
            link.receive(now, packet, &mut delivered, &mut self.scratch);
            session.settle();
            self.flush(peer);
        }
        delivered
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        for (&to, session) in self.open.iter_mut() {
            if session.times.due.is_some_and(|at| at <= now) {
                session.link.handle_timeout(now, &mut self.scratch);
                session.settle();
                let packets = self.scratch.drain(..);
                self.outbox
                    .extend(packets.map(|packet| Transmit { to, packet }));
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.open
            .values()
            .filter_map(|session| session.times.due)
            .min()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// A neighbour that lets messages pile up: its session must end.
    pub(crate) fn poll_overflow(&mut self) -> Option<NodeId> {
        self.overflowed.pop()
    }

    /// What the link with `to` has to send goes out.
    fn flush(&mut self, to: NodeId) {
        let packets = self.scratch.drain(..);
        self.outbox
            .extend(packets.map(|packet| Transmit { to, packet }));
    }
}

impl Session {
    /// After every change of the link: its times are noted.
    fn settle(&mut self) {
        self.times = self.link.times();
    }
}
