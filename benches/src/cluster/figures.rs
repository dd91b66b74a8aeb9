//! What comes out: figures beside the bars that they are to clear, for people, or as one JSON object a line.

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

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

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// No more than that.
    AtMost(f64),
    /// No less than that.
    AtLeast(f64),
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    bench: Bench,
    metric: Metric,
    value: f64,
    unit: &'static str,
    #[serde(flatten)]
    bar: Bar,
}

/// What a benchmark has found: figures, and sentences for people that explain them.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What counts.
    pub figures: Vec<(Metric, f64)>,
    /// What else was seen.
    pub notes: Vec<String>,
}

impl Metric {
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

impl Bar {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl Figure {
    /// A value that a benchmark has found.
    #[must_use]
    pub fn new(bench: Bench, metric: Metric, value: f64) -> Self {
        Self {
            bench,
            metric,
            value,
            unit: metric.unit(),
            bar: metric.bar(),
        }
    }

    /// As one line of JSON.
    ///
    /// # Errors
    /// If the value is not a number that JSON can hold.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// As one line of a table.
    #[must_use]
    pub fn line(&self) -> String {
        let name = serde_json::to_string(&self.metric).unwrap_or_default();
        let name = name.trim_matches('"');
        let bar = match self.bar {
            Bar::AtMost(most) => format!("at most {}", rounded(most)),
            Bar::AtLeast(least) => format!("at least {}", rounded(least)),
        };
        let verdict = if self.bar.is_met(self.value) {
            ""
        } else {
            "MISSED"
        };
        let line = format!(
            "{name:NAME_WIDTH$}  {:>VALUE_WIDTH$} {:5}  {bar:BAR_WIDTH$}  {verdict}",
            rounded(self.value),
            self.unit
        );
        line.trim_end().to_owned()
    }
}

/// Three significant digits or more, as many as repeat from run to run.
fn rounded(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

const NAME_WIDTH: usize = 18;
const VALUE_WIDTH: usize = 10;
const BAR_WIDTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

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
