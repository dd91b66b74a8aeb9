//! `job_noop N`: spawns N tasks that do nothing, by halves, and says how long that took: what a task costs.

use std::time::Instant;

use anyhow::Result;
use atlas::prelude::*;
use clap::Parser;

/// Spawns tasks that do nothing.
#[derive(Parser)]
struct Options {
    /// How many.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    tasks: u64,
}

/// As many tasks, this one among them; says how many they were.
#[atlas::spawn]
fn noops(tasks: u64) -> u64 {
    let left = (tasks - 1) / 2;
    let right = tasks - 1 - left;
    let left = (left > 0).then(|| spawn!(noops(left)));
    let right = (right > 0).then(|| spawn!(noops(right)));
    1 + right.map_or(0, Handle::sync) + left.map_or(0, Handle::sync)
}

#[atlas::main]
fn main() -> Result<()> {
    let Options { tasks } = Options::parse();
    let start = Instant::now();
    let done = spawn!(noops(tasks)).sync();
    let seconds = start.elapsed().as_secs_f64();
    anyhow::ensure!(done == tasks, "{done} tasks ran in place of {tasks}");
    println!("seconds {seconds}");
    Ok(())
}
