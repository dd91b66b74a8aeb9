//! Roots that wait at the manager: no child takes them, because there is no server below that may run them.
//!
//! Where a root is to be run at all it has to leave the domain. So it counts as surplus of the domain, and the parent's
//! steals find it here. It waits in the ledger's queue until it is lent: a server that joins meanwhile gets it, and
//! one that was lent and comes back undone waits again.
//!
//! What is in the queue between two inputs is such roots alone (`balance` finds a place for all else, or gives it
//! back). While one input is being handled there may be others.

use super::Manager;
use crate::cost::ROOT_WORK;
use crate::ids::{JobAlias, NodeId, RequestId};
use crate::ledger::{Entry, EntryId, Source};
use crate::message::{Load, StealTerms};
use crate::time::Time;

impl Manager {
    /// The root of a job that was submitted here waits for somebody to run it: no child has ever taken it, or those who had it
    /// are gone.
    #[must_use]
    pub fn root_waits(&self, job: JobAlias) -> bool {
        let mut ready = self.ledger.ready(job);
        ready.any(|id| {
            let entry = self.ledger.entry(id);
            entry.is_some_and(|entry| entry.source == Source::Root)
        })
    }

    /// The roots that wait, as surplus: none if the outflow lets nothing out, since nobody could come for them.
    pub(super) fn waiting_load(&self) -> Load {
        let mut sum = Load::default();
        if self.config.policy.outflow().is_empty() {
            return sum;
        }
        for (_, root) in self.waiting_roots() {
            sum.surplus = sum.surplus.saturating_add(1);
            let work = root.closure.expected.max(ROOT_WORK);
            sum.surplus_work = sum.surplus_work.saturating_add(work);
        }
        sum
    }

    /// Answers a steal of the parent's with the thief's share of the roots that wait and may go to its domain. False if
    /// there are none.
    ///
    /// Whether that repays the way is not asked: here nobody would ever do it.
    pub(super) fn give_waiting(
        &mut self,
        now: Time,
        parent: NodeId,
        request: RequestId,
        terms: &StealTerms,
    ) -> bool {
        let goes = |entry: &Entry| {
            let spec = self.jobs.spec(entry.job);
            let to = terms.destination.as_ref();
            spec.is_some_and(|spec| to.is_none_or(|to| to.admits(&spec.origin)))
        };
        let waiting = self.waiting_roots().filter(|(_, entry)| goes(entry));
        let mut given: Vec<EntryId> = waiting.map(|(id, _)| id).collect();
        let count = u32::try_from(given.len()).unwrap_or(u32::MAX);
        given.truncate(terms.share.of_count(count) as usize);
        given.iter().for_each(|&id| self.ledger.hold(id));
        self.relay(now, parent, request, given, false)
    }

    fn waiting_roots(&self) -> impl Iterator<Item = (EntryId, &Entry)> {
        let ids = self
            .ledger
            .ready_jobs()
            .flat_map(|job| self.ledger.ready(job));
        ids.filter_map(|id| Some((id, self.ledger.entry(id)?)))
            .filter(|(_, entry)| entry.source == Source::Root)
    }
}
