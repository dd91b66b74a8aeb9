//! `atlas-server`: lends this machine to its domain.

use atlas_server::cli::Cli;
use clap::Parser;

fn main() -> anyhow::Result<()> {
    atlas_fs::daemon::run(Cli::parse().run())
}
