//! A task that leaves its server: how long the steal takes, and how long until it is back.
//!
//! The program of both keeps the only worker of its server busy, so that its tasks are run by the other server. It tells when
//! each was spawned, began and was done; that server's log tells when it asked for it.

use anyhow::{Context as _, Result, ensure};
use atlas_testbed::{Cluster, ServerOptions, Shell};

use super::domain::Domain;
use super::figures::{Found, Metric};
use super::job::submit;
use crate::options::Size;
use crate::sample::median;

/// When a task was spawned, began to run, and was done: microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round {
    spawned: u64,
    began: u64,
    done: u64,
}

/// When a server asked for what it stole, and when its engine was given the first of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stolen {
    asked: u64,
    accepted: u64,
}

/// From the request to the closure that runs.
///
/// # Errors
/// If the job fails, or nothing was stolen.
pub fn latency(size: Size) -> Result<Found> {
    let domain = Domain::with_steal_logs(2);
    let rounds = rounds(&domain.shell, Pace::NEAR, size)?;
    let logs = domain.servers.iter().map(|server| server.log());
    let stolen: Vec<Stolen> = logs.flat_map(|log| stolen(&log)).collect();
    let pairs: Vec<(Round, Stolen)> = rounds
        .away
        .iter()
        .filter_map(|round| Some((*round, cause(*round, &stolen)?)))
        .collect();
    ensure!(!pairs.is_empty(), "no steal was logged");
    let part = |part: fn(&(Round, Stolen)) -> u64| pairs.iter().map(part).collect::<Vec<_>>();
    let whole = part(|(round, steal)| round.began.saturating_sub(steal.asked));
    let hunger = part(|(round, steal)| steal.asked.saturating_sub(round.spawned));
    let grant = part(|(_, steal)| steal.accepted.saturating_sub(steal.asked));
    let start = part(|(round, steal)| round.began.saturating_sub(steal.accepted));
    let back = part(|(round, _)| round.done.saturating_sub(round.began));
    let parts = [
        ("spawned to asked for", hunger),
        ("asked for to granted", grant),
        ("granted to running", start),
        ("running to done", back),
    ];
    let parts = parts.map(|(name, times)| format!("{name} {:.0} us", percentile(times, 50)));
    Ok(Found {
        figures: vec![
            (Metric::StealP50Us, percentile(whole.clone(), 50)),
            (Metric::StealP99Us, percentile(whole, 99)),
        ],
        notes: vec![format!(
            "{} steals, each half of the times: {}",
            pairs.len(),
            parts.join(", ")
        )],
    })
}

/// From `spawn!` to `sync` of a task that another server runs.
///
/// # Errors
/// If the job fails, or no task leaves.
pub fn round_trip(size: Size) -> Result<Found> {
    let domain = Domain::with_servers(2);
    let in_a_row = rounds(&domain.shell, Pace::NEAR, size)?;
    ensure!(!in_a_row.away.is_empty(), "no task left its server");
    let single = rounds(
        &domain.shell,
        Pace {
            pause_ms: 50,
            ..Pace::NEAR
        },
        size,
    )?;
    drop(domain);
    let far = between_domains(size)?;
    let told = |name: &str, rounds: &Rounds| {
        let time = match rounds.away.len() {
            0 => "unknown".to_owned(),
            _ => format!("{:.2} ms", rounds.p50_ms()),
        };
        let (away, all) = (rounds.away.len(), rounds.all);
        format!("{name}: {time}; {away} of {all} tasks left their server")
    };
    Ok(Found {
        figures: vec![(Metric::RoundTripP50Ms, in_a_row.p50_ms())],
        notes: vec![
            told("one after the other", &in_a_row),
            told("with a pause of 50 ms before each", &single),
            told(
                "as the second, between two sub-domains, by way of three managers",
                &far,
            ),
        ],
    })
}

/// The same with a server in each of two domains below a third.
fn between_domains(size: Size) -> Result<Rounds> {
    let cluster = Cluster::new();
    let root = cluster.root("bench.example");
    let below = ["a.bench.example", "b.bench.example"].map(|domain| cluster.below(&root, domain));
    let options = ServerOptions {
        workers: 2,
        ..ServerOptions::default()
    };
    let _near = cluster.server(&below[0], options);
    let _far = cluster.server(&below[1], ServerOptions::default());
    root.wait_for_workers(3);
    rounds(&cluster.login(&below[0]), Pace::FAR, size)
}

/// How the program is run.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The work of a task: what is known to be much smaller is not worth a steal.
    work_ms: u64,
    /// Before each task.
    pause_ms: u64,
    /// The first tasks are run by another worker of the same server, and measured there.
    knows_work: bool,
}

impl Pace {
    const NEAR: Self = Self {
        work_ms: 5,
        pause_ms: 0,
        knows_work: false,
    };
    const FAR: Self = Self {
        work_ms: 50,
        pause_ms: 50,
        knows_work: true,
    };
}

/// The tasks of one run, without the first ones, which wait for an engine.
#[derive(Clone, Debug)]
struct Rounds {
    pace: Pace,
    all: usize,
    /// Those that left their server.
    away: Vec<Round>,
}

impl Rounds {
    /// Half of the round trips take no longer; the task's own work is left out.
    fn p50_ms(&self) -> f64 {
        let trip = |round: &Round| {
            round
                .done
                .saturating_sub(round.spawned + self.pace.work_ms * 1000)
        };
        percentile(self.away.iter().map(trip).collect(), 50) / 1e3
    }
}

fn rounds(shell: &Shell, pace: Pace, size: Size) -> Result<Rounds> {
    let count = (size.pick(200, 20) + WARM_UP).to_string();
    let [work, pause] = [pace.work_ms, pace.pause_ms].map(|ms| (1000 * ms).to_string());
    let warm_up = WARM_UP.to_string();
    let mut args = vec![count.as_str(), "--work-us", &work, "--pause-us", &pause];
    if pace.knows_work {
        args.extend(["--hold-after", &warm_up]);
    }
    let printed = submit(shell, "job_round_trip", &args)?;
    let lines = printed
        .lines()
        .filter_map(|line| line.strip_prefix("round "));
    let rounds: Option<Vec<_>> = lines.skip(WARM_UP).map(round).collect();
    let rounds = rounds.context("job_round_trip prints what makes no sense")?;
    let away = rounds
        .iter()
        .filter(|(_, away)| *away)
        .map(|(round, _)| *round);
    Ok(Rounds {
        pace,
        all: rounds.len(),
        away: away.collect(),
    })
}

fn round(line: &str) -> Option<(Round, bool)> {
    let numbers: Vec<u64> = line
        .split(' ')
        .map_while(|number| number.parse().ok())
        .collect();
    let [spawned, began, done, away] = numbers[..] else {
        return None;
    };
    Some((
        Round {
            spawned,
            began,
            done,
        },
        away == 1,
    ))
}

/// The steals that a server's log tells of.
fn stolen(log: &str) -> Vec<Stolen> {
    let lines = log.lines().filter(|line| line.contains(": stolen "));
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(name)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    lines
        .filter_map(|line| {
            Some(Stolen {
                asked: field(line, "asked_us=")?,
                accepted: field(line, "accepted_us=")?,
            })
        })
        .collect()
}

/// The steal that brought the task: the last one before it began.
fn cause(round: Round, stolen: &[Stolen]) -> Option<Stolen> {
    let before = stolen
        .iter()
        .filter(|steal| steal.accepted >= round.spawned && steal.accepted <= round.began);
    before.max_by_key(|steal| steal.accepted).copied()
}

/// The value that so many per cent do not exceed.
#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of a benchmark are far below 2^53"
)]
fn percentile(mut times: Vec<u64>, percent: usize) -> f64 {
    if percent == 50 {
        return median(times.iter().map(|time| *time as f64).collect());
    }
    times.sort_unstable();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(0.0, |time| *time as f64)
}

/// Until both engines run, and the work of the task is known.
const WARM_UP: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_paired_with_the_steal_that_brought_it() {
        let log = "t DEBUG atlas_server::steal: serialised closures=1\n\
                   t DEBUG atlas_server::steal: stolen closures=1 asked_us=100 accepted_us=180\n\
                   t DEBUG atlas_server::steal: stolen closures=2 asked_us=400 accepted_us=490\n";
        let stolen = stolen(log);
        assert_eq!(stolen.len(), 2);
        let (round, away) = round("90 200 300 1").unwrap();
        assert!(away);
        assert_eq!(cause(round, &stolen), Some(stolen[0]));
        assert_eq!(
            cause(
                Round {
                    spawned: 200,
                    ..round
                },
                &stolen
            ),
            None
        );
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let times: Vec<u64> = (1..=200).rev().collect();
        assert_eq!(percentile(times.clone(), 99), 198.0);
        assert_eq!(percentile(times, 50), 100.5);
        assert_eq!(percentile(vec![7], 99), 7.0);
    }
}
