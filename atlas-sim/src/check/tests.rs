//! Each checker sees what it is for: worlds that are broken on purpose.
//!
//! A forged packet is the next one of its session, so that the machine that hears it believes it; it stands for
//! a machine that has a fault.

use std::time::Duration;

use atlas_proto::engine::EngineCommand;
use atlas_proto::ids::{JobAlias, LeaseId, NodeId};
use atlas_proto::job::{Finished, Outcome};
use atlas_proto::ledger::{Source, State};
use atlas_proto::message::{LeaseResult, Message, Packet};
use atlas_proto::time::Time;
use bytes::Bytes;

use super::run::run_to_end;
use super::view::{Node, View};
use super::{Invariant, run, shrink};
use crate::atlas::{Atlas, AtlasPacket, CLIENT};
use crate::network::{Cut, CutWhat};
use crate::scenario::tests::small;
use crate::scenario::{Border, Policy, Scenario, Submit};
use crate::workload::Workload;
use crate::world::{Nodes as _, World};

type Atlantis = World<Atlas>;

/// Eight servers, a job, no faults, and enough steps for it.
fn sound() -> Scenario {
    Scenario {
        heal_at: Some(Duration::from_secs(3)),
        steps_after_heal_max: Some(100_000),
        ..small(Policy::Atlas, Workload::Balanced)
    }
}

/// What fails in a world to which `sabotage` is done as soon as it finds an opportunity.
fn broken(
    scenario: &Scenario,
    mut sabotage: impl FnMut(&mut Atlantis) -> Option<()>,
) -> Option<Invariant> {
    let mut world = World::new(scenario, None, Atlas::new);
    while sabotage(&mut world).is_none() {
        assert!(world.goes_on(), "there was no opportunity");
        world.step();
    }
    let violation = run_to_end(&mut world, scenario).err();
    violation.map(|violation| violation.invariant)
}

fn view(world: &Atlantis) -> View<'_> {
    View {
        nodes: world.nodes(),
        stage: world.stage(),
    }
}

/// A closure that is both lent and borrowed, by session, borrower and lease.
fn a_lease(
    world: &Atlantis,
    wanted: impl Fn(Node<'_>) -> bool,
) -> Option<(NodeId, NodeId, LeaseId)> {
    let view = view(world);
    for (lender, present) in view.all() {
        for (_, entry) in present.ledger().entries() {
            let State::Lent { borrower, lease } = entry.state else {
                continue;
            };
            let there = view.node(borrower)?;
            if there.ledger().borrowed(lender, lease).is_some() && wanted(there) {
                return Some((lender, borrower, lease));
            }
        }
    }
    None
}

/// Lets `to` hear what `from` never said.
fn forge(world: &mut Atlantis, from: NodeId, to: NodeId, message: Message) -> Option<()> {
    let packet = next_packet(world, from, to, message)?;
    let (nodes, stage) = world.parts_mut();
    nodes.deliver(stage, from, to, AtlasPacket::Node(packet));
    Some(())
}

fn next_packet(world: &Atlantis, from: NodeId, to: NodeId, message: Message) -> Option<Packet> {
    let view = view(world);
    let (mine, theirs) = (view.session(from, to)?, view.session(to, from)?);
    let (from, to) = mine.epochs();
    Some(Packet {
        from,
        to,
        seq: theirs.received() + 1,
        ack: 0,
        message,
    })
}

#[test]
fn a_sound_world_passes() {
    run(&sound()).unwrap();
}

#[test]
fn a_wrong_result_is_seen() {
    let found = broken(&sound(), |world| {
        let (lender, borrower, lease) = a_lease(world, |_| true)?;
        let outcome = Outcome::Value(Bytes::from(vec![1; 16]));
        let finished = Finished {
            outcome,
            work: Duration::from_secs(1),
        };
        let results = vec![LeaseResult { lease, finished }];
        let forged = Message::AbortLeases {
            leases: vec![lease],
        };
        forge(world, lender, borrower, forged)?;
        forge(world, borrower, lender, Message::ReturnResults { results })
    });
    assert_eq!(found, Some(Invariant::Result));
}

#[test]
fn a_closure_that_its_borrower_forgets_is_seen() {
    let found = broken(&sound(), |world| {
        let (lender, borrower, lease) = a_lease(world, |_| true)?;
        let leases = vec![lease];
        forge(world, lender, borrower, Message::AbortLeases { leases })
    });
    assert_eq!(found, Some(Invariant::Leases));
}

#[test]
fn a_closure_that_its_lender_forgets_is_seen() {
    let found = broken(&sound(), |world| {
        let (lender, borrower, lease) = a_lease(world, |_| true)?;
        let (leases, reason) = (vec![lease], atlas_proto::message::ReturnReason::NoRoom);
        forge(
            world,
            borrower,
            lender,
            Message::ReturnClosures { leases, reason },
        )
    });
    assert_eq!(found, Some(Invariant::Leases));
}

#[test]
fn a_closure_that_an_engine_drops_is_seen() {
    let found = broken(&sound(), |world| {
        let servers = world.stage().topology.servers();
        let mut tickets = servers.flat_map(|server| {
            let tickets = world.stage().engine(server).tickets();
            tickets.map(move |(job, ticket, _)| (server, job, ticket))
        });
        let (server, job, ticket) = tickets.next()?;
        drop(tickets);
        let (_, stage) = world.parts_mut();
        stage.command(server, EngineCommand::Abort { job, ticket });
        Some(())
    });
    assert_eq!(found, Some(Invariant::Leases));
}

#[test]
fn a_job_that_stands_still_is_seen() {
    // A job of some thousand events.
    let scenario = Scenario {
        heal_at: Some(Duration::from_millis(1)),
        steps_after_heal_max: Some(500),
        ..sound()
    };
    let found = broken(&scenario, |_| Some(()));
    assert_eq!(found, Some(Invariant::Progress));
}

#[test]
fn a_server_that_starves_beside_surplus_is_seen() {
    let mut hunger = super::hunger::Hunger::default();
    let mut scenario = sound();
    // Two servers that cannot hear each other: one of them has all the work.
    (scenario.servers, scenario.levels) = (2, 1);
    (scenario.heal_at, scenario.steps_after_heal_max) = (None, None);
    let what = CutWhat::Pair(1, 2);
    let (from, until) = (Duration::ZERO, Duration::MAX);
    scenario.network.cuts = vec![Cut { what, from, until }];
    let mut world = World::new(&scenario, None, Atlas::new);
    let mut found = Ok(());
    while found.is_ok() && world.goes_on() {
        world.step();
        found = hunger.sweep(view(&world));
    }
    let starving = found.unwrap_err();
    assert!(starving.contains("hungry beside"), "{starving}");
}

#[test]
fn a_client_that_is_named_is_seen() {
    let found = broken(&sound(), |world| {
        let (child, root) = (NodeId(1), NodeId(0));
        world.nodes().job()?;
        let header = atlas_proto::message::JobHeader {
            alias: JobAlias(1),
            spec: std::sync::Arc::new(atlas_proto::job::JobSpec {
                origin: CLIENT.parse().unwrap(),
                ..crate::world::job_spec().as_ref().clone()
            }),
        };
        let message = Message::GrantClosures {
            request: None,
            more: false,
            load: atlas_proto::message::Load::default(),
            job: header,
            closures: Vec::new(),
        };
        say(world, child, root, message)
    });
    assert_eq!(found, Some(Invariant::Anonymity));
}

#[test]
fn an_alias_that_leaves_its_domain_is_seen() {
    let scenario = Scenario {
        submit: Submit::Leaf,
        ..sound()
    };
    let found = broken(&scenario, |world| {
        let job = world.nodes().job()?;
        say(
            world,
            NodeId(1),
            NodeId(0),
            Message::EndJob { job, lost: false },
        )
    });
    assert_eq!(found, Some(Invariant::Anonymity));
}

/// Puts on the wire what `from` never said.
fn say(world: &mut Atlantis, from: NodeId, to: NodeId, message: Message) -> Option<()> {
    let packet = next_packet(world, from, to, message)?;
    let (_, stage) = world.parts_mut();
    stage.send(from, to, AtlasPacket::Node(packet));
    Some(())
}

#[test]
fn a_closure_where_it_is_refused_is_seen() {
    let lawless = Scenario {
        borders: Vec::new(),
        ..sound()
    };
    // The machines know of no border; the checkers know of one.
    let mut world = World::new(&lawless, None, Atlas::new);
    let border = Border {
        domain: 1,
        inflow: Vec::new(),
        outflow: Vec::new(),
    };
    let scenario = Scenario {
        borders: vec![border],
        ..sound()
    };
    let violation = run_to_end(&mut world, &scenario).unwrap_err();
    assert_eq!(violation.invariant, Invariant::Inflow);
}

#[test]
fn what_is_left_of_a_job_is_seen() {
    let world = &mut World::new(&sound(), None, Atlas::new);
    while a_lease(world, holds_borrowed).is_none() {
        world.step();
    }
    super::bounds::check_nothing_left(view(world)).unwrap_err();
}

fn holds_borrowed(node: Node<'_>) -> bool {
    let mut entries = node.ledger().entries();
    entries.any(|(_, entry)| matches!(entry.source, Source::Peer { .. }))
}

/// What is seen of a domain's two managers after `sabotage`, which happens when one of them has a standby and the job is there.
fn seen_of_two(sabotage: impl FnOnce(&mut Atlantis)) -> String {
    let scenario = Scenario {
        standbys: vec![0],
        ..sound()
    };
    let mut world = World::new(&scenario, None, Atlas::new);
    let mut standbys = super::standbys::Standbys::new(&world.stage().topology);
    let mut step = |world: &mut Atlantis| {
        assert!(world.goes_on(), "nothing is seen");
        let touched = world.step();
        standbys.check(view(world), touched)
    };
    while !world.nodes().has_standby(NodeId(0)) || world.nodes().job().is_none() {
        step(&mut world).unwrap();
    }
    sabotage(&mut world);
    loop {
        if let Err(seen) = step(&mut world) {
            return seen;
        }
    }
}

fn root_standby(world: &Atlantis) -> NodeId {
    let root = crate::topology::DomainIndex(0);
    world.stage().topology.standby(root).unwrap()
}

#[test]
fn two_managers_that_act_at_once_are_seen() {
    let seen = seen_of_two(|world| {
        let standby = root_standby(world);
        let (nodes, stage) = world.parts_mut();
        nodes.forget_standing(stage, standby);
    });
    assert!(seen.contains("at once"), "{seen}");
}

#[test]
fn a_safe_record_that_is_lost_is_seen() {
    let seen = seen_of_two(|world| world.parts_mut().0.lose_store(NodeId(0)));
    assert!(seen.contains("which is safe"), "{seen}");
}

#[test]
fn a_child_that_forgets_its_promise_is_seen() {
    let scenario = Scenario {
        standbys: vec![1],
        ..sound()
    };
    let mut world = World::new(&scenario, None, Atlas::new);
    let server = crate::topology::ServerIndex(0);
    let node = world.stage().topology.server(server);
    let mut standbys = super::standbys::Standbys::new(&world.stage().topology);
    let promised = |world: &Atlantis| world.nodes().promises(world.stage(), node).unwrap().0;
    while promised(&world).0 == 0 {
        let touched = world.step();
        standbys.check(view(&world), touched).unwrap();
    }
    world.parts_mut().0.forget_promise(server);
    let seen = standbys.check(view(&world), Some(node)).unwrap_err();
    assert!(seen.contains("had promised"), "{seen}");
}

#[test]
fn a_failure_is_made_smaller() {
    let mut scenario = sound();
    scenario.steps_after_heal_max = Some(10);
    scenario.faults = crate::scenario::crashes(
        8,
        crate::scenario::Span {
            from: Duration::from_secs(1),
            until: Duration::from_secs(2),
        },
        1,
    );
    let smaller = shrink(&scenario, Invariant::Progress);
    assert_eq!((smaller.servers, smaller.levels), (1, 1));
    assert!(smaller.faults.is_empty());
    let violation = run(&smaller).unwrap_err();
    assert_eq!(violation.invariant, Invariant::Progress);
    assert!(violation.at > Time::ZERO);
}
