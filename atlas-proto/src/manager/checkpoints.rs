//! What a manager keeps of its jobs for the case that a child is lost, and what it does when one is.
//!
//! - What children record is kept by the name that this manager gives the job, as long as the job lives. The driver keeps it, too: of a job
//!   that was submitted elsewhere under the number that goes with it everywhere, since aliases end with their sessions. What the parent
//!   has told is the parent's to keep, and is asked for again.
//! - What was dearest of it goes on to the parent, if the job is known there, once an interval: the closures above it may be computed
//!   again anywhere, and a parent's table is there when a child's is lost. So a table has all of its own domain, and of the domains
//!   below it what was dear.
//! - A closure whose borrower is lost is lent again with the word that it is (`again`): whoever gets it asks for what is known of the
//!   job before it begins. A manager below asks its parent, and its own children wait for that answer; so they do when they ask and the
//!   parent was not asked for an interval: what was lent out of this domain was recorded in others.
//! - A closure whose lender is lost is an orphan: it goes on for a while, since what it is in the middle of is lost otherwise, and its
//!   result is kept with the others. What nobody has begun is dropped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atlas_engine::Key;

use super::{Manager, ManagerEvent, SubmitError};
use crate::checkpoint::{Checkpoints, Part, Ration, in_messages};
use crate::engine::Recorded;
use crate::ids::{JobAlias, NodeId};
use crate::job::{Closure, Finished, JobSpec};
use crate::ledger::{Entry, EntryId, Source, State};
use crate::limits::{Bound, CHECKPOINT_UNACKED_MAX};
use crate::link::Link;
use crate::message::Message;
use crate::orphan::{Name, ORPHAN_TIME, recorded};
use crate::time::Time;

/// What goes between the tables of a manager and of its parent.
#[derive(Debug, Default)]
pub(super) struct Upward {
    /// What is to be told to the parent.
    fresh: BTreeMap<JobAlias, Vec<Recorded>>,
    /// When something was last.
    told_at: Time,
    /// The jobs of which the parent was asked for what it knows, each with when nobody waits any more.
    asked: BTreeMap<JobAlias, Time>,
    /// When it was last asked.
    asked_at: BTreeMap<JobAlias, Time>,
    /// Until then, children may be recording what a lost one has not got.
    orphans_until: Time,
    /// When each manager below was last told of a job.
    told_down: BTreeMap<(JobAlias, NodeId), Time>,
    /// Children that wait for either, each with the job as it calls it and with what it knows already.
    waiting: BTreeMap<(JobAlias, NodeId), (JobAlias, u64)>,
}

impl Upward {
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let tell = (!self.fresh.is_empty()).then(|| self.told_at + INTERVAL);
        let mut waiting = self.waiting.keys();
        let only_for_orphans = waiting.any(|(job, _)| !self.asked.contains_key(job));
        let orphans = only_for_orphans.then_some(self.orphans_until);
        let asked = self.asked.values().copied();
        asked.chain(tell).chain(orphans).min()
    }

    /// More of the job's checkpoint may be on its way.
    fn is_awaited(&self, now: Time, job: JobAlias) -> bool {
        now < self.orphans_until || self.asked.contains_key(&job)
    }

    pub(super) fn forget_child(&mut self, child: NodeId) {
        self.waiting.retain(|(_, waiting), _| *waiting != child);
        self.told_down.retain(|(_, told), _| *told != child);
    }

    pub(super) fn forget_job(&mut self, job: JobAlias) {
        self.fresh.remove(&job);
        self.asked.remove(&job);
        self.asked_at.remove(&job);
        self.waiting.retain(|(waiting, _), _| *waiting != job);
        self.told_down.retain(|(told, _), _| *told != job);
    }

    /// Notes what the parent may want to know. Beyond so much of an interval, what was cheapest is left out.
    fn note(&mut self, job: JobAlias, entries: &[Recorded], checkpoints: &Checkpoints) {
        let fresh = self.fresh.entry(job).or_default();
        fresh.extend_from_slice(entries);
        let bytes: usize = fresh.iter().map(Recorded::size).sum();
        if fresh.len() > UPWARD_MAX || bytes > UPWARD_BYTES_MAX {
            leave_dearest(fresh, |key| checkpoints.is_uncovered(job, key.short()));
        }
    }

    pub(super) fn bounds(&self) -> impl Iterator<Item = Bound> {
        let held = self.fresh.values().map(Vec::len);
        held.map(|held| Bound::new("results for the parent", held, UPWARD_MAX))
    }
}

/// Those first that nothing covers.
fn leave_dearest(entries: &mut Vec<Recorded>, is_uncovered: impl Fn(&Key) -> bool) {
    entries.sort_by_cached_key(|recorded| {
        let covered = !is_uncovered(&recorded.key);
        (covered, Reverse(recorded.work), recorded.key)
    });
    entries.truncate(UPWARD_MAX);
    let mut bytes = 0;
    entries.retain(|recorded| {
        let fits = bytes + recorded.size() <= UPWARD_BYTES_MAX;
        bytes += if fits { recorded.size() } else { 0 };
        fits
    });
}

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
        self.restore_checkpoint(job, checkpoint);
        self.settle(now);
        Ok(job)
    }

    /// Gives back what was kept of a job: by an earlier life, or since before the session with who lends its closures. Its parent may
    /// have lost what it was told of it, and is told the dearest again.
    pub fn restore_checkpoint(&mut self, job: JobAlias, entries: Vec<Recorded>) {
        if entries.is_empty() || !self.has_job(job) {
            return;
        }
        self.stats.results_restored += entries.len() as u64;
        self.jobs.keep_foreign(job);
        let entries = self.checkpoints.record(job, entries);
        self.note_upward(job, &entries);
    }

    /// How many results are kept of a job.
    #[must_use]
    pub fn checkpoint_len(&self, job: JobAlias) -> usize {
        self.checkpoints.len(job)
    }

    /// What is said of checkpoints: children record and ask, the parent answers. Nothing else makes sense.
    pub(super) fn dispatch_checkpoint(&mut self, now: Time, from: NodeId, message: Message) {
        let from_parent = self.parent() == Some(from);
        if let Message::GrantCheckpoint {
            job,
            entries,
            until,
            more,
        } = message
        {
            if from_parent {
                self.handle_grant_checkpoint(now, from, job, (entries, until), more);
            }
        } else if from_parent {
            // A parent neither records nor asks.
        } else if let Message::RecordResults { job, entries } = message {
            self.handle_record_results(now, from, job, entries);
        } else if let Message::RequestCheckpoint { job, after } = message {
            self.handle_request_checkpoint(now, from, job, after);
        }
    }

    fn handle_record_results(
        &mut self,
        now: Time,
        child: NodeId,
        alias: JobAlias,
        entries: Vec<Recorded>,
    ) {
        match self.resolve_job(child, alias) {
            Some(job) => self.record(job, entries, true),
            // A sibling lent it, and had not heard of the end yet; the server has become a member after that was said.
            None if self.is_server(child) => {
                let end = Message::EndJob {
                    job: alias,
                    lost: false,
                };
                self.sessions.send(now, child, end);
            }
            None => {}
        }
    }

    /// Answers at once, unless there is more to come: from the parent, which is asked since what was lent out of this domain was recorded
    /// elsewhere, or from who has done something for a lost child.
    fn handle_request_checkpoint(&mut self, now: Time, child: NodeId, alias: JobAlias, after: u64) {
        let job = self.resolve_job(child, alias);
        if let Some(job) = job {
            let asked_at = self.upward.asked_at.get(&job);
            if asked_at.is_none_or(|&at| at + INTERVAL <= now) {
                self.ask_parent_for_checkpoint(now, job);
            }
        }
        match job.filter(|&job| self.upward.is_awaited(now, job)) {
            Some(job) => drop(self.upward.waiting.insert((job, child), (alias, after))),
            None => self.tell_checkpoint(now, child, alias, after),
        }
    }

    /// Tells nothing where the child has so much to hear already that it cannot be listening.
    fn tell_checkpoint(&mut self, now: Time, child: NodeId, alias: JobAlias, after: u64) {
        self.tell_orphans(now, child, alias);
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
        let ration = self.ration_for(now, child, job);
        let parts = job.map_or_else(nothing, |job| self.checkpoints.since(job, after, ration));
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

    /// How much a child is told. A domain hears of what was done in all others: of that little is of its own closures, but what it is not
    /// told it does again. So it is told the dearest, in proportion to the time since it was told last, as much as its link does not
    /// notice.
    fn ration_for(&mut self, now: Time, child: NodeId, job: Option<JobAlias>) -> Ration {
        let Some(job) = job.filter(|_| !self.is_server(child)) else {
            return Ration::ALL;
        };
        let last = self.upward.told_down.insert((job, child), now);
        let seconds = last.map_or(u64::MAX, |last| now.since(last).as_secs());
        let seconds = usize::try_from(seconds).unwrap_or(usize::MAX);
        let any = seconds.saturating_add(1).min(DOWNWARD_SECONDS_MAX);
        let small = any.min(DOWNWARD_SMALL_SECONDS_MAX);
        Ration {
            any: DOWNWARD_PER_SECOND * any,
            most: DOWNWARD_SMALL_PER_SECOND * small,
            bytes: DOWNWARD_BYTES_PER_SECOND * small,
        }
    }

    /// What the parent keeps of a job is kept here, too: it was recorded before the job, or a part of it, came here.
    fn handle_grant_checkpoint(
        &mut self,
        now: Time,
        parent: NodeId,
        alias: JobAlias,
        (entries, until): (Vec<Recorded>, u64),
        more: bool,
    ) {
        let Some(job) = self.resolve_job(parent, alias) else {
            return;
        };
        if let Some(told) = self.jobs.told_by_parent(job) {
            *told = until.max(*told);
        }
        self.record(job, entries, false);
        if !more {
            self.answer_waiting(now, job);
        }
    }

    /// The parent has told all, or nobody waits for it any more.
    fn answer_waiting(&mut self, now: Time, job: JobAlias) {
        self.upward.asked.remove(&job);
        if self.upward.is_awaited(now, job) {
            return;
        }
        let of_job = |(waiting, _): &(JobAlias, NodeId), _: &mut (JobAlias, u64)| *waiting == job;
        let waiting: Vec<_> = self.upward.waiting.extract_if(.., of_job).collect();
        for ((_, child), (alias, after)) in waiting {
            self.tell_checkpoint(now, child, alias, after);
        }
    }

    /// Tells the parent what was recorded since the last time, and lets nobody wait for it for too long.
    pub(super) fn look_upward(&mut self, now: Time) {
        let late = self.upward.asked.iter().filter(|(_, due)| **due <= now);
        let late: Vec<JobAlias> = late.map(|(&job, _)| job).collect();
        let waiting = self.upward.waiting.keys().map(|(job, _)| *job);
        let over = waiting.filter(|&job| !self.upward.is_awaited(now, job));
        let answered: BTreeSet<JobAlias> = over.chain(late).collect();
        for job in answered {
            self.answer_waiting(now, job);
        }
        if self.upward.told_at + INTERVAL > now || self.upward.fresh.is_empty() {
            return;
        }
        self.upward.told_at = now;
        for (job, mut entries) in std::mem::take(&mut self.upward.fresh) {
            let Some((parent, alias)) = self.parent_link(job) else {
                continue;
            };
            leave_dearest(&mut entries, |key| {
                self.checkpoints.is_uncovered(job, key.short())
            });
            for entries in in_messages(entries) {
                let record = Message::RecordResults {
                    job: alias,
                    entries,
                };
                self.sessions.send(now, parent, record);
            }
        }
    }

    /// The parent, and what it calls a job that it knows.
    pub(super) fn parent_link(&self, job: JobAlias) -> Option<(NodeId, JobAlias)> {
        let parent = self.parent()?;
        let links = self.jobs.links(job);
        links.into_iter().find(|(peer, _)| *peer == parent)
    }

    /// The session with the parent is over: nobody is told, and nobody waits.
    pub(super) fn forget_upward(&mut self, now: Time) {
        self.upward.fresh.clear();
        let asked: Vec<JobAlias> = self.upward.asked.keys().copied().collect();
        for job in asked {
            self.answer_waiting(now, job);
        }
        self.upward.asked_at.clear();
        self.jobs.forget_told_by_parent();
    }

    /// Asks for what the parent knows of a job, if it knows the job.
    pub(super) fn ask_parent_for_checkpoint(&mut self, now: Time, job: JobAlias) {
        let Some((parent, alias)) = self.parent_link(job) else {
            return;
        };
        let after = self.jobs.told_by_parent(job).map_or(0, |told| *told);
        let due = now + self.sessions.path(parent).round_trip() * 2 + ANSWER_TIME;
        self.upward.asked.insert(job, due);
        self.upward.asked_at.insert(job, now);
        self.sessions.send(
            now,
            parent,
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
                self.note_orphan(now, id);
            } else {
                dropped.push(id);
            }
        }
        self.abort(now, dropped);
    }

    pub(super) fn record_orphan(&mut self, entry: &Entry, finished: Finished) {
        let name = Name::of_reusable(&entry.closure);
        let kept = name.and_then(|name| recorded(name, finished));
        self.keep_orphans(entry.job, kept.into_iter().collect());
    }

    /// Results for which nobody waits any more.
    pub(super) fn keep_orphans(&mut self, job: JobAlias, entries: Vec<Recorded>) {
        if self.has_job(job) {
            self.stats.orphans_finished += entries.len() as u64;
            self.record(job, entries, true);
        }
    }

    /// Servers were told of the loss of one of them, and record what they have done for it and it may not have got. Whoever asks
    /// for a checkpoint waits for that.
    pub(super) fn await_orphans(&mut self, now: Time) {
        let servers = self.children.iter().filter(|(_, child)| child.is_server());
        let trips = servers.map(|(&node, _)| self.sessions.path(node).round_trip());
        let farthest = trips.max().unwrap_or_default();
        self.upward.orphans_until = now + farthest * 2 + ORPHANS_TIME;
    }

    fn record(&mut self, job: JobAlias, entries: Vec<Recorded>, is_from_below: bool) {
        self.stats.results_recorded += entries.len() as u64;
        let entries = self.checkpoints.record(job, entries);
        if is_from_below {
            self.note_upward(job, &entries);
        }
        if entries.is_empty() {
            return;
        }
        if self.jobs.is_own(job) {
            self.events
                .push_back(ManagerEvent::CheckpointRecorded { job, entries });
        } else if is_from_below && let Some(id) = self.jobs.keep_foreign(job) {
            self.events
                .push_back(ManagerEvent::ForeignCheckpointRecorded { id, entries });
        }
    }

    fn note_upward(&mut self, job: JobAlias, entries: &[Recorded]) {
        if self.parent_link(job).is_some() {
            self.upward.note(job, entries, &self.checkpoints);
        }
    }
}

/// As often as engines record.
const INTERVAL: Duration = Duration::from_secs(1);
/// Results of one job that a parent is told in an interval: those of some hundred servers that finish something each second.
const UPWARD_MAX: usize = 512;
/// Results of a job that a manager below is told for each second since it was told last, whatever their sizes.
const DOWNWARD_PER_SECOND: usize = 32;
/// If they are small: what some hundreds of servers of other domains finish in a second. With a quarter of it a world of 1,000 servers did half
/// as much work more again.
const DOWNWARD_SMALL_PER_SECOND: usize = 1024;
/// So small: a hundredth of a link of 100 Mbit/s.
const DOWNWARD_BYTES_PER_SECOND: usize = 128 << 10;
/// It is told no more than for so many seconds, and so much when it is told for the first time: a large checkpoint.
const DOWNWARD_SECONDS_MAX: usize = 256;
/// And of small ones: in less than a second over that link.
const DOWNWARD_SMALL_SECONDS_MAX: usize = 64;
/// Their sizes: a small part of a link of 100 Mbit/s.
const UPWARD_BYTES_MAX: usize = 512 << 10;
/// Beyond the way to the servers and back: what they record is at hand.
const ORPHANS_TIME: Duration = Duration::from_millis(20);
/// Beyond the way to the parent: its own parent may have to be asked.
const ANSWER_TIME: Duration = Duration::from_secs(1);
