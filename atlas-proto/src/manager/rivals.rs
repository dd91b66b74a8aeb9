//! The manager's part in rivals: of what crosses it, what is late at one child goes to a hungry one as well, if there is nothing
//! else to give ([`crate::rival`]).
//!
//! It knows no more of a closure than its lender told; a root is never begun twice.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Manager;
use crate::ids::{JobAlias, NodeId};
use crate::ledger::{Entry, EntryId, LeasesByPeer, Rival, Source, State, Won};
use crate::message::{Load, Message};
use crate::rival::{Budget, LATE_MAX, LOOK_EVERY, course, patience};
use crate::time::Time;

/// What was spent on rivals.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    looked: Time,
    jobs: BTreeMap<JobAlias, Account>,
    forbidden: bool,
}

#[derive(Debug, Default)]
struct Account {
    budget: Budget,
    /// Of the closures whose results have passed.
    work: Duration,
    /// Of the longest of them.
    longest: Duration,
    /// When the first has.
    since: Option<Time>,
}

impl Rivals {
    pub(super) fn note_work(&mut self, now: Time, job: JobAlias, work: Duration) {
        let account = self.jobs.entry(job).or_default();
        account.since.get_or_insert(now);
        account.work = account.work.saturating_add(work);
        account.longest = account.longest.max(work);
    }

    pub(super) fn forget(&mut self, job: JobAlias) {
        self.jobs.remove(&job);
    }

    /// For how long the borrower of a closure of this expected work may be silent, if it may have a rival.
    fn patience(
        &self,
        now: Time,
        job: JobAlias,
        expected: Duration,
        usual: Duration,
    ) -> Option<Duration> {
        let account = self.jobs.get(&job)?;
        let means = (expected, account.work);
        let waits = (usual, account.longest);
        account.budget.patience(now, means, waits)
    }
}

impl Manager {
    /// No closure is lent a second time: to see what rivals are worth.
    pub fn forbid_rivals(&mut self) {
        self.rivals.forbidden = true;
    }

    /// Lends what is late to who is hungry.
    pub(super) fn lend_late(&mut self, now: Time) {
        if self.rivals.forbidden || now < self.rivals.looked + LOOK_EVERY {
            return;
        }
        let children = self.children.values();
        if !children.into_iter().any(|child| child.load.hungry > 0) {
            return;
        }
        self.rivals.looked = now;
        let patience = |id: EntryId, entry: &Entry| self.patience_with(now, id, entry);
        for id in self.ledger.late(now, LATE_MAX, patience) {
            if let Some((thief, hungry)) = self.thief_for(now, id) {
                self.lend_rival(now, (thief, hungry), id);
            }
        }
    }

    fn patience_with(&self, now: Time, id: EntryId, entry: &Entry) -> Option<Duration> {
        let State::Lent { borrower, .. } = entry.state else {
            return None;
        };
        let expected = entry.closure.expected;
        let known = entry.closure.kind.depth > 0 && !expected.is_zero();
        let lent = matches!(entry.source, Source::Peer { .. });
        if !known || !lent || self.ledger.suspicion(id).is_some() {
            return None;
        }
        let usual = self.usual_time(entry, borrower);
        self.rivals.patience(now, entry.job, expected, usual)
    }

    /// How long a closure takes at most, as a rule, if a borrower runs it.
    fn usual_time(&self, entry: &Entry, borrower: NodeId) -> Duration {
        let account = self.rivals.jobs.get(&entry.job);
        let longest = account.map_or(Duration::ZERO, |account| account.longest);
        let round_trip = self.sessions.path(borrower).round_trip();
        patience(entry.closure.expected, longest, round_trip)
    }

    /// Rivals that are late themselves stop, and those that have become too dear.
    pub(super) fn end_rivals_in_vain(&mut self, now: Time) {
        self.charge_lost_rivals(now);
        if !self.ledger.has_rivals() {
            return;
        }
        let round_trip = self.sessions.path(self.config.node).round_trip();
        let takes = |entry: &Entry| course(entry.closure.expected, round_trip);
        let mut in_vain = self.ledger.rivals_in_vain(now, takes);
        for account in self.rivals.jobs.values() {
            in_vain.extend(account.budget.too_dear(now, account.work));
        }
        for id in in_vain {
            let Some(job) = self.ledger.entry(id).map(|entry| entry.job) else {
                continue;
            };
            self.charge_rival(now, job, id, None);
            if let Some(Rival::Peer { borrower, lease }) = self.ledger.drop_rival(id) {
                let aborted = LeasesByPeer::from([(borrower, vec![lease])]);
                self.sessions.abort_leases(now, aborted);
            }
        }
    }

    /// Rivals that are over, since who had them or their closures are gone: they have cost what they took all the same.
    fn charge_lost_rivals(&mut self, now: Time) {
        let mut lost = Vec::new();
        for (&job, account) in &self.rivals.jobs {
            let running = account.budget.running();
            let over = running.filter(|&id| self.ledger.rival(id).is_none());
            lost.extend(over.map(|id| (job, id)));
        }
        for (job, id) in lost {
            self.charge_rival(now, job, id, None);
        }
    }

    /// A rival was not first; it has taken `whole` at most, if that is known.
    fn charge_rival(&mut self, now: Time, job: JobAlias, id: EntryId, whole: Option<Duration>) {
        if let Some(account) = self.rivals.jobs.get_mut(&job)
            && let Some(took) = account.budget.end_second(now, id, whole)
        {
            self.stats.note_wasted(took);
        }
    }

    /// A hungry child that may have it, and how many of its workers are: neither who has it nor who waits for it.
    fn thief_for(&self, now: Time, id: EntryId) -> Option<(NodeId, u32)> {
        let entry = self.ledger.entry(id)?;
        // Another may have been begun since it was found to be late.
        let patience = |id: EntryId, entry: &Entry| self.patience_with(now, id, entry);
        if !self.ledger.is_late(now, id, patience) {
            return None;
        }
        let spec = self.jobs.spec(entry.job)?;
        let involved = |node: NodeId| {
            matches!(entry.state, State::Lent { borrower, .. } if borrower == node)
                || matches!(entry.source, Source::Peer { lender, .. } if lender == node)
        };
        let mut children = self.children.iter();
        let thief = children.find(|(node, child)| {
            child.load.hungry > 0 && child.is_usable() && child.admits(spec) && !involved(**node)
        });
        thief.map(|(&node, child)| (node, child.load.hungry))
    }

    fn lend_rival(&mut self, now: Time, (thief, hungry): (NodeId, u32), id: EntryId) {
        let Some(entry) = self.ledger.entry(id) else {
            return;
        };
        let (local, expected) = (entry.job, entry.closure.expected);
        let Some(job) = self.jobs.header_for(local, thief, false, &mut self.rng) else {
            return;
        };
        let account = self.rivals.jobs.entry(local).or_default();
        let means = (expected, account.work);
        let age = account
            .since
            .map_or(Duration::MAX, |since| now.since(since));
        account.budget.begin(now, id, means, (hungry, age));
        self.sessions.bind(now, thief, true);
        self.stats.rivals_lent += 1;
        self.stats.closures_lent += 1;
        let lease = self.ledger.lend_rival(id, thief, now);
        let entry = self.ledger.entry(id).expect("it was just lent");
        let leased = entry.leased(lease, false);
        self.note_fed(thief, 1);
        let grant = Message::GrantClosures {
            request: None,
            more: false,
            load: Load::default(),
            job,
            closures: vec![leased],
        };
        self.sessions.send(now, thief, grant);
    }

    /// A result has come: whoever else had its closure is to stop.
    pub(super) fn end_rivalry(&mut self, now: Time, won: &Won, work: Duration) {
        if won.by_rival {
            self.stats.rivals_won += 1;
            if let Some(account) = self.rivals.jobs.get_mut(&won.entry.job) {
                account.budget.end_first(won.id);
            }
        } else if won.loser.is_some() {
            self.charge_rival(now, won.entry.job, won.id, Some(work));
        }
        if let Some(Rival::Peer { borrower, lease }) = won.loser {
            let aborted = LeasesByPeer::from([(borrower, vec![lease])]);
            self.sessions.abort_leases(now, aborted);
        }
    }
}
