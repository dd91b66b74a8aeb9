//! Short parallel regions on two workers: a balanced tree of joins over `k`
//! leaves of 0.6 us, back to back and after a pause.
//!
//! Interactive programs look like this: little work, now and then. What counts
//! is how soon the second worker takes part, and that the first loses nothing
//! where it is not worth it. The caller waits out the pause on the clock inside
//! the pool, so that the other worker may go to sleep but the caller does not.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atlas::prelude::*;

use crate::options::Size;
use crate::pools::{Atlas, Fork, Pools, Rayon};
use crate::report::{Bench, Case, Metric, Row, Variant, name};
use crate::sample::median;
use crate::spin::{Spin, busy_wait};

/// The median time of one region for each number of leaves, pause and case.
///
/// # Errors
/// If a region answers otherwise than the sequential one.
pub fn measure(two: &Pools, reps: u32, size: Size) -> Result<Vec<Row>> {
    let spin = Spin::lasting(LEAF);
    let mut rows = Vec::new();
    for leaves in [32, 64, 256] {
        for pause_us in [0, 300] {
            eprintln!("region of {leaves} leaves after {pause_us} us");
            let series = Regions {
                spin,
                leaves,
                pause: Duration::from_micros(pause_us.into()),
                runs: size.pick(400, 10),
            };
            let variant = Variant {
                k: Some(leaves),
                after_idle_us: Some(pause_us),
                items: None,
            };
            rows.extend(series.rows(two, reps, variant)?);
        }
    }
    Ok(rows)
}

/// Regions of one kind.
struct Regions {
    spin: Spin,
    leaves: u32,
    pause: Duration,
    /// How many of them one case runs before it is the next one's turn.
    runs: u32,
}

impl Regions {
    fn rows(&self, two: &Pools, reps: u32, variant: Variant) -> Result<Vec<Row>> {
        let mut samples = CASES.map(|case| (case, Vec::new()));
        for _ in 0..reps {
            for (case, times) in &mut samples {
                times.extend(self.time(*case, two)?);
            }
        }
        let rows = samples.into_iter().map(|(case, times)| {
            let time = median(times) * 1e6;
            Row::new(Bench::Region, case, Metric::RegionUs, time).with(variant)
        });
        Ok(rows.collect())
    }

    /// The seconds that each of a block of regions takes.
    fn time(&self, case: Case, two: &Pools) -> Result<Vec<f64>> {
        let Self { spin, leaves, .. } = *self;
        let (times, answer) = match case {
            Case::Seq => self.block(|| sequential(leaves, spin)),
            Case::Join | Case::Cps => two.atlas.run(|| self.block(|| region(leaves, spin))),
            Case::Closure => two
                .atlas
                .run(|| self.block(|| by_closures::<Atlas>(leaves, spin))),
            Case::Rayon => two
                .rayon
                .install(|| self.block(|| by_closures::<Rayon>(leaves, spin))),
            Case::Chili => {
                let mut scope = two.chili.scope();
                self.block(|| by_chili(&mut scope, leaves, spin))
            }
        };
        let expected = spin
            .run()
            .wrapping_mul(u64::from(leaves) * u64::from(self.runs));
        ensure!(answer == expected, "region {}: wrong answer", name(case));
        Ok(times)
    }

    fn block(&self, mut region: impl FnMut() -> u64) -> (Vec<f64>, u64) {
        let mut times = Vec::new();
        let mut sum: u64 = 0;
        for _ in 0..self.runs {
            busy_wait(self.pause);
            let start = Instant::now();
            let answer = black_box(region());
            times.push(start.elapsed().as_secs_f64());
            sum = sum.wrapping_add(answer);
        }
        (times, sum)
    }
}

fn sequential(leaves: u32, spin: Spin) -> u64 {
    (0..leaves).fold(0, |sum: u64, _| sum.wrapping_add(spin.run()))
}

#[atlas::spawn]
fn region(leaves: u32, spin: Spin) -> u64 {
    if leaves == 1 {
        return spin.run();
    }
    let half = leaves / 2;
    let (left, right) = join!(region(half, spin), region(leaves - half, spin));
    left.wrapping_add(right)
}

fn by_closures<F: Fork>(leaves: u32, spin: Spin) -> u64 {
    if leaves == 1 {
        return spin.run();
    }
    let half = leaves / 2;
    let (left, right) = F::join(
        move || by_closures::<F>(half, spin),
        move || by_closures::<F>(leaves - half, spin),
    );
    left.wrapping_add(right)
}

fn by_chili(scope: &mut chili::Scope<'_>, leaves: u32, spin: Spin) -> u64 {
    if leaves == 1 {
        return spin.run();
    }
    let half = leaves / 2;
    let (right, left) = scope.join(
        move |s| by_chili(s, leaves - half, spin),
        move |s| by_chili(s, half, spin),
    );
    left.wrapping_add(right)
}

const CASES: [Case; 5] = [
    Case::Seq,
    Case::Join,
    Case::Closure,
    Case::Rayon,
    Case::Chili,
];

const LEAF: Duration = Duration::from_nanos(600);
