//! One of two servers is lost three seconds after a job has begun.

use anyhow::{Context as _, Result};
use atlas_testbed::{Server, Signal, parent};

use super::figures::{Found, Metric};
use super::trial::{Tasks, Trial};
use crate::cluster::domain::Domain;
use crate::options::Size;
use crate::sample::median;

/// It is killed.
///
/// # Errors
/// If a job fails.
pub fn kill(reps: u32, size: Size) -> Result<Found> {
    let lose = |server: &mut Server, _: &Trial| {
        server.kill();
    };
    lose_one(reps, size, [Metric::KillS, Metric::KillReruns], lose)
}

/// It is frozen, and its engines with it: they hold their connections and say nothing.
///
/// # Errors
/// If a job fails.
pub fn stop(reps: u32, size: Size) -> Result<Found> {
    let lose = |server: &mut Server, trial: &Trial| {
        server.freeze();
        let engines = trial.engines().into_iter();
        for engine in engines.filter(|&engine| parent(engine) == Some(server.pid())) {
            atlas_testbed::signal(engine, Signal::STOP);
        }
    };
    lose_one(reps, size, [Metric::StopS, Metric::StopReruns], lose)
}

/// Which server is lost, and what the tasks are.
struct Case {
    name: &'static str,
    of_main: bool,
    bytes: usize,
    halves: bool,
}

fn lose_one(
    reps: u32,
    size: Size,
    metrics: [Metric; 2],
    lose: impl Fn(&mut Server, &Trial),
) -> Result<Found> {
    let (mut longest, mut most_again) = (0.0_f64, 0);
    let mut notes = Vec::new();
    for case in &CASES {
        let runs = (0..reps).map(|_| run(case, size, &lose));
        let runs = runs.collect::<Result<Vec<_>>>()?;
        let took = median(runs.iter().map(|(took, _)| *took).collect());
        let most = runs.iter().map(|(_, again)| *again).max().unwrap_or(0);
        longest = longest.max(took);
        most_again = most_again.max(most);
        notes.push(format!(
            "{}: {took:.2} s, at most {most} begun again, in {reps} runs",
            case.name
        ));
    }
    let figures = vec![(metrics[0], longest), (metrics[1], f64::from(most_again))];
    Ok(Found { figures, notes })
}

fn run(case: &Case, size: Size, lose: &impl Fn(&mut Server, &Trial)) -> Result<(f64, u32)> {
    let mut domain = Domain::with_servers(2);
    let tasks = Tasks {
        count: size.pick(64, 16),
        ms: size.pick(200, 50),
        bytes: case.bytes,
        halves: case.halves,
    };
    let trial = Trial::begin(&domain.shell, tasks)?;
    trial.wait_until_s(size.pick(3.0, 0.2));
    let main = trial.main().context("`main` has not begun")?;
    let of_main = parent(main).context("the engine of `main` is gone")?;
    let mut servers = domain.servers.iter_mut();
    let server = servers.find(|server| (server.pid() == of_main) == case.of_main);
    lose(server.context("no such server")?, &trial);
    let ended = trial.end();
    for server in &mut domain.servers {
        server.thaw();
    }
    ended
}

/// The worst of them counts.
const CASES: [Case; 4] = [
    Case {
        name: "the server without `main`",
        of_main: false,
        bytes: 8,
        halves: false,
    },
    Case {
        name: "the server with `main`",
        of_main: true,
        bytes: 8,
        halves: false,
    },
    Case {
        name: "results of 500 kB",
        of_main: false,
        bytes: 500_000,
        halves: false,
    },
    Case {
        name: "tasks split by halves",
        of_main: false,
        bytes: 8,
        halves: true,
    },
];
