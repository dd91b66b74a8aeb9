//! `local`: Atlas beside rayon, chili and plain sequential Rust on this machine.

use anyhow::Result;
use atlas_benches::options::Options;
use atlas_benches::suite;
use clap::Parser;

fn main() -> Result<()> {
    suite::run(&Options::parse())
}
