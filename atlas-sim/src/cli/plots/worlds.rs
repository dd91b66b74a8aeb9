//! The worlds that are plotted. Whatever is not on a figure's axis is as in the base world.

use std::collections::BTreeMap;
use std::time::Duration;

use atlas_sim::network::{LinkConfig, NetworkConfig};
use atlas_sim::scenario::{ClockSkew, Policy, Scenario, Speeds, Submit};
use atlas_sim::workload::{Workload, WorkloadConfig};

use super::figure::{Figure, Point};

/// How large the worlds are, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Those of the documents.
    Full,
    /// Tiny ones.
    Quick,
}

/// All figures, not yet run.
pub(super) fn figures(scale: Scale) -> Vec<Figure> {
    vec![
        by_servers(scale),
        by_granularity(scale),
        by_latency(scale),
        by_shape(scale),
    ]
}

/// What the base world is, in words.
pub(super) fn base_in_words(scale: Scale) -> String {
    let (servers, work, shape, latency) = Base::of(scale).in_words();
    let granularity = closures_of(Base::of(scale).granularity);
    format!("{servers}, {work}, {granularity}, {shape}, {latency}")
}

/// The seeds that each point is averaged over, but for the largest: that has the first only.
pub(super) fn seeds(scale: Scale) -> &'static [u64] {
    match scale {
        Scale::Full => &[1, 2],
        Scale::Quick => &[1],
    }
}

fn by_servers(scale: Scale) -> Figure {
    let sizes: &[(u32, u32)] = match scale {
        Scale::Full => &[(10, 1), (100, 2), (1_000, 3), (10_000, 4)],
        Scale::Quick => &[(4, 1), (9, 2)],
    };
    let base = Base::of(scale);
    let points = sizes.iter().map(|&(servers, levels)| {
        let world = Base {
            servers,
            levels,
            ..base
        };
        let label = format!("{} in {levels}", thousands(servers));
        let mut point = point(label, f64::from(servers).log10(), scale, &world);
        if servers >= MANY {
            point.worlds.truncate(1);
            point.left_out = &LEFT_OUT_OF_MANY;
        }
        point
    });
    let (_, work, shape, latency) = base.in_words();
    let granularity = closures_of(base.granularity);
    Figure {
        name: "servers",
        title: String::from("Efficiency against servers"),
        axis: "servers, in levels of domains",
        world: format!("{work}, {granularity}, {shape}, {latency}"),
        is_scale: true,
        points: points.collect(),
        cells: BTreeMap::new(),
    }
}

fn by_granularity(scale: Scale) -> Figure {
    let granularities: &[u64] = match scale {
        Scale::Full => &[10, 30, 100, 300, 1_000, 3_000, 10_000],
        Scale::Quick => &[100, 1_000],
    };
    let points = granularities.iter().map(|&ms| {
        let granularity = Duration::from_millis(ms);
        let world = Base {
            granularity,
            ..Base::of(scale)
        };
        point(
            of_time(granularity),
            granularity.as_secs_f64().log10(),
            scale,
            &world,
        )
    });
    let (servers, work, shape, latency) = Base::of(scale).in_words();
    Figure {
        name: "granularity",
        title: String::from("Efficiency against the work of a closure"),
        axis: "work of a closure",
        world: format!("{servers}, {work}, {shape}, {latency}"),
        is_scale: true,
        points: points.collect(),
        cells: BTreeMap::new(),
    }
}

fn by_latency(scale: Scale) -> Figure {
    let latencies: &[u64] = match scale {
        Scale::Full => &[1, 3, 10, 20, 50, 100, 200],
        Scale::Quick => &[1, 100],
    };
    let points = latencies.iter().map(|&ms| {
        let latency = Duration::from_millis(ms);
        let world = Base {
            latency,
            ..Base::of(scale)
        };
        point(
            of_time(latency),
            latency.as_secs_f64().log10(),
            scale,
            &world,
        )
    });
    let (servers, work, shape, _) = Base::of(scale).in_words();
    let granularity = closures_of(Base::of(scale).granularity);
    Figure {
        name: "latency",
        title: String::from("Efficiency against latency from domain to domain"),
        axis: "latency from a domain to the one around it, one way",
        world: format!("{servers}, {work}, {granularity}, {shape}"),
        is_scale: true,
        points: points.collect(),
        cells: BTreeMap::new(),
    }
}

fn by_shape(scale: Scale) -> Figure {
    let shapes = [
        Workload::Uts,
        Workload::Balanced,
        Workload::Skewed,
        Workload::Flat,
        Workload::UtsBinomial,
    ];
    let points = shapes.into_iter().zip(0_u32..).map(|(shape, index)| {
        let world = Base {
            shape,
            ..Base::of(scale)
        };
        point(
            String::from(name_of(shape)),
            f64::from(index),
            scale,
            &world,
        )
    });
    let (servers, work, _, latency) = Base::of(scale).in_words();
    let granularity = closures_of(Base::of(scale).granularity);
    Figure {
        name: "shape",
        title: String::from("Efficiency against the shape of the tree"),
        axis: "shape",
        world: format!("{servers}, {work}, {granularity}, {latency}"),
        is_scale: false,
        points: points.collect(),
        cells: BTreeMap::new(),
    }
}

/// What differs between the worlds of the figures.
#[derive(Clone, Copy, Debug)]
struct Base {
    servers: u32,
    levels: u32,
    shape: Workload,
    work_per_server: Duration,
    granularity: Duration,
    latency: Duration,
}

impl Base {
    fn of(scale: Scale) -> Self {
        let (servers, levels, work_per_server) = match scale {
            Scale::Full => (216, 3, Duration::from_secs(100)),
            Scale::Quick => (8, 2, Duration::from_secs(4)),
        };
        Self {
            servers,
            levels,
            shape: Workload::Uts,
            work_per_server,
            granularity: Duration::from_millis(100),
            latency: Duration::from_millis(50),
        }
    }

    /// Servers, work, shape and latency. (Of the granularity, see [`closures_of`].)
    fn in_words(&self) -> (String, String, &'static str, String) {
        (
            format!(
                "{} servers in {} levels",
                thousands(self.servers),
                self.levels
            ),
            format!("{} of work for each server", of_time(self.work_per_server)),
            name_of(self.shape),
            format!("{} from domain to domain", of_time(self.latency)),
        )
    }

    fn scenario(&self, seed: u64) -> Scenario {
        Scenario {
            servers: self.servers,
            levels: self.levels,
            workers: 1,
            speeds: Speeds::Equal,
            network: NetworkConfig {
                uplinks: vec![LinkConfig::clean(self.latency, UPLINK_BYTES_PER_S)],
                ..NetworkConfig::default()
            },
            workload: Some(WorkloadConfig {
                shape: self.shape,
                total_work: self.work_per_server * self.servers,
                granularity: self.granularity,
                args_bytes: 64,
                result_bytes: 16,
                seed,
            }),
            submit: Submit::Root,
            warm_up: WARM_UP,
            policy: Policy::Atlas,
            seed,
            horizon: WARM_UP + GIVE_UP_FACTOR * self.work_per_server,
            borders: Vec::new(),
            standbys: Vec::new(),
            disks_stick: false,
            faults: Vec::new(),
            heal_at: None,
            skew: ClockSkew::default(),
            steps_after_heal_max: None,
            wire: false,
            no_rivals: false,
        }
    }
}

fn point(label: String, at: f64, scale: Scale, base: &Base) -> Point {
    let worlds = seeds(scale).iter().map(|&seed| base.scenario(seed));
    Point {
        label,
        at,
        worlds: worlds.collect(),
        left_out: &[],
    }
}

fn closures_of(granularity: Duration) -> String {
    format!("closures of {}", of_time(granularity))
}

/// As the command line has it.
fn name_of(shape: Workload) -> &'static str {
    match shape {
        Workload::Uts => "uts",
        Workload::UtsBinomial => "uts-binomial",
        Workload::Balanced => "balanced",
        Workload::Skewed => "skewed",
        Workload::Flat => "flat",
        Workload::Chain => "chain",
    }
}

/// In the largest unit that it is a whole number of.
fn of_time(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}

fn thousands(number: u32) -> String {
    if number < 1_000 {
        number.to_string()
    } else {
        format!("{},{:03}", number / 1_000, number % 1_000)
    }
}

/// So many take minutes to simulate.
const MANY: u32 = 10_000;
/// The others take longer yet; what they cannot do is seen with a tenth of the servers.
const LEFT_OUT_OF_MANY: [Policy; 3] = [Policy::Random, Policy::Crs, Policy::Central];
/// Whoever takes so many times as long as could be is given up.
const GIVE_UP_FACTOR: u32 = 20;
const WARM_UP: Duration = Duration::from_secs(5);
/// 100 Mbit/s.
const UPLINK_BYTES_PER_S: u64 = 12_500_000;
