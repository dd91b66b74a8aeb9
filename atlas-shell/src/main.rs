//! `atlas-shell`: parse, run, report; the work is in the library of the same name.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use atlas_shell::{cli, exit};
use clap::Parser as _;

fn main() -> ExitCode {
    exit::report(cli::run(cli::Options::parse()))
}
