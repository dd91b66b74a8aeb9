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
    let mut found = Found {
        figures: Vec::new(),
        notes: Vec::new(),
    };
    for (place, case) in CASES.iter().enumerate() {
        let runs = (0..reps).map(|_| run(case, size, &lose));
        let runs = runs.collect::<Result<Vec<_>>>()?;
        let took = median(runs.iter().map(|(took, _)| *took).collect());
        let again = median(runs.iter().map(|(_, again)| f64::from(*again)).collect());
        let most = runs.iter().map(|(_, again)| *again).max().unwrap_or(0);
        if place == 0 {
            found.figures = vec![(metrics[0], took), (metrics[1], again)];
        }
        found.notes.push(format!(
            "{}: {took:.2} s, {again} begun again, at most {most}, in {reps} runs",
            case.name
        ));
    }
    Ok(found)
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

/// The first one's figures count.
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
