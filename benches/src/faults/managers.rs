//! The manager is lost in the middle of a job.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use atlas_testbed::wait_until;

use super::figures::{Found, Metric};
use super::trial::{Tasks, Trial, now_us};
use crate::cluster::domain::Domain;
use crate::options::Size;
use crate::sample::median;

/// It is killed and started again at once.
///
/// # Errors
/// If the job fails.
pub fn restart(reps: u32, size: Size) -> Result<Found> {
    let (mut back, mut again) = (Vec::new(), Vec::new());
    for _ in 0..reps {
        let mut domain = Domain::with_servers(2);
        let trial = Trial::begin(&domain.shell, tasks(size))?;
        trial.wait_until_s(size.pick(2.0, 0.2));
        domain.manager.kill();
        let old = trial.engines();
        let started = now_us();
        domain.manager.restart();
        // The tasks of the old processes may go on for a while: work is back when a new process begins one.
        wait_until("a new process begins a task", || {
            first_after(&trial, started, &old).is_some()
        });
        let first = first_after(&trial, started, &old).context("nothing was said")?;
        back.push(Duration::from_micros(first - started).as_secs_f64());
        let (_, reruns) = trial.end()?;
        again.push(f64::from(reruns));
    }
    let reruns = median(again);
    Ok(Found {
        figures: vec![(Metric::ManagerRestartS, median(back))],
        notes: vec![format!("{reruns} tasks were begun again")],
    })
}

/// When a process that is not one of the old ones first began a task after a moment.
fn first_after(trial: &Trial, moment: u64, old: &BTreeSet<u32>) -> Option<u64> {
    let said = trial.said();
    let mut begun = said.iter().filter(|said| said.what == "begin");
    let later = begun.find(|said| said.us > moment && !old.contains(&said.process));
    later.map(|said| said.us)
}

fn tasks(size: Size) -> Tasks {
    Tasks {
        count: size.pick(64, 16),
        ms: size.pick(200, 50),
        bytes: 8,
        halves: false,
    }
}
