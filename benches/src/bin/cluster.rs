//! `cluster`: whole clusters of real daemons on this machine, against the bars that they are to clear.

use anyhow::Result;
use atlas_benches::cluster::{self, Options};
use clap::Parser;

fn main() -> Result<()> {
    cluster::run(&Options::parse())
}
