//! `nqueens N`: in how many ways N queens can stand on an N x N board.

use std::time::Instant;

use anyhow::Result;
use atlas::prelude::*;
use atlas_examples::nqueens::{Board, lowest, place, without_lowest};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Counts the ways to put N queens on an N x N board so that none attacks
/// another.
#[derive(Parser)]
struct Options {
    /// Rows, columns and queens; each one more takes about seven times as long.
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(Board::QUEENS_MAX)))]
    n: u32,
}

#[atlas::main]
fn main() -> Result<()> {
    let Options { n } = Options::parse();
    let start = Instant::now();
    let ways = count(Board::empty(n), &progress_bar(n)?);
    println!("{n} queens: {ways} ways");
    eprintln!("{:.3} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Counts each square of the first row as a child of its own, so that the bar
/// has something to show while nothing below pays for it.
fn count(board: Board, bar: &ProgressBar) -> u64 {
    let mut children = Vec::new();
    let mut free = board.free();
    while free != 0 {
        let Board { taken, left, right } = board;
        children.push(spawn!(place(taken, left, right, lowest(free))));
        free = without_lowest(free);
    }
    let ways = children.into_iter().map(|child| {
        let ways = child.sync();
        bar.inc(1);
        ways
    });
    let ways = ways.sum();
    bar.finish_and_clear();
    ways
}

/// A bar on standard error; hidden where that is no terminal.
fn progress_bar(rows: u32) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} first squares, {elapsed}")?;
    Ok(ProgressBar::new(u64::from(rows)).with_style(style))
}
