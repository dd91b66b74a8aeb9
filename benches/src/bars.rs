//! Benchmarks that have bars to clear: which of them run, and how what they find is printed, for people or as one JSON object a
//! line.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::options::Size;
use crate::procs;

/// What can be measured, with the unit and the bar of each.
pub trait Metric: Copy + Serialize {
    /// The unit of its values.
    fn unit(self) -> &'static str;
    /// What a value is to be.
    fn bar(self) -> Bar;
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
pub struct Figure<B, M> {
    bench: B,
    metric: M,
    /// None if what was measured was too short to tell, which a note explains.
    value: Option<f64>,
    unit: &'static str,
    #[serde(flatten)]
    bar: Bar,
}

/// What a benchmark has found: figures, and sentences for people that explain them.
#[derive(Clone, Debug)]
pub struct Found<M> {
    /// What counts; not a number, if it was too short to tell.
    pub figures: Vec<(M, f64)>,
    /// What else was seen.
    pub notes: Vec<String>,
}

/// What the command line says of benchmarks `B`.
#[derive(Clone, Debug, Args)]
pub struct Chosen<B: ValueEnum + Send + Sync + 'static> {
    /// Print one JSON object a line in place of a table.
    #[arg(long)]
    pub json: bool,
    /// Run only this; may be given more than once.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<B>,
    /// Shrink everything, and run it once: shows that it runs, not how fast.
    #[arg(long)]
    pub quick: bool,
    /// How many times each is measured; the median counts [default: 5, or 1 with --quick].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub reps: Option<u32>,
}

impl<B: ValueEnum + PartialEq + Copy + Serialize + Send + Sync + 'static> Chosen<B> {
    /// The size of the programs.
    #[must_use]
    pub fn size(&self) -> Size {
        if self.quick { Size::Quick } else { Size::Full }
    }

    /// How many times each is measured.
    #[must_use]
    pub fn reps(&self) -> u32 {
        self.reps.unwrap_or(self.size().pick(5, 1))
    }

    /// Brings daemons and programs up to date, measures what is chosen, and prints what is found as soon as it is.
    ///
    /// # Errors
    /// If something cannot be built, measured or printed.
    pub fn run<M: Metric>(&self, measure: impl Fn(B) -> Result<Found<M>>) -> Result<()> {
        build()?;
        if self.json {
            eprintln!("{}", procs::machine());
        } else {
            println!("{}", procs::machine());
        }
        let all = B::value_variants();
        let chosen = |bench: &&B| self.only.is_empty() || self.only.contains(bench);
        for &bench in all.iter().filter(chosen) {
            let name = crate::report::name(bench);
            eprintln!("{name}: begins");
            let found = measure(bench).with_context(|| format!("{name} cannot be measured"))?;
            self.print(bench, &found)?;
        }
        Ok(())
    }

    fn print<M: Metric>(&self, bench: B, found: &Found<M>) -> Result<()> {
        let mut out = io::stdout().lock();
        for &(metric, value) in &found.figures {
            let figure = Figure::new(bench, metric, value);
            let line = if self.json {
                figure.json()?
            } else {
                figure.line()
            };
            writeln!(out, "{line}").context("cannot write to standard output")?;
        }
        for note in &found.notes {
            if self.json {
                eprintln!("    {note}");
            } else {
                writeln!(out, "    {note}").context("cannot write to standard output")?;
            }
        }
        Ok(out.flush()?)
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

impl<B: Serialize, M: Metric> Figure<B, M> {
    /// A value that a benchmark has found.
    #[must_use]
    pub fn new(bench: B, metric: M, value: f64) -> Self {
        Self {
            bench,
            metric,
            value: Some(value).filter(|value| value.is_finite()),
            unit: metric.unit(),
            bar: metric.bar(),
        }
    }

    /// As one line of JSON, where a value that there is none of is `null`.
    ///
    /// # Errors
    /// If the metric or the benchmark has no name.
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
        let (value, verdict) = match self.value {
            Some(value) if self.bar.is_met(value) => (rounded(value), ""),
            Some(value) => (rounded(value), "MISSED"),
            None => ("-".to_owned(), "not measured"),
        };
        let line = format!(
            "{name:NAME_WIDTH$}  {value:>VALUE_WIDTH$} {:5}  {bar:BAR_WIDTH$}  {verdict}",
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

/// Brings the daemons and programs up to date, if Cargo has started this program: it builds this one alone.
fn build() -> Result<()> {
    let own = env::current_exe().context("cannot find this program's own file")?;
    let profile = own.parent().and_then(|folder| folder.file_name());
    let Some(cargo) = env::var_os("CARGO").filter(|_| profile == Some(OsStr::new("release")))
    else {
        return Ok(());
    };
    let mut command = Command::new(cargo);
    command.args(BUILD).stdout(Stdio::null());
    let status = command.status().context("cannot run Cargo")?;
    ensure!(status.success(), "`cargo {}` has failed", BUILD.join(" "));
    Ok(())
}

const BUILD: [&str; 15] = [
    "build",
    "--release",
    "--bins",
    "-p",
    "atlas-manager",
    "-p",
    "atlas-server",
    "-p",
    "atlas-shell",
    "-p",
    "atlas-examples",
    "-p",
    "atlas-testbed",
    "-p",
    "atlas-benches",
];
const NAME_WIDTH: usize = 24;
const VALUE_WIDTH: usize = 10;
const BAR_WIDTH: usize = 16;
