//! A machine with an engine for tests: it goes from wake to wake, and keeps all that the engine tells.

use atlas_proto::engine::{Above, EngineLoad};
use atlas_proto::ids::{EngineLease, EngineRequest, Ticket};
use atlas_proto::job::{Closure, Finished};

use super::super::*;
use crate::workload::{TreeNode, Workload, WorkloadConfig, kind_at, result_of};
use crate::world::job_spec;

/// A machine whose engine serves a tree, and all that it told.
pub(super) struct Machine {
    pub(super) engine: VirtualEngine,
    pub(super) now: Time,
    pub(super) log: Vec<(Time, EngineEvent)>,
    pub(super) finished: Vec<(Time, Ticket, Finished)>,
    pub(super) lent: Vec<(EngineLease, Closure)>,
    pub(super) unwanted: Vec<EngineLease>,
}

impl Machine {
    /// It has accepted the root, and uses all its workers.
    pub(super) fn new(tree: &Arc<Tree>, workers: u32, speed: f64) -> Self {
        let trees = Arc::new(Trees::from([(ARTIFACT, Arc::clone(tree))]));
        let mut machine = Self {
            engine: VirtualEngine::new(trees, workers, speed),
            now: Time::ZERO,
            log: Vec::new(),
            finished: Vec::new(),
            lent: Vec::new(),
            unwanted: Vec::new(),
        };
        machine.start(JOB);
        machine.set_workers(JOB, workers);
        machine.accept(JOB, ROOT, tree.root());
        machine
    }

    pub(super) fn start(&mut self, job: JobAlias) {
        self.command(EngineCommand::Start {
            job,
            spec: spec(ARTIFACT),
        });
    }

    pub(super) fn set_workers(&mut self, job: JobAlias, workers: u32) {
        self.command(EngineCommand::SetWorkers { job, workers });
    }

    pub(super) fn accept(&mut self, job: JobAlias, ticket: Ticket, node: TreeNode) {
        let closure = Closure {
            kind: kind_at(node.depth),
            args: node.encode(0),
            expected: Duration::ZERO,
            shared: Vec::new(),
            above: Above::NONE,
        };
        self.command(EngineCommand::Accept {
            job,
            ticket,
            closure,
        });
    }

    pub(super) fn lend(&mut self, closures_max: u32) -> Vec<(EngineLease, Closure)> {
        self.command(EngineCommand::Lend {
            job: JOB,
            request: EngineRequest(1),
            closures_max,
        });
        std::mem::take(&mut self.lent)
    }

    pub(super) fn command(&mut self, command: EngineCommand) {
        self.engine.handle(self.now, command);
        self.listen();
    }

    pub(super) fn advance(&mut self, now: Time) {
        self.now = now;
        self.engine.advance(now);
        self.listen();
    }

    /// Goes from wake to wake until nothing runs.
    pub(super) fn run(&mut self) {
        while let Some(at) = self.engine.next_wake() {
            assert!(at >= self.now);
            self.advance(at);
        }
    }

    fn listen(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            self.log.push((self.now, event.clone()));
            match event {
                EngineEvent::Finished {
                    ticket, finished, ..
                } => self.finished.push((self.now, ticket, finished)),
                EngineEvent::Lent { closures, .. } => {
                    let closures = closures.into_iter();
                    self.lent
                        .extend(closures.map(|lent| (lent.lease, lent.closure)));
                }
                EngineEvent::Unwanted { lease, .. } => self.unwanted.push(lease),
                EngineEvent::Load { .. }
                | EngineEvent::Measured { .. }
                | EngineEvent::Recorded { .. }
                | EngineEvent::Tasks { .. }
                | EngineEvent::Crashed { .. } => {}
            }
        }
    }

    /// The loads, as far as they say how many are idle and whether anything is ready.
    pub(super) fn changes(&self) -> Vec<(Time, (u32, bool))> {
        let mut changes: Vec<(Time, (u32, bool))> = Vec::new();
        for (at, event) in &self.log {
            let EngineEvent::Load { load, .. } = event else {
                continue;
            };
            let state = (load.idle, load.ready > 0);
            if changes.last().is_none_or(|(_, before)| *before != state) {
                changes.push((*at, state));
            }
        }
        changes
    }

    /// The load as it was told last.
    pub(super) fn load(&self) -> EngineLoad {
        self.loads().last().cloned().unwrap_or_default()
    }

    pub(super) fn loads(&self) -> impl Iterator<Item = &EngineLoad> {
        self.log.iter().filter_map(|(_, event)| {
            let EngineEvent::Load { load, .. } = event else {
                return None;
            };
            Some(load)
        })
    }
}

pub(super) fn result(finished: &Finished) -> u64 {
    result_of(&finished.outcome).unwrap_or_else(|| panic!("{:?}", finished.outcome))
}

pub(super) fn tree(shape: Workload, total_us: u64) -> Arc<Tree> {
    Arc::new(Tree::new(&config(shape, total_us)))
}

pub(super) fn config(shape: Workload, total_us: u64) -> WorkloadConfig {
    WorkloadConfig {
        shape,
        total_work: Duration::from_micros(total_us),
        granularity: Duration::from_micros(10),
        args_bytes: 40,
        result_bytes: 24,
        seed: 3,
    }
}

pub(super) fn spec(artifact: [u8; 32]) -> Arc<JobSpec> {
    let spec = job_spec().as_ref().clone();
    Arc::new(JobSpec { artifact, ..spec })
}

pub(super) fn ms(ms: u64) -> Time {
    Time(ms * 1_000_000)
}

pub(super) const JOB: JobAlias = JobAlias(1);
pub(super) const ROOT: Ticket = Ticket(1);
const ARTIFACT: [u8; 32] = [5; 32];
