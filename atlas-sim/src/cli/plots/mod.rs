//! `atlas-sim plots`: runs the worlds of `docs/scheduling.md`, draws the figures and writes the tables.
//!
//! All that is written follows from the worlds alone, so that two runs write the same bytes: no times of the
//! machine, no names of it. A world that belongs to several figures is run once.

mod draw;
mod figure;
mod tables;
mod worlds;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use atlas_sim::report::Report;
use atlas_sim::scenario::{Policy, Scenario};

use super::real_clock::RealClock;
use figure::{Cell, Figure, name};
use worlds::{Scale, figures};

/// Draws how efficient the schedulers are, against servers, granularity, latency and shape.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PlotsOptions {
    /// The directory that the figures (`*.svg`) and the tables (`tables.md`) are written to.
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
    /// Few and tiny worlds: to see that it works, not to learn from.
    #[arg(long)]
    quick: bool,
}

/// Runs all worlds and writes all files.
pub(super) fn run(options: &PlotsOptions) -> Result<()> {
    let scale = if options.quick {
        Scale::Quick
    } else {
        Scale::Full
    };
    let to = &options.to;
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut runs = Runs {
        reports: BTreeMap::new(),
        clock: RealClock::start(),
    };
    let mut figures = figures(scale);
    for figure in &mut figures {
        runs.fill(figure)?;
        write(to, &format!("{}.svg", figure.name), &draw::svg(figure)?)?;
    }
    write(to, "tables.md", &tables::markdown(&figures, scale))
}

/// The reports of the worlds that were run already.
struct Runs {
    reports: BTreeMap<String, Report>,
    clock: RealClock,
}

impl Runs {
    fn fill(&mut self, figure: &mut Figure) -> Result<()> {
        for (index, policy, scenarios) in figure.runs() {
            let reports = scenarios
                .iter()
                .map(|scenario| self.report(scenario))
                .collect::<Result<Vec<_>>>()?;
            figure.cells.insert((index, policy), Cell::of(&reports));
            let (label, policy) = (&figure.points[index].label, name(policy));
            let real_s = self.clock.elapsed().as_secs();
            eprintln!("{real_s:>4} s  {}: {label}, {policy}", figure.name);
        }
        Ok(())
    }

    fn report(&mut self, scenario: &Scenario) -> Result<Report> {
        let key = serde_json::to_string(scenario)?;
        if let Some(report) = self.reports.get(&key) {
            return Ok(report.clone());
        }
        let report = atlas_sim::world::simulate(scenario, None, &mut |_| {})?;
        let job = report.job.as_ref().context("a plot's world has a job")?;
        if job.finished && !job.correct {
            bail!("the result is wrong; the world was {key}");
        }
        if !job.finished && scenario.policy == Policy::Atlas {
            bail!("the job did not end; the world was {key}");
        }
        self.reports.insert(key, report.clone());
        Ok(report)
    }
}

fn write(to: &Path, name: &str, text: &str) -> Result<()> {
    let path = to.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
