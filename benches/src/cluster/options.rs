//! The command line of `cluster`.

use clap::Parser;

use super::figures::Bench;
use crate::bars::Chosen;

/// Measures whole clusters of real daemons on this machine, against the bars that they are to clear.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
pub struct Options {
    /// What is measured, and how often.
    #[command(flatten)]
    pub chosen: Chosen<Bench>,
}
