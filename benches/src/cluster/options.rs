//! The command line of `cluster`.

use clap::Parser;

use super::figures::Bench;
use crate::options::Size;

/// Measures whole clusters of real daemons on this machine, against the bars that they are to clear.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
pub struct Options {
    /// Print one JSON object a line in place of a table.
    #[arg(long)]
    pub json: bool,
    /// Run only this; may be given more than once.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<Bench>,
    /// Shrink everything, and run it once: shows that it runs, not how fast.
    #[arg(long)]
    pub quick: bool,
    /// How many times each is measured; the median counts [default: 5, or 1 with --quick].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub reps: Option<u32>,
}

impl Options {
    /// The size of the programs.
    #[must_use]
    pub fn size(&self) -> Size {
        if self.quick { Size::Quick } else { Size::Full }
    }

    /// How many times each is measured.
    #[must_use]
    pub fn reps(&self) -> u32 {
        self.reps.unwrap_or(self.size().pick(5, 1))
    }
}
