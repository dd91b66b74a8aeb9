//! What is measured of clusters in trouble, and the bars.

use atlas_testbed::RECOMPUTED_MAX;
use clap::ValueEnum;
use serde::Serialize;

use crate::bars::{self, Bar};

/// What is measured together, in the order in which it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Bench {
    /// One of two servers is killed.
    Kill,
    /// One of two servers is frozen.
    Stop,
    /// Jobs whose children are recorded, against the same without.
    CheckpointCost,
    /// The manager is killed and started again.
    ManagerRestart,
    /// The manager is killed, and another takes over.
    StandbyTakeover,
    /// One of four servers is killed at any moment.
    Crash,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Time of the job of which a server was killed: the median of the kind of job that took longest.
    KillS,
    /// Tasks that were begun more than once there, the most in any run.
    KillReruns,
    /// As `KillS`, of jobs of which a server was frozen.
    StopS,
    /// As `KillReruns`.
    StopReruns,
    /// Time with recording over time without, of Fibonacci numbers.
    CheckpointCostFib,
    /// The same, of Unbalanced Tree Search.
    CheckpointCostUts,
    /// The same, of ray tracing.
    CheckpointCostRaytrace,
    /// From the manager's second start until a task begins or ends.
    ManagerRestartS,
    /// From the manager's end until a task begins under the one that takes over.
    StandbyTakeoverS,
    /// Runs in which a server was killed and that left something else than a quiet one.
    CrashWrong,
    /// The most that such a run has used of the processors beyond a quiet one.
    CrashRecomputedS,
}

/// What a benchmark of faults has found.
pub type Found = bars::Found<Metric>;

impl bars::Metric for Metric {
    fn unit(self) -> &'static str {
        match self {
            Self::KillS
            | Self::StopS
            | Self::ManagerRestartS
            | Self::StandbyTakeoverS
            | Self::CrashRecomputedS => "s",
            Self::CrashWrong => "runs",
            Self::KillReruns | Self::StopReruns => "tasks",
            Self::CheckpointCostFib | Self::CheckpointCostUts | Self::CheckpointCostRaytrace => {
                "ratio"
            }
        }
    }

    fn bar(self) -> Bar {
        match self {
            Self::KillS => Bar::AtMost(10.5),
            Self::KillReruns => Bar::AtMost(2.0),
            Self::StopS => Bar::AtMost(12.0),
            Self::StopReruns => Bar::AtMost(3.0),
            Self::CheckpointCostFib | Self::CheckpointCostUts | Self::CheckpointCostRaytrace => {
                Bar::AtMost(1.01)
            }
            Self::ManagerRestartS => Bar::AtMost(3.0),
            Self::StandbyTakeoverS => Bar::AtMost(5.0),
            Self::CrashWrong => Bar::AtMost(0.0),
            Self::CrashRecomputedS => Bar::AtMost(RECOMPUTED_MAX.as_secs_f64()),
        }
    }
}
