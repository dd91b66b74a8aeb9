//! `faults`: clusters of real daemons on this machine that lose some of them, against the bars that they are to clear.

use anyhow::Result;
use atlas_benches::faults::{self, Options};
use clap::Parser;

fn main() -> Result<()> {
    faults::run(&Options::parse())
}
