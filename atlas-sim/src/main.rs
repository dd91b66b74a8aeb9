//! Runs simulated worlds from the command line.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::run(&cli::Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("atlas-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
