//! Claims about the engines of one machine, driven through the same commands and events as by a server.

mod machine;

use atlas_proto::engine::{Above, EngineLoad};
use atlas_proto::ids::{EngineRequest, Ticket};
use atlas_proto::job::{Closure, Finished, Outcome};
use bytes::Bytes;

use super::*;
use crate::workload::{TreeNode, Workload, WorkloadConfig, encode_result, kind_at};
use machine::{JOB, Machine, ROOT, config, ms, result, spec, tree};

#[test]
fn every_shape_gives_the_sequential_result_with_one_worker_and_with_four() {
    for shape in Workload::ALL {
        let tree = tree(shape, 20_000);
        let expected = tree.sequential();
        for workers in [1, 4] {
            let mut machine = Machine::new(&tree, workers, 1.0);
            machine.run();
            let [(_, _, finished)] = machine.finished.as_slice() else {
                panic!("{shape:?}")
            };
            assert_eq!(
                result(finished),
                expected.result,
                "{shape:?} with {workers}"
            );
            assert_eq!(
                finished.work,
                tree.config().total_work,
                "{shape:?} with {workers}"
            );
            assert_eq!(machine.engine.nodes_run(), expected.nodes);
            assert_eq!(machine.engine.busy(), tree.config().total_work);
            assert_eq!(machine.engine.next_wake(), None);
        }
    }
}

#[test]
fn the_time_follows_from_work_workers_and_speed() {
    for (shape, workers, speed, expected_ms) in [
        (Workload::Chain, 4, 1.0, 1000.0),
        (Workload::Chain, 1, 2.5, 400.0),
        (Workload::Flat, 4, 1.0, 250.0),
        (Workload::Flat, 4, 0.5, 500.0),
    ] {
        let mut machine = Machine::new(&tree(shape, 1_000_000), workers, speed);
        machine.run();
        let millis = machine.finished[0].0.as_secs_f64() * 1e3;
        assert!(
            (millis - expected_ms).abs() < expected_ms / 100.0,
            "{shape:?} {workers} {speed}: {millis}"
        );
        let busy_ms = machine.engine.busy().as_secs_f64() * 1e3;
        assert!((busy_ms - 1000.0 / speed).abs() < 1e-3, "{busy_ms}");
    }
}

#[test]
fn without_workers_a_job_stands_still_in_the_middle_of_a_node() {
    // Two nodes of half a second each.
    let chain = Tree::new(&WorkloadConfig {
        granularity: Duration::from_millis(500),
        ..config(Workload::Chain, 1_000_000)
    });
    let mut machine = Machine::new(&Arc::new(chain), 1, 1.0);
    machine.advance(ms(700));
    machine.set_workers(JOB, 0);
    assert_eq!(machine.engine.next_wake(), None);
    machine.advance(ms(5000));
    assert_eq!(machine.engine.busy(), Duration::from_millis(700));
    assert_eq!(machine.load().idle, 0);
    machine.set_workers(JOB, 1);
    machine.run();
    assert_eq!(machine.finished[0].0, ms(5300));
}

#[test]
fn fewer_workers_stop_the_youngest_nodes_and_go_on_with_them_first() {
    let half_seconds = WorkloadConfig {
        granularity: Duration::from_millis(500),
        ..config(Workload::Chain, 1_000_000)
    };
    let tree = Arc::new(Tree::new(&half_seconds));
    let mut machine = Machine::new(&tree, 2, 1.0);
    machine.command(EngineCommand::Abort {
        job: JOB,
        ticket: ROOT,
    });
    let leaf = tree.root().child(0, 1);
    machine.accept(JOB, Ticket(10), leaf);
    machine.advance(ms(100));
    machine.accept(JOB, Ticket(11), leaf);
    machine.advance(ms(200));
    machine.set_workers(JOB, 1);
    machine.accept(JOB, Ticket(12), leaf);
    machine.advance(ms(300));
    machine.set_workers(JOB, 2);
    machine.run();
    let ends = machine.finished.iter();
    let ends: Vec<_> = ends.map(|(at, ticket, _)| (ticket.0, *at)).collect();
    assert_eq!(ends, [(10, ms(500)), (11, ms(700)), (12, ms(1000))]);
    assert_eq!(machine.engine.busy(), Duration::from_millis(1500));
}

#[test]
fn more_workers_than_processors_run_slower() {
    let tree = tree(Workload::Flat, 1_000_000);
    let mut machine = Machine::new(&tree, 2, 1.0);
    let other = JobAlias(2);
    machine.start(other);
    machine.set_workers(other, 2);
    machine.accept(other, Ticket(2), tree.root());
    machine.run();
    for (at, ..) in &machine.finished {
        assert!((at.as_secs_f64() - 1.0).abs() < 0.01, "{at}");
    }
    assert_eq!(machine.engine.busy(), Duration::from_secs(2));
    machine.command(EngineCommand::Stop { job: other });
    assert_eq!(machine.engine.busy(), Duration::from_secs(2));
}

#[test]
fn a_hundred_thousand_ready_leaves_are_lent_and_run_without_searching() {
    let tree = Arc::new(Tree::new(&config(Workload::Flat, 1_000_000)));
    let mut machine = Machine::new(&tree, 1, 1.0);
    let leaves = tree.sequential().nodes - 1;
    assert!(leaves > 90_000);
    machine.advance(ms(1));
    let mut lent = 0;
    while machine.engine.ready() > 0 {
        machine.now = machine.now + Duration::from_micros(10);
        let closures = machine.lend(1);
        lent += closures.len();
        for (lease, closure) in closures {
            let node = TreeNode::decode(&closure.args).unwrap();
            let outcome = Outcome::Value(encode_result(node.own_result(), 8));
            let finished = Finished {
                outcome,
                work: Duration::from_nanos(tree.work(&node)),
            };
            machine.command(EngineCommand::ReturnResult {
                job: JOB,
                lease,
                finished,
            });
        }
    }
    machine.run();
    assert!(lent > 40_000, "{lent}");
    assert_eq!(result(&machine.finished[0].2), tree.sequential().result);
    assert_eq!(machine.finished[0].2.work, tree.config().total_work);
}

#[test]
fn a_long_run_of_ready_leaves_takes_few_wakes() {
    let mut machine = Machine::new(&tree(Workload::Flat, 1_000_000), 2, 1.0);
    let mut wakes = 0;
    while let Some(at) = machine.engine.next_wake() {
        machine.advance(at);
        wakes += 1;
    }
    assert!(wakes < 60, "{wakes}");
}

#[test]
fn a_fall_to_half_is_told_when_it_happens() {
    let mut machine = Machine::new(&tree(Workload::Flat, 10_000), 1, 1.0);
    machine.run();
    let told = machine.loads().map(|load| load.ready);
    let ready: Vec<_> = told.filter(|&ready| ready > 0).collect();
    assert!(
        ready.windows(2).all(|told| told[1] == told[0] / 2),
        "{ready:?}"
    );
    assert_eq!((ready[0], *ready.last().unwrap()), (998, 1));
}

#[test]
fn a_closure_between_local_nodes_and_older_ones_that_came_back_finishes_on_time() {
    let tree = tree(Workload::Flat, 10_000);
    let mut machine = Machine::new(&tree, 1, 1.0);
    machine.advance(ms(1));
    let all_but_five = u32::try_from(machine.engine.ready()).unwrap() - 5;
    let lent = machine.lend(all_but_five);
    let leaf = TreeNode {
        budget: 1,
        ..tree.root().child(0, 1)
    };
    machine.accept(JOB, Ticket(2), leaf);
    for (lease, _) in lent {
        machine.command(EngineCommand::Reclaim { job: JOB, lease });
    }
    machine.run();
    let (at, ticket, _) = machine.finished[0];
    assert_eq!(ticket, Ticket(2));
    // The one that runs, five local ones, itself.
    assert!(
        at <= ms(1) + Duration::from_nanos(7 * tree.leaf_work()),
        "{at}"
    );
}

#[test]
fn two_runs_are_equal() {
    let log = || {
        let mut machine = Machine::new(&tree(Workload::UtsBinomial, 300_000), 3, 0.7);
        machine.advance(ms(20));
        machine.lend(9);
        machine.run();
        machine.log
    };
    assert_eq!(log(), log());
}

#[test]
fn wakes_miss_nothing_that_frequent_looks_would_see() {
    for shape in Workload::ALL {
        let tree = tree(shape, 10_000);
        let told = |step: Option<Duration>| {
            let mut machine = Machine::new(&tree, 3, 1.0);
            let mut below = Vec::new();
            tree.children(&tree.root(), &mut below);
            for (number, child) in (10..).zip(below.into_iter().take(20)) {
                machine.accept(JOB, Ticket(number), child);
            }
            while let Some(wake) = machine.engine.next_wake() {
                let at = step.map_or(wake, |step| machine.now + step);
                machine.advance(at);
            }
            let finished: Vec<_> = machine
                .finished
                .iter()
                .map(|(at, ticket, _)| (*at, *ticket))
                .collect();
            (finished, machine.changes())
        };
        let (wakes, steps) = (told(None), told(Some(Duration::from_micros(1))));
        let late = |wake: Time, step: Time| {
            wake.since(step).max(step.since(wake)) > Duration::from_micros(1)
        };
        assert_eq!(wakes.0.len(), steps.0.len(), "{shape:?}");
        for (wake, step) in wakes.0.iter().zip(&steps.0) {
            assert!(
                wake.1 == step.1 && !late(wake.0, step.0),
                "{shape:?}: {wake:?} {step:?}"
            );
        }
        // Each change that a look found is one that a wake told, at the same time.
        for step in &steps.1 {
            assert!(
                wakes
                    .1
                    .iter()
                    .any(|wake| wake.1 == step.1 && !late(wake.0, step.0)),
                "{shape:?}: {step:?}"
            );
        }
    }
}

#[test]
fn an_aborted_closure_leaves_nothing_and_unwants_what_was_lent_below_it() {
    let tree = tree(Workload::Uts, 200_000);
    let mut machine = Machine::new(&tree, 2, 1.0);
    machine.advance(ms(10));
    let lent = machine.lend(5);
    assert_eq!(lent.len(), 5);
    machine.command(EngineCommand::Abort {
        job: JOB,
        ticket: ROOT,
    });
    let leases: Vec<_> = lent.iter().map(|(lease, _)| *lease).collect();
    assert_eq!(machine.unwanted, leases);
    assert_eq!((machine.engine.ready(), machine.engine.running()), (0, 0));
    assert_eq!(
        machine.load(),
        EngineLoad {
            idle: 2,
            stopped: 0,
            ready: 0,
            oldest: Vec::new()
        }
    );
    // What comes late is ignored, and the engine is as good as new.
    machine.command(EngineCommand::Reclaim {
        job: JOB,
        lease: leases[0],
    });
    machine.command(EngineCommand::Abort {
        job: JOB,
        ticket: ROOT,
    });
    machine.accept(JOB, Ticket(2), tree.root());
    machine.run();
    assert_eq!(result(&machine.finished[0].2), tree.sequential().result);
}

#[test]
fn a_panic_surfaces_at_the_accepted_closure_when_all_else_is_done() {
    let tree = tree(Workload::Balanced, 100_000);
    let mut machine = Machine::new(&tree, 1, 1.0);
    machine.advance(ms(1));
    let (lease, _) = machine.lend(1).remove(0);
    let outcome = Outcome::Panic(Bytes::from_static(b"oh"));
    let finished = Finished {
        outcome: outcome.clone(),
        work: Duration::ZERO,
    };
    machine.command(EngineCommand::ReturnResult {
        job: JOB,
        lease,
        finished,
    });
    assert!(machine.finished.is_empty());
    machine.run();
    assert_eq!(machine.finished[0].2.outcome, outcome);
}

#[test]
fn what_cannot_be_done_is_answered() {
    let mut machine = Machine::new(&tree(Workload::Flat, 1000), 1, 1.0);
    let closure = Closure {
        kind: kind_at(0),
        args: Bytes::new(),
        expected: Duration::ZERO,
        shared: Vec::new(),
        above: Above::NONE,
    };
    machine.command(EngineCommand::Accept {
        job: JOB,
        ticket: Ticket(7),
        closure,
    });
    assert!(matches!(machine.finished[0].2.outcome, Outcome::Panic(_)));
    let unknown = JobAlias(99);
    machine.command(EngineCommand::Lend {
        job: unknown,
        request: EngineRequest(1),
        closures_max: 1,
    });
    assert_eq!(machine.lent, []);
    machine.command(EngineCommand::Start {
        job: unknown,
        spec: spec([9; 32]),
    });
    assert!(matches!(
        machine.log.last().unwrap().1,
        EngineEvent::Crashed { job, .. } if job == unknown
    ));
}

#[test]
fn all_work_is_measured_once_for_the_root_and_once_for_each_closure() {
    let tree = tree(Workload::Balanced, 1_000_000);
    let mut machine = Machine::new(&tree, 4, 1.0);
    machine.run();
    let mut works = BTreeMap::new();
    let mut finished = 0;
    for (_, event) in &machine.log {
        let EngineEvent::Measured { samples, .. } = event else {
            continue;
        };
        for sample in samples {
            *works.entry(sample.kind.depth).or_insert(Duration::ZERO) += sample.work;
            finished += u64::from(sample.finished);
        }
    }
    assert_eq!(works[&0], tree.config().total_work);
    assert!(works.values().is_sorted_by(|above, below| above >= below));
    assert_eq!(finished, tree.sequential().nodes);
}
