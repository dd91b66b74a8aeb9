//! All constructs at once on more workers than processors, from random seeds,
//! with panics and aborts: every result is the sequential one, and every
//! argument is dropped once.
//!
//! `ATLAS_STRESS_SECS` says for how long (default: half a second). A seed that
//! failed is run again, first and alone, by `ATLAS_STRESS_SEED`.

mod support;

use std::env;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atlas::Runtime;
use atlas::prelude::*;
use support::{DEADLINE, Ledger, Token, runtime, wait_until};

static LEDGER: Ledger = Ledger::new();
/// Jobs that are done: the watchdog wants to see it grow.
static PROGRESS: AtomicU64 = AtomicU64::new(0);
static LAST_SEED: AtomicU64 = AtomicU64::new(0);

#[test]
fn random_programs_give_sequential_results_and_drop_everything_once() {
    let seconds = number("ATLAS_STRESS_SECS").unwrap_or(0.5);
    let first = match number::<u64>("ATLAS_STRESS_SEED") {
        Some(seed) => seed,
        None => std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
    };
    println!("ATLAS_STRESS_SEED={first}");
    let runtime = Arc::new(runtime(8));
    let over = Arc::new(AtomicBool::new(false));
    let watchdog = watch(Arc::clone(&runtime), Arc::clone(&over));
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    thread::scope(|scope| {
        // Two threads enter from outside, so that two root strands compete.
        for entry in 0..2 {
            let runtime = &runtime;
            scope.spawn(move || {
                let mut seed = first.wrapping_add(entry << 32);
                while Instant::now() < until {
                    run_one(runtime, seed);
                    seed = seed.wrapping_add(1);
                    PROGRESS.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    wait_until(|| LEDGER.is_balanced());
    over.store(true, Ordering::Relaxed);
    watchdog.join().expect("the watchdog aborts or returns");
    let stats = runtime.stats();
    println!("{} programs, {stats:?}", PROGRESS.load(Ordering::Relaxed));
    drop(Arc::into_inner(runtime));
    LEDGER.assert_balanced();
}

/// Each program is run as it is, and once more with panics in it.
fn run_one(runtime: &Runtime, seed: u64) {
    LAST_SEED.store(seed, Ordering::Relaxed);
    let size = 1 << (seed % 12);
    let found = runtime.run(|| node(seed, size, 0, LEDGER.token()));
    assert_eq!(found, sequential(seed, size), "ATLAS_STRESS_SEED={seed}");
    let panics_one_in = 1 + u32::try_from(seed % 257).expect("small");
    let failed = runtime.run(|| atlas::catch(|| node(seed, size, panics_one_in, LEDGER.token())));
    match failed {
        Ok(found) => assert_eq!(found, sequential(seed, size), "ATLAS_STRESS_SEED={seed}"),
        Err(panic) => {
            assert!(!panic.is_abort(), "ATLAS_STRESS_SEED={seed}: {panic}");
            let message = panic.message();
            assert!(
                message.contains("on purpose"),
                "ATLAS_STRESS_SEED={seed}: {panic}"
            );
        }
    }
}

/// What `node` gives.
fn sequential(seed: u64, size: u32) -> u64 {
    if size < 2 {
        return leaf(seed);
    }
    children(seed, size)
        .iter()
        .fold(seed, |sum, &(seed, size)| mix(sum, sequential(seed, size)))
}

/// Two to four children that share the size.
fn children(seed: u64, size: u32) -> Vec<(u64, u32)> {
    let count = 2 + u32::try_from(seed >> 8 & 1).expect("a bit") * 2;
    let share = |child| (size - 1) / count + u32::from(child < (size - 1) % count);
    (0..count)
        .map(|child| (mix(seed, u64::from(child)), share(child)))
        .collect()
}

/// One node in direct style: its seed says how the children are run.
#[atlas::spawn]
fn node(seed: u64, size: u32, panics_one_in: u32, token: Token) -> u64 {
    if size < 2 {
        maybe_panic(seed, panics_one_in);
        return leaf(seed);
    }
    let children = children(seed, size);
    let child = |at: usize| (children[at].0, children[at].1, panics_one_in, token.clone());
    let results = match seed % 8 {
        0 | 1 if children.len() == 2 => {
            let ((a, b, c, d), (e, f, g, h)) = (child(0), child(1));
            let (a, b) = join!(node(a, b, c, d), node(e, f, g, h));
            vec![a, b]
        }
        2 => scoped(&children, panics_one_in, &token),
        3 => {
            let unwanted = child(0);
            let unwanted = spawn!(node(unwanted.0, unwanted.1 * 4, 0, unwanted.3));
            let results = spawned(&children, panics_one_in, &token);
            drop(unwanted);
            results
        }
        4 => spawned(&children, panics_one_in, &token),
        5 | 6 if children.len() == 2 => {
            return passing(seed, size, panics_one_in, token).sync();
        }
        _ => halves(&children, panics_one_in, &token),
    };
    maybe_panic(seed, panics_one_in);
    results.into_iter().fold(seed, mix)
}

/// One node in continuation-passing style.
#[atlas::spawn]
fn passing(seed: u64, size: u32, panics_one_in: u32, token: Token) -> Next<u64> {
    if size < 2 {
        maybe_panic(seed, panics_one_in);
        return Next::value(leaf(seed));
    }
    let n = panics_one_in;
    let t = || token.clone();
    match *children(seed, size) {
        [(a, x), (b, y)] if seed & 16 == 0 => {
            spawn_next!(passing(a, x, n, t()), passing(b, y, n, t()) => fold2(seed, n, t()))
        }
        [(a, x), (b, y)] => {
            spawn_next!(node(a, x, n, t()), passing(b, y, n, t()) => fold2(seed, n, t()))
        }
        [(a, x), (b, y), (c, z), (d, w)] => spawn_next!(
            passing(a, x, n, t()), passing(b, y, n, t()), node(c, z, n, t()), passing(d, w, n, t())
                => fold4(seed, n, t())
        ),
        _ => unreachable!("two or four children"),
    }
}

#[atlas::spawn]
fn fold2(a: u64, b: u64, seed: u64, panics_one_in: u32, token: Token) -> u64 {
    let _held = token;
    maybe_panic(seed, panics_one_in);
    mix(mix(seed, a), b)
}

#[atlas::spawn]
fn fold4(a: u64, b: u64, c: u64, d: u64, seed: u64, panics_one_in: u32, token: Token) -> Next<u64> {
    spawn_next!(fold2(a, b, seed, panics_one_in, token.clone()) => fold3(c, d, token))
}

#[atlas::spawn]
fn fold3(sum: u64, c: u64, d: u64, token: Token) -> u64 {
    drop(token);
    mix(mix(sum, c), d)
}

fn scoped(children: &[(u64, u32)], panics_one_in: u32, token: &Token) -> Vec<u64> {
    let mut results = vec![0; children.len()];
    atlas::scope(|scope| {
        for (&(seed, size), result) in children.iter().zip(&mut results) {
            scope.spawn(move |_| *result = node(seed, size, panics_one_in, token.clone()));
        }
    });
    results
}

fn spawned(children: &[(u64, u32)], panics_one_in: u32, token: &Token) -> Vec<u64> {
    let handles: Vec<_> = children
        .iter()
        .map(|&(seed, size)| spawn!(node(seed, size, panics_one_in, token.clone())))
        .collect();
    handles.into_iter().map(Handle::sync).collect()
}

/// Joins of Rust closures that borrow.
fn halves(children: &[(u64, u32)], panics_one_in: u32, token: &Token) -> Vec<u64> {
    if let [(seed, size)] = *children {
        return vec![node(seed, size, panics_one_in, token.clone())];
    }
    let (left, right) = children.split_at(children.len() / 2);
    let (mut left, right) = atlas::join(
        || halves(left, panics_one_in, token),
        || halves(right, panics_one_in, token),
    );
    left.extend(right);
    left
}

/// Unwinds without the hook's message: there are many of them.
fn maybe_panic(seed: u64, one_in: u32) {
    if one_in > 1 && mix(seed, 99).is_multiple_of(u64::from(one_in)) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

fn leaf(seed: u64) -> u64 {
    (0..seed % 300).fold(seed, |sum, step| mix(black_box(sum), step))
}

fn mix(a: u64, b: u64) -> u64 {
    let mixed = (a.rotate_left(23) ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// Ends the process, and says where it stood, if nothing is done any more.
fn watch(runtime: Arc<Runtime>, over: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut seen = (u64::MAX, Instant::now());
        while !over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
            let progress = PROGRESS.load(Ordering::Relaxed);
            if progress != seen.0 {
                seen = (progress, Instant::now());
            } else if seen.1.elapsed() > DEADLINE + Duration::from_secs(10) {
                let (seed, stats) = (LAST_SEED.load(Ordering::Relaxed), runtime.stats());
                eprintln!("no progress after {progress} programs, seed {seed}: {stats:?}");
                std::process::abort();
            }
        }
    })
}

fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    env::var(variable).ok()?.parse().ok()
}
