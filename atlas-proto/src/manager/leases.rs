//! The leases that cross a manager: for each closure it is borrower on one side and lender on the other.
//!
//! A manager keeps a closure until its result has passed, so that what a lost borrower had is given to another
//! without asking the lender.

use super::Manager;
use crate::ids::{LeaseId, NodeId};
use crate::ledger::{EntryId, Source, State};
use crate::limits::{GRANT_CLOSURES_MAX, HELD_MAX, LEASES_PER_MESSAGE_MAX};
use crate::message::{JobHeader, LeaseResult, LeasedClosure, Message, ReturnReason};
use crate::server::LeasesByPeer;
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
        let leases: Vec<LeaseId> = closures.iter().map(|leased| leased.lease).collect();
        let local = match self.admit(lender, job, closures.len()) {
            Ok(local) => local,
            Err(reason) => {
                self.give_back(now, lender, &leases, reason);
                return Vec::new();
            }
        };
        let fresh = closures
            .into_iter()
            .filter(|leased| self.ledger.borrowed(lender, leased.lease).is_none());
        let fresh: Vec<LeasedClosure> = fresh.collect();
        self.stats.closures_borrowed += fresh.len() as u64;
        let insert = |LeasedClosure { lease, closure }| {
            self.ledger
                .insert(local, Source::Peer { lender, lease }, closure)
        };
        fresh.into_iter().map(insert).collect()
    }

    /// Lends entries that are ready and of one job.
    pub(super) fn lend(
        &mut self,
        now: Time,
        borrower: NodeId,
        entries: &[EntryId],
        request: Option<crate::ids::RequestId>,
        more: bool,
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
        let load = self.load_for(now, borrower);
        let chunks = entries.chunks(GRANT_CLOSURES_MAX);
        let last = chunks.len() - 1;
        for (index, chunk) in chunks.enumerate() {
            let mut closures = Vec::with_capacity(chunk.len());
            for &id in chunk {
                let lease = self.ledger.lend(id, borrower);
                let entry = self.ledger.entry(id).expect("it was just lent");
                closures.push(LeasedClosure {
                    lease,
                    closure: entry.closure.clone(),
                });
            }
            self.stats.closures_lent += closures.len() as u64;
            let more = more || index < last;
            let grant = Message::GrantClosures {
                request,
                more,
                load,
                job: header.clone(),
                closures,
            };
            self.sessions.send(now, borrower, grant);
        }
    }

    pub(super) fn handle_return_closures(
        &mut self,
        now: Time,
        borrower: NodeId,
        leases: &[LeaseId],
        reason: ReturnReason,
    ) {
        for &lease in leases {
            if let Some(id) = self.ledger.lent_to(borrower, lease) {
                self.stats.closures_requeued += 1;
                self.ledger.requeue(id);
            }
        }
        if let Some(child) = self.children.get_mut(&borrower) {
            // Until it reports again, it is asked for nothing and given nothing.
            child.load.hungry = 0;
            child.load.workers = 0;
        }
        let _ = (now, reason);
    }

    pub(super) fn handle_return_results(
        &mut self,
        now: Time,
        borrower: NodeId,
        results: Vec<LeaseResult>,
    ) {
        for LeaseResult { lease, finished } in results {
            let Some(entry) = self
                .ledger
                .lent_to(borrower, lease)
                .and_then(|id| self.ledger.remove(id))
            else {
                self.stats.results_late += 1;
                continue;
            };
            match entry.source {
                Source::Root => self.finish_job(now, entry.job, finished),
                Source::Peer { lender, lease } => {
                    self.results.push(lender, LeaseResult { lease, finished })
                }
                Source::Engine { .. } => unreachable!("a manager has no engine"),
            }
        }
    }

    pub(super) fn handle_abort_leases(&mut self, now: Time, lender: NodeId, leases: &[LeaseId]) {
        let entries = leases
            .iter()
            .filter_map(|&lease| self.ledger.borrowed(lender, lease))
            .collect();
        self.abort(now, entries);
    }

    /// Nobody wants the results of these entries.
    pub(super) fn abort(&mut self, now: Time, entries: Vec<EntryId>) {
        let mut aborted = LeasesByPeer::new();
        for id in entries {
            if let Some(entry) = self.ledger.remove(id)
                && let State::Lent { borrower, lease } = entry.state
            {
                aborted.entry(borrower).or_default().push(lease);
            }
        }
        for (borrower, leases) in aborted {
            for leases in leases.chunks(LEASES_PER_MESSAGE_MAX) {
                self.sessions.send(
                    now,
                    borrower,
                    Message::AbortLeases {
                        leases: leases.to_vec(),
                    },
                );
            }
        }
    }

    /// Entries go back to whom they came from.
    pub(super) fn undo(&mut self, now: Time, entries: &[EntryId], reason: ReturnReason) {
        let mut returned = LeasesByPeer::new();
        for &id in entries {
            if let Some(entry) = self.ledger.remove(id)
                && let Source::Peer { lender, lease } = entry.source
            {
                returned.entry(lender).or_default().push(lease);
            }
        }
        for (lender, leases) in returned {
            self.give_back(now, lender, &leases, reason);
        }
    }

    fn admit(
        &mut self,
        lender: NodeId,
        job: JobHeader,
        closures: usize,
    ) -> Result<crate::ids::JobAlias, ReturnReason> {
        let origin = &job.spec.origin;
        if !origin.is_within(&self.config.domain) && !self.config.policy.allows_inflow(origin) {
            return Err(ReturnReason::Inflow);
        }
        if self.ledger.len() + closures > HELD_MAX {
            return Err(ReturnReason::NoRoom);
        }
        let is_server = self
            .children
            .get(&lender)
            .is_some_and(super::Child::is_server);
        let local = if is_server {
            // A server knows no job but through this manager: this one is over.
            self.resolve_job(lender, job.alias)
        } else {
            self.jobs.intern(lender, job, &mut self.rng)
        };
        local.ok_or(ReturnReason::NoRoom)
    }

    fn give_back(&mut self, now: Time, lender: NodeId, leases: &[LeaseId], reason: ReturnReason) {
        for leases in leases.chunks(LEASES_PER_MESSAGE_MAX) {
            self.sessions.send(
                now,
                lender,
                Message::ReturnClosures {
                    leases: leases.to_vec(),
                    reason,
                },
            );
        }
    }
}
