//! What single operations cost, by criterion: `cargo bench -p atlas-benches`.
//!
//! Each operation runs in a loop inside a pool of one worker, where nobody
//! steals: what is measured is the path that nearly every join takes. Only
//! `run` is called from outside, on one worker and on two.

use std::hint::black_box;
use std::time::{Duration, Instant};

use atlas::prelude::*;
use criterion::{Bencher, Criterion, criterion_group, criterion_main};

#[atlas::spawn]
fn unit() {}

#[atlas::spawn]
fn number(n: u64) -> u64 {
    n
}

#[atlas::spawn]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[atlas::spawn]
fn add_later(a: u64, b: u64) -> Next<u64> {
    spawn_next!(number(a), number(b) => add())
}

criterion_group!(operations, join_forms, handles, continuations, entry);
criterion_main!(operations);

fn join_forms(criterion: &mut Criterion) {
    let pool = pool(1);
    criterion.bench_function("join of two empty closures", |bencher| {
        inside(bencher, &pool, || atlas::join(|| (), || ()));
    });
    criterion.bench_function("join! of two empty tasks", |bencher| {
        inside(bencher, &pool, || join!(unit(), unit()));
    });
    criterion.bench_function("join! of two numbers", |bencher| {
        inside(bencher, &pool, || {
            let (a, b) = (black_box(1), black_box(2));
            join!(number(a), number(b))
        });
    });
}

fn handles(criterion: &mut Criterion) {
    let pool = pool(1);
    criterion.bench_function("spawn! and sync", |bencher| {
        inside(bencher, &pool, || {
            let n = black_box(1);
            spawn!(number(n)).sync()
        });
    });
}

/// Includes one `spawn!` and `sync`, as a continuation needs somebody to wait for it.
fn continuations(criterion: &mut Criterion) {
    let pool = pool(1);
    criterion.bench_function("spawn_next! of two numbers", |bencher| {
        inside(bencher, &pool, || {
            let (a, b) = (black_box(1), black_box(2));
            spawn!(add_later(a, b)).sync()
        });
    });
}

fn entry(criterion: &mut Criterion) {
    for workers in [1, 2] {
        let pool = pool(workers);
        criterion.bench_function(&format!("run from outside, {workers} workers"), |bencher| {
            bencher.iter(|| pool.run(|| black_box(1)));
        });
    }
}

/// Times `operation` on a worker, without the way into the pool.
fn inside<R>(bencher: &mut Bencher<'_>, pool: &atlas::Runtime, operation: impl Fn() -> R + Sync) {
    bencher.iter_custom(|times| pool.run(|| loop_of(times, &operation)));
}

fn loop_of<R>(times: u64, operation: impl Fn() -> R) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        black_box(operation());
    }
    start.elapsed()
}

fn pool(workers: usize) -> atlas::Runtime {
    atlas::Runtime::builder()
        .workers(workers)
        .build()
        .expect("one or two threads can be had on any machine")
}
