//! Sequential work inside a pool of two workers: how many cores it takes.
//!
//! One is right. A pool whose idle worker looks for work all the time takes
//! two, from the battery or from the other programs of the machine.

use std::time::Duration;

use crate::options::Size;
use crate::pools::Pools;
use crate::procs::CpuMeter;
use crate::report::{Bench, Case, Metric, Row, name};
use crate::sample::median;
use crate::spin::busy_wait;

/// The median number of cores busy while one thread of each pool works.
#[must_use]
pub fn measure(two: &Pools, reps: u32, size: Size) -> Vec<Row> {
    let length = size.pick(Duration::from_millis(500), Duration::from_millis(50));
    let mut samples = CASES.map(|case| (case, Vec::new()));
    for _ in 0..reps {
        for (case, cores) in &mut samples {
            eprintln!("seq_in_pool {}", name(*case));
            cores.push(cores_used(*case, two, length));
        }
    }
    let row = |(case, cores)| Row::new(Bench::SeqInPool, case, Metric::CoresUsed, median(cores));
    samples.into_iter().map(row).collect()
}

fn cores_used(case: Case, two: &Pools, length: Duration) -> f64 {
    let work = move || {
        let meter = CpuMeter::start();
        busy_wait(length);
        meter.cores_used()
    };
    match case {
        Case::Seq => work(),
        Case::Join | Case::Cps | Case::Closure => two.atlas.run(work),
        Case::Rayon => two.rayon.install(work),
        Case::Chili => {
            let _scope = two.chili.scope();
            work()
        }
    }
}

const CASES: [Case; 4] = [Case::Seq, Case::Closure, Case::Rayon, Case::Chili];
