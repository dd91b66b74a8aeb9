//! A program as a job of a cluster, or in one process of its own with two workers; both tell the time that they took.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use atlas_testbed::{Shell, program};

/// What a program printed, standard output first.
///
/// # Errors
/// If it fails.
pub fn submit(shell: &Shell, name: &str, args: &[&str]) -> Result<String> {
    let mut command = shell.command(SUBMIT);
    command.arg(program(name)).arg("--").args(args);
    let output = command.output();
    printed(name, &output.context("cannot run the shell")?)
}

/// As [`submit`], in one process with two workers.
///
/// # Errors
/// If it cannot be started, or fails.
pub fn run_here(shell: &Shell, name: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program(name));
    command.args(args).current_dir(shell.here());
    let output = command
        .env("ATLAS_WORKERS", "2")
        .stdin(Stdio::null())
        .output();
    printed(name, &output.with_context(|| format!("cannot run {name}"))?)
}

/// A command that was followed to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// Its first line of output.
    pub line: String,
    /// When that was printed, in seconds after its start.
    pub printed_s: f64,
    /// When the command had ended.
    pub ended_s: f64,
}

/// Runs a command to its end, with an eye on its first line of output.
///
/// # Errors
/// If it cannot be started, or fails.
pub fn follow(mut command: Command) -> Result<Followed> {
    let start = Instant::now();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    let stdout = child.stdout.take().context("a pipe was asked for")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let printed_s = start.elapsed().as_secs_f64();
    let output = child.wait_with_output()?;
    let ended_s = start.elapsed().as_secs_f64();
    printed(&format!("{command:?}"), &output)?;
    Ok(Followed {
        line: line.trim_end().to_owned(),
        printed_s,
        ended_s,
    })
}

/// The time that a program says it took: the first number that stands before an `s` or after `seconds`.
///
/// # Errors
/// If it says none.
pub fn seconds(printed: &str) -> Result<f64> {
    let words: Vec<&str> = printed.split_whitespace().collect();
    let said = words.windows(2).find_map(|pair| match pair {
        ["seconds", number] | [number, "s" | "s,"] => number.parse().ok(),
        _ => None,
    });
    said.with_context(|| format!("no time in `{printed}`"))
}

fn printed(name: &str, output: &Output) -> Result<String> {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(
        output.status.success(),
        "{name} has failed with {}: {err}",
        output.status
    );
    Ok(format!("{out}\n{err}"))
}

/// With nothing on standard error but what the job says.
pub const SUBMIT: [&str; 2] = ["submit", "--quiet"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_tell_their_time_in_several_ways() {
        assert_eq!(seconds("fib(24) = 46368\n\n0.125 s\n").unwrap(), 0.125);
        assert_eq!(seconds("seconds 0.5\n").unwrap(), 0.5);
        let raytrace = "a.png: 64x36, 4 samples for each pixel, 1.25 s, 0.10 million samples/s";
        assert_eq!(seconds(raytrace).unwrap(), 1.25);
        assert!(seconds("nothing").is_err());
    }
}
