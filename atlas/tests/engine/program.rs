//! The program whose engines the tests start.

use std::process::ExitCode;
use std::time::Duration;

use atlas::Shared;
use atlas::prelude::*;

use crate::programs::{fib, fib_plain, mix};

/// Joins for ever.
#[atlas::spawn]
pub(crate) fn endless(n: u64) -> u64 {
    loop {
        join!(same(n), same(n));
    }
}

/// Joins for so many milliseconds by the wall's clock.
#[atlas::spawn]
pub(crate) fn busy_for(milliseconds: u64) -> u64 {
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(milliseconds) {
        join!(same(milliseconds), same(milliseconds));
    }
    milliseconds
}

/// Has a child that is ready, and computes without a join until somebody has run it.
#[atlas::spawn]
pub(crate) fn leaves_one(n: u64) -> u64 {
    let child = spawn!(same(n));
    while !child.is_done() {
        std::hint::spin_loop();
    }
    child.sync()
}

#[atlas::spawn]
fn same(n: u64) -> u64 {
    n
}

#[atlas::spawn]
pub(crate) fn fails(n: u64) -> u64 {
    let (a, _) = join!(same(n), same(n));
    panic!("no {a} today")
}

/// So many bytes, which are not shared.
#[atlas::spawn]
pub(crate) fn large(bytes: usize) -> Vec<u8> {
    vec![7; bytes]
}

/// Sums up the numbers of so many tasks, each of which returns so many bytes of its own.
#[atlas::spawn]
pub(crate) fn large_sum(tasks: u64, bytes: usize) -> u64 {
    let parts: Vec<_> = (0..tasks)
        .map(|number| spawn!(large_part(number, bytes)))
        .collect();
    let parts = parts.into_iter().map(Handle::sync);
    parts.fold(0, |sum, part| {
        assert_eq!(part.len(), bytes);
        assert!(part.iter().all(|byte| *byte == part[0]));
        sum + u64::from(part[0])
    })
}

#[atlas::spawn]
fn large_part(number: u64, bytes: usize) -> Vec<u8> {
    // Long enough to be shared.
    busy_for(20);
    println!("part {number}");
    vec![u8::try_from(number).expect("few parts"); bytes]
}

/// Sums up a table that is larger than a closure may be.
#[atlas::spawn]
pub(crate) fn table_sum(length: u64) -> u64 {
    let table: Vec<u64> = (0..length).map(entry).collect();
    let length = table.len();
    sum_of(atlas::share(table), 0, length)
}

pub(crate) fn entry(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[atlas::spawn]
fn sum_of(table: Shared<Vec<u64>>, from: usize, to: usize) -> u64 {
    if to - from > table.len() / 64 {
        let middle = from.midpoint(to);
        let (a, b) = join!(
            sum_of(table.clone(), from, middle),
            sum_of(table, middle, to)
        );
        return a.wrapping_add(b);
    }
    // Long enough to be shared.
    busy_for(5);
    table[from..to]
        .iter()
        .fold(0, |sum: u64, n| sum.wrapping_add(*n))
}

/// Says that it runs, and takes a twentieth of a second for it.
#[atlas::spawn]
fn told(number: u64) -> u64 {
    println!("leaf {number}");
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(50) {
        std::hint::spin_loop();
    }
    mix(number)
}

/// All leaves in a range, by joins.
#[atlas::spawn]
pub(crate) fn told_halves(from: u64, to: u64) -> u64 {
    if to - from == 1 {
        return told(from);
    }
    let middle = from.midpoint(to);
    let (a, b) = join!(told_halves(from, middle), told_halves(middle, to));
    a ^ b
}

/// The same by handles.
#[atlas::spawn]
pub(crate) fn told_handles(from: u64, to: u64) -> u64 {
    let leaves: Vec<_> = (from..to).map(|number| spawn!(told(number))).collect();
    leaves.into_iter().fold(0, |sum, leaf| sum ^ leaf.sync())
}

/// The same by continuations.
#[atlas::spawn]
pub(crate) fn told_frames(from: u64, to: u64) -> Next<u64> {
    if to - from == 1 {
        return Next::value(told(from));
    }
    let middle = from.midpoint(to);
    spawn_next!(told_frames(from, middle), told_frames(middle, to) => xor())
}

#[atlas::spawn]
fn xor(a: u64, b: u64) -> u64 {
    a ^ b
}

/// Prints, and gives the exit code of its command line.
#[atlas::main]
pub(crate) fn main() -> ExitCode {
    let number: u64 = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .expect("a number");
    let begun = std::time::Instant::now();
    // Long enough to be shared.
    while begun.elapsed() < Duration::from_millis(200) {
        assert_eq!(fib(20), fib_plain(20));
    }
    println!("the root was here");
    ExitCode::from(u8::try_from(number).expect("a small number"))
}
