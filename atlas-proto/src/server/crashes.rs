//! What becomes of closures whose engine has died, and which of them is to blame.
//!
//! All that was in it goes back to its lenders, with the suspicion that it killed it ([`crate::suspicion`]). What is proven
//! guilty fails, and says so: its task, the size of its arguments, and how the engine ended. Engines that die one after the other
//! without finishing anything are the job's fault, too, whatever was in them.

use std::collections::BTreeMap;
use std::time::Duration;

use atlas_engine::Failure;
use bytes::Bytes;

use super::Server;
use crate::engine::{Crash, CrashKind, TaskPath};
use crate::ids::{JobAlias, LeaseId, NodeId, TaskId};
use crate::job::{self, Finished, Outcome};
use crate::ledger::{EntryId, Source, State};
use crate::limits::{ENGINE_CRASHES_MAX, ENGINES_NOT_BEGUN_MAX, TASK_PATHS_MAX};
use crate::message::{EndStealReason, ReturnReason};
use crate::suspicion::{FRESH, Suspicion};
use crate::time::Time;

/// What is known of a job's engines and their ends.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Engines that died with closures of others, one after the other, and finished nothing.
    crashes: u32,
    /// Engines that could not be begun, one after the other.
    not_begun: u32,
    /// The present engine has said something.
    begun: bool,
    /// What its engine lent and was given back suspected, and when.
    returned: Option<(Time, Suspicion)>,
    /// When the present engine was started.
    started: Time,
    tasks: BTreeMap<TaskId, TaskPath>,
}

impl Suspects {
    pub(super) fn note_start(&mut self, now: Time) {
        (self.started, self.begun) = (now, false);
    }

    /// The program has said so of this task.
    pub(super) fn is_impure(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|known| known.impure)
    }

    /// For how long the present engine has been there.
    pub(super) fn engine_age(&self, now: Time) -> Duration {
        now.since(self.started)
    }

    fn returned_lately(&self, now: Time) -> Option<Suspicion> {
        let (at, suspicion) = self.returned?;
        (now.since(at) < FRESH).then_some(suspicion)
    }

    /// What the failure of a closure says that is proven guilty.
    fn explain(&self, guilty: &Suspicion, failure: &Bytes) -> Bytes {
        let task = guilty.kind.task;
        let name = match self.tasks.get(&task) {
            Some(TaskPath { path, .. }) => format!("`{path}`"),
            None if task == atlas_engine::ROOT_TASK => String::from("`main`"),
            None => format!("task {task}"),
        };
        let how = match Failure::from_bytes(failure) {
            Failure::Panicked { message, .. } => message,
            Failure::Refused { reason } => reason,
        };
        let Suspicion { engines, bytes, .. } = guilty;
        let message = format!(
            "{name} with {bytes} bytes of arguments, or what it calls, has ended {engines} processes: {how}"
        );
        Failure::Panicked {
            task: None,
            message,
        }
        .to_bytes()
    }
}

impl Server {
    /// An engine is there, and says something.
    pub(super) fn note_begun(&mut self, job: JobAlias) {
        if let Some(state) = self.jobs.get_mut(&job)
            && !state.suspects.begun
        {
            (state.suspects.begun, state.suspects.not_begun) = (true, 0);
            self.backoff.note_begun();
        }
    }

    /// There is no engine: what was for it was never begun, and others may have it.
    fn give_back_unbegun(&mut self, now: Time, job: JobAlias, failure: &Bytes) {
        self.backoff.note_failure(now);
        let waits = |&id: &EntryId| {
            let entry = self.ledger.entry(id);
            entry.is_some_and(|entry| {
                let here = matches!(entry.state, State::Running | State::Ready);
                here && matches!(entry.source, Source::Peer { .. })
            })
        };
        let given: Vec<EntryId> = self.ledger.of_job(job).into_iter().filter(waits).collect();
        self.forget_engine(job, false);
        let state = self.jobs.get_mut(&job);
        let times = state.map_or(0, |state| {
            state.suspects.not_begun += 1;
            state.suspects.not_begun
        });
        if times >= ENGINES_NOT_BEGUN_MAX {
            self.fail(now, &given, failure);
        } else {
            let returned = self.ledger.undo(&given);
            self.sessions.give_back(now, returned, ReturnReason::NoRoom);
        }
    }

    /// An engine died with all that it held: what it lent is unwanted, what it ran goes back or fails.
    pub(super) fn handle_crash(&mut self, now: Time, job: JobAlias, crash: Crash) {
        let (mut lost, mut unwanted) = (Vec::new(), Vec::new());
        for id in self.ledger.of_job(job) {
            let Some(entry) = self.ledger.entry(id) else {
                continue;
            };
            match (entry.source, entry.state) {
                (Source::Peer { .. }, State::Running) => lost.push(id),
                (Source::Engine { .. }, _) => unwanted.push(id),
                (Source::Orphan { .. }, State::Running) => drop(self.ledger.remove(id)),
                (Source::Peer { .. } | Source::Orphan { .. } | Source::Root, _) => {}
            }
        }
        self.abort(now, unwanted);
        self.forget_rivals_here(job);
        match crash.kind {
            CrashKind::NotBegun => self.give_back_unbegun(now, job, &crash.failure),
            CrashKind::Hopeless => {
                self.forget_engine(job, !lost.is_empty());
                self.fail(now, &lost, &crash.failure);
            }
            CrashKind::Died => {
                let crashes = self.forget_engine(job, !lost.is_empty());
                let innocent = self.blame(now, job, &lost, &crash.failure);
                if crashes >= ENGINE_CRASHES_MAX {
                    self.fail(now, &innocent, &crash.failure);
                } else {
                    self.give_back_suspected(now, &innocent);
                }
            }
        }
        self.end_lendings(now, job, EndStealReason::NoSurplus);
    }

    /// What was in an engine that died is suspected. What is guilty fails; the others are left.
    fn blame(
        &mut self,
        now: Time,
        job: JobAlias,
        lost: &[EntryId],
        failure: &Bytes,
    ) -> Vec<EntryId> {
        let suspects = self.jobs.get(&job).map(|state| &state.suspects);
        let inside = suspects.and_then(|suspects| suspects.returned_lately(now));
        let mut innocent = Vec::new();
        for &id in lost {
            let Some(entry) = self.ledger.entry(id) else {
                continue;
            };

            let own = Suspicion::after_death(self.ledger.suspicion(id), &entry.closure);
            let worst = inside.map_or(own, |inside| own.heavier(inside.once_more()));
            self.ledger.suspect(id, worst, None);
            if worst.is_proven() {
                let suspects = self.jobs.get(&job).map(|state| &state.suspects);
                let why = suspects.map(|suspects| suspects.explain(&worst, failure));
                self.fail(now, &[id], &why.unwrap_or_else(|| failure.clone()));
            } else {
                innocent.push(id);
            }
        }
        innocent
    }

    fn give_back_suspected(&mut self, now: Time, entries: &[EntryId]) {
        let mut by_lender: BTreeMap<NodeId, Vec<(EntryId, LeaseId)>> = BTreeMap::new();
        for &id in entries {
            if let Some(entry) = self.ledger.entry(id)
                && let Source::Peer { lender, lease } = entry.source
            {
                by_lender.entry(lender).or_default().push((id, lease));
            }
        }
        for (lender, leases) in by_lender {
            let suspects = self.ledger.suspected_leases(leases);
            self.sessions.warn_of(now, lender, suspects, true);
        }
        let returned = self.ledger.undo(entries);
        self.sessions
            .give_back(now, returned, ReturnReason::EngineFailed);
    }

    fn fail(&mut self, now: Time, entries: &[EntryId], failure: &Bytes) {
        for &id in entries {
            if let Some(entry) = self.ledger.remove(id) {
                let finished = Finished {
                    outcome: Outcome::Panic(failure.clone()),
                    work: Duration::ZERO,
                };
                self.deliver_result(now, &entry, job::bounded(finished));
            }
        }
    }

    /// What an engine lent is about to come back to it: if others died of it, it may.
    pub(super) fn note_suspect(&mut self, now: Time, id: EntryId) {
        let Some(suspicion) = self.ledger.suspicion(id) else {
            return;
        };
        if let Some(entry) = self.ledger.entry(id)
            && let Source::Engine { .. } = entry.source
            && let Some(state) = self.jobs.get_mut(&entry.job)
        {
            let before = state.suspects.returned_lately(now);
            let worst = before.map_or(suspicion, |before| before.heavier(suspicion));
            state.suspects.returned = Some((now, worst));
        }
    }

    /// What leaves an engine inherits what is suspected of those in it, while that is fresh.
    pub(super) fn inherited(&self, now: Time, job: JobAlias) -> Option<Suspicion> {
        let suspects = &self.jobs.get(&job)?.suspects;
        let new = now.since(suspects.started) < FRESH;
        let parents = self.ledger.suspected_running(job).filter(|_| new);
        let returned = suspects.returned_lately(now);
        parents.chain(returned).reduce(Suspicion::heavier)
    }

    /// Something is done: not every engine of the job dies.
    pub(super) fn note_survivor(&mut self, job: JobAlias) {
        if let Some(state) = self.jobs.get_mut(&job) {
            state.suspects.crashes = 0;
        }
    }

    /// The engine of a job is gone; the next closure starts another. Gives how many in a row died with closures of others.
    fn forget_engine(&mut self, job: JobAlias, had_closures: bool) -> u32 {
        let Some(state) = self.jobs.get_mut(&job) else {
            return 0;
        };
        state.forget_engine();
        state.suspects.crashes += u32::from(had_closures);
        state.suspects.crashes
    }

    pub(super) fn handle_tasks(&mut self, job: JobAlias, paths: Vec<TaskPath>) {
        if let Some(state) = self.jobs.get_mut(&job) {
            for path in paths {
                if state.suspects.tasks.len() < TASK_PATHS_MAX {
                    state.suspects.tasks.insert(path.task, path);
                }
            }
        }
    }
}
