//! What becomes of closures that somebody had who is lost: they are run again, but not before what was finished of them is known.
//!
//! ```text
//!   borrower lost ──▶ held ── RequestCheckpoint ──▶ manager
//!                      │                              │
//!   ready, or back     ◀── Remember to the engine ◀── GrantCheckpoint
//!   in its engine
//! ```
//!
//! - One question of each job is under way at a time; who comes meanwhile waits for the next one, since what was recorded after
//!   the answer left is missing in it.
//! - Orphans go on for a while, and what they finish is recorded after the answer. So whoever runs something again asks again, soon and
//!   then ever more seldom, until nobody is left who could have finished something of it.
//! - Nothing waits for long: when the manager does not answer in time, what is not known is computed.
//! - What an engine lends while it runs such a closure descends from it, and may have been finished in part as well: it is lent with
//!   the word that it is run again, and its borrower asks its own manager.
//! - Orphans, whose lender is lost, go on for a while if they have begun; their results are recorded, and so are those that may not
//!   have reached the lender before it was lost. Those that have not begun are dropped. If it is this machine that runs again what they
//!   descend from, its engine is told of them here: they may be too late for the manager's answer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Server;
use crate::checkpoint::in_messages;
use crate::engine::{EngineCommand, Recorded};
use crate::ids::{JobAlias, NodeId};
use crate::job::Finished;
use crate::ledger::{Entry, EntryId, Source, State};
use crate::limits::{CHECKPOINT_BYTES_MAX, CHECKPOINT_ENTRIES_MAX};
use crate::message::Message;
use crate::orphan::{Name, ORPHAN_TIME, recorded};
use crate::time::Time;

/// The jobs of which a checkpoint was asked for, or is to be.
#[derive(Debug, Default)]
pub(super) struct Recomputing {
    asked: BTreeMap<JobAlias, Asked>,
    /// When to ask again for what was recorded since, though nothing waits for it, and after how long then the next time.
    refresh: BTreeMap<JobAlias, (Time, Duration)>,
}

#[derive(Debug)]
struct Asked {
    /// What waits for the answer.
    waiting: Vec<EntryId>,
    /// What came later, and waits for the next one.
    next: Vec<EntryId>,
    /// Nobody waits for longer.
    due: Time,
}

/// What is known of a job from checkpoints.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// All up to this stamp has come.
    until: u64,
    /// The engine has been told something, or will be.
    any: bool,
    /// What the engine is told when it has been started, or is to run something again.
    unsaid: Vec<Vec<Recorded>>,
    unsaid_entries: usize,
    unsaid_bytes: usize,
}

impl Recomputing {
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let due = self.asked.values().map(|asked| asked.due);
        due.chain(self.refresh.values().map(|(at, _)| *at)).min()
    }

    pub(super) fn forget(&mut self, job: JobAlias) {
        self.asked.remove(&job);
        self.refresh.remove(&job);
    }
}

impl Known {
    /// The engine is gone: the next one knows nothing.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What is to be told to an engine that has been started.
    pub(super) fn take_unsaid(&mut self) -> Vec<Vec<Recorded>> {
        (self.unsaid_entries, self.unsaid_bytes) = (0, 0);
        std::mem::take(&mut self.unsaid)
    }

    /// Keeps what there is room for: an honest manager keeps no more itself.
    fn keep(&mut self, entries: Vec<Recorded>) {
        self.unsaid_entries += entries.len();
        self.unsaid_bytes += entries.iter().map(Recorded::size).sum::<usize>();
        if self.unsaid_entries <= CHECKPOINT_ENTRIES_MAX
            && self.unsaid_bytes <= CHECKPOINT_BYTES_MAX
        {
            self.unsaid.push(entries);
        }
    }
}

impl Server {
    /// An engine has results that are worth keeping. What is in the middle of an orphan it may be told itself, if it runs again what that
    /// descends from.
    pub(super) fn handle_recorded(&mut self, now: Time, job: JobAlias, entries: Vec<Recorded>) {
        if self.ledger.has_orphans_of(job) {
            self.keep_for_engine(job, entries.clone());
        }
        self.record(now, job, entries);
    }

    fn record(&mut self, now: Time, job: JobAlias, entries: Vec<Recorded>) {
        if !self.jobs.contains_key(&job) {
            return;
        }
        for entries in in_messages(entries) {
            self.stats.results_recorded += entries.len() as u64;
            let manager = self.uplink.manager();
            let record = Message::RecordResults { job, entries };
            self.sessions.send(now, manager, record);
        }
    }

    /// Closures that somebody had who is lost are ready again as soon as what was finished of them is known.
    pub(super) fn recompute(&mut self, now: Time, ids: Vec<EntryId>) {
        let mut by_job: BTreeMap<JobAlias, Vec<EntryId>> = BTreeMap::new();
        for id in ids {
            let Some(entry) = self.ledger.entry(id) else {
                continue;
            };
            if matches!(entry.source, Source::Orphan { .. }) {
                // Nobody waits for it.
                self.ledger.remove(id);
                continue;
            }
            by_job.entry(entry.job).or_default().push(id);
            self.ledger.note_again(id);
            self.ledger.hold(id);
        }
        for (job, ids) in by_job {
            match self.recomputing.asked.get_mut(&job) {
                Some(asked) => asked.next.extend(ids),
                None => self.ask_for_checkpoint(now, job, ids),
            }
        }
    }

    fn ask_for_checkpoint(&mut self, now: Time, job: JobAlias, waiting: Vec<EntryId>) {
        let Some(state) = self.jobs.get(&job) else {
            return self.release(now, job, waiting);
        };
        let after = state.known.until;
        let manager = self.uplink.manager();
        if !self.sessions.is_open(manager) {
            return self.release(now, job, waiting);
        }
        self.stats.checkpoints_asked += 1;
        let due = now + self.sessions.path(manager).round_trip() * 4 + ANSWER_TIME;
        let asked = Asked {
            waiting,
            next: Vec::new(),
            due,
        };
        self.recomputing.asked.insert(job, asked);
        let request = Message::RequestCheckpoint { job, after };
        self.sessions.send(now, manager, request);
    }

    pub(super) fn handle_grant_checkpoint(
        &mut self,
        now: Time,
        job: JobAlias,
        entries: Vec<Recorded>,
        until: u64,
        more: bool,
    ) {
        let (Some(state), true) = (
            self.jobs.get_mut(&job),
            self.recomputing.asked.contains_key(&job),
        ) else {
            return;
        };
        state.known.until = until.max(state.known.until);
        if !entries.is_empty() {
            state.known.any = true;
            if self.is_started(job) {
                self.commands
                    .push_back(EngineCommand::Remember { job, entries });
            } else if let Some(state) = self.jobs.get_mut(&job) {
                state.known.keep(entries);
            }
        }
        if !more {
            self.end_recomputing(now, job);
        }
    }

    /// Whoever has waited for too long for a checkpoint goes on without; what was recorded since the last one is asked for.
    pub(super) fn handle_late_checkpoints(&mut self, now: Time) {
        let late = self.recomputing.asked.iter();
        let late = late.filter(|(_, asked)| asked.due <= now);
        let late: Vec<JobAlias> = late.map(|(&job, _)| job).collect();
        for job in late {
            self.end_recomputing(now, job);
        }
        let is_due = |_: &JobAlias, (at, _): &mut (Time, Duration)| *at <= now;
        let due = self.recomputing.refresh.extract_if(.., is_due);
        let due: Vec<(JobAlias, Duration)> = due.map(|(job, (_, step))| (job, step)).collect();
        for (job, step) in due {
            if self.recomputing.asked.contains_key(&job) || !self.ledger.runs_again(job) {
                continue;
            }
            if step <= REFRESH_MAX {
                let next = (now + step, step * 2);
                self.recomputing.refresh.insert(job, next);
            }
            self.ask_for_checkpoint(now, job, Vec::new());
        }
    }

    fn end_recomputing(&mut self, now: Time, job: JobAlias) {
        let Some(asked) = self.recomputing.asked.remove(&job) else {
            return;
        };
        if !asked.waiting.is_empty() {
            let first = (now + REFRESH_MIN, REFRESH_MIN * 2);
            self.recomputing.refresh.insert(job, first);
        }
        self.tell_unsaid(job);
        self.release(now, job, asked.waiting);
        let next = self.ledger.still_held(asked.next);
        if !next.is_empty() {
            self.ask_for_checkpoint(now, job, next);
        }
    }

    /// What was held is ready, here or in the engine that it came from, unless it goes on elsewhere.
    fn release(&mut self, now: Time, job: JobAlias, ids: Vec<EntryId>) {
        let held = self.ledger.still_held(ids);
        let in_engine = held.iter().any(|&id| {
            let source = self.ledger.entry(id).map(|entry| entry.source);
            matches!(source, Some(Source::Engine { .. }))
        });
        for id in self.lend_to_holders(now, job, held) {
            self.take_back(id);
        }
        if in_engine {
            // It is not known which closure of the engine's it descends from.
            for id in self.ledger.running_of(job) {
                self.ledger.note_again(id);
            }
        }
    }

    /// What the engine of a job lends now may have been finished in part by somebody who is lost.
    pub(super) fn lends_again(&self, job: JobAlias) -> bool {
        let knows = self.jobs.get(&job).is_some_and(|state| state.known.any);
        (knows || self.orphans.are_sought(job)) && self.ledger.runs_again(job)
    }

    /// The lender is lost: what has begun of its closures goes on for a while, the rest is dropped.
    pub(super) fn orphan_borrowed(&mut self, now: Time, lender: NodeId) {
        let mut dropped = Vec::new();
        let mut orphans = Vec::new();
        for id in self.ledger.borrowed_from_peer(lender) {
            match self
                .ledger
                .entry(id)
                .map(|entry| (entry.state, entry.job, entry.closure.kind.task))
            {
                Some((State::Running | State::Lent { .. }, job, task))
                    if !self.is_impure(job, task) =>
                {
                    self.ledger.orphan(id, now + ORPHAN_TIME);
                    orphans.push(id);
                }
                Some(_) | None => dropped.push(id),
            }
        }
        self.name_orphans(now, &orphans);
        self.abort(now, dropped);
    }

    pub(super) fn record_orphan(&mut self, now: Time, entry: &Entry, finished: Finished) {
        let entries = recorded(Name::of(&entry.closure), finished)
            .into_iter()
            .collect();
        self.keep_orphans(now, entry.job, entries);
    }

    /// Results for which nobody waits any more.
    pub(super) fn keep_orphans(&mut self, now: Time, job: JobAlias, entries: Vec<Recorded>) {
        if entries.is_empty() || !self.jobs.contains_key(&job) {
            return;
        }
        self.stats.orphans_finished += entries.len() as u64;
        self.keep_for_engine(job, entries.clone());
        self.record(now, job, entries);
    }

    /// The engine is told of these as soon as it runs something again.
    fn keep_for_engine(&mut self, job: JobAlias, entries: Vec<Recorded>) {
        if let Some(state) = self.jobs.get_mut(&job) {
            state.known.keep(entries);
        }
        if self.ledger.runs_again(job) {
            self.tell_unsaid(job);
        }
    }

    /// The engine of a job is told of what is known here and not to it.
    pub(super) fn tell_unsaid(&mut self, job: JobAlias) {
        if !self.is_started(job) {
            return;
        }
        let Some(state) = self.jobs.get_mut(&job) else {
            return;
        };
        for entries in state.known.take_unsaid() {
            state.known.any = true;
            self.commands
                .push_back(EngineCommand::Remember { job, entries });
        }
    }
}

/// Beyond the way to the manager: a large checkpoint takes as long on a link of some 100 Mbit/s.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// What orphans finish is recorded within an interval.
const REFRESH_MIN: Duration = Duration::from_secs(1);
/// With the steps before it: longer than orphans go on.
const REFRESH_MAX: Duration = ORPHAN_TIME;
