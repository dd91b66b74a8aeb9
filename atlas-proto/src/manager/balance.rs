//! Who gets work from whom, decided anew after every input.
//!
//! 1. Closures that are at the manager itself (roots of jobs, and what is crossing it) go to hungry children, in
//!    proportion to their hunger; if none is hungry, on to the poorest, or back to where they came from. A root that no
//!    child may run waits here, for a child or for the parent to come for it.
//! 2. A hungry server is told of siblings with surplus, once for each piece of news, and steals from them directly.
//! 3. For a hungry sub-domain, and for a hungry server if only a sub-domain has surplus, the manager asks the child
//!    whose surplus promises most, if that repays the way; before all others one that has no worker of its own for
//!    what it has. One such steal is outstanding for each hungry child.
//! 4. What then is still hungry is told to the parent in the next report (a lifeline: Saraswat et al.,
//!    2011): nobody asks again; surplus is pushed to whoever is registered as soon as it appears.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Manager;
use super::steals::Purpose;
use crate::cost::{work_min, work_min_per_kib, worth_feeding};
use crate::ids::{JobAlias, NodeId};
use crate::ledger::{EntryId, Source};
use crate::limits::HINT_PEERS_MAX;
use crate::message::{Destination, Load, Message, PeerHint, ReturnReason, Share, StealTerms};
use crate::path::Path;
use crate::time::Time;

impl Manager {
    pub(super) fn balance(&mut self, now: Time) {
        if self.ledger.ready_count() > 0 {
            let jobs: Vec<JobAlias> = self.ledger.ready_jobs().collect();
            for job in jobs {
                self.place(now, job);
            }
        }
        if !self.children.values().any(|child| child.load.surplus > 0) {
            return self.lend_late(now);
        }
        let hungry = self
            .children
            .iter()
            .filter(|(_, child)| child.load.hungry > 0 && child.is_usable());
        // Who was told of surplus last comes last: it may be one that asks ahead of need and is refused, while others
        // have nothing at all.
        let mut hungry: Vec<(u64, NodeId)> =
            hungry.map(|(&node, child)| (child.hinted, node)).collect();
        hungry.sort_unstable();
        for (_, node) in hungry {
            if !self.hint(now, node) {
                self.steal_for(now, node);
            }
        }
    }

    /// Closures that were asked for a child go to it, if it is still there.
    pub(super) fn feed(&mut self, now: Time, child: NodeId, entries: &[EntryId]) {
        for (job, entries) in self.by_job(entries) {
            let Some(spec) = self.jobs.spec(job) else {
                continue;
            };
            if self
                .children
                .get(&child)
                .is_some_and(|child| child.is_usable() && child.admits(spec))
            {
                self.note_fed(child, entries.len());
                self.pass_on(now, child, &entries, None, false);
            }
        }
    }

    /// Finds a place for the closures of a job that are at the manager: each goes to the child that then has the
    /// least for its workers.
    fn place(&mut self, now: Time, job: JobAlias) {
        let Some(spec) = self.jobs.spec(job).cloned() else {
            return;
        };
        let fits = self
            .children
            .iter()
            .filter(|(_, child)| child.is_usable() && child.admits(&spec));
        let mut places: BTreeMap<NodeId, Place> = fits
            .map(|(&node, child)| (node, Place::of(child)))
            .collect();
        let mut undone = Vec::new();
        let entries: Vec<EntryId> = self.ledger.ready(job).collect();
        for id in entries {
            let Some(entry) = self.ledger.entry(id) else {
                continue;
            };
            let lender = match entry.source {
                Source::Peer { lender, .. } => Some(lender),
                Source::Root | Source::Engine { .. } | Source::Orphan { .. } => None,
            };
            // What a child gave goes back to it when nobody else is hungry any more.
            let from_child = lender.is_some_and(|lender| self.children.contains_key(&lender));
            let fits = |node: &NodeId, place: &Place| {
                Some(*node) != lender && (place.hungry > 0 || !from_child)
            };
            let candidates = places.iter_mut().filter(|(node, place)| fits(node, place));
            // Where an engine has died with it, it goes only if there is no other place: it may have been the machine's fault.
            let avoid = self.ledger.killed_at(id);
            match candidates.min_by_key(|(node, place)| (Some(**node) == avoid, place.wealth())) {
                Some((_, place)) => place.take(id, entry.closure.expected),
                None if lender.is_some() => undone.push(id),
                // A root waits.
                None => {}
            }
        }
        for (node, place) in places {
            if !place.given.is_empty() {
                self.note_fed(node, place.given.len());
                self.lend(now, node, &place.given, None, false);
            }
        }
        let returned = self.ledger.undo(&undone);
        self.sessions.give_back(now, returned, ReturnReason::NoRoom);
    }

    /// Until it reports, a child is thought to be as much less hungry as it was given closures.
    pub(super) fn note_fed(&mut self, node: NodeId, closures: usize) {
        if let Some(child) = self.children.get_mut(&node) {
            let fed = u32::try_from(closures).unwrap_or(u32::MAX);
            child.load.hungry = child.load.hungry.saturating_sub(fed);
        }
    }

    /// Tells a hungry server of siblings with surplus, if there is news for it.
    fn hint(&mut self, now: Time, thief: NodeId) -> bool {
        let Some(child) = self.children.get(&thief).filter(|child| child.is_server()) else {
            return false;
        };
        let hinted = child.hinted;
        let rich = self
            .children
            .iter()
            .filter(|(node, child)| **node != thief && child.is_server() && child.has_surplus());
        let mut peers: Vec<(PeerHint, u64)> = rich
            .map(|(&peer, child)| {
                (
                    PeerHint {
                        peer,
                        epoch: child.epoch,
                        surplus: child.load.surplus,
                    },
                    child.stamp,
                )
            })
            .collect();
        if peers.iter().all(|(_, stamp)| *stamp <= hinted) {
            return false;
        }
        peers.sort_by_key(|(hint, _)| u32::MAX - hint.surplus);
        let peers: Vec<PeerHint> = peers
            .into_iter()
            .map(|(hint, _)| hint)
            .take(HINT_PEERS_MAX)
            .collect();
        // The next thief is sent elsewhere when this one has taken what there is.
        if let Some(richest) = peers
            .first()
            .and_then(|hint| self.children.get_mut(&hint.peer))
        {
            richest.load.surplus -= 1;
        }
        if let Some(child) = self.children.get_mut(&thief) {
            child.hinted = self.surplus_stamp;
            child.load.hungry = 0;
        }
        self.sessions.send(now, thief, Message::HintPeers { peers });
        true
    }

    /// Asks the child whose surplus promises most on behalf of a hungry one.
    fn steal_for(&mut self, now: Time, thief: NodeId) {
        let Some(child) = self
            .children
            .get(&thief)
            .filter(|child| child.asking.is_none())
        else {
            return;
        };
        let reach = Path {
            latency: child.load.reach,
            bytes_per_s: u64::MAX,
        };
        let to_thief = self.sessions.path(thief).then(reach);
        let mut best: Option<((bool, Duration), NodeId, StealTerms)> = None;
        for (&victim, other) in &self.children {
            let direct = other.is_server() && child.is_server();
            let refused = child
                .refused_by
                .get(&victim)
                .is_some_and(|refused| refused.is_none_or(|version| version == other.load.version));
            if victim == thief || direct || refused || !other.is_rich() {
                continue;
            }
            let way = self.sessions.path(victim).then(to_thief);
            let Load {
                surplus,
                surplus_work: work,
                workers,
                ..
            } = other.load;
            let fed = worth_feeding(way, work, workers, child.load.hungry);
            // Where nobody works, each closure waits for a worker.
            let stranded = other.is_stranded();
            let rest = if stranded {
                surplus.saturating_sub(fed)
            } else {
                workers
            };
            let share = Share::of(fed, rest);
            let gain = (stranded, share.of_work(work));
            if fed > 0 && best.as_ref().is_none_or(|(most, ..)| gain > *most) {
                let terms = StealTerms {
                    share,
                    idle: true,
                    work_min: work_min(way).saturating_mul(fed),
                    work_min_per_kib: work_min_per_kib(way),
                    destination: Some(self.destination_of(thief)),
                };
                best = Some((gain, victim, terms));
            }
        }
        if let Some((_, victim, terms)) = best {
            let request = self.ask(now, victim, terms, Purpose::Feed(thief));
            if let Some(child) = self.children.get_mut(&thief) {
                child.asking = Some(request);
            }
        }
    }

    /// Where closures for a child go: its own domain, or this one.
    fn destination_of(&self, child: NodeId) -> Destination {
        let own = self
            .children
            .get(&child)
            .and_then(super::Child::destination);
        own.cloned().unwrap_or_else(|| Destination {
            domain: self.config.domain.clone(),
            inflow: self.config.policy.inflow().to_vec(),
        })
    }
}

/// A child that closures are being given to.
#[derive(Debug)]
struct Place {
    workers: u32,
    hungry: u32,
    /// The work that it will have, as far as is known.
    work: Duration,
    given: Vec<EntryId>,
}

impl Place {
    fn of(child: &super::Child) -> Self {
        let Load {
            workers,
            hungry,
            surplus_work,
            ..
        } = child.load;
        Self {
            workers,
            hungry,
            work: surplus_work,
            given: Vec::new(),
        }
    }

    /// Who has less comes first: in work for each worker, then by how many are idle.
    fn wealth(&self) -> (Duration, u32) {
        let fed = u32::try_from(self.given.len()).unwrap_or(u32::MAX);
        let idle = self.hungry.saturating_sub(fed);
        (self.work / self.workers.max(1), u32::MAX - idle)
    }

    fn take(&mut self, id: EntryId, expected: Duration) {
        self.work = self.work.saturating_add(expected.max(EXPECTED_MIN));
        self.given.push(id);
    }
}

/// Closures of which nothing is known are spread evenly by counting each as this much work.
const EXPECTED_MIN: Duration = Duration::from_micros(1);
