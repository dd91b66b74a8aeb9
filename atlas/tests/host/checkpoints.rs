//! Results that one runtime records, and another one finds instead of computing them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atlas::Shared;
use atlas::host::{Host, Key, LentClosure, Outcome, PortableClosure, Recorded, TaskId, Ticket};
use atlas::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::notes::Rig;
use crate::programs::{fib, fib_plain, mix, queens, queens_plain, tree, tree_plain};

/// How often the leaves of each test have run: a test has a row of its own.
static RUNS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

fn runs(row: usize) -> u64 {
    RUNS[row].load(Ordering::Relaxed)
}

/// Long enough to be recorded, and to be told from what is not.
const LEAF: Duration = Duration::from_millis(4);

fn spin(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn work(row: usize, number: u64) -> u64 {
    RUNS[row].fetch_add(1, Ordering::Relaxed);
    spin(LEAF);
    mix(number)
}

#[atlas::spawn]
fn leaf(row: usize, number: u64) -> u64 {
    work(row, number)
}

#[atlas::spawn]
fn halves(row: usize, from: u64, to: u64) -> u64 {
    if to - from == 1 {
        return leaf(row, from);
    }
    let middle = from.midpoint(to);
    let (a, b) = join!(halves(row, from, middle), halves(row, middle, to));
    a ^ b
}

#[atlas::spawn]
fn handles(row: usize, from: u64, to: u64) -> u64 {
    let leaves: Vec<_> = (from..to).map(|number| spawn!(leaf(row, number))).collect();
    leaves.into_iter().fold(0, |sum, leaf| sum ^ leaf.sync())
}

#[atlas::spawn]
fn frames(row: usize, from: u64, to: u64) -> Next<u64> {
    if to - from == 1 {
        return Next::value(work(row, from));
    }
    let middle = from.midpoint(to);
    spawn_next!(frames(row, from, middle), frames(row, middle, to) => xor())
}

#[atlas::spawn]
fn xor(a: u64, b: u64) -> u64 {
    a ^ b
}

/// One join after the other, with a short child in each.
#[atlas::spawn]
fn in_turn(row: usize, from: u64, to: u64) -> u64 {
    (from..to).fold(0, |sum, number| {
        let (leaf, short) = join!(leaf(row, number), xor(sum, 0));
        leaf ^ short
    })
}

/// The same the other way round, and each in the last child of the one before.
#[atlas::spawn]
fn rest_last(row: usize, from: u64, to: u64) -> u64 {
    if from == to {
        return 0;
    }
    let (short, leaf, rest) = join!(xor(0, 0), leaf(row, from), rest_last(row, from + 1, to));
    short ^ leaf ^ rest
}

fn expected(from: u64, to: u64) -> u64 {
    (from..to).fold(0, |sum, number| sum ^ mix(number))
}

fn closure(path: &str, args: &impl Serialize) -> PortableClosure {
    PortableClosure {
        task: TaskId::of_path(path),
        args: postcard::to_stdvec(args).unwrap(),
    }
}

fn rig(workers: usize) -> Rig {
    Rig::with(|builder| builder.checkpoints(true).workers(workers))
}

const FIRST: Ticket = Ticket(1);

/// Runs it to its end.
fn value<T: DeserializeOwned>(rig: &Rig, closure: &PortableClosure) -> T {
    rig.runtime.accept(FIRST, closure).unwrap();
    match rig.notes.outcome(FIRST) {
        Outcome::Value(bytes) => postcard::from_bytes(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// What is recorded of a run to its end.
fn recorded(workers: usize, closure: &PortableClosure) -> Vec<Recorded> {
    let rig = rig(workers);
    let _: u64 = value(&rig, closure);
    rig.notes
        .wait_for("records", |told| Some(told.recorded.clone()))
}

/// Loses a run in the middle, and computes it again with what was recorded: how many leaves that had begun ran again.
fn reruns_after_loss(row: usize, path: &str, workers: usize) -> u64 {
    const LEAVES: u64 = 64;
    let closure = closure(path, &(row, 0_u64, LEAVES));
    let (entries, begun) = {
        let rig = rig(workers);
        rig.runtime.accept(FIRST, &closure).unwrap();
        while runs(row) < LEAVES / 2 {
            std::thread::yield_now();
        }
        let entries = rig.notes.look(|told| told.recorded.clone());
        let begun = runs(row);
        assert!(rig.runtime.abort_accepted(FIRST));
        (entries, begun)
    };
    RUNS[row].store(0, Ordering::Relaxed);
    let rig = rig(workers);
    rig.runtime.remember(entries);
    assert_eq!(value::<u64>(&rig, &closure), expected(0, LEAVES));
    let stats = rig.runtime.stats();
    assert!(stats.children_found > 0, "{stats:?}");
    runs(row) - (LEAVES - begun)
}

#[test]
fn what_had_finished_in_a_join_is_not_run_again() {
    assert!(reruns_after_loss(0, "host::checkpoints::halves", 1) <= 2);
}

#[test]
fn what_had_finished_on_two_workers_is_not_run_again() {
    assert!(reruns_after_loss(1, "host::checkpoints::halves", 2) <= 3);
}

#[test]
fn handles_that_were_done_are_not_run_again() {
    assert!(reruns_after_loss(2, "host::checkpoints::handles", 1) <= 2);
}

#[test]
fn frames_children_that_were_done_are_not_run_again() {
    assert!(reruns_after_loss(3, "host::checkpoints::frames", 1) <= 2);
}

#[test]
fn long_children_beside_short_ones_are_not_run_again() {
    assert!(reruns_after_loss(4, "host::checkpoints::in_turn", 1) <= 2);
    assert!(reruns_after_loss(5, "host::checkpoints::rest_last", 1) <= 2);
}
