//! Small worlds in which everything goes wrong at once: what the swarm draws, and managers that die and start again, nodes and
//! domains that are cut off, clocks that disagree, standbys that take over.

use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::rng::Rng;

use super::swarm::{between, millis, number, within};
use super::{ClockSkew, Fault, FaultKind, Scenario};
use crate::network::{Cut, CutWhat};
use crate::topology::{DomainIndex, ServerIndex, Topology};

impl Scenario {
    /// The world of a seed: servers and managers crash, messages are lost, doubled and overtaken, the network falls apart, until it
    /// heals; then everybody is back and the job must end.
    #[must_use]
    pub fn churned(seed: u64) -> Self {
        let mut world = Self::swarm(seed ^ SALT);
        world.seed = seed;
        let mut rng = Rng::new(seed ^ SALT);
        let heal_at = world.heal_at.unwrap_or_default();
        let topology = Topology::new(world.servers, world.levels);
        world
            .faults
            .extend(crashes(&mut rng, world.servers, heal_at));
        let managers = topology.domains().len();
        world
            .faults
            .extend(manager_crashes(&mut rng, managers, heal_at));
        world
            .network
            .cuts
            .extend(partitions(&mut rng, &topology, heal_at));
        world.skew = ClockSkew {
            offset_max: Duration::from_secs(rng.below(7200) as u64),
            drift_ppm: number(rng.below(DRIFT_PPM_MAX)),
        };
        add_standbys(&mut world, &topology, seed);
        world
    }
}

/// In one world of three a domain has a standby, the root's more often than others, and its managers die and are cut off. Drawn after
/// all else, and by itself: what befalls others does not depend on it.
fn add_standbys(world: &mut Scenario, topology: &Topology, seed: u64) {
    let mut rng = Rng::new(seed ^ STANDBY_SALT);
    if rng.below(3) > 0 {
        return;
    }
    let domains = topology.domains().len();
    world.standbys = match rng.below(4) {
        0 => vec![number(rng.below(domains))],
        1 => vec![0, number(rng.below(domains))],
        _ => vec![0],
    };
    world.standbys.dedup();
    world.disks_stick = true;
    let heal_at = world.heal_at.unwrap_or_default();
    let topology = topology.clone().with_standbys(&world.standbys);
    for &domain in &world.standbys {
        let faults = pair_faults(&mut rng, domain, heal_at);
        world.faults.extend(faults);
        let cuts = pair_cuts(&mut rng, &topology, DomainIndex(domain), heal_at);
        world.network.cuts.extend(cuts);
    }
}

/// Whoever acts dies, or both do; they are away for a moment, for a while, or until the world heals.
fn pair_faults(rng: &mut Rng, domain: u32, heal_at: Duration) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut befall = |at: Duration, kind| {
        let at = at.min(heal_at);
        faults.push(Fault {
            at,
            server: domain,
            kind,
        });
    };
    for _ in 0..1 + rng.below(8) {
        let at = within(rng, heal_at);
        let back = match rng.below(3) {
            0 => at + millis(rng, 1, 3_000),
            1 => at + millis(rng, 1, 20_000),
            _ => heal_at,
        };
        match rng.below(8) {
            0 => befall(at, FaultKind::KillStandby),
            1 => {
                befall(at, FaultKind::KillManager);
                befall(at + millis(rng, 0, 4_000), FaultKind::KillStandby);
            }
            _ => befall(at, FaultKind::KillActing),
        }
        befall(back, FaultKind::StartManager);
        befall(back + millis(rng, 0, 5_000), FaultKind::StartStandby);
    }
    befall(heal_at, FaultKind::StartManager);
    befall(heal_at, FaultKind::StartStandby);
    faults
}

/// The two do not reach each other, or one of them reaches nobody, or not the children.
fn pair_cuts(
    rng: &mut Rng,
    topology: &Topology,
    domain: DomainIndex,
    heal_at: Duration,
) -> Vec<Cut> {
    let managers: Vec<NodeId> = topology.managers(domain).collect();
    let place = topology.place(domain);
    let below = place.children.iter();
    let below = below.flat_map(|&below| topology.managers(below));
    let servers = place.servers.clone().map(ServerIndex);
    let children: Vec<NodeId> = below
        .chain(servers.map(|server| topology.server(server)))
        .collect();
    let mut cuts = Vec::new();
    for _ in 0..rng.below(4) {
        let from = within(rng, heal_at);
        let until = from + millis(rng, 100, 15_000);
        let mut cut = |what| cuts.push(Cut { what, from, until });
        let one = managers[rng.below(managers.len())];
        match rng.below(3) {
            0 => cut(CutWhat::Pair(managers[0].0, managers[managers.len() - 1].0)),
            1 => cut(CutWhat::Node(one.0)),
            _ => {
                for child in &children {
                    if rng.below(4) > 0 {
                        cut(CutWhat::Pair(one.0, child.0));
                    }
                }
            }
        }
    }
    cuts
}

/// Each server crashes up to four times.
fn crashes(rng: &mut Rng, servers: u32, heal_at: Duration) -> Vec<Fault> {
    let mut faults = Vec::new();
    for server in 0..servers {
        for _ in 0..rng.below(5) {
            let (at, away) = (within(rng, heal_at), millis(rng, 1, 20_000));
            let pair = [(at, FaultKind::Kill), (at + away, FaultKind::Start)];
            faults.extend(pair.map(|(at, kind)| Fault {
                at: at.min(heal_at),
                server,
                kind,
            }));
        }
        let (at, kind) = (heal_at, FaultKind::Start);
        faults.push(Fault { at, server, kind });
    }
    faults
}

/// In two worlds of three managers crash, the root's more often than others.
fn manager_crashes(rng: &mut Rng, managers: usize, heal_at: Duration) -> Vec<Fault> {
    let crashes = match rng.below(3) {
        0 => 0,
        _ => 1 + rng.below(6),
    };
    let mut faults = Vec::new();
    for _ in 0..crashes {
        let domain = match rng.below(3) {
            0 => 0,
            _ => rng.below(managers),
        };
        let (at, away) = (within(rng, heal_at), millis(rng, 1, 20_000));
        let pair = [
            (at, FaultKind::KillManager),
            ((at + away).min(heal_at), FaultKind::StartManager),
        ];
        faults.extend(pair.map(|(at, kind)| Fault {
            at,
            server: number(domain),
            kind,
        }));
    }
    for domain in 0..managers {
        let (at, kind) = (heal_at, FaultKind::StartManager);
        let server = number(domain);
        faults.push(Fault { at, server, kind });
    }
    faults
}

/// In half of the worlds nodes or domains are cut off for a while.
fn partitions(rng: &mut Rng, topology: &Topology, heal_at: Duration) -> Vec<Cut> {
    let count = if rng.below(2) == 0 { rng.below(8) } else { 0 };
    let domains = topology.domains().len();
    let mut cuts = Vec::new();
    for _ in 0..count {
        let what = if domains > 1 && rng.below(2) == 0 {
            CutWhat::Uplink(between(rng, 1, number(domains - 1)))
        } else {
            CutWhat::Node(rng.below(topology.nodes()) as u64)
        };
        let from = within(rng, heal_at);
        let until = from + millis(rng, 100, 30_000);
        cuts.push(Cut { what, from, until });
    }
    cuts
}

/// Fifty times what a bad quartz does.
const DRIFT_PPM_MAX: usize = 20_000;
const STANDBY_SALT: u64 = 0x77c4_2d1b_58f0_e639;
const SALT: u64 = 0x1f83_d9ab_fb41_bd6b;
