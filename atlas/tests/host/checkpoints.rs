//! Results that one runtime records, and another one finds instead of computing them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atlas::Shared;
use atlas::host::{Key, Outcome, PortableClosure, Recorded, TaskId, Ticket};
use atlas::prelude::*;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::notes::{Gate, Rig};
use crate::programs::mix;

/// How often the leaves of each test have run: a test has a row of its own.
static RUNS: [AtomicU64; 17] = [const { AtomicU64::new(0) }; 17];

fn runs(row: usize) -> u64 {
    RUNS[row].load(Ordering::Relaxed)
}

/// Long enough to be recorded, and to be told from what is not.
const LEAF: Duration = Duration::from_millis(10);

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
        other @ (Outcome::Panic { .. } | Outcome::Refused { .. }) => panic!("{other:?}"),
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

/// A long task without children: it keeps how far it has come.
#[atlas::spawn]
fn counts(row: usize, steps: u64) -> u64 {
    let (from, sum) = atlas::resume().unwrap_or((0, 0));
    (from..steps).fold(sum, |sum: u64, step| {
        atlas::checkpoint(&(step, sum));
        sum ^ work(row, step)
    })
}

/// Two of them, called as plain functions: the second must not be given the state of the first.
#[atlas::spawn]
fn counts_twice(row: usize, steps: u64) -> u64 {
    counts(row, steps) ^ counts(row, steps + 1)
}

/// And one after a join, where it is no leaf.
#[atlas::spawn]
fn counts_late(row: usize, steps: u64) -> u64 {
    let (a, b) = join!(xor(1, 2), xor(1, 2));
    counts(row, steps) ^ a ^ b
}

/// Runs until so many steps were made, and again with what was recorded: how many steps that takes.
fn steps_after_loss(row: usize, closure: &PortableClosure, steps: u64) -> (u64, u64) {
    let entries = {
        let rig = rig(1);
        rig.runtime.accept(FIRST, closure).unwrap();
        while runs(row) < steps {
            std::thread::yield_now();
        }
        let entries = rig.notes.look(|told| told.recorded.clone());
        assert!(rig.runtime.abort_accepted(FIRST));
        entries
    };
    RUNS[row].store(0, Ordering::Relaxed);
    let rig = rig(1);
    rig.runtime.remember(entries);
    let value = value(&rig, closure);
    (value, runs(row))
}

#[test]
fn long_leaf_goes_on_from_its_last_state() {
    const STEPS: u64 = 250;
    let closure = closure("host::checkpoints::counts", &(6_usize, STEPS));
    let (value, steps) = steps_after_loss(6, &closure, 220);
    assert_eq!(value, expected(0, STEPS));
    // A second is 100 steps.
    assert!(steps < 220, "{steps} steps");
}

#[test]
fn state_is_given_to_its_own_task_alone() {
    let both = expected(0, 60) ^ expected(0, 61);
    let twice = closure("host::checkpoints::counts_twice", &(7_usize, 60_u64));
    assert_eq!(steps_after_loss(7, &twice, 100).0, both);
    let late = closure("host::checkpoints::counts_late", &(8_usize, 60_u64));
    assert_eq!(steps_after_loss(8, &late, 50), (expected(0, 60), 60));
}

#[test]
fn outside_of_an_engine_no_state_is_kept() {
    assert_eq!(atlas::run(|| counts(9, 3)), expected(0, 3));
    assert_eq!(atlas::resume::<u64>(), None);
}

/// Another result each time.
#[atlas::spawn(impure)]
fn impure(row: usize, number: u64) -> u64 {
    work(row, number)
}

#[atlas::spawn]
fn impure_halves(row: usize, from: u64, to: u64) -> u64 {
    if to - from == 1 {
        let (a, b) = join!(impure(row, from), impure(row, from + 1000));
        return a ^ b ^ mix(from + 1000);
    }
    let middle = from.midpoint(to);
    let (a, b) = join!(
        impure_halves(row, from, middle),
        impure_halves(row, middle, to)
    );
    a ^ b
}

fn key(closure: &PortableClosure) -> Key {
    let bytes = [&closure.task.number().to_le_bytes(), &*closure.args].concat();
    Key(*blake3::hash(&bytes).as_bytes())
}

#[test]
fn impure_tasks_are_neither_recorded_nor_found() {
    let closure_of = |number: u64| closure("host::checkpoints::impure", &(10_usize, number));
    let keys: Vec<_> = (0..4)
        .chain(1000..1004)
        .map(|number| key(&closure_of(number)))
        .collect();
    let whole = closure(
        "host::checkpoints::impure_halves",
        &(10_usize, 0_u64, 4_u64),
    );
    let entries = recorded(1, &whole);
    assert!(
        entries.iter().all(|entry| !keys.contains(&entry.key)),
        "{entries:?}"
    );
    assert!(!entries.is_empty(), "the pure tasks above them");
    let entry = Recorded {
        key: keys[0],
        result: vec![77],
        work: Duration::from_secs(9),
        above: Vec::new(),
    };
    let rig = rig(1);
    rig.runtime.remember(vec![entry]);
    assert_eq!(value::<u64>(&rig, &closure_of(0)), mix(0));
}

#[atlas::spawn]
fn panics_late(row: usize, number: u64) -> u64 {
    panic!("no {}", work(row, number));
}

#[atlas::spawn]
fn survives(row: usize) -> u64 {
    let caught = atlas::catch(|| join!(panics_late(row, 1), panics_late(row, 2)));
    let handle = spawn!(panics_late(row, 3)).try_sync();
    u64::from(caught.is_err() && handle.is_err())
}

#[test]
fn panics_are_not_recorded() {
    assert_eq!(
        recorded(1, &closure("host::checkpoints::survives", &(11_usize,))),
        []
    );
}

#[atlas::spawn]
fn summed(row: usize, table: Shared<Vec<u64>>, from: usize, to: usize) -> u64 {
    if to - from == 1 {
        return work(row, table[from]);
    }
    let middle = from.midpoint(to);
    let (a, b) = join!(
        summed(row, table.clone(), from, middle),
        summed(row, table, middle, to)
    );
    a ^ b
}

#[atlas::spawn]
fn shares(row: usize, length: u64) -> u64 {
    let table = atlas::share((0..length).collect::<Vec<_>>());
    let length = table.len();
    summed(row, table, 0, length)
}

#[test]
fn shared_values_are_part_of_a_key_by_what_they_are() {
    let whole = closure("host::checkpoints::shares", &(12_usize, 8_u64));
    let entries = recorded(1, &whole);
    assert_eq!(runs(12), 8);
    let rig = rig(1);
    rig.runtime.remember(entries);
    assert_eq!(value::<u64>(&rig, &whole), expected(0, 8));
    assert_eq!(runs(12), 8, "nothing was run again");
}

#[atlas::spawn]
fn large(row: usize, number: u64) -> Vec<u64> {
    // The odd ones take four megabytes.
    let length = if number.is_multiple_of(2) {
        100
    } else {
        400_000
    };
    vec![work(row, number); length]
}

#[atlas::spawn]
fn of_large(row: usize) -> u64 {
    let leaves: Vec<_> = (0..4).map(|number| spawn!(large(row, number))).collect();
    leaves
        .into_iter()
        .fold(0, |sum, leaf| sum ^ leaf.sync()[99])
}

#[test]
fn results_are_recorded_if_they_are_worth_their_size() {
    let whole = closure("host::checkpoints::of_large", &(13_usize,));
    let entries = recorded(1, &whole);
    let is_worth = |entry: &Recorded| {
        let sending = Duration::from_nanos(10 * entry.result.len() as u64);
        entry.work >= 20 * sending
    };
    assert!(entries.iter().all(is_worth));
    assert!(entries.len() >= 2, "those of the short results");
    let rig = rig(1);
    rig.runtime.remember(entries);
    assert_eq!(value::<u64>(&rig, &whole), expected(0, 4));
}

#[test]
fn garbage_and_results_of_other_programs_change_nothing() {
    let whole = closure("host::checkpoints::halves", &(14_usize, 0_u64, 8_u64));
    let garbage = |key, result: &[u8]| Recorded {
        key,
        result: result.to_vec(),
        work: Duration::from_secs(1),
        above: Vec::new(),
    };
    let half = closure("host::checkpoints::halves", &(14_usize, 0_u64, 4_u64));
    let rig = rig(1);
    rig.runtime.remember(vec![
        garbage(key(&whole), &[0xff; 40]),
        garbage(key(&half), &[]),
        garbage(Key([7; 32]), &[1]),
    ]);
    assert_eq!(value::<u64>(&rig, &whole), expected(0, 8));
    assert_eq!(runs(14), 8);
}

#[test]
fn accepted_closures_and_those_that_would_be_lent_are_found() {
    let whole = closure("host::checkpoints::halves", &(15_usize, 0_u64, 8_u64));
    let entry = |closure: &PortableClosure, value: u64| Recorded {
        key: key(closure),
        result: postcard::to_stdvec(&value).unwrap(),
        work: Duration::from_secs(value),
        above: Vec::new(),
    };
    let rig = rig(1);
    rig.runtime.set_workers(0);
    rig.runtime.accept(FIRST, &whole).unwrap();
    rig.runtime.remember(vec![entry(&whole, 77)]);
    assert!(rig.runtime.lend(1).closures.is_empty(), "it is done");
    assert_eq!(rig.notes.outcome(FIRST), Outcome::Value(vec![77]));
    rig.runtime.remember(vec![entry(&whole, 78)]);
    rig.runtime.set_workers(1);
    assert_eq!(value::<u64>(&rig, &whole), 78);
    assert_eq!(runs(15), 0);
}

/// A host knows what it has given to the runtime, and gets back unbegun, from what was made here.
#[test]
fn what_was_accepted_is_told_from_what_was_made() {
    let (number, gate) = Gate::closed();
    let rig = rig(1);
    let outer = closure("host::checkpoints::waits", &(number,));
    rig.runtime.set_workers(0);
    rig.runtime.accept(FIRST, &outer).unwrap();
    let given = rig.lend_one();
    assert!(given.accepted && given.closure == outer);
    rig.runtime.reclaim(given.lease);
    rig.runtime.set_workers(1);
    let made = loop {
        let lent = rig.lend_one();
        assert_eq!(lent.accepted, lent.closure == outer);
        rig.runtime.reclaim(lent.lease);
        if !lent.accepted {
            break lent;
        }
    };
    assert_ne!(made.closure.task, outer.task);
    gate.open();
    rig.notes.outcome(FIRST);
}

/// The lender is told how long a closure took elsewhere.
#[test]
fn results_of_lent_closures_are_recorded_by_their_lender() {
    let (number, gate) = Gate::closed();
    let rig = rig(1);
    let closure = closure("host::checkpoints::waits", &(number,));
    rig.runtime.accept_below(FIRST, &closure, 0, &[7]).unwrap();
    let lent = rig.lend_one();
    let outcome = Outcome::Value(postcard::to_stdvec(&5_u64).unwrap());
    let took = Duration::from_secs(2);
    rig.runtime
        .return_measured(lent.lease, outcome, took)
        .unwrap();
    gate.open();
    assert_eq!(rig.notes.outcome(FIRST), Outcome::Value(vec![5]));
    let recorded = rig.notes.look(|told| told.recorded.clone());
    let inner = (lent.closure != closure).then(|| key(&closure).short());
    let expected = Recorded {
        key: key(&lent.closure),
        result: vec![5],
        work: took,
        above: inner.into_iter().chain([7]).collect(),
    };
    assert_eq!(lent.above, expected.above);
    assert_eq!(lent.accepted, lent.closure == closure);
    assert!(recorded.contains(&expected), "{recorded:?}");
}

/// Halves of halves. Each says which halves it is in, nearest first, also those that are not recorded, and then what its lender knows to be
/// above them. What has no key, as it had begun when children were first looked at, is left out.
#[test]
fn what_is_recorded_names_what_it_is_below() {
    let whole = closure("host::checkpoints::halves", &(16_usize, 0_u64, 16_u64));
    for known in [&[][..], &[7, 8, 9, 10, 11]] {
        let rig = rig(1);
        rig.runtime.accept_below(FIRST, &whole, 3, known).unwrap();
        assert!(matches!(rig.notes.outcome(FIRST), Outcome::Value(_)));
        let entries = rig.notes.look(|told| told.recorded.clone());
        let mut complete = 0;
        for (half, above) in halves_with_above(16, 16) {
            let above: Vec<u64> = above.iter().chain(known).copied().collect();
            for entry in entries.iter().filter(|entry| entry.key == half) {
                let mut rest = above.iter();
                let is_in_order = entry
                    .above
                    .iter()
                    .all(|name| rest.any(|other| other == name));
                assert!(is_in_order, "{:x?} of {above:x?}", entry.above);
                assert!(entry.above.len() <= 4);
                complete += usize::from(entry.above == above[..above.len().min(4)]);
            }
        }
        assert!(complete >= 4, "{complete} of {}", entries.len());
    }
}

/// The keys of all halves below the whole, each with the names of those that it is in, nearest first.
fn halves_with_above(row: usize, to: u64) -> Vec<(Key, Vec<u64>)> {
    let mut all = Vec::new();
    let mut left = vec![(0, to, Vec::new())];
    while let Some((from, to, above)) = left.pop() {
        let half = key(&closure("host::checkpoints::halves", &(row, from, to)));
        if to - from > 1 {
            let mut inside = above.clone();
            inside.insert(0, half.short());
            let middle = from.midpoint(to);
            left.push((from, middle, inside.clone()));
            left.push((middle, to, inside));
        }
        if !above.is_empty() {
            all.push((half, above));
        }
    }
    all
}

/// They could be told to nobody.
#[test]
fn regression_results_of_lent_closures_that_are_larger_than_closures_may_be_are_not_recorded() {
    for (length, is_recorded) in [(900_usize, true), (2000, false)] {
        let (number, gate) = Gate::closed();
        let rig = Rig::with(|builder| {
            let builder = builder.checkpoints(true).workers(1);
            builder.closure_bytes_max(1000)
        });
        let closure = closure("host::checkpoints::waits_for_bytes", &(number,));
        rig.runtime.accept(FIRST, &closure).unwrap();
        let lent = rig.lend_one();
        let outcome = Outcome::Value(postcard::to_stdvec(&vec![1_u8; length]).unwrap());
        let took = Duration::from_secs(1000);
        rig.runtime
            .return_measured(lent.lease, outcome.clone(), took)
            .unwrap();
        gate.open();
        assert_eq!(rig.notes.outcome(FIRST), outcome);
        let recorded = rig.notes.look(|told| told.recorded.clone());
        let key = key(&lent.closure);
        assert_eq!(recorded.iter().any(|entry| entry.key == key), is_recorded);
    }
}

#[atlas::spawn]
fn waits_for_bytes(gate: u64) -> Vec<u8> {
    let child = spawn!(bytes(gate));
    Gate::find(gate).wait();
    child.sync()
}

/// It is lent, and nobody asks how many.
#[atlas::spawn]
fn bytes(number: u64) -> Vec<u8> {
    vec![0; usize::try_from(number).expect("a small number")]
}

#[atlas::spawn]
fn waits(gate: u64) -> u64 {
    let child = spawn!(xor(gate, 1));
    Gate::find(gate).wait();
    child.sync()
}

#[atlas::spawn]
fn first_deepest(depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    let (rest, one) = join!(first_deepest(depth - 1), xor(depth, depth ^ 1));
    rest + one
}

#[atlas::spawn]
fn last_deepest(depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    let (one, rest) = join!(xor(depth, depth ^ 1), last_deepest(depth - 1));
    one + rest
}

/// As deep as without checkpoints, whatever is traced of them.
#[test]
fn regression_traced_recursions_are_as_deep_as_others() {
    const DEPTH: u64 = 20_000;
    let rig = rig(1);
    for path in ["first_deepest", "last_deepest"] {
        let whole = closure(&format!("host::checkpoints::{path}"), &(DEPTH,));
        for _ in 0..3 {
            rig.runtime.checkpoint_now();
            assert_eq!(value::<u64>(&rig, &whole), DEPTH, "{path}");
        }
    }
}

/// Any mixture of joins, handles and frames, some of whose tasks take long.
#[atlas::spawn]
fn mixed(seed: u64, depth: u32) -> u64 {
    if seed.is_multiple_of(5) {
        spin(Duration::from_micros(600));
    }
    if depth == 0 {
        return mix(seed);
    }
    let [a, b, c] = [1, 2, 3].map(|child| mix(seed ^ child));
    match seed % 4 {
        0 => {
            let (a, b, c) = join!(
                mixed(a, depth - 1),
                mixed(b, depth / 2),
                mixed(c, depth - 1)
            );
            mix(a ^ b) ^ c
        }
        1 => {
            let children = [spawn!(mixed(a, depth - 1)), spawn!(mixed(b, depth - 1))];
            children
                .into_iter()
                .map(Handle::sync)
                .fold(c, |sum, child| mix(sum ^ child))
        }
        2 => mixed_next(a, depth).sync(),
        _ => {
            let (a, b) = atlas::join(|| mixed(a, depth - 1), || mixed(b, depth - 1));
            mix(a) ^ b
        }
    }
}

#[atlas::spawn]
fn mixed_next(seed: u64, depth: u32) -> Next<u64> {
    let [a, b] = [1, 2].map(|child| mix(seed ^ child));
    spawn_next!(mixed(a, depth - 1), mixed(b, depth - 1) => mixed_sum(seed))
}

#[atlas::spawn]
fn mixed_sum(a: u64, b: u64, seed: u64) -> u64 {
    mix(a ^ mix(b ^ seed))
}

fn mixed_plain(seed: u64, depth: u32) -> u64 {
    if depth == 0 {
        return mix(seed);
    }
    let [a, b, c] = [1, 2, 3].map(|child| mix(seed ^ child));
    match seed % 4 {
        0 => {
            let [a, b, c] = [(a, depth - 1), (b, depth / 2), (c, depth - 1)]
                .map(|(seed, depth)| mixed_plain(seed, depth));
            mix(a ^ b) ^ c
        }
        1 => [a, b]
            .into_iter()
            .fold(c, |sum, child| mix(sum ^ mixed_plain(child, depth - 1))),
        2 => {
            let [left, right] = [1, 2].map(|child| mixed_plain(mix(a ^ child), depth - 1));
            mix(left ^ mix(right ^ a))
        }
        _ => mix(mixed_plain(a, depth - 1)) ^ mixed_plain(b, depth - 1),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever part of the records is left, and whatever the workers.
    #[test]
    fn recomputed_programs_give_the_sequential_result(
        seed in any::<u64>(),
        workers in 1_usize..=3,
        kept in any::<u64>(),
    ) {
        let whole = closure("host::checkpoints::mixed", &(seed, 6_u32));
        let rig_of = || {
            let rig = rig(workers);
            rig.runtime.checkpoint_now();
            rig
        };
        let first = rig_of();
        prop_assert_eq!(value::<u64>(&first, &whole), mixed_plain(seed, 6));
        let mut entries = first.notes.look(|told| told.recorded.clone());
        let mut choice = kept;
        entries.retain(|_| {
            choice = mix(choice);
            !choice.is_multiple_of(3)
        });
        let second = rig_of();
        second.runtime.remember(entries);
        prop_assert_eq!(value::<u64>(&second, &whole), mixed_plain(seed, 6));
    }
}
