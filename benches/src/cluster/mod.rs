//! Whole clusters of real daemons on loopback: how soon they start, what a steal costs, and how near two servers come to one
//! process with two workers.
//!
//! - [`figures`]: what is measured, and the bars;
//! - [`domain`]: a manager, servers and a shell; [`job`]: a program that runs there, or in one process; [`process`]: what the
//!   daemons hold of the machine;
//! - [`start`], [`tasks`], [`steal`], [`versus`], [`idle`], [`client`]: the measurements.
//!
//! Programs tell their own times. What is compared takes turns, and the median counts.

pub mod client;
pub mod domain;
pub mod figures;
pub mod idle;
pub mod job;
mod options;
pub mod process;
pub mod start;
pub mod steal;
pub mod tasks;
pub mod versus;

use anyhow::Result;

use crate::options::Size;
use figures::{Bench, Found};
pub use options::Options;

/// Does what the command line says.
///
/// # Errors
/// If a cluster cannot be started, a job fails or answers wrongly, or the output cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let chosen = &options.chosen;
    chosen.run(|bench| measure(bench, chosen.reps(), chosen.size()))
}

fn measure(bench: Bench, reps: u32, size: Size) -> Result<Found> {
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
