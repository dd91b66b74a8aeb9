//! What is measured of clusters, and the bars.

use clap::ValueEnum;
use serde::Serialize;

use crate::bars::{self, Bar};

/// What is measured together, in the order in which it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Bench {
    /// A job with no cluster to log in to.
    ColdStart,
    /// A cluster from nothing to its first result.
    ClusterStart,
    /// Tasks that do nothing.
    Noop,
    /// From a steal's request to the stolen closure.
    Steal,
    /// A task that leaves and comes back.
    RoundTrip,
    /// Fibonacci numbers, against one process.
    Fib,
    /// n-queens, against one process.
    Nqueens,
    /// Ray tracing, against one process.
    Raytrace,
    /// Tasks that use the processor.
    Cpu,
    /// Tasks that wait, on many servers.
    Wait,
    /// A cluster that has nothing to do.
    Idle,
    /// What a client sends.
    Client,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// From the start of `submit` to the printed result, on an embedded cluster.
    ColdStartS,
    /// From the start of all processes to the printed result.
    ClusterStartS,
    /// Tasks that do nothing, in each second.
    NoopTasksPerS,
    /// From the request to the closure, half of the times.
    StealP50Us,
    /// The same, but for one in a hundred.
    StealP99Us,
    /// From `spawn!` to `sync` of a task that ran elsewhere, half of the times.
    RoundTripP50Ms,
    /// Time on two servers over time in one process.
    FibVsLocal,
    /// The same.
    NqueensVsLocal,
    /// Speed on two servers over speed in one process.
    RaytraceVsLocal,
    /// Ideal time over time, of tasks that use the processor.
    EffCpu,
    /// Ideal time over time, of tasks that wait.
    EffWait,
    /// Memory of all processes together.
    IdleRssMb,
    /// Processor time of all processes together.
    IdleCpuPct,
    /// What the client sends over what there is to be sent.
    ClientBytesRatio,
}

/// What a benchmark of clusters has found.
pub type Found = bars::Found<Metric>;

impl bars::Metric for Metric {
    fn unit(self) -> &'static str {
        match self {
            Self::ColdStartS | Self::ClusterStartS => "s",
            Self::NoopTasksPerS => "1/s",
            Self::StealP50Us | Self::StealP99Us => "us",
            Self::RoundTripP50Ms => "ms",
            Self::FibVsLocal
            | Self::NqueensVsLocal
            | Self::RaytraceVsLocal
            | Self::EffCpu
            | Self::EffWait
            | Self::ClientBytesRatio => "ratio",
            Self::IdleRssMb => "MB",
            Self::IdleCpuPct => "%",
        }
    }

    fn bar(self) -> Bar {
        match self {
            Self::ColdStartS => Bar::AtMost(0.10),
            Self::ClusterStartS => Bar::AtMost(0.5),
            Self::NoopTasksPerS => Bar::AtLeast(5e6),
            Self::StealP50Us => Bar::AtMost(250.0),
            Self::StealP99Us => Bar::AtMost(2000.0),
            Self::RoundTripP50Ms => Bar::AtMost(1.0),
            Self::FibVsLocal | Self::NqueensVsLocal | Self::ClientBytesRatio => Bar::AtMost(1.05),
            Self::RaytraceVsLocal => Bar::AtLeast(0.97),
            Self::EffCpu => Bar::AtLeast(0.98),
            Self::EffWait => Bar::AtLeast(0.95),
            Self::IdleRssMb => Bar::AtMost(30.0),
            Self::IdleCpuPct => Bar::AtMost(0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::Figure;

    #[test]
    fn json_has_the_keys_that_readers_rely_on() {
        let figure = Figure::new(Bench::ColdStart, Metric::ColdStartS, 0.125);
        assert_eq!(
            figure.json().unwrap(),
            r#"{"bench":"cold_start","metric":"cold_start_s","value":0.125,"unit":"s","at_most":0.1}"#
        );
        let figure = Figure::new(Bench::Raytrace, Metric::RaytraceVsLocal, 1.0);
        assert!(figure.json().unwrap().ends_with(r#""at_least":0.97}"#));
    }

    #[test]
    fn a_line_tells_a_missed_bar() {
        let line = |value| Figure::new(Bench::Cpu, Metric::EffCpu, value).line();
        assert!(line(0.979).ends_with("MISSED"), "{}", line(0.979));
        assert!(line(0.98).ends_with("at least 0.980"), "{}", line(0.98));
    }
}
