//! `job_spin N`: N tasks that each use the processor for a while, and how long all of them took.
//!
//! A task counts its thread's processor time and not the clock's: it takes longer when something else has the core.

use std::time::{Duration, Instant};

use anyhow::Result;
use atlas::prelude::*;
use clap::Parser;
use cpu_time::ThreadTime;

/// Runs tasks that use the processor for a while.
#[derive(Parser)]
struct Options {
    /// How many.
    tasks: u32,
    /// The processor time of each.
    #[arg(long, default_value_t = 100)]
    ms: u64,
}

/// Uses the processor for so long; it has no join, so that its thread is its own meanwhile.
#[atlas::spawn]
fn spin(ms: u64) -> u64 {
    let (start, length) = (ThreadTime::now(), Duration::from_millis(ms));
    let mut state = std::hint::black_box(1_u64);
    while start.elapsed() < length {
        for _ in 0..STEPS {
            state = state.wrapping_mul(MULTIPLIER).wrapping_add(1);
        }
    }
    std::hint::black_box(state);
    ms
}

#[atlas::main]
fn main() -> Result<()> {
    let Options { tasks, ms } = Options::parse();
    let start = Instant::now();
    let children: Vec<_> = (0..tasks).map(|_| spawn!(spin(ms))).collect();
    let done: u64 = children.into_iter().map(Handle::sync).sum();
    let seconds = start.elapsed().as_secs_f64();
    anyhow::ensure!(done == u64::from(tasks) * ms, "some of the work is missing");
    println!("seconds {seconds}");
    Ok(())
}

/// Some tens of microseconds between two looks at the time.
const STEPS: u32 = 10_000;
/// Knuth's, of MMIX.
const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
