//! Files by URL, mounted, against the same files on this machine's disk, by turns; and against `rclone mount` and `httpdirfs`
//! where they are installed. And files by URL in a tree of domains, whose managers keep them. The origin is an nginx on a loopback
//! address; without one, there is nothing to measure.
//!
//! - [`figures`]: what is measured, and the bars;
//! - [`origin`]: nginx, and the files that it has; [`mount`]: ours and the others';
//! - [`reading`], [`names`], [`tree`], [`quota`]: the measurements.

pub mod figures;
pub mod mount;
pub mod names;
pub mod origin;
pub mod quota;
pub mod reading;
pub mod tree;

use anyhow::Result;
use clap::Parser;

use crate::bars::Chosen;
use crate::options::Size;
use figures::{Bench, Found};

/// Measures files by URL: mounted, against the native file system and other mounts; and what an origin sends of a file that eight
/// servers in two domains read.
#[derive(Debug, Parser)]
#[command(name = "files")]
pub struct Options {
    /// What is measured, and how often.
    #[command(flatten)]
    pub chosen: Chosen<Bench>,
}

/// Does what the command line says.
///
/// # Errors
/// If something cannot be started or read, or the output cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let chosen = &options.chosen;
    chosen.run(|bench| measure(bench, chosen.reps(), chosen.size()))
}

fn measure(bench: Bench, reps: u32, size: Size) -> Result<Found> {
    let missing = match bench {
        Bench::Read | Bench::Cold | Bench::Names | Bench::Quota => mount::missing(),
        Bench::Tree => origin::missing(),
    };
    if let Some(missing) = missing {
        return Ok(Found {
            figures: Vec::new(),
            notes: vec![format!("skipped: {missing}")],
        });
    }
    match bench {
        Bench::Read => reading::warm(reps, size),
        Bench::Cold => reading::cold(reps, size),
        Bench::Names => names::names(reps, size),
        Bench::Tree => tree::tree(reps, size),
        Bench::Quota => quota::scan(size),
    }
}
