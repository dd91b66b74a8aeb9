//! `files`: files by URL, mounted, against the native file system, and against others that mount them.

use anyhow::Result;
use atlas_benches::files::{self, Options};
use clap::Parser;

fn main() -> Result<()> {
    files::run(&Options::parse())
}
