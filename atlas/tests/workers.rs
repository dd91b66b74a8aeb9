//! Fewer workers than there are, or none: who runs, who waits, and that nothing is lost meanwhile.

#[path = "support/fibonacci.rs"]
mod fibonacci;
mod support;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atlas::prelude::*;
use fibonacci::{fib, fib_next};
use support::{DEADLINE, join_until, runtime, wait_until};

#[atlas::spawn]
fn fib_handles(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let a = spawn!(fib_handles(n - 1));
    fib_handles(n - 2) + a.sync()
}

/// Joins, and counts, until it is told to stop.
fn count_until(stop: &AtomicBool, joins: &AtomicU64) {
    join_until(|| {
        joins.fetch_add(1, Ordering::Relaxed);
        stop.load(Ordering::Relaxed)
    });
}

#[test]
fn any_number_of_workers_gives_the_result() {
    let runtime = runtime(4);
    for workers in [3, 1, 2, 4, 9] {
        runtime.set_workers(workers);
        assert_eq!(runtime.active_workers(), workers.min(4));
        assert_eq!(runtime.run(|| fib(18)), 2584);
        assert_eq!(runtime.run(|| fib_handles(14)), 377);
        assert_eq!(runtime.run(|| fib_next(14).sync()), 377);
    }
}

#[test]
fn number_that_changes_all_the_time_loses_nothing() {
    let runtime = runtime(4);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 1_usize;
            while !done.load(Ordering::Relaxed) {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                runtime.set_workers((random >> 33) % 5);
                thread::yield_now();
            }
            runtime.set_workers(4);
        });
        for _ in 0..20 {
            assert_eq!(runtime.run(|| fib(18)), 2584);
            assert_eq!(runtime.run(|| fib_handles(12)), 144);
            assert_eq!(runtime.run(|| fib_next(12).sync()), 144);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn no_worker_runs_and_the_work_goes_on_afterwards() {
    let (stop, joins) = (AtomicBool::new(false), AtomicU64::new(0));
    let runtime = runtime(2);
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            runtime
                .run(|| atlas::join(|| count_until(&stop, &joins), || count_until(&stop, &joins)))
        });
        wait_until(|| joins.load(Ordering::Relaxed) > 100);
        runtime.set_workers(0);
        // It has stopped when a look and a later one see the same.
        let before = Cell::new(0);
        wait_until(|| {
            thread::sleep(Duration::from_millis(5));
            let now = joins.load(Ordering::Relaxed);
            before.replace(now) == now
        });
        assert!(!run.is_finished());
        runtime.set_workers(1);
        wait_until(|| joins.load(Ordering::Relaxed) > before.get());
        stop.store(true, Ordering::Relaxed);
        run.join().expect("no task panics");
    });
}

#[test]
fn what_a_stopped_worker_has_not_begun_can_be_lent() {
    let (stop, joins) = (AtomicBool::new(false), AtomicU64::new(0));
    let runtime = runtime(1);
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            runtime.run(|| {
                let work = || count_until(&stop, &joins);
                atlas::join(|| atlas::join(work, || ()), fib_of_20).1
            })
        });
        wait_until(|| joins.load(Ordering::Relaxed) > 0);
        runtime.set_workers(0);
        wait_until(|| runtime.ready_count() >= 2);
        stop.store(true, Ordering::Relaxed);
        assert!(!run.is_finished());
        runtime.set_workers(1);
        assert_eq!(run.join().expect("no task panics"), 6765);
    });
}

fn fib_of_20() -> u64 {
    fib(20)
}

#[test]
fn runtime_without_a_running_worker_can_be_dropped() {
    let runtime = runtime(3);
    runtime.set_workers(0);
    let began = Instant::now();
    drop(runtime);
    assert!(began.elapsed() < DEADLINE);
}
