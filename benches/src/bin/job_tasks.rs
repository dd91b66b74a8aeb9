//! `job_tasks N --log FILE`: N tasks that each use the processor for a while and return some bytes. Each says in a file when it
//! begins and ends, so that what was run twice can be counted.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use atlas::prelude::*;
use clap::Parser;
use cpu_time::ThreadTime;
use serde::{Deserialize, Serialize};

/// Runs tasks that use the processor for a while, and writes down when.
#[derive(Parser)]
struct Options {
    /// How many.
    tasks: u32,
    /// The processor time of each.
    #[arg(long, default_value_t = 200)]
    ms: u64,
    /// What each returns.
    #[arg(long, default_value_t = 8)]
    bytes: usize,
    /// Split by halves, in place of one list of children.
    #[arg(long)]
    halves: bool,
    /// Where tasks say that they begin and end.
    #[arg(long)]
    log: PathBuf,
}

/// What is the same for all tasks.
#[derive(Clone, Serialize, Deserialize)]
struct Work {
    ms: u64,
    bytes: usize,
    log: PathBuf,
}

/// Uses the processor for so long; it has no join, so that its thread is its own meanwhile.
#[atlas::spawn]
fn task(index: u32, work: Work) -> Vec<u8> {
    say(&work.log, "begin", index);
    let (start, length) = (ThreadTime::now(), Duration::from_millis(work.ms));
    let mut state = std::hint::black_box(u64::from(index));
    while start.elapsed() < length {
        for _ in 0..STEPS {
            state = state.wrapping_mul(MULTIPLIER).wrapping_add(1);
        }
    }
    std::hint::black_box(state);
    say(&work.log, "end", index);
    answer(index, work.bytes)
}

/// The tasks of a range, one after the other.
#[atlas::spawn]
fn range(first: u32, count: u32, work: Work) -> Vec<Vec<u8>> {
    if count == 1 {
        return vec![task(first, work)];
    }
    let half = count / 2;
    let (mut left, right) = join!(
        range(first, half, work.clone()),
        range(first + half, count - half, work)
    );
    left.extend(right);
    left
}

#[atlas::main]
fn main() -> Result<()> {
    let options = Options::parse();
    let work = Work {
        ms: options.ms,
        bytes: options.bytes,
        log: options.log,
    };
    say(&work.log, "main", 0);
    let start = Instant::now();
    let results = if options.halves {
        range(0, options.tasks, work.clone())
    } else {
        let children: Vec<_> = (0..options.tasks)
            .map(|index| spawn!(task(index, work.clone())))
            .collect();
        children.into_iter().map(Handle::sync).collect()
    };
    let seconds = start.elapsed().as_secs_f64();
    for (index, result) in (0..options.tasks).zip(&results) {
        let expected = answer(index, options.bytes);
        ensure!(*result == expected, "task {index} has a wrong result");
    }
    ensure!(results.len() == options.tasks as usize, "some are missing");
    println!("seconds {seconds}");
    Ok(())
}

/// Bytes that no other task has, and that do not get shorter when they are packed.
fn answer(index: u32, bytes: usize) -> Vec<u8> {
    let mut state = u64::from(index) | 1 << 40;
    let mut answer = Vec::with_capacity(bytes + 8);
    while answer.len() < bytes {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(1);
        answer.extend(state.rotate_left(31).to_le_bytes());
    }
    answer.truncate(bytes);
    answer
}

/// One write, so that lines of several processes do not mix.
fn say(log: &PathBuf, what: &str, index: u32) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let us = now.map_or(0, |now| now.as_micros());
    let line = format!("{what} {index} {} {us}\n", process::id());
    let file = OpenOptions::new().create(true).append(true).open(log);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("cannot write to {}", log.display()))
        .expect("the benchmark's folder can be written to");
}

/// Some tens of microseconds between two looks at the time.
const STEPS: u32 = 10_000;
/// Knuth's, of MMIX.
const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
