//! What came of a world, in numbers; `table` shows them to people.

mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
pub use table::Table;

use crate::scenario::{Policy, Scenario};
use crate::workload::{Tree, TreeNode};
use crate::world::{Nodes, Stage, Tally};

/// What came of one world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Who decided what ran where.
    pub policy: Policy,
    /// How many servers there were.
    pub servers: u32,
    /// How many levels of managers.
    pub levels: u32,
    /// Work per time of all workers together: P.
    pub capacity: f64,
    /// What came of the job; none if there was none.
    pub job: Option<JobReport>,
    /// Closures that moved, by level: within a leaf domain, within the domain around it, and so on.
    pub steals: Vec<i64>,
    /// The time from the start of the world to its end.
    pub elapsed_s: f64,
    /// Messages of all nodes, per server and second.
    pub messages_per_server_s: f64,
    /// Bytes of all messages, per server and second.
    pub bytes_per_server_s: f64,
    /// Messages and bytes by kind.
    pub traffic: BTreeMap<String, TrafficReport>,
    /// Messages that the busiest manager sent or received per second, on average.
    pub busiest_manager_per_s: f64,
    /// The most that any manager sent or received in one second.
    pub busiest_manager_peak: u64,
    /// What the nodes themselves counted.
    pub counts: BTreeMap<String, u64>,
    /// Events of the world.
    pub events: u64,
    /// Events since the faults ended, if they did.
    pub events_after_heal: Option<u64>,
    /// How long the simulation took; not told by the world itself.
    pub real_s: Option<f64>,
    /// The most memory that the process ever had; not told by the world itself.
    pub peak_memory_mib: Option<u64>,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobReport {
    /// It ended before the horizon.
    pub finished: bool,
    /// Its result is that of a sequential run.
    pub correct: bool,
    /// Its closures.
    pub closures: u64,
    /// The time of a sequential run at speed 1: T1.
    pub work_s: f64,
    /// The work of the longest chain of closures is at least this: no number of workers does the job faster.
    pub chain_s: f64,
    /// The time from submission to result, or to the horizon: TP.
    pub makespan_s: f64,
    /// T1 / (P x TP).
    pub efficiency: f64,
    /// T1 over the work that the servers could have done while they were there.
    pub efficiency_of_present: Option<f64>,
    /// Work that was done more than once, at speed 1.
    pub rerun_work_s: f64,
    /// Work that the servers could have done while they were there, and have not: nothing to do, or not yet.
    pub idle_work_s: Option<f64>,
    /// The time from submission until the median server had its first closure.
    pub first_work_median_s: Option<f64>,
    /// The same until the last of those that had one.
    pub first_work_last_s: Option<f64>,
    /// Servers that never had one.
    pub without_work: u32,
}

/// Messages of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficReport {
    /// How many.
    pub messages: u64,
    /// How large, all together.
    pub bytes: u64,
}

impl Report {
    /// The report of a world that has ended.
    pub(crate) fn new<N: Nodes>(scenario: &Scenario, nodes: &N, stage: &Stage<N::Message>) -> Self {
        let tally = &stage.tally;
        let elapsed_s = stage.now().as_secs_f64();
        let sums = tally.sent.values().fold((0, 0), |sum, traffic| {
            (sum.0 + traffic.messages, sum.1 + traffic.bytes)
        });
        let server_seconds = f64::from(scenario.servers) * elapsed_s;
        let busiest = tally.managers.iter().map(|manager| manager.messages).max();
        Self {
            policy: scenario.policy,
            servers: scenario.servers,
            levels: scenario.levels,
            capacity: scenario.capacity(),
            job: JobReport::new(scenario, nodes, stage),
            steals: tally.steals.clone(),
            elapsed_s,
            messages_per_server_s: ratio(float(sums.0), server_seconds),
            bytes_per_server_s: ratio(float(sums.1), server_seconds),
            traffic: traffic(tally),
            busiest_manager_per_s: ratio(float(busiest.unwrap_or(0)), elapsed_s),
            busiest_manager_peak: tally
                .managers
                .iter()
                .map(|manager| manager.peak)
                .max()
                .unwrap_or(0),
            counts: nodes
                .counts()
                .into_iter()
                .map(|(name, count)| (String::from(name), count))
                .collect(),
            events: tally.events,
            events_after_heal: tally.events_after_heal(),
            real_s: None,
            peak_memory_mib: None,
        }
    }
}

impl JobReport {
    fn new<N: Nodes>(scenario: &Scenario, nodes: &N, stage: &Stage<N::Message>) -> Option<Self> {
        let tree = stage.tree.as_ref()?;
        let sequential = tree.sequential();
        let chain = (u64::from(sequential.max_depth) + 1).saturating_mul(least_work(tree));
        let outcome = nodes.outcome();
        let submitted = nodes.submitted();
        let ended = outcome.map_or(stage.now(), |outcome| outcome.ended);
        let work_s = Duration::from_nanos(sequential.work_ns).as_secs_f64();
        let makespan_s = ended.since(submitted).as_secs_f64();
        let executed = stage.executed_work() + nodes.executed_elsewhere();
        let available = nodes.available(stage, ended);
        let mut first: Vec<_> = stage
            .tally
            .first_work
            .iter()
            .flatten()
            .map(|at| at.since(submitted))
            .collect();
        first.sort_unstable();
        let seconds = |at: Option<&Duration>| at.map(Duration::as_secs_f64);
        Some(Self {
            finished: outcome.is_some(),
            correct: outcome.is_some_and(|outcome| outcome.value() == Some(sequential.result)),
            closures: sequential.nodes,
            work_s,
            chain_s: Duration::from_nanos(chain).as_secs_f64(),
            makespan_s,
            efficiency: ratio(work_s, scenario.capacity() * makespan_s),
            efficiency_of_present: available
                .map(|available| ratio(work_s, available.as_secs_f64())),
            rerun_work_s: (executed.as_secs_f64() - work_s).max(0.0),
            idle_work_s: available
                .map(|available| available.saturating_sub(executed).as_secs_f64()),
            first_work_median_s: seconds(first.get(first.len() / 2)),
            first_work_last_s: seconds(first.last()),
            without_work: scenario.servers - u32::try_from(first.len()).unwrap_or(scenario.servers),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Table(std::slice::from_ref(self)).fmt(f)
    }
}

/// No closure has less work of its own than a leaf or one that only divides.
fn least_work(tree: &Tree) -> u64 {
    let work = |budget| {
        tree.work(&TreeNode {
            seed: 0,
            budget,
            depth: 1,
        })
    };
    work(1).min(work(2))
}

fn traffic(tally: &Tally) -> BTreeMap<String, TrafficReport> {
    let report = |(kind, traffic): (&&str, &crate::world::Traffic)| {
        let report = TrafficReport {
            messages: traffic.messages,
            bytes: traffic.bytes,
        };
        (String::from(*kind), report)
    };
    tally.sent.iter().map(report).collect()
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "for people and plots")]
fn float(number: u64) -> f64 {
    number as f64
}
