//! The server as a thief: whom it asks for work, and when.
//!
//! It asks the richer of two siblings picked at random among those that its manager has named, one at a time
//! (Mitzenmacher, 2001: two choices are almost as good as knowing all). When the names are used up it tells its
//! manager again that it is hungry, and waits: the manager names others as soon as there are any.

use super::{Server, Steal};
use crate::cost::{work_min, work_min_per_kib};
use crate::ids::{Epoch, NodeId, RequestId};
use crate::limits::{HINT_PEERS_MAX, SESSIONS_MAX};
use crate::message::{Message, PeerHint, Share, StealTerms};
use crate::time::Time;

/// Siblings that may have surplus.
#[derive(Debug, Default)]
pub(super) struct Hints(Vec<PeerHint>);

impl Hints {
    /// `others`: this node and its manager, who are no siblings.
    fn set(&mut self, mut peers: Vec<PeerHint>, others: [NodeId; 2]) {
        let sound = |hint: &PeerHint| hint.epoch != Epoch::NONE && hint.surplus > 0;
        peers.retain(|hint| sound(hint) && !others.contains(&hint.peer));
        peers.truncate(HINT_PEERS_MAX);
        self.0 = peers;
    }

    /// What `peer` has left, by its own word.
    fn update(&mut self, peer: NodeId, left: u32) {
        if left == 0 {
            self.forget(peer);
        } else if let Some(hint) = self.0.iter_mut().find(|hint| hint.peer == peer) {
            hint.surplus = left;
        }
    }

    pub(super) fn forget(&mut self, peer: NodeId) {
        self.0.retain(|hint| hint.peer != peer);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Server {
    pub(super) fn handle_hint_peers(&mut self, peers: Vec<PeerHint>) {
        self.hints
            .set(peers, [self.config.node, self.config.manager]);
        self.reporter.note_fed(usize::MAX);
    }

    pub(super) fn handle_end_steal(&mut self, from: NodeId, request: RequestId) {
        if self.is_outstanding(from, request) {
            self.steal = None;
            self.hints.forget(from);
        }
    }

    /// A grant has come: it ends the steal that it answers, unless more follows.
    pub(super) fn note_answer(
        &mut self,
        from: NodeId,
        request: Option<RequestId>,
        more: bool,
        left: u32,
    ) {
        self.hints.update(from, left);
        if !more && request.is_some_and(|request| self.is_outstanding(from, request)) {
            self.steal = None;
        }
    }

    /// Asks for work if there is reason to and somebody to ask.
    pub(super) fn seek(&mut self, now: Time) {
        if self.steal.is_some() || self.hints.is_empty() || self.backoff.is_on() {
            return;
        }
        let (idle, ready) = (self.idle_workers(), self.ready_closures());
        let wanted = self.config.workers.saturating_sub(ready);
        if wanted == 0 || (idle == 0 && (ready > 0 || !self.works_ahead())) {
            return;
        }
        let Some((victim, epoch)) = self.choose_victim() else {
            return;
        };
        if !self.sessions.is_open(victim) {
            let Some(mine) = self.uplink.epoch() else {
                return;
            };
            self.sessions.open(now, victim, mine, epoch);
        }
        let path = self.sessions.path(victim);
        let terms = StealTerms {
            share: Share::of(wanted.min(idle.max(1)), self.config.workers),
            idle: idle > 0,
            work_min: work_min(path),
            work_min_per_kib: work_min_per_kib(path),
            destination: None,
        };
        let request = RequestId(self.next_request());
        self.steal = Some(Steal { victim, request });
        self.stats.steals_asked += 1;
        self.sessions
            .send(now, victim, Message::RequestSteal { request, terms });
    }

    pub(super) fn is_outstanding(&self, victim: NodeId, request: RequestId) -> bool {
        self.steal
            .is_some_and(|steal| steal.victim == victim && steal.request == request)
    }

    /// With nothing ready, what runs may be the last: the next is asked for ahead of need, if closures are so small
    /// that a steal's round trip beside them counts.
    pub(super) fn works_ahead(&self) -> bool {
        let round_trip = self.sessions.path(self.uplink.manager()).round_trip();
        let smallest = self
            .jobs
            .values()
            .filter_map(|job| job.model.smallest())
            .min();
        smallest.is_none_or(|smallest| smallest < round_trip * AHEAD_ROUND_TRIPS)
    }

    /// Work is on its way, or there is somebody to ask for it.
    pub(super) fn is_served(&self) -> bool {
        self.steal.is_some() || !self.hints.is_empty()
    }

    /// The richer of two hinted siblings picked at random.
    fn choose_victim(&mut self) -> Option<(NodeId, Epoch)> {
        while !self.hints.is_empty() {
            let count = self.hints.0.len();
            let first = self.hints.0[self.rng.below(count)];
            let second = self.hints.0[self.rng.below(count)];
            let chosen = if second.surplus > first.surplus {
                second
            } else {
                first
            };
            let link = self.sessions.link(chosen.peer);
            let stale = link.is_some_and(|link| link.theirs() != chosen.epoch);
            let over = self
                .forgotten
                .get(&chosen.peer)
                .is_some_and(|&epoch| chosen.epoch <= epoch);
            let full = link.is_none() && self.sessions.len() >= SESSIONS_MAX;
            if !stale && !over && !full {
                return Some((chosen.peer, chosen.epoch));
            }
            self.hints.forget(chosen.peer);
        }
        None
    }
}

/// Beside a closure of so many round trips, waiting for one is lost in the noise.
const AHEAD_ROUND_TRIPS: u32 = 50;
