//! The command line: options in, reports out. The only place that reads a real clock or a file.

mod duration;
mod options;
mod plots;
mod seeds;

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use atlas_proto::time::Time;
use atlas_sim::report::{Report, Table};
use atlas_sim::scenario::{Policy, Scenario};
use atlas_sim::trace::Trace;
use atlas_sim::world::simulate;

use options::Command;
pub(crate) use options::Options;
use real_clock::RealClock;

/// Runs all that is asked for. The exit code says whether every job ended with the sequential result.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(seeds) = &options.seeds {
        let world = if options.churn {
            Scenario::churned
        } else {
            Scenario::swarm
        };
        return seeds::run_seeds(seeds, world);
    }
    if let Some(Command::Plots(plots)) = &options.command {
        return plots::run(plots).map(|()| ExitCode::SUCCESS);
    }
    let scenarios = options.scenarios()?;
    if options.print_scenario {
        for scenario in scenarios {
            println!("{}", serde_json::to_string(&scenario)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let (true, [scenario]) = (options.check, &scenarios[..]) {
        return seeds::run_checked(scenario);
    }
    let mut reports = Vec::new();
    for scenario in scenarios {
        let report = run_one(&scenario, options)?;
        if options.json {
            println!("{}", serde_json::to_string(&report)?);
        }
        reports.push(report);
    }
    if !options.json {
        print!("{}", Table(&reports));
    }
    let failed = reports.iter().any(has_failed);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// A wrong result is never right. That a baseline takes too long is what is to be seen.
fn has_failed(report: &Report) -> bool {
    let must_finish = report.policy == Policy::Atlas;
    report.job.as_ref().is_some_and(|job| {
        if job.finished {
            !job.correct
        } else {
            must_finish
        }
    })
}

fn run_one(scenario: &Scenario, options: &Options) -> Result<Report> {
    let trace = options.trace.as_ref().map(|path| {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        anyhow::Ok(Trace::new(Box::new(BufWriter::new(file)), scenario.workers))
    });
    forget_peak_memory();
    let clock = RealClock::start();
    let mut line = ProgressLine::new();
    let report = simulate(scenario, trace.transpose()?, &mut |now| {
        line.show(&clock, scenario, now)
    });
    line.clear();
    let mut report = report.context("cannot write the trace")?;
    report.real_s = Some(clock.elapsed().as_secs_f64());
    report.peak_memory_mib = memory_mib("VmHWM:");
    Ok(report)
}

/// How far the simulation is, on standard error: one line that moves if someone looks at it, and one a minute where it is kept.
struct ProgressLine {
    shown: Duration,
    moves: bool,
}

impl ProgressLine {
    fn new() -> Self {
        Self {
            shown: Duration::ZERO,
            moves: std::io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, clock: &RealClock, scenario: &Scenario, now: Time) {
        let elapsed = clock.elapsed();
        let due = match self.moves {
            true => PATIENCE.max(self.shown + PERIOD),
            false => self.shown + PERIOD_KEPT,
        };
        if elapsed < due {
            return;
        }
        self.shown = elapsed;
        let (policy, virtual_s, real_s) = (scenario.policy, now.as_secs_f64(), elapsed.as_secs());
        let mib = memory_mib("VmRSS:").unwrap_or(0);
        let line =
            format!("{policy:?}: {virtual_s:.1} s of virtual time after {real_s} s, {mib} MiB ");
        if !self.moves {
            return eprintln!("{line}");
        }
        eprint!("\r{line}");
        // Nothing is lost if a line of progress is.
        let _ = std::io::stderr().flush();
    }

    fn clear(&self) {
        if self.moves && !self.shown.is_zero() {
            eprint!("\r{:70}\r", "");
        }
    }
}

#[expect(clippy::disallowed_types, reason = "tells the user, decides nothing")]
mod real_clock {
    use std::time::{Duration, Instant};

    /// How long the simulation itself takes.
    pub(super) struct RealClock(Instant);

    impl RealClock {
        #[expect(clippy::disallowed_methods, reason = "tells the user, decides nothing")]
        pub(super) fn start() -> Self {
            Self(Instant::now())
        }

        pub(super) fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
    }
}

/// So that each of several runs is told its own; where the system does not let us, later ones are told too much.
fn forget_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// How much memory this process has (`VmRSS:`), or the most that it had since its peak was forgotten (`VmHWM:`); none where the
/// system does not tell.
fn memory_mib(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

/// Shorter runs show no progress.
const PATIENCE: Duration = Duration::from_secs(2);
const PERIOD: Duration = Duration::from_millis(200);
/// Of lines that stay in a log.
const PERIOD_KEPT: Duration = Duration::from_secs(60);
