//! Whole clusters of real daemons on loopback: how soon they start, what a steal costs, and how near two servers come to one
//! process with two workers.
//!
//! - [`figures`]: what is measured, and the bars;
//! - [`domain`]: a manager, servers and a shell; [`job`]: a program that runs there, or in one process; [`process`]: what the
//!   daemons hold of the machine;
//! - [`start`], [`tasks`], [`steal`], [`versus`], [`idle`], [`client`]: the measurements; [`relay`]: how bytes are counted.
//!
//! Programs tell their own times. What is compared takes turns, and the median counts.

pub mod client;
pub mod domain;
pub mod figures;
pub mod idle;
pub mod job;
mod options;
pub mod process;
pub mod relay;
pub mod start;
pub mod steal;
pub mod tasks;
pub mod versus;

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;

use crate::procs;
use figures::{Bench, Figure, Found};
pub use options::Options;

/// Does what the command line says.
///
/// # Errors
/// If a cluster cannot be started, a job fails or answers wrongly, or the output cannot be written.
pub fn run(options: &Options) -> Result<()> {
    build()?;
    if options.json {
        eprintln!("{}", procs::machine());
    } else {
        println!("{}", procs::machine());
    }
    let all = Bench::value_variants();
    let chosen = |bench: &&Bench| options.only.is_empty() || options.only.contains(bench);
    for bench in all.iter().filter(chosen) {
        let name = crate::report::name(*bench);
        eprintln!("{name}: begins");
        let found =
            measure(*bench, options).with_context(|| format!("{name} cannot be measured"))?;
        print(*bench, &found, options.json)?;
    }
    Ok(())
}

fn measure(bench: Bench, options: &Options) -> Result<Found> {
    let (size, reps) = (options.size(), options.reps());
    match bench {
        Bench::ColdStart => start::cold(reps * size.pick(3, 2)),
        Bench::ClusterStart => start::whole(reps),
        Bench::Noop => tasks::noop(reps, size),
        Bench::Steal => steal::latency(size),
        Bench::RoundTrip => steal::round_trip(size),
        Bench::Fib => versus::fib(reps, size),
        Bench::Nqueens => versus::nqueens(reps, size),
        Bench::Raytrace => versus::raytrace(reps, size),
        Bench::Cpu => tasks::cpu(reps, size),
        Bench::Wait => tasks::wait(size),
        Bench::Idle => idle::measure(size),
        Bench::Client => client::measure(size),
    }
}

fn print(bench: Bench, found: &Found, json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    for &(metric, value) in &found.figures {
        let figure = Figure::new(bench, metric, value);
        let line = if json { figure.json()? } else { figure.line() };
        writeln!(out, "{line}").context("cannot write to standard output")?;
    }
    for note in &found.notes {
        if json {
            eprintln!("    {note}");
        } else {
            writeln!(out, "    {note}").context("cannot write to standard output")?;
        }
    }
    Ok(out.flush()?)
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

const BUILD: [&str; 13] = [
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
    "atlas-benches",
];
