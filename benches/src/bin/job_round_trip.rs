//! `job_round_trip N`: a task that leaves for another server and comes back, N times in a row.
//!
//! `main` keeps the only worker of its server busy until the task is done, so that another server has to run it. A server that
//! never runs such tasks itself does not know their work, and what is not known stays in its domain: with `--hold-after` there is
//! a second worker, which runs the first of them, and is then kept busy, too. For each
//! round a line: when it was spawned, when it began to run, when it was done, in microseconds since 1970, and whether it was
//! away at all (0 or 1).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use atlas::prelude::*;
use clap::Parser;

/// Sends a task away and waits for it, again and again.
#[derive(Parser)]
struct Options {
    /// How often.
    rounds: u32,
    /// For how long the task runs, at least: nobody steals what is known to be too small.
    #[arg(long, default_value_t = 0)]
    work_us: u64,
    /// Between two rounds.
    #[arg(long, default_value_t = 0)]
    pause_us: u64,
    /// After so many rounds, keep another worker of this process busy.
    #[arg(long)]
    hold_after: Option<u32>,
}

/// Says in which process it ran and when it began.
#[atlas::spawn]
fn away(work_us: u64) -> (u32, u64) {
    let began = now_us();
    busy(Duration::from_micros(work_us), || false);
    (std::process::id(), began)
}

#[atlas::main]
fn main() -> Result<()> {
    let Options {
        rounds,
        work_us,
        pause_us,
        hold_after,
    } = Options::parse();
    let mut held = None;
    for round in 0..rounds {
        if hold_after == Some(round) {
            held = Some(hold_another());
        }
        let spawned = now_us();
        let task = spawn!(away(work_us));
        busy(PATIENCE, || task.is_done());
        let (process, began) = task.sync();
        let done = now_us();
        let away = u8::from(process != std::process::id());
        println!("round {spawned} {began} {done} {away}");
        busy(Duration::from_micros(pause_us), || false);
    }
    RELEASED.store(true, Ordering::Relaxed);
    held.map(Handle::sync);
    Ok(())
}

/// Keeps another worker of this process busy until [`RELEASED`].
fn hold_another() -> Handle<()> {
    loop {
        let task = spawn!(hold(std::process::id()));
        busy(PATIENCE, || HELD.load(Ordering::Relaxed) || task.is_done());
        if HELD.load(Ordering::Relaxed) {
            return task;
        }
        // It went to another server; or nobody has begun it, and it is dropped.
    }
}

/// Keeps its worker busy, if it is one of that process.
#[atlas::spawn]
fn hold(process: u32) {
    if process == std::process::id() {
        HELD.store(true, Ordering::Relaxed);
        busy(Duration::MAX, || RELEASED.load(Ordering::Relaxed));
    }
}

/// Uses the processor for so long, or until something holds.
fn busy(time: Duration, mut until: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time && !until() {
        std::hint::spin_loop();
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

static HELD: AtomicBool = AtomicBool::new(false);
static RELEASED: AtomicBool = AtomicBool::new(false);

/// After that `main` runs the task itself.
const PATIENCE: Duration = Duration::from_millis(500);
