//! Clusters of real daemons that lose some of them in the middle of a job: what is run again, how long it takes, and what the
//! precautions cost when nothing is lost.
//!
//! - [`figures`]: what is measured, and the bars;
//! - [`trial`]: tasks that write down when they begin and end;
//! - [`servers`], [`managers`], [`cost`], [`crash`]: the measurements.

pub mod cost;
pub mod crash;
pub mod figures;
pub mod managers;
pub mod servers;
pub mod trial;

use anyhow::Result;
use clap::Parser;

use crate::bars::Chosen;
use crate::options::Size;
use figures::{Bench, Found};

/// Measures what faults cost clusters of real daemons on this machine, against the bars that they are to clear.
#[derive(Debug, Parser)]
#[command(name = "faults")]
pub struct Options {
    /// What is measured, and how often.
    #[command(flatten)]
    pub chosen: Chosen<Bench>,
}

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
        Bench::Kill => servers::kill(reps, size),
        Bench::Stop => servers::stop(reps, size),
        Bench::CheckpointCost => cost::checkpoints(reps, size),
        Bench::ManagerRestart => managers::restart(reps, size),
        Bench::StandbyTakeover => managers::takeover(reps, size),
        Bench::Crash => crash::crash(reps, size),
    }
}
