//! Closures whose lender is lost, and how they find a lender again.
//!
//! What this machine has begun of a lost lender's closures goes on, and its manager is told (`NameOrphans`). Whoever runs again what the
//! lender had comes to the same closures in the end. So it is told who has which of them, with the checkpoint, and lends each that its
//! engine gives to who has it already: that one has a lender again, and nothing that descends from it is begun anew.
//!
//! ```text
//!   lender lost ──▶ orphan ── NameOrphans ──▶ manager ── NameOrphans ──▶ who runs it again
//!                     │                                                      │
//!                     ◀───────────────────── GrantClosures ◀── Lent ◀── its engine
//! ```
//!
//! - The engine is asked for its oldest closures now and then as long as some are looked for: what is not looked for it has back. It
//!   would run the youngest first, and thieves seldom come when all have something to do.
//! - What is given to this machine, or comes back from who is lost, and goes on elsewhere is passed on there before it is begun.
//! - A closure is joined to an orphan that was lent more often than itself, and to no other. What an engine makes was never lent, and each time
//!   that it is lent counts, but for where it goes on already. So the number grows along any chain of leases, and none goes round, though
//!   nobody sees more of it than its neighbours.
//! - What a pure task makes is never what it was made of, or the computation would not end. So nobody waits for himself, whatever else he
//!   runs: an engine may wait for what it runs itself. Of impure tasks that is not sure, and what they do is their next run's: their
//!   closures are no orphans.
//! - A name is good once. If nobody has the orphan any more, it is lent as any other closure.
//! - What the same machine has itself gets the engine's own lease.

use std::collections::BTreeMap;
use std::time::Duration;

use atlas_engine::{Key, ROOT_TASK};
use indexmap::IndexMap;

use super::Server;
use crate::engine::{EngineCommand, Lent};
use crate::ids::{EngineRequest, Epoch, JobAlias, NodeId, TaskId};
use crate::job::Closure;
use crate::ledger::{EntryId, Source, State};
use crate::limits::{Bound, ORPHANS_NAMED_MAX, SESSIONS_MAX};
use crate::message::OrphanName;
use crate::orphan::{self, ORPHAN_TIME};
use crate::time::Time;

/// What is known of orphans, here and at siblings.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    jobs: BTreeMap<JobAlias, OfJob>,
    /// When it was last looked for some; none if there is news since.
    looked_at: Option<Time>,
    /// When names that are over were last forgotten.
    tidied_at: Time,
}

#[derive(Debug, Default)]
struct OfJob {
    /// Those of this machine.
    own: BTreeMap<Key, EntryId>,
    /// Those that the manager has named.
    named: IndexMap<Key, Named>,
    /// When the last of these is over.
    named_until: Time,
    /// The engine was asked for what may be among them, and has not answered.
    asked: Option<EngineRequest>,
    asked_at: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Named {
    /// Who has it; with no epoch, the manager.
    holder: (NodeId, Option<Epoch>),
    hops: u32,
    until: Time,
}

impl Orphans {
    pub(super) fn forget(&mut self, job: JobAlias) {
        self.jobs.remove(&job);
    }

    pub(super) fn forget_holder(&mut self, peer: NodeId) {
        for of_job in self.jobs.values_mut() {
            of_job.named.retain(|_, named| named.holder.0 != peer);
        }
    }

    pub(super) fn bounds(&self) -> [Bound; 1] {
        [Bound::new(
            "orphans named",
            self.named_len(),
            ORPHANS_NAMED_MAX,
        )]
    }

    pub(super) fn are_sought(&self, job: JobAlias) -> bool {
        self.jobs.get(&job).is_some_and(OfJob::has_some)
    }

    fn named_len(&self) -> usize {
        self.jobs.values().map(|of_job| of_job.named.len()).sum()
    }

    /// Forgets names that are over, now and then, and where there is no room for so many more.
    fn tidy(&mut self, now: Time, more: usize) {
        let full = self.named_len() + more > ORPHANS_NAMED_MAX;
        if full || self.tidied_at + TIDY_EVERY <= now {
            self.tidied_at = now;
            for of_job in self.jobs.values_mut() {
                of_job.named.retain(|_, named| named.until > now);
            }
        }
    }

    fn note_named(&mut self, now: Time, job: JobAlias, key: Key, named: Named) {
        let has_room = self.named_len() < ORPHANS_NAMED_MAX;
        let of_job = self.jobs.entry(job).or_default();
        let known = of_job.named.get(&key);
        let better = known.is_some_and(|known| known.until > now && known.hops > named.hops);
        if has_room && !better {
            of_job.named.insert(key, named);
            of_job.named_until = named.until.max(of_job.named_until);
        }
    }
}

impl OfJob {
    fn has_some(&self) -> bool {
        !self.named.is_empty() || !self.own.is_empty()
    }

    fn knows(&self, key: &Key) -> bool {
        self.named.contains_key(key) || self.own.contains_key(key)
    }

    /// The engine is asked when it has answered, and not too often.
    fn is_due(&self, now: Time) -> bool {
        let is_past = |last: Time| last + SEEK_EVERY <= now;
        self.asked.is_none() && self.asked_at.is_none_or(is_past)
    }
}

impl Server {
    /// These go on though their lender is lost: the manager is told of them.
    pub(super) fn name_orphans(&mut self, now: Time, ids: &[EntryId]) {
        self.forget_adopted();
        self.orphans.looked_at = None;
        self.stats.orphans += ids.len() as u64;
        let mut by_job: BTreeMap<JobAlias, Vec<OrphanName>> = BTreeMap::new();
        for &id in ids {
            let Some(entry) = self.ledger.entry(id) else {
                continue;
            };
            let name = entry.orphan_name();
            let of_job = self.orphans.jobs.entry(entry.job).or_default();
            of_job.own.insert(name.key, id);
            by_job.entry(entry.job).or_default().push(name);
        }
        let manager = self.uplink.manager();
        for (job, orphans) in by_job {
            for name in orphan::in_messages(job, None, &orphans) {
                self.sessions.send(now, manager, name);
            }
        }
    }

    fn forget_adopted(&mut self) {
        let is_orphan = |id: &EntryId| {
            let entry = self.ledger.entry(*id);
            entry.is_some_and(|entry| matches!(entry.source, Source::Orphan { .. }))
        };
        for of_job in self.orphans.jobs.values_mut() {
            of_job.own.retain(|_, id| is_orphan(id));
        }
    }

    /// The manager says who has what this machine may come to.
    pub(super) fn handle_name_orphans(
        &mut self,
        now: Time,
        job: JobAlias,
        holder: Option<(NodeId, Epoch)>,
        orphans: Vec<OrphanName>,
    ) {
        let me = self.config.node;
        let manager = self.uplink.manager();
        let holder = match holder {
            Some((node, _)) if node == me || node == manager => return,
            Some((node, epoch)) => (node, Some(epoch)),
            None => (manager, None),
        };
        if !self.jobs.contains_key(&job) {
            return;
        }
        self.orphans.looked_at = None;
        let until = now + ORPHAN_TIME;
        self.orphans.tidy(now, orphans.len());
        for OrphanName { key, hops } in orphans {
            let named = Named {
                holder,
                hops,
                until,
            };
            self.orphans.note_named(now, job, key, named);
        }
    }

    /// A closure that a peer or an engine lends to this machine goes on here already, since somebody who is lost had lent it before: true if
    /// so, and it has a lender again. An engine waits for what it runs itself, or has lent on.
    pub(super) fn adopt_orphan(
        &mut self,
        job: JobAlias,
        source: Source,
        closure: &Closure,
        hops: u32,
    ) -> bool {
        let Some(id) = self.own_orphan(job, closure, hops) else {
            return false;
        };
        let adopted = self.ledger.adopt(id, source);
        self.stats.orphans_adopted += u64::from(adopted);
        adopted
    }

    /// What was lent so often goes on here.
    fn own_orphan(&mut self, job: JobAlias, closure: &Closure, hops: u32) -> Option<EntryId> {
        let of_job = self.orphans.jobs.get_mut(&job)?;
        if of_job.own.is_empty() {
            return None;
        }
        let key = closure.key();
        let id = *of_job.own.get(&key)?;
        let entry = self.ledger.entry(id)?;
        if entry.hops <= hops {
            return None;
        }
        of_job.own.remove(&key);
        entry.is_of(job, closure).then_some(id)
    }

    /// Whoever wants a result of this task runs it: `main`, and what the program says of others.
    pub(super) fn is_impure(&self, job: JobAlias, task: TaskId) -> bool {
        let state = self.jobs.get(&job);
        task == ROOT_TASK || state.is_some_and(|state| state.suspects.is_impure(task))
    }

    /// How often a closure was lent that an engine has been given and lends on.
    pub(super) fn hops_of_lent(&self, job: JobAlias, closure: &Closure) -> u32 {
        let entries = self.ledger.entries();
        let same = entries.filter(|(id, entry)| {
            let runs = entry.state == State::Running || self.ledger.is_rival_here(*id);
            runs && entry.is_of(job, closure)
        });
        let hops = same.map(|(_, entry)| entry.hops.saturating_add(1)).max();
        hops.unwrap_or(u32::MAX)
    }

    /// Lends what an engine has lent to those who have it already. Gives the others.
    pub(super) fn lend_to_holders(
        &mut self,
        now: Time,
        job: JobAlias,
        entries: Vec<EntryId>,
    ) -> Vec<EntryId> {
        if !self.orphans.are_sought(job) {
            return entries;
        }
        let mut rest = Vec::with_capacity(entries.len());
        let mut found: BTreeMap<NodeId, Vec<EntryId>> = BTreeMap::new();
        for id in entries {
            match self.holder_of(now, job, id) {
                Some(holder) => found.entry(holder).or_default().push(id),
                None => rest.push(id),
            }
        }
        for (holder, ids) in found {
            self.send_grant(now, holder, None, job, &ids, false);
        }
        rest
    }

    /// Who has what an entry is a second copy of, if it can be lent to.
    fn holder_of(&mut self, now: Time, job: JobAlias, id: EntryId) -> Option<NodeId> {
        let entry = self.ledger.entry(id)?;
        if self.is_impure(job, entry.closure.kind.task) {
            return None;
        }
        let key = entry.closure.key();
        let of_job = self.orphans.jobs.get_mut(&job)?;
        if of_job.named.get(&key)?.hops <= entry.hops {
            return None;
        }
        let named = of_job.named.swap_remove(&key)?;
        let (node, epoch) = named.holder;
        let usable = named.until > now;
        (usable && self.is_reached(now, node, epoch)).then_some(node)
    }

    fn is_reached(&mut self, now: Time, node: NodeId, epoch: Option<Epoch>) -> bool {
        let Some(epoch) = epoch else {
            return self.sessions.is_open(node);
        };
        if let Some(known) = self.session(node) {
            return known == epoch;
        }
        let over = self.forgotten.get(&node);
        let over = over.is_some_and(|&forgotten| epoch <= forgotten);
        match self.uplink.epoch() {
            Some(mine) if !over && self.sessions.len() < SESSIONS_MAX => {
                self.sessions.open(now, node, mine, epoch);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Asks engines for what others may have already.
    pub(super) fn seek_orphans(&mut self, now: Time) {
        let mut jobs = self.orphans.jobs.values();
        if !jobs.any(OfJob::has_some) {
            return;
        }
        let looked = self.orphans.looked_at;
        if looked.is_some_and(|last| last + SEEK_EVERY > now) {
            return;
        }
        self.orphans.looked_at = Some(now);
        self.forget_adopted();
        let mut due = Vec::new();
        for (&job, of_job) in &mut self.orphans.jobs {
            if of_job.named_until <= now {
                of_job.named.clear();
            }
            if of_job.has_some() && of_job.is_due(now) {
                due.push(job);
            }
        }
        for job in due {
            self.ask_for_orphans(now, job);
        }
    }

    fn ask_for_orphans(&mut self, now: Time, job: JobAlias) {
        let ready = self.jobs.get(&job).map_or(0, |state| state.load.ready);
        if ready == 0 || !self.is_started(job) || !self.ledger.runs_again(job) {
            return;
        }
        let request = EngineRequest(self.next_request());
        let of_job = self.orphans.jobs.entry(job).or_default();
        (of_job.asked, of_job.asked_at) = (Some(request), Some(now));
        self.commands.push_back(EngineCommand::Lend {
            job,
            request,
            closures_max: ready.min(SEEK_CLOSURES_MAX),
        });
    }

    /// The engine answers to [`Server::seek_orphans`]: what others have is lent to them, the rest it has back. Gives the closures if this
    /// was another question.
    pub(super) fn handle_sought(
        &mut self,
        now: Time,
        job: JobAlias,
        request: EngineRequest,
        closures: Vec<Lent>,
    ) -> Option<Vec<Lent>> {
        let Some(of_job) = self.orphans.jobs.get_mut(&job) else {
            return Some(closures);
        };
        if of_job.asked != Some(request) {
            return Some(closures);
        }
        of_job.asked = None;
        let known = |closure: &Closure| of_job.knows(&closure.key());
        let (found, rest): (Vec<_>, Vec<_>) =
            closures.into_iter().partition(|lent| known(&lent.closure));
        let count = found.len();
        let entries = self.take_from_engine(now, job, found);
        let back = self.lend_to_holders(now, job, entries);
        if let Some(state) = self.jobs.get_mut(&job) {
            state.note_lent(u32::try_from(count - back.len()).unwrap_or(u32::MAX));
        }
        // The engine puts what it gets back before the others: the oldest comes last.
        for id in back.into_iter().rev() {
            self.take_back(id);
        }
        for lent in rest.into_iter().rev() {
            self.reclaim(job, lent.lease);
        }
        None
    }

    /// The engine of a job is gone, and answers nothing any more.
    pub(super) fn end_seeking(&mut self, job: JobAlias) {
        if let Some(of_job) = self.orphans.jobs.get_mut(&job) {
            (of_job.asked, of_job.asked_at) = (None, None);
        }
    }
}

/// An engine looks for so many of its oldest closures: what a lost lender had lent was its oldest, too.
const SEEK_CLOSURES_MAX: u32 = 64;
/// It gives them away and takes them back, which is work for nothing where none is found.
const SEEK_EVERY: Duration = Duration::from_millis(250);
/// Names that are over are of no harm meanwhile.
const TIDY_EVERY: Duration = Duration::from_secs(4);
