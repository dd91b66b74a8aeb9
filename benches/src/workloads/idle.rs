//! A pool of two workers that has nothing to do: what it costs meanwhile, and
//! how soon both workers are at work again.
//!
//! chili is idle with a scope open, since its scope is what a program keeps.

use std::thread;
use std::time::{Duration, Instant};

use crate::options::Size;
use crate::pools::{Atlas, Fork, Pools, Rayon};
use crate::procs::CpuMeter;
use crate::report::{Bench, Case, Metric, Row, name};
use crate::sample::median;
use crate::spin::busy_wait;

/// CPU time while idle, and the time to the first steal out of sleep.
///
/// A pool whose second worker never took part has no first steal, and no row.
#[must_use]
pub fn measure(two: &Pools, size: Size) -> Vec<Row> {
    let length = size.pick(Duration::from_secs(5), Duration::from_secs(1));
    let mut rows = Vec::new();
    for case in CASES {
        eprintln!("idle {}", name(case));
        let per_cent = 100.0 * idle_cores(case, two, length);
        rows.push(Row::new(Bench::Idle, case, Metric::IdleCpuPct, per_cent));
    }
    let mut samples = CASES.map(|case| (case, Vec::new()));
    for _ in 0..size.pick(100, 5) {
        for (case, times) in &mut samples {
            times.extend(first_steal(*case, two));
        }
    }
    for (case, times) in samples {
        if times.is_empty() {
            eprintln!("idle {}: the second worker never took part", name(case));
            continue;
        }
        rows.push(Row::new(
            Bench::Idle,
            case,
            Metric::FirstStealUs,
            median(times) * 1e6,
        ));
    }
    rows
}

/// How many cores are busy while the pool is not.
fn idle_cores(case: Case, two: &Pools, length: Duration) -> f64 {
    let _scope = (case == Case::Chili).then(|| two.chili.scope());
    let _ = first_steal(case, two);
    thread::sleep(FALL_ASLEEP);
    let meter = CpuMeter::start();
    thread::sleep(length);
    meter.cores_used()
}

/// Seconds from the call into a sleeping pool until its two workers each run a
/// half of the work; nothing if one worker ran both.
fn first_steal(case: Case, two: &Pools) -> Option<f64> {
    let mut scope = (case == Case::Chili).then(|| two.chili.scope());
    thread::sleep(FALL_ASLEEP);
    let start = Instant::now();
    let (one, other) = match &mut scope {
        Some(scope) => scope.join(|_| half(), |_| half()),
        None if case == Case::Rayon => two.rayon.install(|| Rayon::join(half, half)),
        None => two.atlas.run(|| Atlas::join(half, half)),
    };
    let later = one.begun.max(other.begun);
    (one.by != other.by).then(|| later.duration_since(start).as_secs_f64())
}

fn half() -> Half {
    let half = Half {
        by: thread::current().id(),
        begun: Instant::now(),
    };
    busy_wait(HALF);
    half
}

/// Who ran a half of the work, and from when on.
struct Half {
    by: thread::ThreadId,
    begun: Instant,
}

const CASES: [Case; 3] = [Case::Closure, Case::Rayon, Case::Chili];

/// Longer than any worker spins before it sleeps.
const FALL_ASLEEP: Duration = Duration::from_millis(20);

/// Long enough that the other worker arrives before it is over.
const HALF: Duration = Duration::from_millis(2);
