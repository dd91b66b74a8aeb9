//! The manager's part in orphans: closures whose lender is lost and whose borrower goes on.
//!
//! Servers say which they have, and are named to whoever asks for a checkpoint, since what they descend from is about to be run again. What
//! crosses this manager on its way to another domain it has itself: its lease there goes on, and whoever comes to such a closure lends it
//! here.
//!
//! What a lost server had may be run again, in part, in any domain. So names go on to the parent, and from there, with the checkpoint, to
//! managers below that ask for one. Across a border nobody is named but the manager there: whoever comes to the closure lends it to its own
//! manager, and each manager on the way to who has it lends it on (`goes_on`). If one of them knows of no holder any more, the closure
//! is one as any other there.

use std::collections::BTreeMap;

use atlas_engine::Key;

use super::Manager;
use crate::ids::{Epoch, JobAlias, LeaseId, NodeId};
use crate::job::Closure;
use crate::ledger::{EntryId, Source};
use crate::limits::{Bound, ORPHANS_NAMED_MAX};
use crate::message::OrphanName;
use crate::orphan::{self, ORPHAN_TIME, of_job};
use crate::time::Time;

/// Who has which orphans.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    named: BTreeMap<(JobAlias, Key), Orphan>,
    /// When each child was last told of a job's.
    told: BTreeMap<(JobAlias, NodeId), Time>,
    /// When those that are over were last forgotten.
    tidied_at: Time,
}

#[derive(Clone, Copy, Debug)]
struct Orphan {
    holder: Holder,
    hops: u32,
    noted: Time,
}

#[derive(Clone, Copy, Debug)]
enum Holder {
    /// This manager, for another domain.
    Here(EntryId),
    Server(NodeId, Epoch),
    /// Somebody in the domain of a manager below, or beyond the parent.
    Beyond(NodeId),
}

impl Orphans {
    pub(super) fn forget_job(&mut self, job: JobAlias) {
        self.named.retain(|(known, _), _| *known != job);
        self.told.retain(|(known, _), _| *known != job);
    }

    pub(super) fn forget_holder(&mut self, peer: NodeId) {
        self.named.retain(|_, orphan| match orphan.holder {
            Holder::Here(_) => true,
            Holder::Server(node, _) | Holder::Beyond(node) => node != peer,
        });
        self.told.retain(|(_, told), _| *told != peer);
    }

    pub(super) fn bounds(&self) -> [Bound; 1] {
        [Bound::new(
            "orphans named",
            self.named.len(),
            ORPHANS_NAMED_MAX,
        )]
    }

    /// Forgets those that are over, now and then, and where there is no room for so many more.
    fn tidy(&mut self, now: Time, more: usize) {
        let full = self.named.len() + more > ORPHANS_NAMED_MAX;
        if full || self.tidied_at + ORPHAN_TIME <= now {
            self.tidied_at = now;
            self.named.retain(|_, orphan| orphan.goes_on(now));
        }
    }

    fn note(&mut self, now: Time, job: JobAlias, name: OrphanName, holder: Holder) {
        let OrphanName { key, hops } = name;
        let noted = Orphan {
            holder,
            hops,
            noted: now,
        };
        let known = self.named.get(&(job, key));
        let better = known.is_some_and(|known| known.goes_on(now) && known.rank() > noted.rank());
        if self.named.len() < ORPHANS_NAMED_MAX && !better {
            self.named.insert((job, key), noted);
        }
    }
}

impl Orphan {
    fn goes_on(&self, now: Time) -> bool {
        self.noted + ORPHAN_TIME > now
    }

    /// More can be joined to what was lent more often; who is nearer is asked rather than who is beyond a border.
    fn rank(&self) -> (u32, bool) {
        (self.hops, !matches!(self.holder, Holder::Beyond(_)))
    }
}

impl Manager {
    /// A child goes on with what somebody had lent it who is lost, or the parent knows of such. What may not leave this domain cannot go to
    /// who has it beyond the parent.
    pub(super) fn handle_name_orphans(
        &mut self,
        now: Time,
        from: NodeId,
        alias: JobAlias,
        orphans: Vec<OrphanName>,
    ) {
        let from_parent = self.parent() == Some(from);
        if from_parent && !self.config.policy.allows_outflow_to_all() {
            return;
        }
        let Some(job) = self.resolve_job(from, alias) else {
            return;
        };
        let server = self.children.get(&from).filter(|child| child.is_server());
        let holder = server.map_or(Holder::Beyond(from), |server| {
            Holder::Server(from, server.epoch)
        });
        self.orphans.tidy(now, orphans.len());
        for &name in &orphans {
            self.orphans.note(now, job, name, holder);
        }
        if !from_parent {
            self.name_to_parent(now, job, &orphans);
        }
    }

    /// This entry's lender is lost, and somebody in another domain goes on with it.
    pub(super) fn note_orphan(&mut self, now: Time, id: EntryId) {
        if let Some(entry) = self.ledger.entry(id) {
            let (job, name) = (entry.job, entry.orphan_name());
            self.orphans.tidy(now, 1);
            self.orphans.note(now, job, name, Holder::Here(id));
            self.stats.orphans += 1;
            self.name_to_parent(now, job, &[name]);
        }
    }

    /// What these descend from may be run again beyond this domain.
    fn name_to_parent(&mut self, now: Time, job: JobAlias, orphans: &[OrphanName]) {
        if let Some((parent, job)) = self.parent_link(job) {
            for name in orphan::in_messages(job, None, orphans) {
                self.sessions.send(now, parent, name);
            }
        }
    }

    /// Who has what a child that is to compute something again may come to, but for what it was told before. A manager is not told who it
    /// is.
    pub(super) fn tell_orphans(&mut self, now: Time, child: NodeId, alias: JobAlias) {
        let Some(job) = self.resolve_job(child, alias) else {
            return;
        };
        let to_server = self.is_server(child);
        let last = self.orphans.told.insert((job, child), now);
        let is_new = |orphan: &Orphan| last.is_none_or(|last| last <= orphan.noted);
        let mut by_holder: BTreeMap<Option<(NodeId, Epoch)>, Vec<OrphanName>> = BTreeMap::new();
        for (&(_, key), orphan) in self.orphans.named.range(of_job(job)) {
            let holder = match orphan.holder {
                Holder::Server(node, _) | Holder::Beyond(node) if node == child => continue,
                Holder::Server(node, epoch) if to_server => Some((node, epoch)),
                Holder::Server(..) | Holder::Here(_) | Holder::Beyond(_) => None,
            };
            if orphan.goes_on(now) && is_new(orphan) {
                let hops = orphan.hops;
                let named = by_holder.entry(holder).or_default();
                named.push(OrphanName { key, hops });
            }
        }
        for (holder, orphans) in by_holder {
            for name in orphan::in_messages(alias, holder, &orphans) {
                self.sessions.send(now, child, name);
            }
        }
    }

    /// Who has what is lent here to be lent on to it. A name is good once.
    pub(super) fn take_holder(
        &mut self,
        now: Time,
        job: JobAlias,
        lender: NodeId,
        (closure, hops): (&Closure, u32),
    ) -> Option<NodeId> {
        let name = (job, closure.key());
        let orphan = self.orphans.named.get(&name)?;
        if orphan.hops <= hops {
            return None;
        }
        let node = match orphan.holder {
            Holder::Here(_) => return None,
            Holder::Server(node, epoch) => {
                let child = self.children.get(&node);
                child
                    .is_some_and(|child| child.epoch == epoch)
                    .then_some(node)
            }
            Holder::Beyond(node) => self.may_go_to(node, job).then_some(node),
        };
        let usable = orphan.goes_on(now);
        self.orphans.named.remove(&name);
        node.filter(|node| usable && *node != lender)
    }

    /// The domain below lets the job in; that it may leave this one was asked before.
    fn may_go_to(&self, peer: NodeId, job: JobAlias) -> bool {
        if self.parent() == Some(peer) {
            return self.sessions.is_open(peer);
        }
        let (child, spec) = (self.children.get(&peer), self.jobs.spec(job));
        child
            .zip(spec)
            .is_some_and(|(child, spec)| child.admits(spec))
    }

    /// A closure that is lent here goes on elsewhere already, since somebody who is lost had lent it before: true if so, and it has a
    /// lender again.
    pub(super) fn adopt_orphan(
        &mut self,
        job: JobAlias,
        (lender, lease): (NodeId, LeaseId),
        closure: &Closure,
        hops: u32,
    ) -> bool {
        if self.orphans.named.is_empty() {
            return false;
        }
        let key = closure.key();
        let Some(&Orphan {
            holder: Holder::Here(id),
            ..
        }) = self.orphans.named.get(&(job, key))
        else {
            return false;
        };
        let entry = self.ledger.entry(id);
        let same = entry.is_some_and(|entry| entry.is_of(job, closure) && entry.hops > hops);
        let adopted = same && self.ledger.adopt(id, Source::Peer { lender, lease });
        if adopted {
            self.orphans.named.remove(&(job, key));
        }
        self.stats.orphans_adopted += u64::from(adopted);
        adopted
    }
}
