//! Runs simulated worlds from the command line.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

/// A world of 10,000 servers is some million small values: `docs/decisions/0011-allocator.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(&cli::Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("atlas-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
