//! How soon there is a first result: with no cluster at all, and with one that starts at the same moment.

use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use atlas_testbed::{Cluster, program};

use super::domain::Domain;
use super::figures::{Found, Metric};
use super::job::{SUBMIT, follow};
use crate::sample::median;

/// `submit` of a small program while nobody is logged in.
///
/// # Errors
/// If it fails.
pub fn cold(reps: u32) -> Result<Found> {
    let cluster = Cluster::new();
    let shell = cluster.stranger();
    let (mut submitted, mut ended, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    // The first reads the files.
    for rep in 0..=reps {
        let mut command = shell.command(SUBMIT);
        command.arg(program("fib")).args(["--", "24"]);
        let job = follow(command)?;
        ensure!(job.line == ANSWER, "the first line is `{}`", job.line);
        let mut command = std::process::Command::new(program("fib"));
        command.arg("24");
        let program = follow(command)?;
        if rep > 0 {
            submitted.push(job.printed_s);
            ended.push(job.ended_s);
            alone.push(program.printed_s);
        }
    }
    let notes = vec![
        format!("the shell has ended after {:.3} s", median(ended)),
        format!(
            "the program alone prints its result after {:.3} s",
            median(alone)
        ),
    ];
    Ok(Found {
        figures: vec![(Metric::ColdStartS, median(submitted))],
        notes,
    })
}

/// A manager, two servers and a shell, all started at once on folders that they have had before.
///
/// # Errors
/// If one of them fails.
pub fn whole(reps: u32) -> Result<Found> {
    let mut domain = Domain::with_servers(2);
    let (mut first, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..reps {
        domain.manager.kill();
        for server in &mut domain.servers {
            server.kill();
        }
        first.push(start_all(&mut domain)?);
        domain.manager.wait_for_workers(2);
        warm.push(submit(&domain)?);
    }
    let note = format!(
        "a job on the cluster, once it runs, prints its result after {:.3} s",
        median(warm)
    );
    Ok(Found {
        figures: vec![(Metric::ClusterStartS, median(first))],
        notes: vec![note],
    })
}

fn start_all(domain: &mut Domain) -> Result<f64> {
    let Domain {
        manager,
        servers,
        shell,
        ..
    } = domain;
    let mut command = shell.command(SUBMIT);
    command.arg(program("fib")).args(["--", "24"]);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| manager.restart());
        for server in servers {
            scope.spawn(|| server.restart());
        }
        let late = start.elapsed().as_secs_f64();
        let job = follow(command)?;
        ensure!(job.line == ANSWER, "the first line is `{}`", job.line);
        Ok(late + job.printed_s)
    })
}

fn submit(domain: &Domain) -> Result<f64> {
    let mut command = domain.shell.command(SUBMIT);
    command.arg(program("fib")).args(["--", "24"]);
    Ok(follow(command)?.printed_s)
}

const ANSWER: &str = "fib(24) = 46368";
