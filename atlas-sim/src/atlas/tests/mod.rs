mod standbys;

use super::*;
use crate::network::{Cut, CutWhat};
use crate::report::JobReport;
use crate::scenario::tests::{run, small};
use crate::scenario::{Border, Policy as Who, Speeds};
use crate::workload::Workload;
use crate::world::{Observer, World};

fn run_job(scenario: &Scenario) -> JobReport {
    let report = run(scenario);
    let job = report.job.clone().unwrap();
    assert!(job.finished && job.correct, "{report}");
    job
}

fn fault(at_s: u64, server: u32, kind: FaultKind) -> Fault {
    Fault {
        at: Duration::from_secs(at_s),
        server,
        kind,
    }
}

#[test]
fn every_shape_gets_its_sequential_result_over_the_wire_form() {
    for shape in Workload::ALL {
        let scenario = small(Who::Atlas, shape);
        let job = run_job(&scenario);
        assert!(job.efficiency <= 1.0, "{shape:?} {job:?}");
        // Rivals do again what is late, also where nothing is lost.
        let rivals = 80.0 / 20.0;
        assert!(job.rerun_work_s <= rivals, "{shape:?} {job:?}");
        let alone = run_job(&Scenario {
            no_rivals: true,
            ..scenario
        });
        assert!(alone.rerun_work_s < 1e-6, "{shape:?} {alone:?}");
    }
}

#[test]
fn one_seed_gives_one_run() {
    let scenario = Scenario {
        speeds: Speeds::Unequal,
        workers: 2,
        ..small(Who::Atlas, Workload::Uts)
    };
    assert_eq!(run(&scenario), run(&scenario));
}

#[test]
fn a_server_that_dies_takes_no_result_with_it() {
    let faults = vec![
        fault(4, 0, FaultKind::Kill),
        fault(5, 7, FaultKind::Kill),
        fault(9, 0, FaultKind::Start),
    ];
    let job = run_job(&Scenario {
        faults,
        ..small(Who::Atlas, Workload::Balanced)
    });
    assert!(job.rerun_work_s > 0.0);
}

/// Two servers in one domain; the one that runs the root dies, and what it had finished is found.
#[test]
fn what_a_dead_server_has_recorded_is_not_done_again() {
    let scenario = |servers| Scenario {
        servers,
        levels: 1,
        faults: vec![
            fault(42, 0, FaultKind::Kill),
            fault(42, 1, FaultKind::Kill),
            fault(43, 1, FaultKind::Start),
        ],
        ..small(Who::Atlas, Workload::Balanced)
    };
    let job = run_job(&scenario(2));
    // Each had done forty seconds of work; an interval of each is lost, and what they were in the middle of.
    assert!(job.rerun_work_s > 0.0 && job.rerun_work_s < 3.0, "{job:?}");
}

#[test]
fn a_manager_that_dies_begins_its_job_anew_with_what_it_has_stored() {
    let crash = |kind, at_s| fault(at_s, 0, kind);
    let job = run_job(&Scenario {
        servers: 4,
        levels: 1,
        faults: vec![
            crash(FaultKind::KillManager, 12),
            crash(FaultKind::StartManager, 13),
        ],
        ..small(Who::Atlas, Workload::Uts)
    });
    assert!(job.rerun_work_s > 0.0 && job.rerun_work_s < 8.0, "{job:?}");
}

#[test]
fn the_manager_of_a_sub_domain_that_dies_costs_no_job_and_has_what_was_recorded_there() {
    let mut faults = vec![fault(6, 1, FaultKind::KillManager)];
    let kill_only = Scenario {
        faults: faults.clone(),
        ..small(Who::Atlas, Workload::Balanced)
    };
    faults.push(fault(14, 1, FaultKind::StartManager));
    let restored = |scenario: &Scenario| {
        let job = run_job(scenario);
        assert!(job.rerun_work_s > 0.0, "{job:?}");
        run(scenario).counts["results restored"]
    };
    assert_eq!(restored(&kill_only), 0);
    assert!(
        restored(&Scenario {
            faults,
            ..kill_only.clone()
        }) > 0
    );
}

#[test]
fn clocks_that_disagree_change_no_result() {
    run_job(&Scenario {
        skew: crate::scenario::ClockSkew {
            offset_max: Duration::from_secs(7200),
            drift_ppm: 20_000,
        },
        ..small(Who::Atlas, Workload::Uts)
    });
}

#[test]
fn a_server_that_leaves_or_retreats_gives_its_work_back() {
    let faults = vec![
        fault(4, 0, FaultKind::Leave),
        fault(5, 7, FaultKind::Retreat),
        fault(8, 7, FaultKind::Resume),
    ];
    run_job(&Scenario {
        faults,
        ..small(Who::Atlas, Workload::Balanced)
    });
}

#[test]
fn a_lossy_world_gets_the_same_result() {
    let mut scenario = small(Who::Atlas, Workload::Balanced);
    for link in scenario.network.links_mut() {
        (link.loss_ppm, link.duplication_ppm, link.reordering_ppm) = (20_000, 20_000, 50_000);
        link.held_up_max = link.latency;
    }
    run_job(&scenario);
}

#[test]
fn a_job_that_is_stuck_in_faults_ends_soon_after_them() {
    let mut scenario = small(Who::Atlas, Workload::Balanced);
    let cut = |number| Cut {
        what: CutWhat::Uplink(number),
        from: Duration::from_secs(3),
        until: Duration::MAX,
    };
    scenario.network.cuts = vec![cut(1), cut(2), cut(3)];
    scenario.horizon = Duration::from_secs(60);
    assert!(!run(&scenario).job.unwrap().finished);
    scenario.heal_at = Some(Duration::from_secs(50));
    scenario.steps_after_heal_max = Some(10);
    let report = run(&scenario);
    assert!(!report.job.unwrap().finished);
    assert_eq!(report.events_after_heal, Some(10));
    scenario.horizon = Duration::from_secs(1000);
    scenario.steps_after_heal_max = Some(10_000);
    run_job(&scenario);
}

#[test]
fn a_domain_that_lets_nothing_in_gets_no_work() {
    let mut scenario = small(Who::Atlas, Workload::Balanced);
    scenario.borders = vec![Border {
        domain: 1,
        inflow: Vec::new(),
        outflow: Vec::new(),
    }];
    let job = run_job(&scenario);
    assert_eq!(job.without_work, 3);
}

#[test]
fn an_observer_sees_every_event_and_all_that_is_under_way() {
    #[derive(Default)]
    struct Watch {
        events: u64,
        most_under_way: usize,
        touched: std::collections::BTreeSet<NodeId>,
    }
    impl Observer<Atlas> for Watch {
        fn after_event(
            &mut self,
            touched: Option<NodeId>,
            nodes: &Atlas,
            stage: &Stage<AtlasPacket>,
        ) {
            self.events += 1;
            self.most_under_way = self.most_under_way.max(stage.flights().iter().count());
            self.touched.extend(touched);
            assert!(nodes.servers().count() <= 8);
        }
    }
    let mut watch = Watch::default();
    let mut world = World::new(&small(Who::Atlas, Workload::Balanced), None, Atlas::new);
    let report = world.run_observed(&mut watch);
    assert_eq!(watch.events, report.events);
    assert!(watch.most_under_way > 1);
    assert_eq!(watch.touched.len(), world.stage().topology.nodes());
}

#[test]
fn an_idle_world_exchanges_keep_alives_and_nothing_else() {
    let scenario = Scenario {
        workload: None,
        horizon: Duration::from_secs(100),
        ..small(Who::Atlas, Workload::Uts)
    };
    let report = run(&scenario);
    assert_eq!(report.job, None);
    let of = |kind: &str| {
        report
            .traffic
            .get(kind)
            .map_or(0, |traffic| traffic.messages)
    };
    let others: u64 = report
        .traffic
        .iter()
        .filter(|(kind, _)| !KEEP_ALIVES.contains(&kind.as_str()))
        .map(|(_, t)| t.messages)
        .sum();
    assert!(of("KeepAlive") + of("ReportLoad") > 0);
    assert_eq!(others, 0, "{report}");
}

const KEEP_ALIVES: [&str; 4] = ["KeepAlive", "ReportLoad", "JoinDomain", "WelcomeChild"];
