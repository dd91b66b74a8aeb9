//! The command line of `local`, and what `--quick` makes smaller.

use std::time::Duration;

use clap::Parser;

use crate::report::{Bench, Case};
use crate::sample::Sampling;

/// Measures Atlas beside rayon, chili and plain sequential Rust on this machine.
#[derive(Debug, Parser)]
#[command(name = "local")]
pub struct Options {
    /// Print one JSON object a line in place of tables.
    #[arg(long)]
    pub json: bool,
    /// Run only this benchmark; may be given more than once.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<Bench>,
    /// Shrink everything to a few seconds: shows that it runs, not how fast.
    #[arg(long)]
    pub quick: bool,
    /// How many times each case is timed; the median counts [default: 5, or 2 with --quick].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub reps: Option<u32>,
    /// Run this case of the one `--only` program once and print this process's
    /// peak memory in MB: how a parent measures its child.
    #[arg(long, hide = true, value_name = "CASE")]
    pub peak_rss_of: Option<Case>,
}

impl Options {
    /// The size of the programs.
    #[must_use]
    pub fn size(&self) -> Size {
        if self.quick { Size::Quick } else { Size::Full }
    }

    /// How often and how long each case is timed.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        let size = self.size();
        Sampling {
            reps: self.reps.unwrap_or(size.pick(5, 2)),
            block: size.pick(Duration::from_millis(400), Duration::ZERO),
        }
    }
}

/// Whether figures are wanted, or only a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The sizes that figures are quoted for.
    Full,
    /// As small as can be.
    Quick,
}

impl Size {
    /// The first for figures, the second for `--quick`.
    pub fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}
