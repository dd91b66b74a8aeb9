//! One of four servers is killed at a moment that nobody has chosen, again and again: the results are those of a quiet run, and what
//! was done twice is what the processors did beyond it.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atlas_testbed::{Shell, program};

use super::figures::{Found, Metric};
use crate::cluster::domain::Domain;
use crate::cluster::process::family_time;
use crate::options::Size;
use crate::sample::median;

/// A program, and the file that it leaves.
struct Program {
    name: &'static str,
    full: &'static [&'static str],
    quick: &'static [&'static str],
    file: Option<&'static str>,
}

const PROGRAMS: [Program; 3] = [
    Program {
        name: "nqueens",
        full: &["16"],
        quick: &["10"],
        file: None,
    },
    Program {
        name: "uts",
        full: &["t1l"],
        quick: &["t3-mini"],
        file: None,
    },
    Program {
        name: "raytrace",
        full: &["--samples", "32", "--quiet", "--out", "crash.png"],
        quick: &["--samples", "1", "--quiet", "--out", "crash.png"],
        file: Some("crash.png"),
    },
];

/// What a program leaves behind.
#[derive(PartialEq)]
struct Left {
    printed: Vec<u8>,
    file: Option<Vec<u8>>,
}

/// A run in which nothing was lost.
struct Quiet {
    left: Left,
    took: Duration,
    /// Of the processors.
    used: Duration,
}

/// So many runs with a loss each, of the three programs in turn.
///
/// # Errors
/// If a job fails.
pub fn crash(reps: u32, size: Size) -> Result<Found> {
    let mut domain = Domain::with_servers(SERVERS);
    let quiet = PROGRAMS.each_ref().map(|one| quiet(&domain, one, size));
    let [first, second, third] = quiet;
    let quiet = [first?, second?, third?];
    let mut wrong = 0_u32;
    let mut extra: [Vec<f64>; 3] = [const { Vec::new() }; 3];
    let mut notes = Vec::new();
    for run in 0..reps {
        let which = (run % 3) as usize;
        let (one, expected) = (&PROGRAMS[which], &quiet[which]);
        let (left, used) = lose_one(&mut domain, one, expected.took, size, run)?;
        if left != expected.left {
            wrong += 1;
            notes.push(format!("run {run}: {} leaves something else", one.name));
        }
        extra[which].push(used.as_secs_f64() - expected.used.as_secs_f64());
    }
    for ((one, expected), extra) in PROGRAMS.iter().zip(&quiet).zip(&extra) {
        if extra.is_empty() {
            continue;
        }
        let (took, used) = (expected.took.as_secs_f64(), expected.used.as_secs_f64());
        let (middle, most) = (median(extra.clone()), most(extra));
        notes.push(format!(
            "{}: {took:.2} s and {used:.2} s of processors if nothing is lost; beyond that {middle:.2} s, at most {most:.2} s, in {} runs",
            one.name,
            extra.len()
        ));
    }
    let figures = vec![
        (Metric::CrashWrong, f64::from(wrong)),
        (Metric::CrashRecomputedS, most(&extra.concat())),
    ];
    Ok(Found { figures, notes })
}

/// The second of two runs: the first one brings files to the servers.
fn quiet(domain: &Domain, one: &Program, size: Size) -> Result<Quiet> {
    let mut last = None;
    for _ in 0..3 {
        let (before, start) = (used(domain), Instant::now());
        let job = begin(&domain.shell, one, size);
        let left = left(&domain.shell, one, &job.wait())?;
        let (took, used) = (start.elapsed(), used(domain).saturating_sub(before));
        last = Some(Quiet { left, took, used });
    }
    last.context("it was run")
}

fn lose_one(
    domain: &mut Domain,
    one: &Program,
    took: Duration,
    size: Size,
    run: u32,
) -> Result<(Left, Duration)> {
    let before = used(domain);
    let job = begin(&domain.shell, one, size);
    let mut moments = Moments::of(run);
    sleep(took.mul_f64(moments.part()));
    let place = moments.below(domain.servers.len());
    // Nobody tells it after its end.
    let of_lost = family_time(domain.servers[place].pid());
    domain.servers[place].kill();
    let left = left(&domain.shell, one, &job.wait())?;
    let others = domain.servers.iter().enumerate();
    let others = others.filter(|(other, _)| *other != place);
    let of_others: Duration = others.map(|(_, server)| family_time(server.pid())).sum();
    domain.servers[place].restart();
    domain.manager.wait_for_workers(SERVERS);
    Ok((left, (of_lost + of_others).saturating_sub(before)))
}

fn begin(shell: &Shell, one: &Program, size: Size) -> atlas_testbed::Running {
    shell.begin_submit(program(one.name), size.pick(one.full, one.quick))
}

fn left(shell: &Shell, one: &Program, ended: &std::process::Output) -> Result<Left> {
    let error = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{} has failed: {error}", one.name);
    let path = one.file.map(|file| shell.here().join(file));
    let file = path.map(|path| {
        let content = fs::read(&path);
        fs::remove_file(&path).and(content)
    });
    Ok(Left {
        printed: ended.stdout.clone(),
        file: file.transpose().context("the picture is missing")?,
    })
}

/// The processor time of all servers and their engines.
fn used(domain: &Domain) -> Duration {
    let servers = domain.servers.iter();
    servers.map(|server| family_time(server.pid())).sum()
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// Moments that are the same in each run of the benchmark (Steele, Lea and Flood's SplitMix).
struct Moments(u64);

impl Moments {
    fn of(run: u32) -> Self {
        Self(u64::from(run) << 32)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From nothing to the whole.
    fn part(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or(0)
    }
}

const SERVERS: u64 = 4;
