//! What a node holds of others' closures, and what others hold of its: the leases.
//!
//! An *entry* is one closure at this node, with where it came from (its *source*) and where it is now (its
//! *state*). What comes back for an entry goes to its source; what becomes of its borrower decides
//! about its state:
//!
//! ```text
//!            lend to a peer            result: to the source, the entry is gone
//!   Ready ------------------> Lent ---------------------------------------------->
//!     ^  \                     |
//!     |   \ give to the engine | returned, or the borrower is lost
//!     |    `-> Running         |
//!     |           `------------+
//!     `---------------------------
//! ```
//!
//! An entry is *held* for a while where something must come first: what its children give for a steal of its parent's, a
//! manager gathers before it lends it. Held is ready, but promised, and not in the queue.
//!
//! So the leases of a job form a forest: each entry has one source, and a source is asked for one result.
//! Invariants: a `Ready` entry is in its job's queue and no other is; each lease number is used once;
//! an entry that an engine lent is always `Lent` or held (it goes back to the engine, not into the queue); an orphan is `Lent` or
//! `Running`.
//!
//! An *orphan* is an entry whose lender is lost: nobody waits for its result, which is worth keeping all the same. It is let go on for
//! a while. An entry that is to be run *again* is held, too, until what was finished of it is known.
//!
//! A *rival* is a second lease of an entry that is `Lent`, whose borrower is late (`rivals`).
//!
//! Room for what comes later: a *standby manager*
//! holds a copy of the entries, fed by the same calls that change them here: they are the only ones that do.

mod rivals;

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{EngineLease, JobAlias, LeaseId, NodeId};
use crate::job::Closure;
use crate::limits::{Bound, GRANT_BYTES_MAX, GRANT_CLOSURES_MAX, HELD_BYTES_MAX, HELD_MAX};
use crate::message::{LeasedClosure, OrphanName};
use crate::sorted::SortedMap;
use crate::suspicion::Suspicion;
use crate::time::Time;

pub use rivals::Rival;
pub(crate) use rivals::Won;

/// An entry's number: later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId(pub u64);

/// A closure at this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The job, as this node calls it.
    pub job: JobAlias,
    /// Who gets its result.
    pub source: Source,
    /// Where it is.
    pub state: State,
    /// The closure itself, kept until its result is there.
    pub closure: Closure,
    /// Who had it before is lost: something of it may have been recorded.
    pub again: bool,
    /// How often it was lent since an engine made it, but for where it was said to go on: more than where it came from. A closure is joined to
    /// an orphan that was lent more often than itself, and to no other: so leases never go round.
    pub hops: u32,
}

impl Entry {
    /// What it is called if its lender is lost.
    pub(crate) fn orphan_name(&self) -> OrphanName {
        OrphanName {
            key: self.closure.key(),
            hops: self.hops,
        }
    }

    /// It computes what a closure of a job does. Hashes of hostile peers may agree, what is computed must.
    pub(crate) fn is_of(&self, job: JobAlias, closure: &Closure) -> bool {
        let (known, args) = (self.closure.kind.task, &self.closure.args);
        (self.job, known, args) == (job, closure.kind.task, &closure.args)
    }

    /// It as it is lent. Where it goes on it is not lent once more.
    pub(crate) fn leased(&self, lease: LeaseId, goes_on: bool) -> LeasedClosure {
        LeasedClosure {
            lease,
            closure: self.closure.clone(),
            again: self.again,
            goes_on,
            hops: self.hops.saturating_add(u32::from(!goes_on)),
        }
    }
}

/// Where a closure came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is the root of a job that was submitted here.
    Root,
    /// A peer lent it.
    Peer {
        /// The lender.
        lender: NodeId,
        /// The lender's number for it.
        lease: LeaseId,
    },
    /// An engine of this machine lent it.
    Engine {
        /// The engine's number for it.
        lease: EngineLease,
    },
    /// A peer that is lost had lent it.
    Orphan {
        /// When it is given up.
        until: Time,
    },
}

/// Where a closure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In this node's queue.
    Ready,
    /// Ready, but kept out of the queue until something has come.
    Held,
    /// In an engine of this machine.
    Running,
    /// At a peer.
    Lent {
        /// Who has it.
        borrower: NodeId,
        /// This node's number for it.
        lease: LeaseId,
    },
}

/// An entry that is suspected of killing engines.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    suspicion: Suspicion,
    /// The peer where the last one died, if it was told of by one.
    killed_at: Option<NodeId>,
}

/// Leases to be named to their other side, by peer.
pub(crate) type LeasesByPeer = BTreeMap<NodeId, Vec<LeaseId>>;

/// All entries of a node.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<EntryId, Entry>,
    ready: SortedMap<JobAlias, BTreeSet<EntryId>>,
    lent: BTreeMap<(NodeId, LeaseId), EntryId>,
    borrowed: BTreeMap<(NodeId, LeaseId), EntryId>,
    from_engine: BTreeMap<(JobAlias, EngineLease), EntryId>,
    /// Of the entries that engines have died with.
    suspects: BTreeMap<EntryId, Suspect>,
    orphans: BTreeSet<(Time, EntryId)>,
    rivals: BTreeMap<EntryId, Rival>,
    /// When those that have a rival, or had one, got it: nothing has two.
    rival_at: BTreeMap<EntryId, Time>,
    /// When the entries that are lent were.
    lent_at: BTreeMap<EntryId, Time>,
    /// When the last result of each borrower came.
    progress: BTreeMap<NodeId, Time>,
    ready_count: usize,
    /// How many closures of each job run; no job of which none does.
    running: BTreeMap<JobAlias, usize>,
    /// The arguments of all entries.
    bytes: usize,
    last_id: u64,
    last_lease: u64,
}

impl Ledger {
    /// All entries, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = (EntryId, &Entry)> {
        self.entries.iter().map(|(&id, entry)| (id, entry))
    }

    /// How many closures are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The arguments of all closures that are here.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What others make this node hold of closures.
    pub(crate) fn bounds(&self) -> [Bound; 2] {
        [
            Bound::new("closures", self.len(), HELD_MAX),
            Bound::new("bytes of closures", self.bytes, HELD_BYTES_MAX),
        ]
    }

    /// So many closures with so many bytes of arguments may come in without breaking a bound.
    pub(crate) fn has_room(&self, closures: usize, bytes: usize) -> bool {
        self.len() + closures <= HELD_MAX && self.bytes + bytes <= HELD_BYTES_MAX
    }

    /// Engines have died with an entry, the last at that peer.
    pub(crate) fn suspect(&mut self, id: EntryId, suspicion: Suspicion, at: Option<NodeId>) {
        if !self.entries.contains_key(&id) {
            return;
        }
        let fresh = Suspect {
            suspicion,
            killed_at: at,
        };
        let known = self.suspects.entry(id).or_insert(fresh);
        known.suspicion = known.suspicion.heavier(suspicion);
        known.killed_at = at.or(known.killed_at);
    }

    /// A peer says that engines have died with what it was lent, if that comes back from it, or with what it has lent.
    pub(crate) fn suspect_all(
        &mut self,
        peer: NodeId,
        leases: &[LeaseId],
        suspicion: Suspicion,
        returned: bool,
    ) {
        for &lease in leases {
            let id = if returned {
                self.lent_to(peer, lease)
            } else {
                self.borrowed(peer, lease)
            };
            let Some(id) = id else { continue };
            // The engine may have died before the peer had heard of those before it.
            let before = self.suspicion(id).filter(|_| returned);
            let suspicion =
                before.map_or(suspicion, |before| suspicion.heavier(before.once_more()));
            self.suspect(id, suspicion, returned.then_some(peer));
        }
    }

    /// What speaks against an entry.
    #[must_use]
    pub fn suspicion(&self, id: EntryId) -> Option<Suspicion> {
        self.suspects.get(&id).map(|suspect| suspect.suspicion)
    }

    /// What speaks against the entries of a job that are in its engine.
    pub(crate) fn suspected_running(&self, job: JobAlias) -> impl Iterator<Item = Suspicion> {
        let running = move |id: &EntryId| {
            self.entry(*id)
                .is_some_and(|entry| entry.job == job && entry.state == State::Running)
        };
        let suspects = self.suspects.iter().filter(move |(id, _)| running(id));
        suspects.map(|(_, suspect)| suspect.suspicion)
    }

    /// The peer where the last engine died with an entry: another one should have it next.
    pub(crate) fn killed_at(&self, id: EntryId) -> Option<NodeId> {
        self.suspects.get(&id)?.killed_at
    }

    /// Leases of suspected entries, by what speaks against them.
    pub(crate) fn suspected_leases(
        &self,
        leases: impl IntoIterator<Item = (EntryId, LeaseId)>,
    ) -> Vec<(Suspicion, Vec<LeaseId>)> {
        let mut grouped: Vec<(Suspicion, Vec<LeaseId>)> = Vec::new();
        if self.suspects.is_empty() {
            return grouped;
        }
        for (id, lease) in leases {
            let Some(suspicion) = self.suspicion(id) else {
                continue;
            };
            match grouped.iter_mut().find(|(known, _)| *known == suspicion) {
                Some((_, leases)) => leases.push(lease),
                None => grouped.push((suspicion, vec![lease])),
            }
        }
        grouped
    }

    /// Entries in groups that fit into one grant each.
    pub(crate) fn grants<'a>(&self, mut entries: &'a [EntryId]) -> Vec<&'a [EntryId]> {
        let mut grants = Vec::new();
        while !entries.is_empty() {
            let mut bytes = 0;
            let fits = |id: &&EntryId| {
                bytes += self.entry(**id).map_or(0, |entry| entry.closure.size());
                bytes <= GRANT_BYTES_MAX
            };
            let count = entries
                .iter()
                .take(GRANT_CLOSURES_MAX)
                .take_while(fits)
                .count();
            let (grant, rest) = entries.split_at(count.max(1));
            grants.push(grant);
            entries = rest;
        }
        grants
    }

    /// Nothing is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry of a number, if it is still here.
    #[must_use]
    pub fn entry(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// How many closures are in the queue.
    #[must_use]
    pub fn ready_count(&self) -> usize {
        self.ready_count
    }

    /// The queue of a job, oldest first.
    pub fn ready(&self, job: JobAlias) -> impl DoubleEndedIterator<Item = EntryId> {
        self.ready.get(&job).into_iter().flatten().copied()
    }

    /// How many closures of a job are in the queue.
    #[must_use]
    pub fn ready_of(&self, job: JobAlias) -> usize {
        self.ready.get(&job).map_or(0, BTreeSet::len)
    }

    /// A closure of the job is in its engine.
    pub(crate) fn is_running(&self, job: JobAlias) -> bool {
        self.running.contains_key(&job)
    }

    /// The jobs with a closure in the queue.
    pub fn ready_jobs(&self) -> impl Iterator<Item = JobAlias> {
        self.ready.keys().copied()
    }

    /// The entry that a peer lent under `lease`.
    #[must_use]
    pub fn borrowed(&self, lender: NodeId, lease: LeaseId) -> Option<EntryId> {
        self.borrowed.get(&(lender, lease)).copied()
    }

    /// The entry that an engine lent under `lease`.
    #[must_use]
    pub fn from_engine(&self, job: JobAlias, lease: EngineLease) -> Option<EntryId> {
        self.from_engine.get(&(job, lease)).copied()
    }

    /// The entry that `borrower` holds under `lease`; none if the lease is over or somebody else's.
    #[must_use]
    pub fn lent_to(&self, borrower: NodeId, lease: LeaseId) -> Option<EntryId> {
        self.lent.get(&(borrower, lease)).copied()
    }

    /// Takes a closure in; it is ready.
    pub(crate) fn insert(&mut self, job: JobAlias, source: Source, closure: Closure) -> EntryId {
        self.last_id += 1;
        let id = EntryId(self.last_id);
        match source {
            Source::Root | Source::Orphan { .. } => {}
            Source::Peer { lender, lease } => {
                self.borrowed.insert((lender, lease), id);
            }
            Source::Engine { lease } => {
                self.from_engine.insert((job, lease), id);
            }
        }
        self.bytes += closure.size();
        self.entries.insert(
            id,
            Entry {
                job,
                source,
                state: State::Ready,
                closure,
                again: false,
                hops: 0,
            },
        );
        self.enqueue(job, id);
        id
    }

    /// Lends an entry that is ready, under a new lease.
    pub(crate) fn lend(&mut self, id: EntryId, borrower: NodeId) -> LeaseId {
        self.last_lease += 1;
        let lease = LeaseId(self.last_lease);
        self.change(id, State::Lent { borrower, lease });
        lease
    }

    /// Who had the entry is lost, or had begun it.
    pub(crate) fn note_again(&mut self, id: EntryId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.again = true;
        }
    }

    /// It was lent so often.
    pub(crate) fn note_hops(&mut self, id: EntryId, hops: u32) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.hops = hops;
        }
    }

    /// A closure of the job is in its engine that somebody who is lost had before.
    pub(crate) fn runs_again(&self, job: JobAlias) -> bool {
        let runs = |entry: &Entry| entry.job == job && entry.state == State::Running;
        self.is_running(job)
            && self
                .entries
                .values()
                .any(|entry| runs(entry) && entry.again)
    }

    /// There are entries of the job whose lender is lost.
    pub(crate) fn has_orphans_of(&self, job: JobAlias) -> bool {
        let mut orphans = self.orphans.iter();
        orphans.any(|(_, id)| self.entries.get(id).is_some_and(|entry| entry.job == job))
    }

    /// Nobody waits for the entry any more; it may go on until then.
    pub(crate) fn orphan(&mut self, id: EntryId, until: Time) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if let Source::Peer { lender, lease } = entry.source {
            self.borrowed.remove(&(lender, lease));
            entry.source = Source::Orphan { until };
            self.orphans.insert((until, id));
        }
    }

    /// Somebody waits for an orphan again: a peer that has lent it anew, or an engine of this machine. False if it is none.
    pub(crate) fn adopt(&mut self, id: EntryId, source: Source) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        let Source::Orphan { until } = entry.source else {
            return false;
        };
        self.orphans.remove(&(until, id));
        entry.source = source;
        match source {
            Source::Root | Source::Orphan { .. } => {}
            Source::Peer { lender, lease } => drop(self.borrowed.insert((lender, lease), id)),
            Source::Engine { lease } => {
                self.from_engine.insert((entry.job, lease), id);
            }
        }
        true
    }

    /// The closures of a job that are in its engine.
    pub(crate) fn running_of(&self, job: JobAlias) -> Vec<EntryId> {
        self.select(|entry| entry.job == job && entry.state == State::Running)
    }

    /// When the first orphan is given up.
    pub(crate) fn orphans_until(&self) -> Option<Time> {
        self.orphans.first().map(|&(until, _)| until)
    }

    /// The orphans that are given up now.
    pub(crate) fn orphans_over(&self, now: Time) -> Vec<EntryId> {
        let over = self.orphans.iter().take_while(|(until, _)| *until <= now);
        over.map(|&(_, id)| id).collect()
    }

    /// An entry that is ready is promised to somebody, or one that came back waits for something.
    pub(crate) fn hold(&mut self, id: EntryId) {
        self.change(id, State::Held);
    }

    /// Those of these entries that are still held.
    pub(crate) fn still_held(&self, entries: Vec<EntryId>) -> Vec<EntryId> {
        let held = |id: &EntryId| {
            self.entry(*id)
                .is_some_and(|entry| entry.state == State::Held)
        };
        entries.into_iter().filter(held).collect()
    }

    /// An entry that is ready goes to the engine.
    pub(crate) fn run(&mut self, id: EntryId) {
        self.change(id, State::Running);
    }

    /// An entry is ready again.
    pub(crate) fn requeue(&mut self, id: EntryId) {
        self.change(id, State::Ready);
    }

    /// The entry is done with.
    pub(crate) fn remove(&mut self, id: EntryId) -> Option<Entry> {
        self.drop_rival(id);
        let entry = self.entries.remove(&id)?;
        self.suspects.remove(&id);
        self.rival_at.remove(&id);
        self.bytes -= entry.closure.size();
        self.leave_state(id, entry.job, entry.state);
        match entry.source {
            Source::Root => {}
            Source::Peer { lender, lease } => {
                self.borrowed.remove(&(lender, lease));
            }
            Source::Engine { lease } => {
                self.from_engine.remove(&(entry.job, lease));
            }
            Source::Orphan { until } => {
                self.orphans.remove(&(until, id));
            }
        }
        Some(entry)
    }

    /// The entries go back to whom they came from: the leases to name to each lender.
    pub(crate) fn undo(&mut self, entries: &[EntryId]) -> LeasesByPeer {
        let mut returned = LeasesByPeer::new();
        for &id in entries {
            if let Some(entry) = self.remove(id)
                && let Source::Peer { lender, lease } = entry.source
            {
                returned.entry(lender).or_default().push(lease);
            }
        }
        returned
    }

    /// Leases bind this node to a peer.
    pub(crate) fn binds(&self, peer: NodeId) -> bool {
        let any = |leases| of_peer(leases, peer).next().is_some();
        any(&self.lent) || any(&self.borrowed)
    }

    /// The entries that this node has of a peer.
    pub(crate) fn borrowed_from_peer(&self, peer: NodeId) -> Vec<EntryId> {
        of_peer(&self.borrowed, peer).map(|(_, id)| id).collect()
    }

    /// The entries that this node has of a peer under these leases.
    pub(crate) fn borrowed_under(&self, lender: NodeId, leases: &[LeaseId]) -> Vec<EntryId> {
        leases
            .iter()
            .filter_map(|&lease| self.borrowed(lender, lease))
            .collect()
    }

    /// Parts entries into those that `peer` lent and the others: what came from there goes back rather than being
    /// lent on, so that no lease runs in a circle.
    pub(crate) fn part_by_lender(
        &self,
        entries: &[EntryId],
        peer: NodeId,
    ) -> (Vec<EntryId>, Vec<EntryId>) {
        entries.iter().partition(|id| {
            let source = self.entry(**id).map(|entry| entry.source);
            matches!(source, Some(Source::Peer { lender, .. }) if lender == peer)
        })
    }

    /// The entries of a job.
    pub(crate) fn of_job(&self, job: JobAlias) -> Vec<EntryId> {
        self.select(|entry| entry.job == job)
    }

    fn select(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<EntryId> {
        self.entries
            .iter()
            .filter(|(_, entry)| wanted(entry))
            .map(|(&id, _)| id)
            .collect()
    }

    fn change(&mut self, id: EntryId, state: State) {
        let entry = self
            .entries
            .get_mut(&id)
            .expect("an entry changes only while it is here");
        let (job, before) = (entry.job, std::mem::replace(&mut entry.state, state));
        self.leave_state(id, job, before);
        match state {
            State::Ready => self.enqueue(job, id),
            State::Held => {}
            State::Running => *self.running.entry(job).or_default() += 1,
            State::Lent { borrower, lease } => {
                self.lent.insert((borrower, lease), id);
            }
        }
    }

    fn enqueue(&mut self, job: JobAlias, id: EntryId) {
        self.ready_count += 1;
        self.ready.get_or_insert_with(job, BTreeSet::new).insert(id);
    }

    fn leave_state(&mut self, id: EntryId, job: JobAlias, before: State) {
        match before {
            State::Ready => {
                self.ready_count -= 1;
                let queue = self
                    .ready
                    .get_mut(&job)
                    .expect("a ready entry is in its job's queue");
                queue.remove(&id);
                if queue.is_empty() {
                    self.ready.remove(&job);
                }
            }
            State::Held => {}
            State::Running => {
                let running = self
                    .running
                    .get_mut(&job)
                    .expect("a running entry is counted");
                *running -= 1;
                if *running == 0 {
                    self.running.remove(&job);
                }
            }
            State::Lent { borrower, lease } => {
                self.lent.remove(&(borrower, lease));
                self.lent_at.remove(&id);
            }
        }
    }
}

/// The leases with one peer, by their numbers.
fn of_peer(
    leases: &BTreeMap<(NodeId, LeaseId), EntryId>,
    peer: NodeId,
) -> impl Iterator<Item = (LeaseId, EntryId)> {
    let all = (peer, LeaseId(0))..=(peer, LeaseId(u64::MAX));
    leases.range(all).map(|(&(_, lease), &id)| (lease, id))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::engine::Above;
    use crate::ids::TaskId;
    use crate::job::ClosureKind;

    const JOB: JobAlias = JobAlias(1);

    fn closure() -> Closure {
        let kind = ClosureKind {
            task: TaskId(1),
            depth: 0,
        };
        Closure {
            kind,
            args: Bytes::new(),
            expected: Duration::ZERO,
            shared: Vec::new(),
            above: Above::NONE,
        }
    }

    fn peer(n: u64) -> Source {
        Source::Peer {
            lender: NodeId(n),
            lease: LeaseId(n),
        }
    }

    #[test]
    fn a_lease_is_known_by_its_borrower_alone() {
        let mut ledger = Ledger::default();
        let id = ledger.insert(JOB, peer(1), closure());
        let lease = ledger.lend(id, NodeId(2));
        assert_eq!(ledger.lent_to(NodeId(2), lease), Some(id));
        assert_eq!(ledger.lent_to(NodeId(3), lease), None);
        ledger.requeue(id);
        assert_eq!(ledger.lent_to(NodeId(2), lease), None);
        let again = ledger.lend(id, NodeId(2));
        assert_ne!(again, lease, "a number is used once");
    }

    #[test]
    fn what_was_requeued_is_older_than_what_came_later() {
        let mut ledger = Ledger::default();
        let first = ledger.insert(JOB, peer(1), closure());
        ledger.lend(first, NodeId(9));
        let second = ledger.insert(JOB, peer(2), closure());
        ledger.requeue(first);
        assert_eq!(ledger.ready(JOB).collect::<Vec<_>>(), [first, second]);
        assert_eq!(ledger.ready_count(), 2);
    }

    #[test]
    fn a_removed_entry_leaves_no_trace() {
        let mut ledger = Ledger::default();
        let borrowed = ledger.insert(JOB, peer(1), closure());
        let lent = ledger.insert(
            JOB,
            Source::Engine {
                lease: EngineLease(4),
            },
            closure(),
        );
        let lease = ledger.lend(lent, NodeId(2));
        ledger.run(borrowed);
        assert!(ledger.remove(borrowed).is_some());
        assert!(ledger.remove(lent).is_some());
        assert!(ledger.remove(lent).is_none());
        assert!(ledger.is_empty());
        assert_eq!(ledger.borrowed(NodeId(1), LeaseId(1)), None);
        assert_eq!(ledger.from_engine(JOB, EngineLease(4)), None);
        assert_eq!(ledger.lent_to(NodeId(2), lease), None);
        assert_eq!(ledger.ready_jobs().count(), 0);
    }
}
