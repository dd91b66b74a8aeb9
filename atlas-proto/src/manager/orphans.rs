//! The manager's part in orphans: closures whose lender is lost and whose borrower goes on.
//!
//! Servers say which they have, and are named to whoever asks for a checkpoint, since what they descend from is about to be run again. What
//! crosses this manager on its way to another domain it has itself: its lease there goes on, and whoever comes to such a closure lends it
//! here.

use std::collections::BTreeMap;

use atlas_engine::Key;

use super::Manager;
use crate::ids::{Epoch, JobAlias, LeaseId, NodeId};
use crate::job::Closure;
use crate::ledger::{EntryId, Source};
use crate::limits::{Bound, ORPHANS_MAX, ORPHANS_NAMED_MAX};
use crate::message::Message;
use crate::orphan::ORPHAN_TIME;
use crate::time::Time;

/// Who has which orphans.
#[derive(Debug, Default)]
pub(super) struct Orphans(BTreeMap<(JobAlias, Key), Orphan>);

#[derive(Clone, Copy, Debug)]
struct Orphan {
    holder: Holder,
    until: Time,
}

#[derive(Clone, Copy, Debug)]
enum Holder {
    /// This manager, for another domain.
    Here(EntryId),
    Server(NodeId, Epoch),
}

impl Orphans {
    pub(super) fn forget_job(&mut self, job: JobAlias) {
        self.0.retain(|(known, _), _| *known != job);
    }

    pub(super) fn forget_child(&mut self, child: NodeId) {
        self.0
            .retain(|_, orphan| !matches!(orphan.holder, Holder::Server(node, _) if node == child));
    }

    pub(super) fn bounds(&self) -> [Bound; 1] {
        [Bound::new("orphans named", self.0.len(), ORPHANS_NAMED_MAX)]
    }

    fn note(&mut self, now: Time, job: JobAlias, key: Key, holder: Holder) {
        if self.0.len() >= ORPHANS_NAMED_MAX {
            self.0.retain(|_, orphan| orphan.until > now);
        }
        if self.0.len() < ORPHANS_NAMED_MAX {
            let until = now + ORPHAN_TIME;
            self.0.insert((job, key), Orphan { holder, until });
        }
    }
}

impl Manager {
    /// A server goes on with what a sibling had lent it that is lost.
    pub(super) fn handle_name_orphans(
        &mut self,
        now: Time,
        child: NodeId,
        alias: JobAlias,
        keys: Vec<Key>,
    ) {
        let server = self.children.get(&child).filter(|child| child.is_server());
        let Some(epoch) = server.map(|server| server.epoch) else {
            return;
        };
        let Some(job) = self.resolve_job(child, alias) else {
            return;
        };
        for key in keys {
            self.orphans
                .note(now, job, key, Holder::Server(child, epoch));
        }
    }

    /// This entry's lender is lost, and somebody in another domain goes on with it.
    pub(super) fn note_orphan(&mut self, now: Time, id: EntryId) {
        if let Some(entry) = self.ledger.entry(id) {
            let key = Key::of(entry.closure.kind.task, &entry.closure.args);
            self.orphans.note(now, entry.job, key, Holder::Here(id));
            self.stats.orphans += 1;
        }
    }

    /// Who has what a server that is to compute something again may come to.
    pub(super) fn tell_orphans(&mut self, now: Time, child: NodeId, alias: JobAlias) {
        let Some(job) = self
            .resolve_job(child, alias)
            .filter(|_| self.is_server(child))
        else {
            return;
        };
        let mut by_holder: BTreeMap<Option<(NodeId, Epoch)>, Vec<Key>> = BTreeMap::new();
        let of_job = (job, Key([0; 32]))..=(job, Key([0xff; 32]));
        for ((_, key), orphan) in self.orphans.0.range(of_job) {
            let holder = match orphan.holder {
                Holder::Here(_) => None,
                Holder::Server(node, epoch) => Some((node, epoch)),
            };
            if orphan.until > now && holder.is_none_or(|(node, _)| node != child) {
                by_holder.entry(holder).or_default().push(*key);
            }
        }
        for (holder, keys) in by_holder {
            for keys in keys.chunks(ORPHANS_MAX) {
                let name = Message::NameOrphans {
                    job: alias,
                    holder,
                    keys: keys.to_vec(),
                };
                self.sessions.send(now, child, name);
            }
        }
    }

    /// A closure that is lent here goes on elsewhere already, since somebody who is lost had lent it before: true if so, and it has a
    /// lender again.
    pub(super) fn adopt_orphan(
        &mut self,
        job: JobAlias,
        (lender, lease): (NodeId, LeaseId),
        closure: &Closure,
    ) -> bool {
        if self.orphans.0.is_empty() {
            return false;
        }
        let key = Key::of(closure.kind.task, &closure.args);
        let Some(Orphan {
            holder: Holder::Here(id),
            ..
        }) = self.orphans.0.get(&(job, key)).copied()
        else {
            return false;
        };
        self.orphans.0.remove(&(job, key));
        let same = self.ledger.entry(id).is_some_and(|entry| {
            let known = (entry.job, entry.closure.kind.task, &entry.closure.args);
            // What runs below who lends it now would wait for itself.
            let below = self.ledger.leases_of(id).any(|(node, _)| node == lender);
            known == (job, closure.kind.task, &closure.args) && !below
        });
        let adopted = same && self.ledger.adopt(id, Source::Peer { lender, lease });
        self.stats.orphans_adopted += u64::from(adopted);
        adopted
    }
}
