//! Checked worlds, one after the other: a swarm of seeds, or one scenario again.

use std::io::{IsTerminal as _, Write as _};
use std::ops::Range;
use std::process::ExitCode;
use std::str::FromStr as _;

use anyhow::{Result, bail};

use atlas_sim::check::{Violation, run, shrink};
use atlas_sim::scenario::{Policy, Scenario};

/// Runs the world of each seed. A world that goes wrong is made smaller and printed, to be run again with
/// `--check --scenario FILE`; the others go on.
pub(super) fn run_seeds(seeds: &Range<u64>, world: fn(u64) -> Scenario) -> Result<ExitCode> {
    let mut failed: Vec<u64> = Vec::new();
    let mut events = 0;
    for seed in seeds.clone() {
        show(&format!("seed {seed} of {}..{}", seeds.start, seeds.end));
        let scenario = world(seed);
        match run(&scenario) {
            Ok(passed) => events += passed.events,
            Err(violation) => {
                failed.push(seed);
                println!("seed {seed}: {violation}");
                if failed.len() <= SHRUNK_MAX {
                    print_shrunk(&scenario, &violation)?;
                }
            }
        }
    }
    show("");
    let count = seeds.end.saturating_sub(seeds.start);
    println!(
        "{} of {count} seeds hold, {events} events",
        count - failed.len() as u64
    );
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("failed: {failed:?}");
        ExitCode::FAILURE
    })
}

/// Runs one scenario with all checkers.
pub(super) fn run_checked(scenario: &Scenario) -> Result<ExitCode> {
    if scenario.policy != Policy::Atlas {
        bail!("--check is for --policy atlas: the others promise nothing");
    }
    Ok(match run(scenario) {
        Ok(passed) => {
            println!(
                "all holds: {} events in {:?} of virtual time",
                passed.events, passed.virtual_time
            );
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
    })
}

/// `FROM..TO`, or one seed.
pub(super) fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let number =
        |text: &str| u64::from_str(text).map_err(|error| format!("`{text}` is no seed: {error}"));
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => number(text).map(|seed| seed..seed.saturating_add(1)),
    }
}

fn print_shrunk(scenario: &Scenario, violation: &Violation) -> Result<()> {
    let smaller = shrink(scenario, violation.invariant);
    if let Err(violation) = run(&smaller) {
        println!("smaller: {violation}");
    }
    println!("{}", serde_json::to_string(&smaller)?);
    Ok(())
}

fn show(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{line:60}\r");
        // Nothing is lost if a line of progress is.
        let _ = std::io::stderr().flush();
    }
}

/// To make a world smaller takes hundreds of runs: the first few failures are enough to begin with.
const SHRUNK_MAX: usize = 3;
