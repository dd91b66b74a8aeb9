//! Small worlds drawn from a seed, each with its own mixture of features and faults.
//!
//! Which faults a world has is drawn first, how often they happen second: worlds with few kinds of faults go
//! further into each than worlds with all of them (Groce et al., Swarm testing, ISSTA 2012).

use std::time::Duration;

use atlas_proto::domain::DomainPattern;
use atlas_proto::limits::CLOSURE_BYTES_MAX;
use atlas_proto::rng::Rng;

use super::{Border, ClockSkew, Fault, FaultKind, Policy, Scenario, Speeds, Submit};
use crate::network::{Cut, CutWhat, LinkConfig, NetworkConfig};
use crate::topology::{DomainIndex, Topology};
use crate::workload::{Workload, WorkloadConfig};

impl Scenario {
    /// The world of a seed: faults until it heals, then everybody is back and the job must end.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ SALT);
        let servers = between(&mut rng, 2, 30);
        let levels = between(&mut rng, 1, 3).min(servers);
        let workers = between(&mut rng, 1, 4);
        let topology = Topology::new(servers, levels);
        let heal_at = Duration::from_secs(u64::from(between(&mut rng, 15, 50)));
        let submit = pick(&mut rng, [Submit::Root, Submit::Leaf]);
        Self {
            servers,
            levels,
            workers,
            speeds: pick(&mut rng, [Speeds::Equal, Speeds::Equal, Speeds::Unequal]),
            network: network(&mut rng, &topology, heal_at),
            workload: Some(workload(&mut rng, servers * workers, seed)),
            submit,
            warm_up: Duration::from_secs(2),
            policy: Policy::Atlas,
            seed,
            horizon: HORIZON,
            borders: borders(&mut rng, &topology),
            standbys: Vec::new(),
            disks_stick: false,
            faults: faults(&mut rng, servers, heal_at),
            skew: ClockSkew::default(),
            heal_at: Some(heal_at),
            steps_after_heal_max: Some(STEPS_AFTER_HEAL_MAX),
            wire: true,
            no_rivals: false,
        }
    }
}

/// From 50 to 2,000 closures, and work for the time of the faults. In one world of eight all results are too large for messages.
fn workload(rng: &mut Rng, workers: u32, seed: u64) -> WorkloadConfig {
    let shape = pick(rng, Workload::ALL);
    let closures = pick(rng, [50, 200, 500, 1000, 2000]);
    let parallel = if shape == Workload::Chain { 1 } else { workers };
    let total_work = Duration::from_secs(u64::from(between(rng, 5, 40))) * parallel;
    let args_bytes = pick(rng, [16, 64, 1024]).max(24);
    let small_result = pick(rng, [16, 256]);
    WorkloadConfig {
        shape,
        total_work,
        granularity: total_work / closures,
        args_bytes,
        result_bytes: if seed % 8 == 5 {
            CLOSURE_BYTES_MAX + 1
        } else {
            small_result
        },
        seed,
    }
}

fn network(rng: &mut Rng, topology: &Topology, heal_at: Duration) -> NetworkConfig {
    let lan = LinkConfig::clean(millis(rng, 0, 2) + Duration::from_micros(100), 125_000_000);
    let uplinks = (0..2).map(|_| LinkConfig::clean(millis(rng, 1, 100), 12_500_000));
    let mut config = NetworkConfig {
        lan,
        uplinks: uplinks.collect(),
        cuts: cuts(rng, topology, heal_at),
    };
    let (loss, duplication) = (sometimes_ppm(rng), sometimes_ppm(rng));
    let reordering = sometimes_ppm(rng);
    for link in config.links_mut() {
        (link.loss_ppm, link.duplication_ppm, link.reordering_ppm) =
            (loss, duplication, reordering);
        link.held_up_max = link.latency * 4;
    }
    config
}

/// In one world of three some links are cut for a while.
fn cuts(rng: &mut Rng, topology: &Topology, heal_at: Duration) -> Vec<Cut> {
    let count = if rng.below(3) == 0 { rng.below(6) } else { 0 };
    let (domains, nodes) = (topology.domains().len(), topology.nodes());
    let cut = |_| {
        let uplink = domains > 1 && rng.below(2) == 0;
        let what = if uplink {
            CutWhat::Uplink(number(1 + rng.below(domains - 1)))
        } else {
            let one = rng.below(nodes) as u64;
            CutWhat::Pair(one, rng.below(nodes) as u64)
        };
        let from = within(rng, heal_at);
        let until = from + millis(rng, 100, 30_000);
        Cut { what, from, until }
    };
    (0..count).map(cut).collect()
}

/// In one world of three some domains refuse the job, but never those around the first servers: there it can
/// always be run.
fn borders(rng: &mut Rng, topology: &Topology) -> Vec<Border> {
    if rng.below(3) > 0 {
        return Vec::new();
    }
    let mut spared = Some(topology.home(crate::topology::ServerIndex(0)));
    let mut path: Vec<DomainIndex> = Vec::new();
    while let Some(domain) = spared {
        path.push(domain);
        spared = topology.place(domain).parent;
    }
    let mut borders = Vec::new();
    for domain in topology.domains().filter(|domain| !path.contains(domain)) {
        let some: DomainPattern = "d1.world".parse().expect("a pattern");
        let inflow = [vec![DomainPattern::ANY], Vec::new(), vec![some]];
        let inflow = inflow[rng.below(3)].clone();
        let outflow = if rng.below(2) == 0 {
            vec![DomainPattern::ANY]
        } else {
            Vec::new()
        };
        borders.push(Border {
            domain: domain.0,
            inflow,
            outflow,
        });
    }
    borders
}

/// In half of the worlds servers come and go; when it heals, all are back.
fn faults(rng: &mut Rng, servers: u32, heal_at: Duration) -> Vec<Fault> {
    if rng.below(2) == 0 {
        return Vec::new();
    }
    let all = [
        (FaultKind::Kill, FaultKind::Start),
        (FaultKind::Leave, FaultKind::Start),
        (FaultKind::Retreat, FaultKind::Resume),
    ];
    let ways: Vec<_> = all.into_iter().filter(|_| rng.below(2) == 0).collect();
    let mut faults = Vec::new();
    let per_server = 1 + rng.below(4);
    for _ in 0..rng.below(servers as usize * per_server + 1) {
        let Some(&(go, come)) = ways.get(rng.below(ways.len().max(1))) else {
            break;
        };
        let (server, at) = (number(rng.below(servers as usize)), within(rng, heal_at));
        let back = (at + millis(rng, 1, 20_000)).min(heal_at);
        faults.extend([(at, go), (back, come)].map(|(at, kind)| Fault { at, server, kind }));
    }
    // Whoever was about to leave when all are called back is called once more.
    for server in 0..servers {
        let calls = [
            (heal_at, FaultKind::Start),
            (heal_at, FaultKind::Resume),
            (heal_at + CALL_AGAIN_AFTER, FaultKind::Start),
        ];
        faults.extend(calls.map(|(at, kind)| Fault { at, server, kind }));
    }
    faults
}

/// Nothing in half of the worlds, up to a fifth in the others.
fn sometimes_ppm(rng: &mut Rng) -> u32 {
    if rng.below(2) == 0 {
        0
    } else {
        number(rng.below(200_000))
    }
}

pub(super) fn between(rng: &mut Rng, least: u32, most: u32) -> u32 {
    least + number(rng.below((most - least + 1) as usize))
}

pub(super) fn millis(rng: &mut Rng, least: u32, most: u32) -> Duration {
    Duration::from_millis(u64::from(between(rng, least, most)))
}

pub(super) fn within(rng: &mut Rng, end: Duration) -> Duration {
    let nanos = usize::try_from(end.as_nanos()).unwrap_or(usize::MAX);
    Duration::from_nanos(rng.below(nanos) as u64)
}

fn pick<T: Copy, const N: usize>(rng: &mut Rng, from: [T; N]) -> T {
    from[rng.below(N)]
}

pub(super) fn number(drawn: usize) -> u32 {
    u32::try_from(drawn).expect("drawn below a small bound")
}

/// The events of a job of 2,000 closures are some ten thousand; a world that stands still has a keep-alive for
/// each pair of neighbours each second, which is some hundred thousand in an hour.
const STEPS_AFTER_HEAL_MAX: u64 = 300_000;
/// Later than any world of a swarm should last, so that steps decide.
const HORIZON: Duration = Duration::from_secs(100_000);
/// A leave is done when the manager has acknowledged it, or was given up.
const CALL_AGAIN_AFTER: Duration = Duration::from_secs(20);
const SALT: u64 = 0x9c1d_52f0_6ae3_7b15;
