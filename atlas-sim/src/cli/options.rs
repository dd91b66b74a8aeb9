//! The options of the command line, and the scenario that they describe.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use atlas_sim::network::{LinkConfig, NetworkConfig};
use atlas_sim::scenario::{
    ClockSkew, Fault, Policy, Scenario, Span, Speeds, Submit, churn, crash_churn, crashes, slow,
};
use atlas_sim::workload::{Workload, WorkloadConfig};

use super::duration::duration;
use super::plots::PlotsOptions;
use super::seeds::parse_seeds;

/// Simulates a world of servers and managers that run one job, and reports how well.
///
/// All that happens follows from the options and the seed. Durations are written as 100s, 250ms or 40us.
#[derive(Clone, Debug, clap::Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// What to do instead.
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    /// How many servers there are.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    servers: u32,
    /// Levels of edges from the root's manager to the servers: 1,000 servers in 3 levels are 10 domains of 10
    /// sub-domains of 10 servers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=4))]
    levels: u32,
    /// Workers of each server.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    workers: u32,
    /// How fast the servers are.
    #[arg(long, value_enum, default_value_t = Speeds::Equal)]
    speeds: Speeds,
    /// The shape of the job's tree.
    #[arg(long, value_enum, default_value_t = Workload::Uts)]
    workload: Workload,
    /// Work in the job for each server; the job is this times the number of servers.
    #[arg(long, default_value = "100s", default_value_if("churn", "true", "3600s"), value_parser = duration)]
    work_per_server: Duration,
    /// Work in the whole job, in place of --work-per-server.
    #[arg(long, value_parser = duration, conflicts_with = "work_per_server")]
    total_work: Option<Duration>,
    /// Work of one closure.
    #[arg(long, default_value = "100ms", default_value_if("churn", "true", "1s"), value_parser = duration)]
    granularity: Duration,
    /// Size of a closure's arguments.
    #[arg(long, default_value_t = 64)]
    args_bytes: usize,
    /// Size of a closure's result.
    #[arg(long, default_value_t = 16)]
    result_bytes: usize,
    /// Where the job is submitted: at the root's manager, or at that of the first leaf domain.
    #[arg(long, value_enum, default_value_t = Submit::Root)]
    submit: Submit,
    /// No job: so many seconds of an idle world.
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
    /// Who decides what runs where; `all` runs all four, one after the other.
    #[arg(long, value_enum, default_value_t = PolicyChoice::Atlas)]
    policy: PolicyChoice,
    /// What all that is random follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Latency between two nodes of one domain, one way.
    #[arg(long, default_value = "200us", value_parser = duration)]
    lan_latency: Duration,
    /// Bandwidth of a node's port, in Mbit/s.
    #[arg(long, default_value_t = 1000, value_name = "MBIT", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    lan_bandwidth: u64,
    /// Latency from a domain to the one around it, one way. With commas: from the outermost domains to the
    /// innermost.
    #[arg(long, default_value = "50ms", value_parser = duration, value_delimiter = ',')]
    wan_latency: Vec<Duration>,
    /// Bandwidth from a domain to the one around it, in Mbit/s. With commas, as --wan-latency.
    #[arg(long, default_value = "100", value_name = "MBIT", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    wan_bandwidth: Vec<u64>,
    /// How long the nodes have to join before the job is submitted.
    #[arg(long, default_value = "5s", value_parser = duration)]
    warm_up: Duration,
    /// What goes wrong. Of --policy atlas only: the others are not built for it.
    #[arg(
        long,
        value_enum,
        default_value = "none",
        default_value_if("churn", "true", "crash-churn")
    )]
    faults: FaultChoice,
    /// With --faults churn: how long a server stays, on average.
    #[arg(long, default_value = "600s", value_parser = duration)]
    mean_life: Duration,
    /// When faults end, in virtual time: links heal, and no more servers go. By default only with the world.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    heal_at: Option<Duration>,
    /// The job must end within so many events after --heal-at.
    #[arg(long, value_name = "EVENTS", requires = "heal_at")]
    steps_after_heal: Option<u64>,
    /// When to give up, in virtual time. By default after 600 s if the efficiency is below 0.02; with a chain,
    /// when one worker could have done it twice.
    #[arg(long, value_parser = duration)]
    horizon: Option<Duration>,
    /// Encode and decode every packet of --policy atlas on its way.
    #[arg(long)]
    wire: bool,
    /// Nothing that is late is begun a second time: to see what that is worth.
    #[arg(long)]
    no_rivals: bool,
    /// A scenario as --print-scenario prints it, in place of all options that describe a world.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Runs small worlds drawn from these seeds, one after the other, and checks after every event what must
    /// always hold.
    #[arg(long, value_name = "FROM..TO", value_parser = parse_seeds)]
    pub(super) seeds: Option<Range<u64>>,
    /// With --seeds: worlds in which everything goes wrong at once; a third of them has a standby for a domain. Without: an hour of work for each server in closures of a second,
    /// with --faults crash-churn.
    #[arg(long, conflicts_with_all = ["faults", "total_work"])]
    pub(super) churn: bool,
    /// Checks after every event what must always hold, in place of a report. Of one policy only.
    #[arg(long)]
    pub(super) check: bool,
    /// Prints the scenario that the options describe, one line for each policy, and runs nothing.
    #[arg(long)]
    pub(super) print_scenario: bool,
    /// Writes a trace of virtual time, for ui.perfetto.dev. Of one policy only.
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Reports as JSON, one line for each policy.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum Command {
    Plots(PlotsOptions),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PolicyChoice {
    Atlas,
    Random,
    Crs,
    Central,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FaultChoice {
    /// Nothing.
    None,
    /// Of all messages on every link, 1 % are lost, 1 % doubled, and 5 % held up.
    Loss,
    /// Some servers die, for good or for a while.
    Crash,
    /// One server in ten becomes 20 times slower.
    Slow,
    /// Servers come and go all the time: die, leave, retreat.
    Churn,
    /// Servers die and start again all the time.
    CrashChurn,
}

impl Options {
    /// What to run, one after the other.
    pub(crate) fn scenarios(&self) -> Result<Vec<Scenario>> {
        if let Some(path) = &self.scenario {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let scenario = serde_json::from_str(&text);
            return Ok(vec![
                scenario.with_context(|| format!("{} is no scenario", path.display()))?,
            ]);
        }
        let policies = self.policies();
        if policies.len() > 1 && self.trace.is_some() {
            bail!("--trace is of one policy: choose it with --policy");
        }
        if self.idle.is_some() && policies != [Policy::Atlas] {
            bail!("--idle is for --policy atlas: the others have no idle world");
        }
        if self.faults != FaultChoice::None && policies != [Policy::Atlas] {
            bail!("--faults is for --policy atlas: the others are not built for faults");
        }
        Ok(policies
            .into_iter()
            .map(|policy| self.scenario(policy))
            .collect())
    }

    fn scenario(&self, policy: Policy) -> Scenario {
        Scenario {
            servers: self.servers,
            levels: self.levels,
            workers: self.workers,
            speeds: self.speeds,
            network: self.network(),
            workload: self.idle.is_none().then(|| self.workload()),
            submit: self.submit,
            warm_up: self.warm_up,
            policy,
            seed: self.seed,
            horizon: self.horizon(),
            borders: Vec::new(),
            standbys: Vec::new(),
            disks_stick: false,
            faults: self.server_faults(),
            skew: ClockSkew::default(),
            heal_at: self.heal_at,
            steps_after_heal_max: self.steps_after_heal,
            wire: self.wire,
            no_rivals: self.no_rivals,
        }
    }

    fn total_work(&self) -> Duration {
        self.total_work
            .unwrap_or(self.work_per_server * self.servers)
    }

    /// How long the job would take without any loss of time.
    fn ideal(&self) -> Duration {
        self.total_work() / self.servers.saturating_mul(self.workers)
    }

    fn horizon(&self) -> Duration {
        let by_default = if self.workload == Workload::Chain {
            2 * self.total_work()
        } else {
            GIVE_UP_AFTER.max(GIVE_UP_FACTOR * self.ideal())
        };
        let horizon = self.horizon.unwrap_or(self.warm_up + by_default);
        self.idle.map_or(horizon, Duration::from_secs)
    }

    fn server_faults(&self) -> Vec<Fault> {
        let until = self.heal_at.unwrap_or_else(|| self.horizon());
        let run = Span {
            from: self.warm_up,
            until: until.min(self.warm_up + self.ideal()),
        };
        match self.faults {
            FaultChoice::None | FaultChoice::Loss => Vec::new(),
            FaultChoice::Slow => slow(self.servers, run, self.seed),
            FaultChoice::Crash => crashes(self.servers, run, self.seed),
            FaultChoice::CrashChurn => crash_churn(
                self.servers,
                Span { until, ..run },
                self.mean_life,
                self.seed,
            ),
            FaultChoice::Churn => churn(
                self.servers,
                Span { until, ..run },
                self.mean_life,
                self.seed,
            ),
        }
    }

    fn workload(&self) -> WorkloadConfig {
        WorkloadConfig {
            shape: self.workload,
            total_work: self
                .total_work
                .unwrap_or(self.work_per_server * self.servers),
            granularity: self.granularity,
            args_bytes: self.args_bytes,
            result_bytes: self.result_bytes,
            seed: self.seed,
        }
    }

    fn network(&self) -> NetworkConfig {
        let levels = self.wan_latency.len().max(self.wan_bandwidth.len());
        let link = |latency: Duration, mbit: u64| {
            let clean = LinkConfig::clean(latency, mbit * BYTES_PER_MBIT);
            if self.faults == FaultChoice::Loss {
                lossy(clean)
            } else {
                clean
            }
        };
        let at = |level: usize| {
            let latency = self.wan_latency[level.min(self.wan_latency.len() - 1)];
            let mbit = self.wan_bandwidth[level.min(self.wan_bandwidth.len() - 1)];
            link(latency, mbit)
        };
        NetworkConfig {
            lan: link(self.lan_latency, self.lan_bandwidth),
            uplinks: (0..levels).map(at).collect(),
            cuts: Vec::new(),
        }
    }

    fn policies(&self) -> Vec<Policy> {
        match self.policy {
            PolicyChoice::Atlas => vec![Policy::Atlas],
            PolicyChoice::Random => vec![Policy::Random],
            PolicyChoice::Crs => vec![Policy::Crs],
            PolicyChoice::Central => vec![Policy::Central],
            PolicyChoice::All => vec![Policy::Atlas, Policy::Random, Policy::Crs, Policy::Central],
        }
    }
}

fn lossy(link: LinkConfig) -> LinkConfig {
    LinkConfig {
        loss_ppm: 10_000,
        duplication_ppm: 10_000,
        reordering_ppm: 50_000,
        held_up_max: link.latency,
        ..link
    }
}

const BYTES_PER_MBIT: u64 = 125_000;
/// Whoever takes so many times as long as could be is not worth waiting for, if it is longer than a while.
const GIVE_UP_FACTOR: u32 = 50;
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use atlas_sim::scenario::FaultKind;

    use super::*;

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn links_may_differ_by_level() {
        let options = Options::parse_from([
            "atlas-sim",
            "--wan-latency",
            "80ms,5ms",
            "--wan-bandwidth",
            "10",
        ]);
        let network = options.network();
        assert_eq!(network.uplink(1).latency, Duration::from_millis(80));
        assert_eq!(
            network.uplink(2),
            &LinkConfig::clean(Duration::from_millis(5), 1_250_000)
        );
        assert_eq!(network.uplink(3), network.uplink(2));
    }

    #[test]
    fn a_world_that_churns_has_an_hour_of_work() {
        let options = Options::parse_from(["atlas-sim", "--churn", "--servers", "20"]);
        let scenario = &options.scenarios().unwrap()[0];
        let workload = scenario.workload.as_ref().unwrap();
        assert_eq!(workload.total_work, Duration::from_secs(20 * 3600));
        assert_eq!(workload.granularity, Duration::from_secs(1));
        let kills = |fault: &Fault| fault.kind == FaultKind::Kill;
        assert!(scenario.faults.iter().filter(|f| kills(f)).count() > 20);
    }

    #[test]
    fn an_idle_world_has_no_job() {
        let options = Options::parse_from(["atlas-sim", "--idle", "60"]);
        let scenarios = options.scenarios().unwrap();
        assert_eq!(scenarios[0].workload, None);
        assert_eq!(scenarios[0].horizon, Duration::from_secs(60));
        assert!(
            Options::parse_from(["atlas-sim", "--idle", "60", "--policy", "all"])
                .scenarios()
                .is_err()
        );
    }
}
