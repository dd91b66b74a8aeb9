use super::*;
use crate::scenario::tests::{run, small};
use crate::scenario::{Policy, Scenario, Speeds};
use crate::workload::Workload;

const ALL: [Policy; 3] = [Policy::Random, Policy::Crs, Policy::Central];

#[test]
fn every_baseline_gets_the_sequential_result_of_every_shape() {
    for policy in ALL {
        for shape in Workload::ALL {
            let report = run(&small(policy, shape));
            let job = report.job.clone().unwrap();
            assert!(
                job.finished && job.correct,
                "{policy:?} {shape:?}: {report}"
            );
            assert!(
                job.rerun_work_s < 1e-6 && job.efficiency <= 1.0,
                "{policy:?} {shape:?}: {report}"
            );
        }
    }
}

#[test]
fn one_seed_gives_one_run() {
    for policy in ALL {
        let scenario = Scenario {
            speeds: Speeds::Unequal,
            workers: 2,
            ..small(policy, Workload::Uts)
        };
        assert_eq!(run(&scenario), run(&scenario));
        let other = run(&Scenario {
            seed: 6,
            ..scenario.clone()
        });
        assert_ne!(run(&scenario).events, other.events, "{policy:?}");
    }
}

#[test]
fn every_server_works() {
    for policy in ALL {
        let job = run(&small(policy, Workload::Balanced)).job.unwrap();
        assert_eq!(job.without_work, 0, "{policy:?}");
        assert!(job.efficiency > 0.5, "{policy:?}: {}", job.efficiency);
    }
}

#[test]
fn a_chain_takes_its_work_and_no_less() {
    let job = run(&small(Policy::Random, Workload::Chain)).job.unwrap();
    assert!(job.makespan_s >= job.work_s && job.makespan_s < job.work_s * 1.01);
}

#[test]
fn a_central_queue_takes_its_time_for_every_closure() {
    let job = run(&small(Policy::Central, Workload::Flat)).job.unwrap();
    let handling = u32::try_from(job.closures).unwrap() * central::HANDLING;
    assert!(job.makespan_s > handling.as_secs_f64());
}

#[test]
fn thieves_of_one_cluster_steal_there_rather_than_afar() {
    let near = |policy| {
        let steals = run(&small(policy, Workload::Uts)).steals;
        let all: i64 = steals.iter().sum();
        steals[0] * 100 / all
    };
    assert!(near(Policy::Crs) > near(Policy::Random));
}
