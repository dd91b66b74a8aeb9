//! What a manager keeps of its jobs for the case that a child is lost, and what it does when one is.
//!
//! - What children record is kept by the name that this manager gives the job, as long as the job lives.
//! - A closure whose borrower is lost is lent again with the word that it is (`again`): whoever gets it asks for what is known of the
//!   job before it begins. A manager below asks its parent, and answers its own children from what it is told.
//! - A closure whose lender is lost is an orphan: it goes on for a while, since what it is in the middle of is lost otherwise, and its
//!   result is kept with the others. What nobody has begun is dropped.

use super::{Manager, ManagerEvent, SubmitError};
use crate::checkpoint::Part;
use crate::engine::Recorded;
use crate::ids::{JobAlias, NodeId};
use crate::job::{Closure, Finished, JobSpec};
use crate::ledger::{Entry, EntryId, Source, State};
use crate::limits::CHECKPOINT_UNACKED_MAX;
use crate::link::Link;
use crate::message::Message;
use crate::orphan::{ORPHAN_TIME, recorded};
use crate::time::Time;

impl Manager {
    /// Takes in a job that an earlier life of this manager had, and what that has kept of it.
    ///
    /// # Errors
    ///
    /// As [`Manager::submit`].
    pub fn submit_again(
        &mut self,
        now: Time,
        spec: JobSpec,
        root: Closure,
        checkpoint: Vec<Recorded>,
    ) -> Result<JobAlias, SubmitError> {
        let (job, id) = self.take_root(spec, root)?;
        self.ledger.note_again(id);
        self.checkpoints.record(job, checkpoint);
        self.settle(now);
        Ok(job)
    }

    /// More of what an earlier life has kept of a job.
    pub fn restore_checkpoint(&mut self, job: JobAlias, entries: Vec<Recorded>) {
        if self.has_job(job) {
            self.checkpoints.record(job, entries);
        }
    }

    /// How many results are kept of a job.
    #[must_use]
    pub fn checkpoint_len(&self, job: JobAlias) -> usize {
        self.checkpoints.len(job)
    }

    pub(super) fn handle_record_results(
        &mut self,
        child: NodeId,
        alias: JobAlias,
        entries: Vec<Recorded>,
    ) {
        if let Some(job) = self.resolve_job(child, alias) {
            self.record(job, entries);
        }
    }

    /// Answers at once, and with nothing where the child has so much to hear already that it cannot be listening.
    pub(super) fn handle_request_checkpoint(
        &mut self,
        now: Time,
        child: NodeId,
        alias: JobAlias,
        after: u64,
    ) {
        let unacked = self.sessions.link(child).map_or(0, Link::unacked_bytes);
        let job = self
            .resolve_job(child, alias)
            .filter(|_| unacked <= CHECKPOINT_UNACKED_MAX);
        let nothing = || {
            let entries = Vec::new();
            vec![Part {
                entries,
                until: after,
            }]
        };
        let parts = job.map_or_else(nothing, |job| self.checkpoints.since(job, after));
        let last = parts.len() - 1;
        for (index, Part { entries, until }) in parts.into_iter().enumerate() {
            let grant = Message::GrantCheckpoint {
                job: alias,
                entries,
                until,
                more: index < last,
            };
            self.sessions.send(now, child, grant);
        }
    }

    /// What the parent keeps of a job is kept here, too: it was recorded before the job, or a part of it, came here.
    pub(super) fn handle_grant_checkpoint(
        &mut self,
        parent: NodeId,
        alias: JobAlias,
        entries: Vec<Recorded>,
        until: u64,
    ) {
        let Some(job) = self.resolve_job(parent, alias) else {
            return;
        };
        if let Some(told) = self.jobs.told_by_parent(job) {
            *told = until.max(*told);
        }
        self.record(job, entries);
    }

    pub(super) fn ask_parent_for_checkpoint(&mut self, now: Time, lender: NodeId, job: JobAlias) {
        if self.parent() != Some(lender) {
            return;
        }
        let Some((_, alias)) = self
            .jobs
            .links(job)
            .into_iter()
            .find(|(peer, _)| *peer == lender)
        else {
            return;
        };
        let after = self.jobs.told_by_parent(job).map_or(0, |told| *told);
        self.sessions.send(
            now,
            lender,
            Message::RequestCheckpoint { job: alias, after },
        );
    }

    /// A closure that was lent is undone: it is ready again, unless nobody waits for it. True if it is.
    pub(super) fn take_back(&mut self, id: EntryId, begun: bool) -> bool {
        self.stats.closures_requeued += 1;
        let source = self.ledger.entry(id).map(|entry| entry.source);
        if matches!(source, Some(Source::Orphan { .. })) {
            self.ledger.remove(id);
            return false;
        }
        self.ledger.requeue(id);
        if begun {
            self.ledger.note_again(id);
        }
        true
    }

    /// The lender is lost: what others have of its closures goes on for a while, the rest is dropped.
    pub(super) fn orphan_borrowed(&mut self, now: Time, lender: NodeId) {
        let mut dropped = Vec::new();
        for id in self.ledger.borrowed_from_peer(lender) {
            let state = self.ledger.entry(id).map(|entry| entry.state);
            if matches!(state, Some(State::Lent { .. })) {
                self.ledger.orphan(id, now + ORPHAN_TIME);
            } else {
                dropped.push(id);
            }
        }
        self.abort(now, dropped);
    }

    pub(super) fn record_orphan(&mut self, entry: &Entry, finished: Finished) {
        self.stats.orphans_finished += 1;
        let entries = recorded(&entry.closure, finished).into_iter().collect();
        self.record(entry.job, entries);
    }

    fn record(&mut self, job: JobAlias, entries: Vec<Recorded>) {
        self.stats.results_recorded += entries.len() as u64;
        let entries = self.checkpoints.record(job, entries);
        if self.jobs.is_own(job) && !entries.is_empty() {
            self.events
                .push_back(ManagerEvent::CheckpointRecorded { job, entries });
        }
    }
}
