//! The engines of one simulated server: all its jobs, on virtual workers.
//!
//! [`VirtualEngine`] is what a server's machine commands in place of processes. It knows nothing of servers,
//! links or other machines: only of time, commands and the trees that jobs run.
//!
//! The contract: times never go back; before anything else happens to the server at a time, [`advance`] to it;
//! after each call, drain [`poll_event`]; then advance again at [`next_wake`] at the latest. Between wakes many
//! nodes are run, for which no event of the world is needed. Called more often, an engine runs the same nodes
//! at the same times: only what it tells may be told earlier.
//!
//! Preemption is exact: [`SetWorkers`] takes effect in the middle of a node. If the workers of all jobs are
//! more than the machine has, all of them run slower by the same factor.
//!
//! [`advance`]: VirtualEngine::advance
//! [`poll_event`]: VirtualEngine::poll_event
//! [`next_wake`]: VirtualEngine::next_wake
//! [`SetWorkers`]: EngineCommand::SetWorkers

mod clock;
mod job;
mod load;
mod measure;
mod record;
mod run;
mod slab;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use atlas_proto::engine::{Crash, CrashKind, EngineCommand, EngineEvent};
use atlas_proto::ids::{EngineLease, JobAlias, Ticket};
use atlas_proto::job::JobSpec;
use atlas_proto::time::Time;

use crate::workload::{Tree, TreeNode};
use clock::WorkClock;
pub use job::Held;
use job::{Job, Totals};

/// The programs that can be run, by the name of their artifact.
pub type Trees = BTreeMap<[u8; 32], Arc<Tree>>;

/// The engines of one machine.
#[derive(Debug)]
pub struct VirtualEngine {
    trees: Arc<Trees>,
    workers: u32,
    clock: WorkClock,
    now: Time,
    /// By alias. They are few: a tree would keep room for eleven on every machine.
    jobs: Vec<Job>,
    next_lease: u64,
    /// Of jobs that are over.
    past: Totals,
    events: VecDeque<EngineEvent>,
}

impl VirtualEngine {
    /// A machine with so many processors, each `speed` times as fast as the one that work is measured by.
    #[must_use]
    pub fn new(trees: Arc<Trees>, workers: u32, speed: f64) -> Self {
        Self {
            trees,
            workers,
            clock: WorkClock::new(speed),
            now: Time::ZERO,
            jobs: Vec::new(),
            next_lease: 1,
            past: Totals::default(),
            events: VecDeque::new(),
        }
    }

    /// Runs everything up to a time.
    pub fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
        let work = self.clock.work_at(self.now);
        for job in &mut self.jobs {
            job.run_until(work);
            job.tell(self.now);
            self.events.extend(job.events.drain(..));
        }
    }

    /// Does what the server wants. Commands about jobs, tickets and leases that are gone are late, and ignored.
    pub fn handle(&mut self, now: Time, command: EngineCommand) {
        self.advance(now);
        match command {
            EngineCommand::Start { job, spec } => self.start(job, &spec),
            EngineCommand::Stop { job } => self.stop(job),
            EngineCommand::SetWorkers { job, workers } => {
                self.on_job(job, |job, _| job.set_workers(workers));
                self.share_processors();
            }
            EngineCommand::Accept {
                job,
                ticket,
                closure,
            } => {
                self.on_job(job, |job, _| job.accept(ticket, &closure));
            }
            EngineCommand::Abort { job, ticket } => self.on_job(job, |job, _| job.abort(ticket)),
            EngineCommand::ReturnResult {
                job,
                lease,
                finished,
            } => {
                self.on_job(job, |job, _| job.return_result(lease, finished));
            }
            EngineCommand::Reclaim { job, lease } => self.on_job(job, |job, _| job.reclaim(lease)),
            EngineCommand::Remember { job, entries } => {
                self.on_job(job, |job, _| job.remember(entries));
            }
            EngineCommand::Lend {
                job,
                request,
                closures_max,
            } if self.place(job).is_ok() => {
                self.on_job(job, |job, next_lease| {
                    job.lend(request, closures_max, next_lease)
                });
            }
            EngineCommand::Lend { job, request, .. } => {
                self.events.push_back(EngineEvent::Lent {
                    job,
                    request,
                    closures: Vec::new(),
                });
            }
        }
    }

    /// Everything takes so many times as long from now on.
    pub fn slow_down(&mut self, now: Time, times: u32) {
        self.advance(now);
        self.clock.slow_down(times);
        self.share_processors();
    }

    /// What there is to tell the server, in order.
    pub fn poll_event(&mut self) -> Option<EngineEvent> {
        self.events.pop_front()
    }

    /// No later than the next time at which there could be something to tell; none if nothing runs.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        let running = || {
            self.jobs
                .iter()
                .filter_map(|job| Some((job.wake()?, job.report.refresh_at())))
        };
        let news = self.clock.time_of(running().map(|(wake, _)| wake).min()?);
        let refresh = running().map(|(_, refresh_at)| refresh_at).min()?;
        let records = self.jobs.iter().filter_map(|job| job.records.due()).min();
        Some(news.min(refresh).min(records.unwrap_or(news)))
    }

    /// How long processors were busy, all of them together.
    #[must_use]
    pub fn busy(&self) -> Duration {
        self.clock.processor_time(self.totals().executed)
    }

    /// The work that was done here, at speed 1, whether or not anyone had use for it.
    #[must_use]
    pub fn executed_work(&self) -> Duration {
        Duration::from_nanos(self.totals().executed)
    }

    /// How many nodes were run to the end of their own work.
    #[must_use]
    pub fn nodes_run(&self) -> u64 {
        self.totals().nodes
    }

    /// Workers of all jobs that run something now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.jobs.iter().map(|job| job.running.len()).sum()
    }

    /// Nodes of all jobs that could be run or lent.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.jobs.iter().map(|job| job.ready.len()).sum()
    }

    /// The closures that were accepted and are not done, with how many of their nodes are here and how many are
    /// lent. Nodes that wait for children are not counted.
    pub fn tickets(&self) -> impl Iterator<Item = (JobAlias, Ticket, Held)> {
        let jobs = self.jobs.iter();
        jobs.flat_map(|job| job.held().map(|(ticket, held)| (job.alias, ticket, held)))
    }

    /// The closures that are lent, each with the ticket that it descends from.
    pub fn leases(&self) -> impl Iterator<Item = (JobAlias, EngineLease, Ticket)> {
        let jobs = self.jobs.iter();
        jobs.flat_map(|job| job.lent().map(|(lease, from)| (job.alias, lease, from)))
    }

    /// The nodes of all jobs that could be run or lent, oldest first.
    pub fn ready_nodes(&self) -> impl Iterator<Item = TreeNode> {
        let ready = self.jobs.iter().flat_map(|job| &job.ready);
        ready.map(|ready| ready.node)
    }

    fn totals(&self) -> Totals {
        self.jobs
            .iter()
            .fold(self.past, |totals, job| totals.and(job.totals))
    }

    fn start(&mut self, alias: JobAlias, spec: &JobSpec) {
        let Some(tree) = self.trees.get(&spec.artifact) else {
            let crash = Crash {
                failure: "there is no such job in this world".into(),
                kind: CrashKind::Hopeless,
            };
            let job = alias;
            self.events.push_back(EngineEvent::Crashed { job, crash });
            return;
        };
        if let Err(place) = self.place(alias) {
            let clock = self.clock.work_at(self.now);
            self.jobs
                .insert(place, Job::new(alias, Arc::clone(tree), clock));
        }
    }

    fn stop(&mut self, alias: JobAlias) {
        if let Ok(place) = self.place(alias) {
            let job = self.jobs.remove(place);
            self.past = self.past.and(job.totals);
            self.share_processors();
        }
    }

    fn on_job(&mut self, alias: JobAlias, change: impl FnOnce(&mut Job, &mut u64)) {
        if let Ok(place) = self.place(alias) {
            let job = &mut self.jobs[place];
            change(job, &mut self.next_lease);
            job.tell(self.now);
            self.events.extend(job.events.drain(..));
        }
    }

    /// Where a job is, or would be.
    fn place(&self, alias: JobAlias) -> Result<usize, usize> {
        self.jobs.binary_search_by_key(&alias, |job| job.alias)
    }

    fn share_processors(&mut self) {
        let wanted = self.jobs.iter().map(|job| u64::from(job.workers)).sum();
        self.clock.share(self.now, self.workers, wanted);
    }
}

#[cfg(test)]
mod tests;
