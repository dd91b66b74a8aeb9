//! `uts TREE`: counts the nodes of an unbalanced tree.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atlas::prelude::*;
use atlas_examples::uts::{Counts, Tree, search, search_cps};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Searches a tree of the Unbalanced Tree Search benchmark (Olivier and others,
/// 2006) and checks its counts against those published.
#[derive(Parser)]
struct Options {
    /// Which tree.
    tree: Tree,
    /// Use explicit continuations in place of joins.
    #[arg(long)]
    cps: bool,
}

#[atlas::main]
fn main() -> Result<()> {
    let Options { tree, cps } = Options::parse();
    let spinner = spinner()?;
    let start = Instant::now();
    let root = tree.root();
    let counts = if cps {
        spawn!(search_cps(tree, root)).sync()
    } else {
        search(tree, root)
    };
    let elapsed = start.elapsed().as_secs_f64();
    spinner.finish_and_clear();

    let Counts {
        nodes,
        leaves,
        depth_max,
    } = counts;
    println!("{tree:?}: {nodes} nodes, {leaves} leaves, depth {depth_max}");
    eprintln!("{elapsed:.3} s");
    let published = tree.published().unwrap_or(counts);
    ensure!(
        counts == published,
        "{tree:?} should have {published:?}: this build is wrong"
    );
    Ok(())
}

/// A spinner on standard error, hidden where that is no terminal. How large a
/// tree is, only the search can tell; so there is no bar.
fn spinner() -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{spinner} searching, {elapsed}")?;
    let spinner = ProgressBar::new_spinner().with_style(style);
    spinner.enable_steady_tick(Duration::from_millis(200));
    Ok(spinner)
}
