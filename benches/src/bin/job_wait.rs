//! `job_wait N`: N tasks that only wait, and how long all of them took: many servers on few cores.

use std::time::{Duration, Instant};

use anyhow::Result;
use atlas::prelude::*;
use clap::Parser;

/// Runs tasks that only wait.
#[derive(Parser)]
struct Options {
    /// How many.
    tasks: u32,
    /// For how long each.
    #[arg(long, default_value_t = 100)]
    ms: u64,
}

/// Waits for so long, and holds its worker meanwhile.
#[atlas::spawn]
fn wait(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

#[atlas::main]
fn main() -> Result<()> {
    let Options { tasks, ms } = Options::parse();
    let start = Instant::now();
    let children: Vec<_> = (0..tasks).map(|_| spawn!(wait(ms))).collect();
    let done: u64 = children.into_iter().map(Handle::sync).sum();
    let seconds = start.elapsed().as_secs_f64();
    anyhow::ensure!(
        done == u64::from(tasks) * ms,
        "some of the tasks are missing"
    );
    println!("seconds {seconds}");
    Ok(())
}
