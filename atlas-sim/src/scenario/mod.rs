//! All that decides what happens in a world. Two runs of one scenario are alike to the last byte.

mod churn;
mod faults;
mod swarm;

use std::time::Duration;

use atlas_proto::domain::DomainPattern;
use atlas_proto::rng::Rng;
use serde::{Deserialize, Serialize};

pub use faults::{Fault, FaultKind, SLOWED, Span, churn, crash_churn, crashes, slow};

use crate::network::NetworkConfig;
use crate::workload::WorkloadConfig;

/// One world, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// How many servers.
    pub servers: u32,
    /// How many levels of edges from the root's manager to the servers.
    pub levels: u32,
    /// Workers of each server.
    pub workers: u32,
    /// How fast the servers are.
    pub speeds: Speeds,
    /// The links.
    pub network: NetworkConfig,
    /// The job; none to see an idle world.
    pub workload: Option<WorkloadConfig>,
    /// Where the job is submitted.
    pub submit: Submit,
    /// How long the nodes have to find each other before the job is submitted. The baselines know each other
    /// from the start, and do not wait.
    pub warm_up: Duration,
    /// Who decides what runs where.
    pub policy: Policy,
    /// All that is random follows from it.
    pub seed: u64,
    /// The world ends at this time even if the job has not.
    pub horizon: Duration,
    /// What domains let in and out; those that are not named let everything.
    pub borders: Vec<Border>,
    /// The domains with a standby, by their numbers.
    #[serde(default)]
    pub standbys: Vec<u32>,
    /// Disks of managers of those domains are stuck now and then.
    #[serde(default)]
    pub disks_stick: bool,
    /// What befalls servers.
    pub faults: Vec<Fault>,
    /// How far the nodes' clocks are apart.
    #[serde(default)]
    pub skew: ClockSkew,
    /// From this time on nothing is lost, doubled, held up or cut any more.
    pub heal_at: Option<Duration>,
    /// The world ends so many events after it was healed even if the job has not.
    pub steps_after_heal_max: Option<u64>,
    /// Every packet is encoded and decoded on its way.
    pub wire: bool,
    /// Nothing is begun a second time because it is late.
    #[serde(default)]
    pub no_rivals: bool,
}

/// How far clocks are apart. What is measured in a world is measured by its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSkew {
    /// Each is at most so much ahead at the start.
    pub offset_max: Duration,
    /// And at most so much faster or slower, in a million.
    pub drift_ppm: u32,
}

/// Who decides what runs where.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The machines of `atlas-proto`.
    Atlas,
    /// Thieves ask anybody, as in Cilk-NOW.
    Random,
    /// Thieves ask in their domain, and one outside of it at a time, as in Satin.
    Crs,
    /// One queue for all closures, as in Ray or Dask.
    Central,
}

/// What one domain lets in and out, as patterns of domains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Border {
    /// The domain, by its number.
    pub domain: u32,
    /// Whose work may run in it.
    pub inflow: Vec<DomainPattern>,
    /// Where its work may go.
    pub outflow: Vec<DomainPattern>,
}

/// How fast servers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Speeds {
    /// All as the one that work is measured by.
    Equal,
    /// From half to twice as fast, drawn from the seed.
    Unequal,
}

/// Where a job comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Submit {
    /// From the root's manager. (Baselines whose managers take no part: from the first server.)
    Root,
    /// From the manager of the first leaf domain. (Baselines: from its first server.)
    Leaf,
}

impl Scenario {
    /// The speed of each server.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "numbers of a million are exact")]
    pub fn server_speeds(&self) -> Vec<f64> {
        let mut rng = Rng::new(self.seed ^ SPEED_SALT);
        let mut speed = || match self.speeds {
            Speeds::Equal => 1.0,
            Speeds::Unequal => 4.0_f64.powf(rng.below(1_000_000) as f64 / 1e6) / 2.0,
        };
        (0..self.servers).map(|_| speed()).collect()
    }

    /// Work per time of all workers together.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        self.server_speeds().iter().sum::<f64>() * f64::from(self.workers)
    }
}

const SPEED_SALT: u64 = 0x7f4a_7c15_9e37_79b9;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::report::Report;
    use crate::workload::Workload;
    use crate::world::simulate;

    /// Eight servers in two levels, and a tree of a thousand closures.
    pub(crate) fn small(policy: Policy, shape: Workload) -> Scenario {
        Scenario {
            servers: 8,
            levels: 2,
            workers: 1,
            speeds: Speeds::Equal,
            network: NetworkConfig::default(),
            workload: Some(WorkloadConfig {
                shape,
                total_work: Duration::from_secs(80),
                granularity: Duration::from_millis(80),
                args_bytes: 64,
                result_bytes: 16,
                seed: 5,
            }),
            submit: Submit::Root,
            warm_up: Duration::from_secs(2),
            policy,
            seed: 5,
            horizon: Duration::from_secs(10_000),
            borders: Vec::new(),
            standbys: Vec::new(),
            disks_stick: false,
            faults: Vec::new(),
            skew: ClockSkew::default(),
            heal_at: None,
            steps_after_heal_max: None,
            wire: true,
            no_rivals: false,
        }
    }

    pub(crate) fn run(scenario: &Scenario) -> Report {
        simulate(scenario, None, &mut |_| {}).unwrap()
    }

    #[test]
    fn unequal_servers_are_from_half_to_twice_as_fast() {
        let scenario = Scenario {
            servers: 1000,
            speeds: Speeds::Unequal,
            ..small(Policy::Atlas, Workload::Uts)
        };
        let speeds = scenario.server_speeds();
        assert!(speeds.iter().all(|speed| (0.5..=2.0).contains(speed)));
        assert!(speeds.iter().any(|&speed| speed < 0.6) && speeds.iter().any(|&speed| speed > 1.8));
    }

    #[test]
    fn a_scenario_survives_its_text() {
        let scenario = small(Policy::Crs, Workload::Skewed);
        let text = serde_json::to_string(&scenario).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&text).unwrap(), scenario);
    }
}
