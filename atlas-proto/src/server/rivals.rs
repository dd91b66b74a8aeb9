//! The server's part in rivals: closures that it has lent and that are late are begun again, by its own idle workers or by a
//! thief, if there is nothing else to do ([`crate::rival`]).

use std::time::Duration;

use super::{Phase, Server};
use crate::cost::repays;
use crate::engine::EngineCommand;
use crate::ids::{JobAlias, NodeId, RequestId, Ticket};
use crate::job::ClosureKind;
use crate::ledger::{Entry, EntryId, LeasesByPeer, Rival, Source, State, Won};
use crate::limits::KINDS_MAX;
use crate::message::{JobHeader, Message, StealTerms};
use crate::rival::{HISTORY_MIN, LATE_MAX, LOOK_EVERY, course, patience};
use crate::time::Time;

/// What is late.
#[derive(Debug, Default)]
pub(super) struct Late {
    entries: Vec<EntryId>,
    looked: Time,
    /// Since when a worker has had nothing to do, and nobody to ask for more.
    idle_since: Option<Time>,
    forbidden: bool,
}

impl Server {
    /// No closure is begun a second time: to see what rivals are worth.
    pub fn forbid_rivals(&mut self) {
        self.late.forbidden = true;
    }

    /// Looks for late closures now and then, as long as there is nothing else to do.
    pub(super) fn look_for_late(&mut self, now: Time) {
        self.end_rivals_in_vain(now);
        let other_work = self.phase != Phase::Serving || self.ready_closures() > 0;
        if other_work || self.late.forbidden {
            self.late.entries.clear();
            self.late.idle_since = None;
            return;
        }
        // What waits at the borrower can be stolen back at no cost, and begun once.
        let idle = self.idle_workers() > 0 && !self.is_served();
        let since = idle.then(|| self.late.idle_since.unwrap_or(now));
        self.late.idle_since = since;
        let ledger = &self.ledger;
        self.late.entries.retain(|&id| ledger.is_lent_once(id));
        if now < self.late.looked + LOOK_EVERY {
            return;
        }
        self.late.looked = now;
        let patience = |id: EntryId, entry: &Entry| self.patience_with(now, id, entry);
        self.late.entries = self.ledger.late(now, LATE_MAX, patience);
    }

    /// How long the borrower of a closure that is lent may be silent, if it may have a rival.
    fn patience_with(&self, now: Time, id: EntryId, entry: &Entry) -> Option<Duration> {
        let State::Lent { borrower, .. } = entry.state else {
            return None;
        };
        // Nobody waits for an orphan; a root prints, and leaves files.
        let wanted = !matches!(entry.source, Source::Orphan { .. } | Source::Root);
        if !wanted || entry.closure.kind.depth == 0 || self.ledger.suspicion(id).is_some() {
            return None;
        }
        let means = self.means_of(entry)?;
        let usual = self.usual_time(entry, borrower);
        let state = self.jobs.get(&entry.job)?;
        let longest = state.longest.get(&entry.closure.kind).copied();
        let waits = (usual, longest.unwrap_or_default());
        state.rivals.patience(now, means, waits)
    }

    /// How long a closure takes at most, as a rule, if a borrower runs it.
    fn usual_time(&self, entry: &Entry, borrower: NodeId) -> Duration {
        let (job, kind) = (self.jobs.get(&entry.job), entry.closure.kind);
        let expected = job.map(|state| state.model.expected(kind));
        let longest = job.and_then(|state| state.longest.get(&kind)).copied();
        let round_trip = self.sessions.path(borrower).round_trip();
        patience(
            expected.unwrap_or_default(),
            longest.unwrap_or_default(),
            round_trip,
        )
    }

    /// Rivals that are late themselves stop, and those that have become too dear.
    fn end_rivals_in_vain(&mut self, now: Time) {
        self.charge_lost_rivals(now);
        if !self.ledger.has_rivals() {
            return;
        }
        let round_trip = self.sessions.path(self.uplink.manager()).round_trip();
        let takes = |entry: &Entry| {
            let job = self.jobs.get(&entry.job);
            let expected = job.map(|state| state.model.expected(entry.closure.kind));
            course(expected.unwrap_or_default(), round_trip)
        };
        let mut in_vain = self.ledger.rivals_in_vain(now, takes);
        for state in self.jobs.values() {
            let work = state.model.seen_at_least();
            in_vain.extend(state.rivals.too_dear(now, work));
        }
        for id in in_vain {
            let Some(entry) = self.ledger.entry(id) else {
                continue;
            };
            let job = entry.job;
            let rival = self.ledger.drop_rival(id);
            self.charge_rival(now, job, id, None);
            self.stop_rival(now, job, id, rival);
        }
    }

    /// Rivals that are over, since who had them or their closures are gone: they have cost what they took all the same.
    fn charge_lost_rivals(&mut self, now: Time) {
        let mut lost = Vec::new();
        for (&job, state) in self.jobs.iter() {
            let running = state.rivals.running();
            let over = running.filter(|&id| self.ledger.rival(id).is_none());
            lost.extend(over.map(|id| (job, id)));
        }
        for (job, id) in lost {
            self.charge_rival(now, job, id, None);
        }
    }

    /// A rival was not first; it has taken `whole` at most, if that is known.
    fn charge_rival(&mut self, now: Time, job: JobAlias, id: EntryId, whole: Option<Duration>) {
        if let Some(state) = self.jobs.get_mut(&job)
            && let Some(took) = state.rivals.end_second(now, id, whole)
        {
            self.stats.note_wasted(took);
        }
    }

    fn stop_rival(&mut self, now: Time, job: JobAlias, id: EntryId, rival: Option<Rival>) {
        match rival {
            None => {}
            Some(Rival::Here) => {
                let ticket = Ticket(id.0);
                self.commands
                    .push_back(EngineCommand::Abort { job, ticket });
            }
            Some(Rival::Peer { borrower, lease }) => {
                let aborted = LeasesByPeer::from([(borrower, vec![lease])]);
                self.sessions.abort_leases(now, aborted);
            }
        }
    }

    /// A closure of this kind took so much work.
    pub(super) fn note_took(&mut self, job: JobAlias, kind: ClosureKind, work: Duration) {
        if let Some(state) = self.jobs.get_mut(&job)
            && (state.longest.len() < KINDS_MAX || state.longest.contains_key(&kind))
        {
            let longest = state.longest.entry(kind).or_default();
            *longest = work.max(*longest);
        }
    }

    /// The work that a rival of an entry is expected to take, and that was seen of the job.
    fn means_of(&self, entry: &Entry) -> Option<(Duration, Duration)> {
        let state = self.jobs.get(&entry.job)?;
        let expected = state.model.known(entry.closure.kind, HISTORY_MIN)?;
        Some((expected, state.model.seen_at_least()))
    }

    /// The same, if the entry is late, and a rival may still be begun.
    fn means_of_late(&self, now: Time, id: EntryId) -> Option<(Duration, Duration)> {
        let patience = |id: EntryId, entry: &Entry| self.patience_with(now, id, entry);
        let late = self.ledger.is_late(now, id, patience);
        let entry = self.ledger.entry(id).filter(|_| late)?;
        self.means_of(entry)
    }

    /// How many late closures a thief could have, and the work in them.
    pub(super) fn late_surplus(&self, now: Time) -> (u32, Duration) {
        let entries = self.late.entries.iter();
        let late = entries.filter_map(|&id| Some(self.means_of_late(now, id)?.0));
        late.fold((0, Duration::ZERO), |(count, work), expected| {
            (count + 1, work.saturating_add(expected))
        })
    }

    /// Idle workers of this machine run what is late elsewhere.
    pub(super) fn run_late_here(&mut self, now: Time) {
        let idle_since = self.late.idle_since;
        if idle_since.is_none_or(|since| now < since + LOOK_EVERY) {
            return;
        }
        for id in std::mem::take(&mut self.late.entries) {
            if !self.run_rival(now, id) {
                self.late.entries.push(id);
            }
        }
    }

    fn run_rival(&mut self, now: Time, id: EntryId) -> bool {
        let Some(entry) = self.ledger.entry(id) else {
            return false;
        };
        let Some(means) = self.means_of_late(now, id) else {
            return false;
        };
        let (job, closure) = (entry.job, entry.closure.clone());
        let Some(state) = self.jobs.get_mut(&job) else {
            return false;
        };
        if state.load.idle == 0 {
            return false;
        }
        state.load.idle -= 1;
        let age = state.suspects.engine_age(now);
        let runs = (self.config.workers, age);
        state.rivals.begin(now, id, means, runs);
        self.stats.rivals_lent += 1;
        self.ledger.rival_here(id, now);
        let ticket = Ticket(id.0);
        self.commands.push_back(EngineCommand::Accept {
            job,
            ticket,
            closure,
        });
        true
    }

    /// Answers a steal with a closure that is late elsewhere. False if there is none for this thief.
    pub(super) fn lend_late(
        &mut self,
        now: Time,
        thief: NodeId,
        request: RequestId,
        terms: &StealTerms,
    ) -> bool {
        if !terms.idle {
            return false;
        }
        let entries = self.late.entries.iter().copied();
        let Some((id, means)) = entries
            .filter_map(|id| Some((id, self.fits(now, id, thief, terms)?)))
            .next()
        else {
            return false;
        };
        let lease = self.ledger.lend_rival(id, thief, now);
        let Some(entry) = self.ledger.entry(id) else {
            return false;
        };
        let mut leased = entry.leased(lease, false);
        leased.closure.expected = means.0;
        let alias = entry.job;
        let Some(state) = self.jobs.get_mut(&alias) else {
            return false;
        };
        // Siblings are taken to be as large as this one.
        let age = state.suspects.engine_age(now);
        let runs = (self.config.workers, age);
        state.rivals.begin(now, id, means, runs);
        let spec = state.spec.clone();
        self.late.entries.retain(|&late| late != id);
        self.stats.rivals_lent += 1;
        self.stats.closures_lent += 1;
        let grant = Message::GrantClosures {
            request: Some(request),
            more: false,
            load: self.load_for(now, thief),
            job: JobHeader { alias, spec },
            closures: vec![leased],
        };
        self.sessions.send(now, thief, grant);
        self.reporter.note_moved();
        true
    }

    /// The means for a rival of a late closure, if a thief may have it: neither who has it nor who waits for it may.
    fn fits(
        &self,
        now: Time,
        id: EntryId,
        thief: NodeId,
        terms: &StealTerms,
    ) -> Option<(Duration, Duration)> {
        let entry = self.ledger.entry(id)?;
        let has = matches!(entry.state, State::Lent { borrower, .. } if borrower == thief);
        let waits = matches!(entry.source, Source::Peer { lender, .. } if lender == thief);
        let state = self.jobs.get(&entry.job)?;
        let to = terms.destination.as_ref();
        let admitted = to.is_none_or(|to| to.admits(&state.spec.origin));
        let means = self.means_of_late(now, id)?;
        let (expected, _) = means;
        let fits = admitted && !has && !waits && expected >= terms.work_min;
        (fits && repays(terms, entry.closure.size(), expected)).then_some(means)
    }

    /// A result has come: whoever else had its closure is to stop.
    pub(super) fn end_rivalry(&mut self, now: Time, won: &Won, work: Duration) {
        let job = won.entry.job;
        if won.by_rival {
            self.stats.rivals_won += 1;
            if let Some(state) = self.jobs.get_mut(&job) {
                state.rivals.end_first(won.id);
            }
        } else if won.loser.is_some() {
            self.charge_rival(now, job, won.id, Some(work));
        }
        self.stop_rival(now, job, won.id, won.loser);
    }

    /// The engine of a job is gone, and with it the rivals that it ran.
    pub(super) fn forget_rivals_here(&mut self, job: JobAlias) {
        let rivals = self.ledger.rivals();
        let here = rivals.filter(|(_, rival)| *rival == Rival::Here);
        let ids: Vec<EntryId> = here.map(|(id, _)| id).collect();
        for id in ids {
            if self.ledger.entry(id).is_some_and(|entry| entry.job == job) {
                self.ledger.drop_rival(id);
            }
        }
    }
}
