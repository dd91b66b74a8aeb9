//! What comes out: rows, as one JSON object a line for programs, or as aligned
//! tables for people.
//!
//! A [`Row`] is one value: of which benchmark, in which case, by which metric.
//! Benchmarks with a parameter (`k` leaves, `items`) carry it as one more key.

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

/// The benchmarks, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Bench {
    /// Fibonacci by recursion: nothing but calls.
    Fib,
    /// n-queens on bit boards.
    Nqueens,
    /// The sum over an implicit binary tree.
    Tree,
    /// Adaptive numerical integration.
    Integrate,
    /// Unbalanced Tree Search.
    Uts,
    /// A loop written as `join(item, rest)`.
    Flat,
    /// Short parallel regions, back to back and after a pause.
    Region,
    /// Sequential work in a pool that has nothing else to do.
    SeqInPool,
    /// A pool without work, and how soon it is back.
    Idle,
}

/// The forms in which a program is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Case {
    /// Plain sequential Rust.
    Seq,
    /// Atlas tasks and `atlas::join!`.
    Join,
    /// Atlas tasks and `atlas::spawn_next!`.
    Cps,
    /// `atlas::join` over Rust closures.
    Closure,
    /// `rayon::join`.
    Rayon,
    /// `chili::Scope::join`.
    Chili,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Time of the sequential program.
    TsMs,
    /// Time with one worker over sequential time: what parallelism costs.
    T1OverTs,
    /// Sequential time over time with two workers: what it yields.
    TsOverT2,
    /// What one join costs with one worker, over a call.
    NsPerSpawn,
    /// Time of one short parallel region.
    RegionUs,
    /// CPU time over elapsed time.
    CoresUsed,
    /// CPU time over elapsed time, of a pool without work, per cent.
    IdleCpuPct,
    /// From a call into a sleeping pool until its second worker runs a half.
    FirstStealUs,
    /// Largest resident set of a process that ran this case once.
    PeakRssMb,
}

impl Metric {
    /// The unit of the values.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::TsMs => "ms",
            Self::T1OverTs | Self::TsOverT2 => "ratio",
            Self::NsPerSpawn => "ns",
            Self::RegionUs | Self::FirstStealUs => "us",
            Self::CoresUsed => "cores",
            Self::IdleCpuPct => "%",
            Self::PeakRssMb => "MB",
        }
    }

    /// The head of its column.
    fn heading(self) -> &'static str {
        match self {
            Self::TsMs => "Ts, ms",
            Self::T1OverTs => "T1/Ts",
            Self::TsOverT2 => "Ts/T2",
            Self::NsPerSpawn => "ns per spawn",
            Self::RegionUs => "us per region",
            Self::CoresUsed => "cores used",
            Self::IdleCpuPct => "idle CPU, %",
            Self::FirstStealUs => "steal, us",
            Self::PeakRssMb => "peak RSS, MB",
        }
    }
}

/// One value.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    bench: Bench,
    case: Case,
    metric: Metric,
    value: f64,
    unit: &'static str,
    #[serde(flatten)]
    variant: Variant,
}

/// The parameter of a benchmark that runs with several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// Leaves of a region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
    /// For how long the pool had nothing to do before each region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_idle_us: Option<u32>,
    /// Items of a flat loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u32>,
}

impl Variant {
    /// The parameters in a few characters, to stand under a column's head.
    fn label(self) -> String {
        let parts = [
            self.k.map(|k| format!("k={k}")),
            self.after_idle_us.map(|us| format!("idle {us}")),
            self.items.map(|items| format!("{items} items")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

impl Row {
    /// A value of a benchmark without parameters.
    #[must_use]
    pub fn new(bench: Bench, case: Case, metric: Metric, value: f64) -> Self {
        Self {
            bench,
            case,
            metric,
            value,
            unit: metric.unit(),
            variant: Variant::default(),
        }
    }

    /// The same for one value of a parameter.
    #[must_use]
    pub fn with(self, variant: Variant) -> Self {
        Self { variant, ..self }
    }

    /// The row as one line of JSON.
    ///
    /// # Errors
    /// If the value is not a number that JSON can hold.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

/// The name of a benchmark or a case, as on the command line and in JSON.
#[must_use]
pub fn name(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The rows of one benchmark as a table: a line for each case, a column for
/// each metric and parameter, in the order in which the rows name them first.
#[must_use]
pub fn table(bench: Bench, rows: &[Row]) -> String {
    let mut cases = Vec::new();
    let mut columns = Vec::new();
    for row in rows {
        push_new(&mut cases, row.case);
        push_new(&mut columns, (row.metric, row.variant));
    }
    let headings = columns
        .iter()
        .map(|(metric, _)| metric.heading().to_owned());
    let mut lines = vec![String::new(), line(&name(bench), headings)];
    if columns
        .iter()
        .any(|(_, variant)| *variant != Variant::default())
    {
        lines.push(line("", columns.iter().map(|(_, variant)| variant.label())));
    }
    for case in cases {
        let cells = columns.iter().map(|column| {
            let cell = rows
                .iter()
                .find(|row| row.case == case && *column == (row.metric, row.variant));
            cell.map_or_else(|| "-".to_owned(), |row| rounded(row.value))
        });
        lines.push(line(&name(case), cells));
    }
    lines.join("\n")
}

fn line(label: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!("  {cell:>CELL_WIDTH$}")).collect();
    format!("{label:LABEL_WIDTH$}{cells}").trim_end().to_owned()
}

/// Three significant digits, as many as repeat from run to run.
fn rounded(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Enough for the longest name, so that tables line up with each other.
const LABEL_WIDTH: usize = 11;
const CELL_WIDTH: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_row_has_the_keys_that_readers_rely_on() {
        let row = Row::new(Bench::SeqInPool, Case::Closure, Metric::CoresUsed, 1.5);
        assert_eq!(
            row.json().unwrap(),
            r#"{"bench":"seq_in_pool","case":"closure","metric":"cores_used","value":1.5,"unit":"cores"}"#
        );
        let variant = Variant {
            k: Some(32),
            after_idle_us: Some(300),
            items: None,
        };
        let row = Row::new(Bench::Region, Case::Rayon, Metric::RegionUs, 2.0).with(variant);
        assert!(
            row.json()
                .unwrap()
                .ends_with(r#""unit":"us","k":32,"after_idle_us":300}"#)
        );
    }

    #[test]
    fn table_has_a_line_for_each_case_and_a_column_for_each_metric() {
        let rows = [
            Row::new(Bench::Fib, Case::Join, Metric::T1OverTs, 1.234),
            Row::new(Bench::Fib, Case::Join, Metric::TsOverT2, 12.34),
            Row::new(Bench::Fib, Case::Chili, Metric::T1OverTs, 123.4),
        ];
        let table = table(Bench::Fib, &rows);
        let lines: Vec<Vec<&str>> = table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["fib", "T1/Ts", "Ts/T2"]);
        assert_eq!(lines[1], ["join", "1.23", "12.3"]);
        assert_eq!(lines[2], ["chili", "123", "-"]);
        assert_eq!(lines.len(), 3);
    }
}
