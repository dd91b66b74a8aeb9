//! The manager is lost in the middle of a job.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use atlas_testbed::{Manager, wait_until};

use super::figures::{Found, Metric};
use super::trial::{Said, Tasks, Trial, now_us};
use crate::cluster::domain::Domain;
use crate::options::Size;
use crate::sample::median;

/// It is killed and started again at once.
///
/// # Errors
/// If the job fails.
pub fn restart(reps: u32, size: Size) -> Result<Found> {
    let runs = (0..reps).map(|_| {
        let mut domain = Domain::with_servers(2);
        lose(&mut domain, size, |manager| {
            let started = now_us();
            manager.restart();
            started
        })
    });
    found(Metric::ManagerRestartS, runs.collect::<Result<_>>()?)
}

/// It is killed for good; another one stands by.
///
/// # Errors
/// If the job fails.
pub fn takeover(reps: u32, size: Size) -> Result<Found> {
    let runs = (0..reps).map(|_| {
        let mut domain = Domain::with_servers(2);
        let _standby = domain.cluster.standby(&domain.manager);
        let ready = "stands by, and 2 children may vote for it";
        domain.manager.wait_for_health(ready);
        lose(&mut domain, size, |_| now_us())
    });
    found(Metric::StandbyTakeoverS, runs.collect::<Result<_>>()?)
}

/// Kills the manager in the middle of a job. Gives the seconds from what `then` says until work goes on, and how many tasks
/// were begun again.
fn lose(
    domain: &mut Domain,
    size: Size,
    then: impl FnOnce(&mut Manager) -> u64,
) -> Result<(f64, u32)> {
    let trial = Trial::begin(&domain.shell, tasks(size))?;
    trial.wait_until_s(size.pick(2.0, 0.2));
    domain.manager.kill();
    let old = trial.engines();
    let since = then(&mut domain.manager);
    // The tasks of the old processes may go on for a while: work is back when one begins that descends from the `main` which the
    // manager has granted since.
    wait_until("a new process begins a task", || {
        first_after(&trial, since, &old).is_some()
    });
    let first = first_after(&trial, since, &old).context("nothing was said")?;
    let (_, again) = trial.end()?;
    Ok((Duration::from_micros(first - since).as_secs_f64(), again))
}

fn found(metric: Metric, runs: Vec<(f64, u32)>) -> Result<Found> {
    let again = median(runs.iter().map(|(_, again)| f64::from(*again)).collect());
    Ok(Found {
        figures: vec![(metric, median(runs.iter().map(|(back, _)| *back).collect()))],
        notes: vec![format!("{again} tasks were begun again")],
    })
}

/// When a process that is not one of the old ones first began a task after a moment, and after `main` was begun again by another.
fn first_after(trial: &Trial, moment: u64, old: &BTreeSet<u32>) -> Option<u64> {
    let said = trial.said();
    let new = |said: &&Said| !old.contains(&said.process);
    let first = |what: &str, since: u64| {
        let mut new = said.iter().filter(new);
        let later = new.find(|said| said.what == what && said.us > since);
        later.map(|said| said.us)
    };
    first("begin", first("main", moment)?)
}

fn tasks(size: Size) -> Tasks {
    Tasks {
        count: size.pick(64, 16),
        ms: size.pick(200, 50),
        bytes: 8,
        halves: false,
    }
}
