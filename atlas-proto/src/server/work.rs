//! The server's engines: which job gets how many workers, and which closures.
//!
//! Workers are shared equally among the jobs that have something to run; what one cannot use goes to the
//! others. Where they cannot be divided, as by more jobs than workers, the jobs take turns. A closure stays in the server's queue, where it can be lent on or given back at no cost, until a
//! worker is idle or about to be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Server;
use super::crashes::Suspects;
use super::recompute::Known;
use crate::cost::CostModel;
use crate::engine::{EngineCommand, EngineLoad, Measured};
use crate::ids::{JobAlias, Ticket};
use crate::job::{Closure, ClosureKind, JobSpec};
use crate::ledger::EntryId;
use crate::limits::{ENDED_JOBS_MAX, JOBS_MAX, READY_RUNS_MAX};
use crate::message::JobHeader;
use crate::rival::Budget;
use crate::time::Time;

/// A job with an engine here.
#[derive(Debug)]
pub(super) struct ServerJob {
    pub(super) spec: Arc<JobSpec>,
    pub(super) model: CostModel,
    /// As last told, corrected by what was done since.
    pub(super) load: EngineLoad,
    /// What a closure's arguments take, on average.
    pub(super) closure_bytes: usize,
    pub(super) known: Known,
    workers: u32,
    started: bool,
    pub(super) suspects: Suspects,
    pub(super) rivals: Budget,
    /// What the longest closure of each kind took.
    pub(super) longest: BTreeMap<ClosureKind, Duration>,
}

/// Whose turn it is to have a worker more than others.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turn: usize,
    /// When the next one begins, while some have more than others.
    ends: Option<Time>,
}

/// The jobs that ended last: a grant that was under way must not bring one back.
#[derive(Debug, Default)]
pub(super) struct EndedJobs(VecDeque<JobAlias>);

impl Turns {
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.ends
    }

    /// Divides workers among jobs, and begins the next turn if it is time.
    fn divide(
        &mut self,
        now: Time,
        workers: u32,
        demands: &BTreeMap<JobAlias, u32>,
    ) -> BTreeMap<JobAlias, u32> {
        if self.ends.is_some_and(|ends| ends <= now) {
            self.turn = self.turn.wrapping_add(1);
            self.ends = None;
        }
        let shares = equal_shares(workers, demands, self.turn);
        let most = shares.values().max().copied().unwrap_or(0);
        let yields = |(job, demand): (&JobAlias, &u32)| shares[job] < most.min(*demand);
        if !demands.iter().any(yields) {
            self.ends = None;
        } else if self.ends.is_none() {
            self.ends = Some(now + TURN);
        }
        shares
    }
}

impl EndedJobs {
    pub(super) fn contains(&self, job: JobAlias) -> bool {
        self.0.contains(&job)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn insert(&mut self, job: JobAlias) {
        if self.contains(job) {
            return;
        }
        if self.0.len() == ENDED_JOBS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(job);
    }
}

impl ServerJob {
    fn new(spec: Arc<JobSpec>) -> Self {
        let load = EngineLoad::default();
        Self {
            spec,
            model: CostModel::default(),
            load,
            closure_bytes: 0,
            known: Known::default(),
            workers: 0,
            started: false,
            suspects: Suspects::default(),
            rivals: Budget::default(),
            longest: BTreeMap::new(),
        }
    }

    pub(super) fn note_closure(&mut self, closure: &Closure) {
        self.model.hear(closure);
        self.closure_bytes = (self.closure_bytes * 7 + closure.size()) / 8;
    }

    /// So many of the oldest were asked of the engine.
    pub(super) fn note_lent(&mut self, mut closures: u32) {
        self.load.ready = self.load.ready.saturating_sub(closures);
        for run in &mut self.load.oldest {
            let taken = run.closures.min(closures);
            run.closures -= taken;
            closures -= taken;
        }
        self.load.oldest.retain(|run| run.closures > 0);
    }

    /// Its engine does not answer: until it tells its load again it has nothing to give.
    pub(super) fn note_hangs(&mut self) {
        self.load.ready = 0;
        self.load.oldest.clear();
    }

    /// The work expected in a closure. As long as nothing of the job has ever finished here, what was measured tells little: of what
    /// sleeps or computes without a join nothing is seen before it ends. Then half of what the engine has had time for is
    /// expected, as of a kind that never ran apart from its parents.
    pub(super) fn expected(&self, now: Time, kind: ClosureKind) -> Duration {
        let expected = self.model.expected(kind);
        if self.started && self.model.smallest().is_none() {
            expected.max(self.suspects.engine_age(now) / 2)
        } else {
            expected
        }
    }

    /// Its engine is gone.
    pub(super) fn forget_engine(&mut self) {
        (self.started, self.workers, self.load) = (false, 0, EngineLoad::default());
        self.known.forget();
    }

    /// How many workers it could keep busy.
    fn demand(&self, queued: usize) -> u32 {
        self.begun()
            .saturating_add(self.load.ready)
            .saturating_add(u32::try_from(queued).unwrap_or(u32::MAX))
    }

    /// What is on a worker, or was stopped on one: no thief can take it.
    fn begun(&self) -> u32 {
        let busy = self.workers.saturating_sub(self.load.idle);
        busy.saturating_add(self.load.stopped)
    }
}

impl Server {
    /// Makes sure that the job is known. False if there are too many of which closures are here.
    pub(super) fn begin_job(&mut self, job: JobHeader) -> bool {
        if !self.jobs.contains_key(&job.alias) {
            if self.jobs.len() >= JOBS_MAX {
                let Some(unused) = self.unused_job() else {
                    return false;
                };
                self.drop_job(unused);
            }
            self.jobs.insert(job.alias, ServerJob::new(job.spec));
        }
        true
    }

    pub(super) fn end_job(&mut self, job: JobAlias) {
        self.ended.insert(job);
        self.drop_job(job);
    }

    /// Forgets a job and all closures of it, telling nobody but its engine.
    pub(super) fn drop_job(&mut self, job: JobAlias) {
        for id in self.ledger.of_job(job) {
            self.ledger.remove(id);
        }
        self.recomputing.forget(job);
        self.orphans.forget(job);
        if self.jobs.remove(&job).is_some_and(|state| state.started) {
            self.commands.push_back(EngineCommand::Stop { job });
        }
    }

    /// A job of which nothing is here: nobody misses it.
    fn unused_job(&self) -> Option<JobAlias> {
        let held = self.ledger.entries().map(|(_, entry)| entry.job);
        let asked = self.lending.values().map(|lending| lending.job);
        let used: BTreeSet<JobAlias> = held.chain(asked).collect();
        self.jobs.keys().find(|job| !used.contains(job)).copied()
    }

    /// The job has an engine that can be talked to.
    pub(super) fn is_started(&self, job: JobAlias) -> bool {
        self.jobs.get(&job).is_some_and(|state| state.started)
    }

    pub(super) fn handle_load(&mut self, job: JobAlias, mut load: EngineLoad) {
        // One that is not started has nothing to lend, whatever its last words were.
        if let Some(state) = self.jobs.get_mut(&job).filter(|state| state.started) {
            load.idle = load.idle.min(state.workers);
            load.oldest.retain(|run| run.closures > 0);
            load.oldest.truncate(READY_RUNS_MAX);
            state.load = load;
        }
    }

    /// A closure of the job is done. If it was the last in the engine, nothing can be ready there and nobody busy: an
    /// engine says so only when its workers have looked for more.
    pub(super) fn note_run_dry(&mut self, job: JobAlias) {
        if self.ledger.is_running(job) {
            return;
        }
        if let Some(state) = self.jobs.get_mut(&job).filter(|state| state.started) {
            state.load = EngineLoad {
                idle: state.workers,
                stopped: state.load.stopped,
                ..EngineLoad::default()
            };
        }
    }

    pub(super) fn handle_measured(&mut self, job: JobAlias, samples: Vec<Measured>) {
        if let Some(state) = self.jobs.get_mut(&job) {
            samples
                .into_iter()
                .for_each(|sample| state.model.learn(sample));
        }
    }

    /// Workers with nothing to run, in an engine or in none.
    pub(super) fn idle_workers(&self) -> u32 {
        let assigned: u32 = self.jobs.values().map(|job| job.workers).sum();
        let idle: u32 = self
            .jobs
            .values()
            .map(|job| job.load.idle.min(job.workers))
            .sum();
        self.config.workers.saturating_sub(assigned) + idle
    }

    /// Closures in the queue and in the engines that nobody runs yet.
    pub(super) fn ready_closures(&self) -> u32 {
        let queued = u32::try_from(self.ledger.ready_count()).unwrap_or(u32::MAX);
        let in_engines = self.jobs.values().map(|job| job.load.ready);
        in_engines.fold(queued, u32::saturating_add)
    }

    pub(super) fn ready_of(&self, job: JobAlias) -> u32 {
        let engine = self.jobs.get(&job).map_or(0, |state| state.load.ready);
        engine.saturating_add(u32::try_from(self.ledger.ready_of(job)).unwrap_or(u32::MAX))
    }

    /// Gives each job its share of the workers, where that has changed.
    pub(super) fn share_workers(&mut self, now: Time) {
        // As nearly always, one job has them all: there is nothing to look at.
        if let Some(only) = self.jobs.values().next()
            && self.jobs.len() == 1
            && only.workers == self.config.workers
        {
            self.turns.ends = None;
            return;
        }
        // An engine is started for closures alone: one that dies at once would be started again for ever.
        let demands = self.jobs.iter().filter_map(|(&job, state)| {
            let demand = state.demand(self.ledger.ready_of(job));
            (state.started || demand > 0).then_some((job, demand))
        });
        let demands = demands.collect();
        let shares = self.turns.divide(now, self.config.workers, &demands);
        for (job, share) in shares {
            let Some(state) = self.jobs.get_mut(&job) else {
                continue;
            };
            if state.workers == share {
                continue;
            }
            if !state.started {
                state.started = true;
                state.suspects.note_start(now);
                self.commands.push_back(EngineCommand::Start {
                    job,
                    spec: state.spec.clone(),
                });
                for entries in state.known.take_unsaid() {
                    self.commands
                        .push_back(EngineCommand::Remember { job, entries });
                }
            }
            // Until the engine says otherwise: what was begun goes first, and of the workers that leave, the idle do.
            let begun = state.begun();
            state.load.idle = share.saturating_sub(begun);
            state.load.stopped = begun.saturating_sub(share);
            state.workers = share;
            self.commands.push_back(EngineCommand::SetWorkers {
                job,
                workers: share,
            });
        }
    }

    /// Hands closures to engines whose workers are idle, or will be when what they run is done.
    pub(super) fn feed_engines(&mut self) {
        if self.ledger.ready_count() == 0 {
            return;
        }
        let jobs: Vec<JobAlias> = self.ledger.ready_jobs().collect();
        for job in jobs {
            while let Some(id) = self.next_to_feed(job) {
                let Some(entry) = self.ledger.entry(id) else {
                    break;
                };
                let (closure, again) = (entry.closure.clone(), entry.again);
                self.ledger.run(id);
                if again {
                    self.tell_unsaid(job);
                }
                self.commands.push_back(EngineCommand::Accept {
                    job,
                    ticket: Ticket(id.0),
                    closure,
                });
            }
        }
    }

    /// The closure that the engine should have next: the youngest, so that the older stay for thieves.
    fn next_to_feed(&mut self, job: JobAlias) -> Option<EntryId> {
        let state = self.jobs.get_mut(&job)?;
        if state.workers == 0 || (state.load.idle == 0 && state.load.ready > 0) {
            return None;
        }
        let id = self.ledger.ready(job).next_back()?;
        if state.load.idle > 0 {
            state.load.idle -= 1;
        } else {
            state.load.ready += 1;
        }
        Some(id)
    }
}

/// Divides `workers` among jobs with these demands: equally, but nobody gets more than it demands. Who is first by `turn` gets
/// what cannot be divided. What nobody demands is left over; a job that is alone gets all, whatever it demands.
fn equal_shares(
    workers: u32,
    demands: &BTreeMap<JobAlias, u32>,
    turn: usize,
) -> BTreeMap<JobAlias, u32> {
    if demands.len() == 1 {
        return demands.keys().map(|&job| (job, workers)).collect();
    }
    let mut shares: BTreeMap<JobAlias, u32> = demands.keys().map(|&job| (job, 0)).collect();
    let mut order: Vec<(JobAlias, u32)> = demands.iter().map(|(&job, &want)| (job, want)).collect();
    let first = turn % order.len().max(1);
    order.rotate_left(first);
    for _ in 0..workers {
        let lacking = order.iter().filter(|(job, demand)| shares[job] < *demand);
        let Some(&(job, _)) = lacking.min_by_key(|(job, _)| shares[job]) else {
            break;
        };
        shares.entry(job).and_modify(|share| *share += 1);
    }
    shares
}

/// Long beside what changing workers costs, short for who waits.
const TURN: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(demands: &[u32]) -> BTreeMap<JobAlias, u32> {
        let demands = demands.iter().zip(0..);
        demands
            .map(|(&demand, job)| (JobAlias(job), demand))
            .collect()
    }

    fn shares(workers: u32, demands: &[u32]) -> Vec<u32> {
        equal_shares(workers, &jobs(demands), 0)
            .into_values()
            .collect()
    }

    #[test]
    fn jobs_take_turns_where_workers_cannot_be_divided() {
        let mut turns = Turns::default();
        let mut given = |at: u64, demands: &[u32]| {
            let now = Time::ZERO + TURN * u32::try_from(at).unwrap();
            let shares: Vec<u32> = turns.divide(now, 2, &jobs(demands)).into_values().collect();
            (shares, turns.poll_timeout().is_some())
        };
        assert_eq!(given(0, &[5, 5, 5]), (vec![1, 1, 0], true));
        assert_eq!(given(0, &[5, 5, 5]), (vec![1, 1, 0], true));
        assert_eq!(given(1, &[5, 5, 5]), (vec![0, 1, 1], true));
        assert_eq!(given(2, &[5, 5, 5]), (vec![1, 0, 1], true));
        assert_eq!(given(3, &[5, 5, 5]), (vec![1, 1, 0], true));
        // Nobody lacks what another has.
        assert_eq!(given(4, &[5, 5]), (vec![1, 1], false));
        assert!(!given(4, &[5, 0, 1]).1);
    }

    #[test]
    fn jobs_share_workers_equally_up_to_their_demand() {
        assert_eq!(shares(4, &[0]), [4]);
        assert_eq!(shares(4, &[9, 9]), [2, 2]);
        assert_eq!(shares(4, &[1, 1]), [1, 1]);
        assert_eq!(shares(4, &[1, 9]), [1, 3]);
        assert_eq!(shares(4, &[0, 9]), [0, 4]);
        assert_eq!(shares(2, &[5, 5, 5]), [1, 1, 0]);
    }
}
