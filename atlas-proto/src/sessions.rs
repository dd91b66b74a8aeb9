//! All sessions of a node, and what it has to send.
//!
//! A packet belongs to a session by the epochs of both sides. Between a child and its manager both are the
//! child's membership; between siblings each has its own, and a sibling with a later epoch than
//! the known one has joined anew: the session with its former self is over. A packet of a session that is over
//! is dropped, and the results in it are counted.

use std::collections::VecDeque;

use crate::ids::{Epoch, LeaseId, NodeId};
use crate::ledger::LeasesByPeer;
use crate::limits::{Bound, LEASES_PER_MESSAGE_MAX, PATHS_MAX, SESSIONS_MAX};
use crate::link::{Link, LinkTimes};
use crate::message::{Message, Packet, ReturnReason};
use crate::path::Path;
use crate::sorted::SortedMap;
use crate::stats::Stats;
use crate::suspicion::Suspicion;
use crate::time::Time;
use crate::uplink::{LOST_AFTER, SUSPECT_AFTER};
use crate::watch::{Pace, Side, Vigil, Watch};

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
    /// How many of the open ones are watched closely.
    close: usize,
    vigil: Vigil,
}

#[derive(Debug)]
struct Session {
    /// The link's own, asked of all links after every input: so they are kept beside each other, apart from what is
    /// only looked at when a link has something to do.
    times: LinkTimes,
    /// Of a child with its manager; siblings hear of losses from the manager.
    watch: Option<Watch>,
    link: Box<Link>,
}

/// When a neighbour was, and will be, silent for too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    pub(crate) last_sent: Time,
    /// From then on it gets no new work.
    pub(crate) suspect_at: Time,
    /// Then it is given up.
    pub(crate) lost_at: Time,
}

impl Sessions {
    /// Begins a session; an earlier one with the same neighbour must have been closed.
    pub(crate) fn open(&mut self, now: Time, peer: NodeId, mine: Epoch, theirs: Epoch) {
        let path = self.path(peer);
        let link = Box::new(Link::new(mine, theirs, path, now));
        let times = link.times();
        let session = Session {
            times,
            watch: None,
            link,
        };
        let before = self.open.insert(peer, session);
        debug_assert!(before.is_none(), "a session with {peer} is open");
    }

    /// From now on it is noticed when the neighbour falls silent.
    pub(crate) fn watch(&mut self, now: Time, peer: NodeId, side: Side) {
        if let Some(session) = self.open.get_mut(&peer) {
            session.watch = Some(Watch::new(now, side));
        }
    }

    /// When this node looked up last.
    pub(crate) fn looked(&self) -> Time {
        self.vigil.looked()
    }

    /// By what this node knows, leases bind it to a neighbour that it watches, or do not.
    pub(crate) fn bind(&mut self, now: Time, peer: NodeId, bound: bool) {
        let watch = |session: &Session| session.watch.is_some_and(|it| it.is_bound() != bound);
        if self.open.get(&peer).is_some_and(watch) {
            self.change_watch(peer, |watch| watch.bind(now, bound));
        }
    }

    /// By what this node knew last, leases bind it to the neighbour.
    pub(crate) fn is_bound(&self, peer: NodeId) -> bool {
        let watch = self.open.get(&peer).and_then(|session| session.watch);
        watch.is_some_and(|watch| watch.is_bound())
    }

    /// This node looks up: before all that it does. Nobody is to blame for what it did not hear while it slept.
    pub(crate) fn look(&mut self, now: Time) {
        if let Some(slept) = self.vigil.look(now, self.close > 0) {
            let watches = self.open.iter_mut().map(|(_, session)| &mut session.watch);
            for watch in watches.flatten() {
                watch.excuse(now, slept);
            }
        }
    }

    /// How silent a neighbour that is watched may be.
    pub(crate) fn silence(&self, peer: NodeId) -> Option<Silence> {
        let session = self.open.get(&peer)?;
        let times = session.times;
        let round_trip = self.path(peer).round_trip();
        let (suspect_at, lost_at) = match session.watch {
            Some(watch) => (watch.suspect_at(round_trip), watch.lost_at(round_trip)),
            None => (
                times.last_heard + SUSPECT_AFTER,
                times.last_heard + LOST_AFTER,
            ),
        };
        Some(Silence {
            last_sent: times.last_sent,
            suspect_at,
            lost_at,
        })
    }

    /// Ends a session. What was not sent or acknowledged is lost.
    pub(crate) fn close(&mut self, peer: NodeId) {
        if let Some(session) = self.open.remove(&peer) {
            self.close -= usize::from(session.is_close());
        }
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

    /// Tells a peer that engines have died with the closures of these leases, which this node has lent or gives back.
    pub(crate) fn warn_of(
        &mut self,
        now: Time,
        peer: NodeId,
        suspects: Vec<(Suspicion, Vec<LeaseId>)>,
        returned: bool,
    ) {
        for (suspicion, leases) in suspects {
            self.send_leases(now, peer, &leases, |leases| Message::SuspectLeases {
                leases,
                suspicion,
                returned,
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
    /// A packet of another session delivers nothing. What is dropped is counted.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        peer: NodeId,
        packet: Packet,
        stats: &mut Stats,
    ) -> Vec<Message> {
        let mut delivered = Vec::new();
        let session = self.open.get_mut(&peer).filter(|session| {
            (packet.from, packet.to) == (session.link.theirs(), session.link.mine())
        });
        let Some(session) = session else {
            stats.note_stale(&packet.message);
            return delivered;
        };
        let link = &mut session.link;
        let doubled = link.receive(now, packet, &mut delivered, &mut self.scratch);
        stats.packets_doubled += u64::from(doubled);
        session.settle();
        let heard = session.times.last_heard == now;
        if let Some(watch) = session.watch.as_mut().filter(|_| heard) {
            watch.note_heard(now);
        }
        self.flush(peer);
        self.answer_pace(now, peer, &mut delivered);
        delivered
    }

    /// What is for the watch alone is taken out of what was delivered.
    fn answer_pace(&mut self, now: Time, peer: NodeId, delivered: &mut Vec<Message>) {
        let Some(&Message::KeepPace { bound, answer }) = delivered.first() else {
            return;
        };
        delivered.remove(0);
        let mut reply = None;
        let pace = Pace { bound, answer };
        self.change_watch(peer, |watch| reply = watch.note_pace(now, pace));
        if let Some(pace) = reply {
            self.send(now, peer, pace.into());
        }
    }

    fn change_watch(&mut self, peer: NodeId, change: impl FnOnce(&mut Watch)) {
        if let Some(session) = self.open.get_mut(&peer)
            && let Some(watch) = &mut session.watch
        {
            let before = watch.is_close();
            change(watch);
            self.close -= usize::from(before);
            self.close += usize::from(watch.is_close());
            session.settle();
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        for (&to, session) in self.open.iter_mut() {
            if session.times.due.is_some_and(|at| at <= now) {
                session.link.handle_timeout(now, &mut self.scratch);
                session.speak(now, &mut self.scratch);
                session.settle();
                let packets = self.scratch.drain(..);
                self.outbox
                    .extend(packets.map(|packet| Transmit { to, packet }));
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let due = self.open.values().filter_map(|session| session.times.due);
        let vigil = (self.close > 0).then(|| self.vigil.due());
        due.chain(vigil).min()
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
    /// After every change of the link or the watch: its times are noted.
    fn settle(&mut self) {
        self.times = self.link.times();
        let speak_at = |watch: &Watch| watch.speak_at(self.times.last_sent);
        let speak_at = self.watch.as_ref().and_then(speak_at);
        self.times.due = self.times.due.into_iter().chain(speak_at).min();
    }

    fn is_close(&self) -> bool {
        self.watch.is_some_and(|watch| watch.is_close())
    }

    /// Says what the watch wants said.
    fn speak(&mut self, now: Time, out: &mut Vec<Packet>) {
        let last_sent = self.link.times().last_sent;
        let pace = self
            .watch
            .as_mut()
            .and_then(|watch| watch.speak(now, last_sent));
        if let Some(pace) = pace {
            let sent = self.link.send(now, pace.into(), out);
            debug_assert!(sent.is_ok(), "what is not sequenced does not pile up");
        }
    }
}

impl From<Pace> for Message {
    fn from(Pace { bound, answer }: Pace) -> Self {
        Self::KeepPace { bound, answer }
    }
}
