//! Stories of domains with a standby, each with all checkers.

use super::*;
use crate::check::run as check;
use crate::network::{Cut, CutWhat};
use crate::workload::Workload;

/// The root's manager and its standby; four servers in one domain, or in two with a manager each.
fn pair(levels: u32, faults: Vec<Fault>) -> Scenario {
    Scenario {
        servers: 4,
        levels,
        standbys: vec![0],
        faults,
        heal_at: Some(Duration::from_secs(40)),
        steps_after_heal_max: Some(300_000),
        ..small(Who::Atlas, Workload::Balanced)
    }
}

const FIRST: NodeId = NodeId(0);

fn second(world: &World<Atlas>) -> NodeId {
    world.stage().topology.standby(DomainIndex(0)).unwrap()
}

/// Runs until something holds; the world must go on for so long.
fn until(world: &mut World<Atlas>, holds: impl Fn(&Atlas, &Stage<AtlasPacket>) -> bool) -> Time {
    while !holds(world.nodes(), world.stage()) {
        assert!(world.goes_on(), "the world is over");
        world.step();
    }
    world.stage().now()
}

#[test]
fn a_manager_that_dies_for_good_is_replaced_and_its_job_ends_right() {
    for levels in [1, 2] {
        let scenario = pair(levels, vec![fault(8, 0, FaultKind::KillManager)]);
        check(&scenario).unwrap();
        let mut world = World::new(&scenario, None, Atlas::new);
        let stands_by = until(&mut world, |nodes, _| nodes.has_standby(FIRST));
        assert!(stands_by < Time::ZERO + Duration::from_secs(5));
        let standby = second(&world);
        let taken_over = until(&mut world, |nodes, stage| nodes.acts(stage, standby));
        let died = Time::ZERO + Duration::from_secs(8);
        // Four beats, a fifth for the clocks, and the votes.
        let after = taken_over.since(died);
        assert!(after < Duration::from_millis(4000), "{after:?}");
        let report = world.run(&mut |_| {});
        let job = report.job.unwrap();
        assert!(job.finished && job.correct, "{job:?}");
        // What was recorded is not done again: of each server an interval, and what it was in the middle of; some seconds pass
        // before they begin anew, in which nobody works for anything.
        assert!(job.rerun_work_s > 0.0 && job.rerun_work_s < 24.0, "{job:?}");
        assert!(world.nodes().manager(FIRST).is_none());
    }
}

#[test]
fn a_job_passes_from_one_manager_to_the_other_and_back() {
    let faults = vec![
        fault(8, 0, FaultKind::KillActing),
        fault(10, 0, FaultKind::StartManager),
        fault(24, 0, FaultKind::KillActing),
    ];
    let scenario = pair(1, faults);
    check(&scenario).unwrap();
    let mut world = World::new(&scenario, None, Atlas::new);
    let standby = second(&world);
    until(&mut world, |nodes, _| nodes.has_standby(FIRST));
    until(&mut world, |nodes, _| nodes.has_standby(standby));
    until(&mut world, |nodes, stage| nodes.acts(stage, FIRST));
    assert!(world.nodes().manager(standby).is_none());
    let job = world.run(&mut |_| {}).job.unwrap();
    assert!(job.finished && job.correct, "{job:?}");
}

#[test]
fn a_manager_that_nobody_hears_waits_and_then_follows() {
    let mut scenario = pair(1, Vec::new());
    let (from, until_s) = (Duration::from_secs(8), Duration::from_secs(20));
    scenario.network.cuts = vec![Cut {
        what: CutWhat::Node(FIRST.0),
        from,
        until: until_s,
    }];
    check(&scenario).unwrap();
    let mut world = World::new(&scenario, None, Atlas::new);
    let standby = second(&world);
    until(&mut world, |nodes, stage| nodes.acts(stage, standby));
    // Its machine is there, and stands still.
    assert!(world.nodes().manager(FIRST).is_some());
    assert!(!world.nodes().acts(world.stage(), FIRST));
    until(&mut world, |nodes, _| nodes.has_standby(standby));
    assert!(world.nodes().manager(FIRST).is_none());
}

#[test]
fn the_manager_of_a_sub_domain_that_dies_for_good_is_replaced() {
    let scenario = Scenario {
        standbys: vec![1],
        ..pair(2, vec![fault(8, 1, FaultKind::KillManager)])
    };
    check(&scenario).unwrap();
    let mut world = World::new(&scenario, None, Atlas::new);
    let standby = world.stage().topology.standby(DomainIndex(1)).unwrap();
    until(&mut world, |nodes, stage| nodes.acts(stage, standby));
    let job = world.run(&mut |_| {}).job.unwrap();
    assert!(job.finished && job.correct, "{job:?}");
    assert_eq!(job.without_work, 0);
}

#[test]
fn a_standby_that_dies_costs_nothing() {
    let scenario = pair(1, vec![fault(8, 0, FaultKind::KillStandby)]);
    check(&scenario).unwrap();
    let job = run_job(&Scenario {
        no_rivals: true,
        ..scenario
    });
    assert!(job.rerun_work_s < 1e-6, "{job:?}");
}

#[test]
fn one_seed_gives_one_run_with_a_standby_too() {
    let scenario = pair(2, vec![fault(8, 0, FaultKind::KillActing)]);
    assert_eq!(run(&scenario), run(&scenario));
}
