//! Engines that lend each other closures at random, against a sequential run of the same tree.
//!
//! The pool stands for servers that do nothing but carry: it keeps who runs what for whom, passes results on,
//! takes closures back, and changes the numbers of workers. Whatever it does, the root's result and work are
//! those of the sequential run, and nothing is left anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atlas_proto::engine::{Above, EngineCommand, EngineEvent};
use atlas_proto::ids::{EngineLease, EngineRequest, JobAlias, Ticket};
use atlas_proto::job::{Closure, Finished, Outcome};
use atlas_proto::time::Time;
use atlas_sim::engine::{Trees, VirtualEngine};
use atlas_sim::workload::{Tree, Workload, WorkloadConfig, decode_result, kind_at};
use atlas_sim::world::job_spec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn engines_that_exchange_closures_give_the_sequential_result(
        shape in prop::sample::select(&Workload::ALL),
        seed in 0..1000_u64,
        engines in prop::collection::vec((1..5_u32, 0.2..3.0), 2..5),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let tree = tree(shape, seed);
        let expected = tree.sequential();
        let mut pool = Pool::new(&tree, &engines);
        for step in &steps {
            pool.take(step);
        }
        pool.finish();

        let finished = pool.root.clone().expect("the root finishes");
        let Outcome::Value(value) = &finished.outcome else { panic!("no task panics") };
        prop_assert_eq!(decode_result(value), Some(expected.result));
        prop_assert_eq!(finished.work, tree.config().total_work);
        let executed: Duration = pool.engines.iter().map(VirtualEngine::executed_work).sum();
        if pool.taken_back == 0 {
            prop_assert_eq!(executed, tree.config().total_work);
        } else {
            prop_assert!(executed >= tree.config().total_work);
        }
        for engine in &pool.engines {
            prop_assert_eq!((engine.running(), engine.ready()), (0, 0));
            prop_assert_eq!(engine.next_wake(), None);
        }
        prop_assert!(pool.borrowed.is_empty() && pool.lent.is_empty());
    }
}

/// What the pool does next. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Pass {
        micros: u64,
    },
    Move {
        from: usize,
        to: usize,
        closures_max: u32,
    },
    /// The lender takes a closure back. If the borrower is not told, its result comes late.
    TakeBack {
        which: usize,
        borrower_told: bool,
    },
    SetWorkers {
        engine: usize,
        workers: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..400_u64).prop_map(|micros| Step::Pass { micros }),
        4 => (0..9_usize, 0..9_usize, 1..9_u32)
            .prop_map(|(from, to, closures_max)| Step::Move { from, to, closures_max }),
        1 => (0..99_usize, any::<bool>())
            .prop_map(|(which, borrower_told)| Step::TakeBack { which, borrower_told }),
        1 => (0..9_usize, 0..5_u32).prop_map(|(engine, workers)| Step::SetWorkers { engine, workers }),
    ]
}

/// A closure at the engine that lent it.
type AtLender = (usize, EngineLease);
/// The same closure at the engine that runs it.
type AtBorrower = (usize, Ticket);

struct Pool {
    engines: Vec<VirtualEngine>,
    now: Time,
    /// For whom a closure is run. Also those that were taken back from borrowers that were not told.
    borrowed: BTreeMap<AtBorrower, AtLender>,
    lent: BTreeMap<AtLender, AtBorrower>,
    tickets: u64,
    taken_back: usize,
    root: Option<Finished>,
}

impl Pool {
    fn new(tree: &Arc<Tree>, engines: &[(u32, f64)]) -> Self {
        let spec = job_spec();
        let trees = Arc::new(Trees::from([(spec.artifact, Arc::clone(tree))]));
        let engine =
            |&(workers, speed): &(u32, f64)| VirtualEngine::new(Arc::clone(&trees), workers, speed);
        let mut pool = Self {
            engines: engines.iter().map(engine).collect(),
            now: Time::ZERO,
            borrowed: BTreeMap::new(),
            lent: BTreeMap::new(),
            tickets: 1,
            taken_back: 0,
            root: None,
        };
        for (at, &(workers, _)) in engines.iter().enumerate() {
            let spec = Arc::clone(&spec);
            pool.command(at, EngineCommand::Start { job: JOB, spec });
            pool.command(at, EngineCommand::SetWorkers { job: JOB, workers });
        }
        let closure = Closure {
            kind: kind_at(0),
            args: tree.root().encode(0),
            expected: Duration::ZERO,
            shared: Vec::new(),
            above: Above::NONE,
        };
        pool.command(
            0,
            EngineCommand::Accept {
                job: JOB,
                ticket: ROOT,
                closure,
            },
        );
        pool
    }

    fn take(&mut self, step: &Step) {
        let engines = self.engines.len();
        match *step {
            Step::Pass { micros } => self.pass_until(self.now + Duration::from_micros(micros)),
            Step::Move {
                from,
                to,
                closures_max,
            } => {
                let (from, to) = (from % engines, to % engines);
                // The engine that gets them is the number of the question.
                let request = EngineRequest(to as u64);
                self.command(
                    from,
                    EngineCommand::Lend {
                        job: JOB,
                        request,
                        closures_max,
                    },
                );
            }
            Step::TakeBack {
                which,
                borrower_told,
            } => {
                let Some(which) = which.checked_rem(self.lent.len()) else {
                    return;
                };
                let (&lender, &borrower) =
                    self.lent.iter().nth(which).expect("fewer than there are");
                self.take_back(lender, borrower, borrower_told);
            }
            Step::SetWorkers { engine, workers } => {
                self.command(
                    engine % engines,
                    EngineCommand::SetWorkers { job: JOB, workers },
                );
            }
        }
    }

    fn take_back(&mut self, lender: AtLender, borrower: AtBorrower, borrower_told: bool) {
        self.taken_back += 1;
        self.lent.remove(&lender);
        self.command(
            lender.0,
            EngineCommand::Reclaim {
                job: JOB,
                lease: lender.1,
            },
        );
        if borrower_told {
            self.borrowed.remove(&borrower);
            self.command(
                borrower.0,
                EngineCommand::Abort {
                    job: JOB,
                    ticket: borrower.1,
                },
            );
        }
    }

    fn pass_until(&mut self, until: Time) {
        while let Some(wake) = self
            .engines
            .iter()
            .filter_map(VirtualEngine::next_wake)
            .min()
            && wake <= until
        {
            self.advance(wake);
        }
        self.advance(until);
    }

    /// Gives everyone workers, and waits until nothing runs.
    fn finish(&mut self) {
        for at in 0..self.engines.len() {
            self.command(
                at,
                EngineCommand::SetWorkers {
                    job: JOB,
                    workers: 2,
                },
            );
        }
        while let Some(wake) = self
            .engines
            .iter()
            .filter_map(VirtualEngine::next_wake)
            .min()
        {
            self.advance(wake);
        }
    }

    fn advance(&mut self, now: Time) {
        self.now = now;
        for at in 0..self.engines.len() {
            self.engines[at].advance(now);
            self.listen(at);
        }
    }

    fn command(&mut self, at: usize, command: EngineCommand) {
        self.engines[at].handle(self.now, command);
        self.listen(at);
    }

    fn listen(&mut self, at: usize) {
        while let Some(event) = self.engines[at].poll_event() {
            match event {
                EngineEvent::Lent {
                    request, closures, ..
                } => {
                    let to = usize::try_from(request.0).expect("an engine's number");
                    for lent in closures {
                        self.carry((at, lent.lease), to, lent.closure);
                    }
                }
                EngineEvent::Finished {
                    ticket: ROOT,
                    finished,
                    ..
                } => {
                    assert!(
                        self.root.replace(finished).is_none(),
                        "the root finishes once"
                    );
                }
                EngineEvent::Finished {
                    ticket, finished, ..
                } => {
                    let lender = self
                        .borrowed
                        .remove(&(at, ticket))
                        .expect("it was borrowed");
                    self.lent.remove(&lender);
                    let (engine, lease) = lender;
                    let result = EngineCommand::ReturnResult {
                        job: JOB,
                        lease,
                        finished,
                    };
                    self.command(engine, result);
                }
                EngineEvent::Unwanted { lease, .. } => {
                    let (engine, ticket) = self.lent.remove(&(at, lease)).expect("it was lent");
                    self.borrowed.remove(&(engine, ticket));
                    self.command(engine, EngineCommand::Abort { job: JOB, ticket });
                }
                EngineEvent::Crashed { .. } => panic!("every artifact is known"),
                EngineEvent::Load { .. }
                | EngineEvent::Measured { .. }
                | EngineEvent::Recorded { .. }
                | EngineEvent::Tasks { .. } => {}
            }
        }
    }

    fn carry(&mut self, lender: AtLender, to: usize, closure: Closure) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.lent.insert(lender, (to, ticket));
        self.borrowed.insert((to, ticket), lender);
        self.command(
            to,
            EngineCommand::Accept {
                job: JOB,
                ticket,
                closure,
            },
        );
    }
}

fn tree(shape: Workload, seed: u64) -> Arc<Tree> {
    Arc::new(Tree::new(&WorkloadConfig {
        shape,
        total_work: Duration::from_millis(20),
        granularity: Duration::from_micros(20),
        args_bytes: 30,
        result_bytes: 8,
        seed,
    }))
}

const JOB: JobAlias = JobAlias(1);
const ROOT: Ticket = Ticket(1);
