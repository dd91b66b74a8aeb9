//! `fib N`: the N-th Fibonacci number by its recursive definition.

use std::time::Instant;

use anyhow::Result;
use atlas::prelude::*;
use atlas_examples::fib::{fib, fib_cps};
use clap::Parser;

/// Computes a Fibonacci number by its recursive definition, with a join at
/// every call.
#[derive(Parser)]
struct Options {
    /// Which number; 40 takes 331 million calls.
    #[arg(value_parser = clap::value_parser!(u64).range(..=93))]
    n: u64,
    /// Use explicit continuations in place of joins.
    #[arg(long)]
    cps: bool,
}

#[atlas::main]
fn main() -> Result<()> {
    let Options { n, cps } = Options::parse();
    let start = Instant::now();
    let number = if cps {
        spawn!(fib_cps(n)).sync()
    } else {
        fib(n)
    };
    println!("fib({n}) = {number}");
    eprintln!("{:.3} s", start.elapsed().as_secs_f64());
    Ok(())
}
