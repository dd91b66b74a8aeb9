//! The leases that cross a manager: for each closure it is borrower on one side and lender on the other.
//!
//! A manager keeps a closure until its result has passed, so that what a lost borrower had is given to another
//! without asking the lender.

use std::collections::BTreeMap;

use super::Manager;

use crate::ids::{JobAlias, LeaseId, NodeId, RequestId};
use crate::ledger::{EntryId, LeasesByPeer, Source};
use crate::message::{JobHeader, LeaseResult, LeasedClosure, Load, Message, ReturnReason};
use crate::orphan::Name;
use crate::time::Time;

impl Manager {
    /// Takes closures in; they are ready until somebody is found for them. Gives their entries.
    pub(super) fn take_in(
        &mut self,
        now: Time,
        lender: NodeId,
        job: JobHeader,
        closures: Vec<LeasedClosure>,
    ) -> Vec<EntryId> {
        if self.jobs.has_ended(lender, job.alias) {
            // It was granted before the lender heard of the end, and is forgotten there when it does.
            return Vec::new();
        }
        // Nothing lent, nothing begun.
        if closures.is_empty() {
            return Vec::new();
        }
        let bytes = closures.iter().map(|leased| leased.closure.size());
        let local = match self.admit(lender, job, closures.len(), bytes.sum()) {
            Ok(local) => local,
            Err(reason) => {
                let leases = closures.iter().map(|leased| leased.lease).collect();
                self.sessions.give_back(now, [(lender, leases)], reason);
                return Vec::new();
            }
        };
        let mut entries = Vec::with_capacity(closures.len());
        let mut elsewhere: BTreeMap<NodeId, Vec<EntryId>> = BTreeMap::new();
        let again = closures.iter().any(|leased| leased.again);
        for leased in closures {
            let LeasedClosure {
                lease,
                closure,
                again,
                goes_on,
                hops,
            } = leased;
            // One grant may name a lease twice.
            let known = self.ledger.borrowed(lender, lease).is_some();
            if known || (goes_on && self.adopt_orphan(local, (lender, lease), &closure, hops)) {
                continue;
            }
            let holder = goes_on.then(|| self.take_holder(now, local, lender, (&closure, hops)));
            let source = Source::Peer { lender, lease };
            let id = self.ledger.insert(local, source, closure);
            self.ledger.note_hops(id, hops);
            if again {
                self.ledger.note_again(id);
            }
            match holder.flatten() {
                Some(holder) => elsewhere.entry(holder).or_default().push(id),
                None => entries.push(id),
            }
        }
        for (holder, ids) in elsewhere {
            self.stats.closures_borrowed += ids.len() as u64;
            self.lend_as(now, holder, &ids, (None, false), true);
        }
        if again && self.parent() == Some(lender) {
            self.ask_parent_for_checkpoint(now, local);
        }
        self.stats.closures_borrowed += entries.len() as u64;
        if !entries.is_empty() {
            self.ledger.note_progress(lender, now);
            self.sessions.bind(now, lender, true);
        }
        entries
    }

    /// Lends entries that are ready and of one job.
    pub(super) fn lend(
        &mut self,
        now: Time,
        borrower: NodeId,
        entries: &[EntryId],
        request: Option<RequestId>,
        more: bool,
    ) {
        self.lend_as(now, borrower, entries, (request, more), false);
    }

    /// The same; if they go on there, with the word that they do.
    fn lend_as(
        &mut self,
        now: Time,
        borrower: NodeId,
        entries: &[EntryId],
        (request, more): (Option<RequestId>, bool),
        goes_on: bool,
    ) {
        let Some(job) = entries
            .first()
            .and_then(|&id| self.ledger.entry(id))
            .map(|entry| entry.job)
        else {
            return;
        };
        let is_parent = self.parent() == Some(borrower);
        let Some(header) = self
            .jobs
            .header_for(job, borrower, is_parent, &mut self.rng)
        else {
            return;
        };
        self.sessions.bind(now, borrower, true);
        let load = self.load_for(now, borrower);
        let grants = self.ledger.grants(entries);
        let last = grants.len().saturating_sub(1);
        for (index, grant) in grants.into_iter().enumerate() {
            let mut closures = Vec::with_capacity(grant.len());
            for &id in grant {
                let lease = self.ledger.lend(id, borrower);
                self.ledger.note_lent(id, now);
                let entry = self.ledger.entry(id).expect("it was just lent");
                closures.push(entry.leased(lease, goes_on));
            }
            self.stats.closures_lent += closures.len() as u64;
            let leases = closures.iter().map(|leased| leased.lease);
            let leases = grant.iter().copied().zip(leases);
            let suspects = self.ledger.suspected_leases(leases);
            let more = more || index < last;
            let grant = Message::GrantClosures {
                request,
                more,
                load,
                job: header.clone(),
                closures,
            };
            self.sessions.send(now, borrower, grant);
            self.sessions.warn_of(now, borrower, suspects, false);
        }
    }

    /// Sends entries that are ready and of one job on to whom they are for: what came from there goes back, the rest
    /// is lent. If the request is to be ended by it, says whether it has been: only a grant does.
    pub(super) fn pass_on(
        &mut self,
        now: Time,
        to: NodeId,
        entries: &[EntryId],
        request: Option<RequestId>,
        more: bool,
    ) -> bool {
        let (back, on) = self.ledger.part_by_lender(entries, to);
        let returned = self.ledger.undo(&back);
        self.sessions
            .give_back(now, returned, ReturnReason::Asked { request });
        self.lend(now, to, &on, request, more);
        !more && !on.is_empty()
    }

    /// Entries by their job.
    pub(super) fn by_job(&self, entries: &[EntryId]) -> BTreeMap<JobAlias, Vec<EntryId>> {
        let mut by_job: BTreeMap<JobAlias, Vec<EntryId>> = BTreeMap::new();
        for &id in entries {
            if let Some(entry) = self.ledger.entry(id) {
                by_job.entry(entry.job).or_default().push(id);
            }
        }
        by_job
    }

    pub(super) fn handle_return_closures(
        &mut self,
        now: Time,
        borrower: NodeId,
        leases: &[LeaseId],
        reason: ReturnReason,
    ) {
        let mut entries = Vec::new();
        for &lease in leases {
            if let Some(id) = self.ledger.end_lease(borrower, lease) {
                // One that has begun may have been recorded in part.
                let begun = matches!(reason, ReturnReason::Retreat | ReturnReason::EngineFailed);
                if self.take_back(id, begun) {
                    entries.push(id);
                }
            }
        }
        match reason {
            ReturnReason::Asked { request } => {
                let ask = request.and_then(|request| self.asks.get(&request));
                if let Some(purpose) = ask
                    .filter(|ask| ask.victim == borrower)
                    .map(|ask| ask.purpose)
                {
                    self.answer(now, purpose, &entries);
                }
            }
            ReturnReason::Retreat
            | ReturnReason::Inflow
            | ReturnReason::NoRoom
            | ReturnReason::EngineFailed => {
                if let Some(child) = self.children.get_mut(&borrower) {
                    // Until it reports again, it is asked for nothing and given nothing.
                    child.load = Load {
                        version: child.load.version,
                        ..Load::default()
                    };
                }
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
            let Some(won) = self.ledger.take_lent(borrower, lease) else {
                self.stats.results_late += 1;
                continue;
            };
            self.ledger.note_progress(borrower, now);
            self.end_rivalry(now, &won, finished.work);
            let entry = won.entry;
            self.rivals.note_work(now, entry.job, finished.work);
            match entry.source {
                Source::Root => self.finish_job(now, entry.job, finished),
                Source::Peer { lender, lease } => {
                    let name = Name::of_reusable(&entry.closure);
                    let name = name.map(|name| (entry.job, name));
                    self.results.push((lender, lease), name, finished);
                }
                Source::Orphan { .. } => self.record_orphan(&entry, finished),
                Source::Engine { .. } => unreachable!("a manager has no engine"),
            }
        }
    }

    /// Nobody wants the results of these entries.
    pub(super) fn abort(&mut self, now: Time, entries: Vec<EntryId>) {
        let mut aborted = LeasesByPeer::new();
        for id in entries {
            for (borrower, lease) in self.ledger.leases_of(id) {
                aborted.entry(borrower).or_default().push(lease);
            }
            self.ledger.remove(id);
        }
        self.sessions.abort_leases(now, aborted);
    }

    fn admit(
        &mut self,
        lender: NodeId,
        job: JobHeader,
        closures: usize,
        bytes: usize,
    ) -> Result<JobAlias, ReturnReason> {
        let origin = &job.spec.origin;
        let (domain, policy) = (&self.config.domain, &self.config.policy);
        if !policy.allows_inflow(domain, origin) {
            return Err(ReturnReason::Inflow);
        }
        if !self.ledger.has_room(closures, bytes) {
            return Err(ReturnReason::NoRoom);
        }
        let local = if self.is_server(lender) {
            // A server knows no job but through this manager: this one is over.
            self.resolve_job(lender, job.alias)
        } else {
            self.intern_job(lender, job)
        };
        local.ok_or(ReturnReason::NoRoom)
    }
}
