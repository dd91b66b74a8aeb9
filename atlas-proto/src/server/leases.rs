//! The server's leases: what becomes of closures that it was lent and of those that it has lent on.
//!
//! Whatever ends a session ends its leases: closures that the peer had of this server are ready again, closures
//! that this server had of the peer are not wanted any more.

use super::{Phase, Server};
use crate::engine::{EngineCommand, EngineEvent};
use crate::ids::{Epoch, JobAlias, LeaseId, NodeId, Ticket};
use crate::job::{self, Finished};
use crate::ledger::{Entry, EntryId, LeasesByPeer, Source, State};
use crate::limits::FORGOTTEN_MAX;
use crate::message::{EndStealReason, JobHeader, LeaseResult, LeasedClosure, ReturnReason};
use crate::orphan::Name;
use crate::time::Time;

impl Server {
    pub(super) fn handle_grant(
        &mut self,
        now: Time,
        lender: NodeId,
        job: JobHeader,
        closures: Vec<LeasedClosure>,
    ) {
        if self.ended.contains(job.alias) {
            return;
        }
        let all = || [(lender, closures.iter().map(|leased| leased.lease).collect())];
        if self.phase != Phase::Serving {
            return self.sessions.give_back(now, all(), ReturnReason::Retreat);
        }
        let alias = job.alias;
        if self.backoff.is_on() && !self.is_started(alias) {
            return self.sessions.give_back(now, all(), ReturnReason::NoRoom);
        }
        let bytes = closures.iter().map(|leased| leased.closure.size());
        // Nothing lent, nothing begun.
        if closures.is_empty() {
            return;
        }
        self.ledger.note_progress(lender, now);
        if !self.ledger.has_room(closures.len(), bytes.sum()) || !self.begin_job(job) {
            return self.sessions.give_back(now, all(), ReturnReason::NoRoom);
        }
        let mut again_ids = Vec::new();
        for leased in closures {
            let LeasedClosure {
                lease,
                closure,
                again,
                goes_on,
                hops,
            } = leased;
            if self.ledger.borrowed(lender, lease).is_none() {
                self.stats.closures_borrowed += 1;
                let source = Source::Peer { lender, lease };
                if goes_on && self.adopt_orphan(alias, source, &closure, hops) {
                    continue;
                }
                if let Some(state) = self.jobs.get_mut(&alias) {
                    state.note_closure(&closure);
                }
                let id = self.ledger.insert(alias, source, closure);
                self.ledger.note_hops(id, hops);
                if again {
                    again_ids.push(id);
                }
            }
        }
        self.recompute(now, again_ids);
    }

    pub(super) fn handle_return_closures(
        &mut self,
        now: Time,
        borrower: NodeId,
        leases: &[LeaseId],
        reason: ReturnReason,
    ) {
        let leases = leases.iter();
        let returned = leases.filter_map(|&lease| self.ledger.end_lease(borrower, lease));
        let returned: Vec<EntryId> = returned.collect();
        returned.iter().for_each(|&id| self.note_suspect(now, id));
        match reason {
            // They may have begun.
            ReturnReason::Retreat | ReturnReason::EngineFailed => self.recompute(now, returned),
            ReturnReason::Inflow | ReturnReason::NoRoom | ReturnReason::Asked { .. } => {
                returned.into_iter().for_each(|id| self.take_back(id));
            }
        }
    }

    pub(super) fn handle_return_results(
        &mut self,
        now: Time,
        borrower: NodeId,
        results: Vec<LeaseResult>,
    ) {
        for LeaseResult { lease, finished } in results {
            match self.ledger.take_lent(borrower, lease) {
                Some(won) => {
                    self.ledger.note_progress(borrower, now);
                    self.end_rivalry(now, &won, finished.work);
                    self.note_took(won.entry.job, won.entry.closure.kind, finished.work);
                    self.deliver_result(now, &won.entry, finished);
                }
                None => self.stats.results_late += 1,
            }
        }
    }

    pub(super) fn handle_forget_peer(&mut self, now: Time, peer: NodeId, epoch: Epoch) {
        // Whether this server's own membership is over is told in another way.
        if peer == self.uplink.manager() {
            return;
        }
        self.remember_forgotten(peer, epoch);
        if self
            .sessions
            .link(peer)
            .is_some_and(|link| link.theirs() <= epoch)
        {
            self.lose_peer(now, peer);
        }
    }

    pub(super) fn dispatch_engine(&mut self, now: Time, event: EngineEvent) {
        if !matches!(event, EngineEvent::Crashed { .. }) {
            self.note_begun(event.job());
        }
        match event {
            EngineEvent::Load { job, load } => self.handle_load(job, load),
            EngineEvent::Lent {
                job,
                request,
                closures,
            } => self.handle_lent(now, job, request, closures),
            EngineEvent::Finished {
                job,
                ticket,
                finished,
            } => self.handle_finished(now, job, ticket, finished),
            EngineEvent::Unwanted { job, lease } => {
                let entry = self.ledger.from_engine(job, lease);
                self.abort(now, entry.into_iter().collect());
            }
            EngineEvent::Measured { job, samples } => self.handle_measured(job, samples),
            EngineEvent::Recorded { job, entries } => self.handle_recorded(now, job, entries),
            EngineEvent::Tasks { job, paths } => self.handle_tasks(job, paths),
            EngineEvent::Crashed { job, crash } => self.handle_crash(now, job, crash),
        }
    }

    /// The session with a sibling is over.
    pub(super) fn lose_peer(&mut self, now: Time, peer: NodeId) {
        self.stats.peers_lost += 1;
        let undelivered = self.results.end(peer, self.sessions.link(peer));
        self.sessions.close(peer);
        self.hints.forget(peer);
        self.orphans.forget_holder(peer);
        if self.steal.is_some_and(|steal| steal.victim == peer) {
            self.steal = None;
        }
        self.ledger.forget_progress(peer);
        let undone = self.ledger.end_leases_of(peer);
        for (job, entries) in undelivered {
            self.keep_orphans(now, job, entries);
        }
        self.recompute(now, undone);
        self.orphan_borrowed(now, peer);
    }

    /// The membership is over: nothing that was agreed in it holds. This node joins anew.
    pub(super) fn start_over(&mut self, now: Time) {
        self.stats.peers_lost += 1;
        for peer in self.sessions.peers() {
            self.sessions.close(peer);
            self.results.forget(peer);
        }
        self.drop_all();
        self.ledger.forget_all_progress();
        self.lending.clear();
        self.forgotten.clear();
        if self.phase == Phase::Leaving {
            self.uplink.leave();
        } else {
            self.uplink.rejoin(now);
        }
    }

    /// The job is over. Those that have closures of it hear that from the manager, too, but for who became a member after it was
    /// said.
    pub(super) fn abort_lent(&mut self, now: Time, job: JobAlias) {
        let mut aborted = LeasesByPeer::new();
        for id in self.ledger.of_job(job) {
            for (borrower, lease) in self.ledger.leases_of(id) {
                aborted.entry(borrower).or_default().push(lease);
            }
        }
        self.sessions.abort_leases(now, aborted);
    }

    /// Gives all closures of others back to them, and stops what descends from them.
    pub(super) fn give_all_back(&mut self, now: Time) {
        let mut returned = LeasesByPeer::new();
        let mut aborted = LeasesByPeer::new();
        for (id, entry) in self.ledger.entries() {
            if let Source::Peer { lender, lease } = entry.source {
                returned.entry(lender).or_default().push(lease);
            }
            for (borrower, lease) in self.ledger.leases_of(id) {
                aborted.entry(borrower).or_default().push(lease);
            }
        }
        self.sessions.abort_leases(now, aborted);
        for job in self.drop_all() {
            self.end_lendings(now, job, EndStealReason::Leaving);
        }
        self.sessions
            .give_back(now, returned, ReturnReason::Retreat);
    }

    /// Forgets all jobs, and whom to ask for more of their closures. Gives the jobs.
    fn drop_all(&mut self) -> Vec<JobAlias> {
        self.hints.clear();
        self.steal = None;
        let jobs: Vec<JobAlias> = self.jobs.keys().copied().collect();
        for &job in &jobs {
            self.drop_job(job);
        }
        jobs
    }

    fn remember_forgotten(&mut self, peer: NodeId, epoch: Epoch) {
        if self.forgotten.len() >= FORGOTTEN_MAX && !self.forgotten.contains_key(&peer) {
            let oldest = self.forgotten.iter().min_by_key(|(_, epoch)| **epoch);
            if let Some((&oldest, _)) = oldest {
                self.forgotten.remove(&oldest);
            }
        }
        let known = self.forgotten.entry(peer).or_insert(epoch);
        *known = epoch.max(*known);
    }

    fn handle_finished(&mut self, now: Time, job: JobAlias, ticket: Ticket, finished: Finished) {
        let id = EntryId(ticket.0);
        let rival = self.ledger.is_rival_here(id);
        let runs = |entry: &Entry| entry.job == job && (rival || entry.state == State::Running);
        let runs = self.ledger.entry(id).is_some_and(runs);
        match runs.then(|| self.ledger.take_run(id)).flatten() {
            Some(won) => {
                self.end_rivalry(now, &won, finished.work);
                self.note_took(job, won.entry.closure.kind, finished.work);
                self.deliver_result(now, &won.entry, job::bounded(finished));
                self.note_run_dry(job);
                self.note_survivor(job);
            }
            None => self.stats.results_late += 1,
        }
    }

    pub(super) fn deliver_result(&mut self, now: Time, entry: &Entry, finished: Finished) {
        match entry.source {
            Source::Peer { lender, lease } => {
                let impure = self.is_impure(entry.job, entry.closure.kind.task);
                let name = (!impure).then(|| (entry.job, Name::of(&entry.closure)));
                self.results.push((lender, lease), name, finished);
            }
            Source::Engine { lease } => {
                self.commands.push_back(EngineCommand::ReturnResult {
                    job: entry.job,
                    lease,
                    finished,
                });
            }
            Source::Orphan { .. } => self.record_orphan(now, entry, finished),
            Source::Root => {}
        }
    }

    /// A closure that was lent is undone: it is ready again, here or in the engine that it came from.
    pub(super) fn take_back(&mut self, id: EntryId) {
        let Some(entry) = self.ledger.entry(id) else {
            return;
        };
        self.stats.closures_requeued += 1;
        match entry.source {
            Source::Engine { lease } => {
                self.commands.push_back(EngineCommand::Reclaim {
                    job: entry.job,
                    lease,
                });
                self.ledger.remove(id);
            }
            // Nobody waits for it.
            Source::Orphan { .. } => drop(self.ledger.remove(id)),
            Source::Root | Source::Peer { .. } => self.ledger.requeue(id),
        }
    }

    /// Nobody wants the results of these entries.
    pub(super) fn abort(&mut self, now: Time, entries: Vec<EntryId>) {
        let mut aborted = LeasesByPeer::new();
        for id in entries {
            let (leases, rival) = (self.ledger.leases_of(id), self.ledger.is_rival_here(id));
            let Some(entry) = self.ledger.remove(id) else {
                continue;
            };
            if rival || entry.state == State::Running {
                self.commands.push_back(EngineCommand::Abort {
                    job: entry.job,
                    ticket: Ticket(id.0),
                });
            }
            for (borrower, lease) in leases {
                aborted.entry(borrower).or_default().push(lease);
            }
        }
        self.sessions.abort_leases(now, aborted);
    }
}
