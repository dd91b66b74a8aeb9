//! Tasks that do nothing, use the processor, or wait.

use anyhow::Result;

use super::domain::Domain;
use super::figures::{Found, Metric};
use super::job::{run_here, seconds, submit};
use crate::options::Size;
use crate::sample::median;

/// How many tasks that do nothing two servers run in a second.
///
/// # Errors
/// If the job fails.
pub fn noop(reps: u32, size: Size) -> Result<Found> {
    let count = size.pick(1_000_000, 100_000);
    let [cluster, here] = take_turns("job_noop", &[&count.to_string()], reps)?;
    let rate = |time: f64| f64::from(count) / time;
    Ok(Found {
        figures: vec![(Metric::NoopTasksPerS, rate(cluster))],
        notes: vec![format!(
            "in one process with two workers {:.2e} tasks/s",
            rate(here)
        )],
    })
}

/// What part of two workers tasks that use the processor get.
///
/// # Errors
/// If the job fails.
pub fn cpu(reps: u32, size: Size) -> Result<Found> {
    let count = size.pick(64, 8);
    let [cluster, here] = take_turns("job_spin", &[&count.to_string()], reps)?;
    let ideal = f64::from(count) * TASK_S / 2.0;
    Ok(Found {
        figures: vec![(Metric::EffCpu, ideal / cluster)],
        notes: vec![format!(
            "in one process with two workers {:.3}",
            ideal / here
        )],
    })
}

/// What part of many workers tasks get that wait.
///
/// # Errors
/// If the job fails.
pub fn wait(size: Size) -> Result<Found> {
    let (servers, count) = size.pick((16_u32, 1600), (4, 80));
    let domain = Domain::with_servers(u64::from(servers));
    let took = seconds(&submit(&domain.shell, "job_wait", &[&count.to_string()])?)?;
    let ideal = f64::from(count) * TASK_S / f64::from(servers);
    Ok(Found {
        figures: vec![(Metric::EffWait, ideal / took)],
        notes: vec![format!(
            "{count} tasks on {servers} servers took {took:.2} s"
        )],
    })
}

/// The median seconds on two servers and in one process.
fn take_turns(program: &str, args: &[&str], reps: u32) -> Result<[f64; 2]> {
    let domain = Domain::with_servers(2);
    let (mut cluster, mut here) = (Vec::new(), Vec::new());
    for _ in 0..reps {
        cluster.push(seconds(&submit(&domain.shell, program, args)?)?);
        here.push(seconds(&run_here(&domain.shell, program, args)?)?);
    }
    Ok([median(cluster), median(here)])
}

/// What the programs' own default is.
const TASK_S: f64 = 0.1;
