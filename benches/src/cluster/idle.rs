//! What a cluster takes of the machine while it has nothing to do.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::domain::Domain;
use super::figures::{Found, Metric};
use super::job::submit;
use super::process::{Memory, Threads, datagrams_sent, memory, threads, used_between};
use crate::options::Size;

/// A manager and two servers that have run a job.
///
/// # Errors
/// If the job fails, or the kernel does not tell.
pub fn measure(size: Size) -> Result<Found> {
    let domain = Domain::with_servers(2);
    submit(&domain.shell, "nqueens", &["12"])?;
    thread::sleep(size.pick(SETTLE, SETTLE / 4));
    let looks = || domain.pids().map(threads).collect::<Result<Vec<Threads>>>();
    let (start, before, sent) = (Instant::now(), looks()?, datagrams_sent()?);
    thread::sleep(size.pick(LENGTH, LENGTH / 10));
    let (after, sent) = (looks()?, datagrams_sent()? - sent);
    let pairs = before.iter().zip(&after);
    let cpu: Duration = pairs
        .map(|(before, after)| used_between(before, after))
        .sum();
    let seconds = start.elapsed().as_secs_f64();

    let memories = domain.pids().map(memory).collect::<Result<Vec<_>>>()?;
    let sum = |part: fn(&Memory) -> f64| memories.iter().map(part).sum::<f64>();
    let each: Vec<String> = memories
        .iter()
        .map(|memory| format!("{:.1} ({:.1})", memory.resident, memory.own))
        .collect();
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of packets is far below 2^53"
    )]
    let packets = sent as f64 / seconds / memories.len() as f64;
    Ok(Found {
        figures: vec![
            (Metric::IdleRssMb, sum(|memory| memory.resident)),
            (Metric::IdleCpuPct, 100.0 * cpu.as_secs_f64() / seconds),
        ],
        notes: vec![
            format!(
                "without pages of files {:.1} MB; with pages that are shared counted once {:.1} MB",
                sum(|memory| memory.own),
                sum(|memory| memory.shared_out)
            ),
            format!(
                "manager and servers, MB (without files): {}",
                each.join(", ")
            ),
            format!(
                "{packets:.2} packets/s of each, with all else on this machine that speaks UDP"
            ),
        ],
    })
}

/// Until the job's engines are gone.
const SETTLE: Duration = Duration::from_secs(4);
const LENGTH: Duration = Duration::from_secs(20);
