//! Stories of domains with a standby, each with all checkers.

use super::*;
use crate::check::run as check;
use crate::network::{Cut, CutWhat};
use crate::workload::{Workload, WorkloadConfig};

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

/// It had struck its standby from the list, of which no majority knew yet; the standby took over with the list of before and ran the job
/// to its end once more.
#[test]
fn regression_the_end_of_a_job_is_told_once_where_a_struck_standby_may_still_take_over() {
    let mut scenario = pair(1, Vec::new());
    scenario.servers = 3;
    let chain = WorkloadConfig {
        shape: Workload::Chain,
        total_work: Duration::from_secs(20),
        ..scenario.workload.unwrap()
    };
    scenario.workload = Some(chain);
    let ends = {
        let mut world = World::new(&scenario, None, Atlas::new);
        while world.goes_on() {
            world.step();
        }
        world.nodes().outcome().unwrap().ended.since(Time::ZERO)
    };
    // Some of these are between the strike and the end of the lease, four tenths of a second later.
    for before_ms in (1200..1900).step_by(100) {
        let cut_at = ends - Duration::from_millis(before_ms);
        cut_off_but_for_the_root(&mut scenario, cut_at);
        check(&scenario).unwrap_or_else(|violation| panic!("{before_ms} ms: {violation}"));
    }
}

/// From then on the manager is reached by nobody but the server that runs the job.
fn cut_off_but_for_the_root(scenario: &mut Scenario, from: Duration) {
    scenario.network.cuts.clear();
    let mut world = World::new(scenario, None, Atlas::new);
    until(&mut world, |_, stage| stage.now().since(Time::ZERO) >= from);
    let topology = &world.stage().topology;
    let runs = |server: &ServerIndex| world.stage().engine(*server).running() > 0;
    let root = topology.servers().find(runs).unwrap();
    let others = topology.servers().filter(|&server| server != root);
    let others = others.map(|server| topology.server(server));
    let cut = |node: NodeId| Cut {
        what: CutWhat::Pair(FIRST.0, node.0),
        from,
        until: Duration::from_secs(35),
    };
    scenario.network.cuts = others.chain([second(&world)]).map(cut).collect();
}
