//! `atlas-manager`: coordinates one domain.

use atlas_manager::cli::Cli;
use clap::Parser;

fn main() -> anyhow::Result<()> {
    atlas_fs::daemon::run(Cli::parse().run())
}
