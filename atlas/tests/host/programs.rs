//! Programs whose result is known: each as tasks and as plain code.

use atlas::prelude::*;

#[atlas::spawn]
pub(crate) fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = join!(fib(n - 1), fib(n - 2));
    a + b
}

#[atlas::spawn]
pub(crate) fn fib_next(n: u64) -> Next<u64> {
    if n < 2 {
        return Next::value(n);
    }
    spawn_next!(fib_next(n - 1), fib_next(n - 2) => sum())
}

#[atlas::spawn]
pub(crate) fn sum(a: u64, b: u64) -> u64 {
    a + b
}

pub(crate) fn fib_plain(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

/// Counts the ways to complete a board of `size` queens.
#[atlas::spawn]
pub(crate) fn queens(size: u8, placed: Vec<u8>) -> u64 {
    if placed.len() == usize::from(size) {
        return 1;
    }
    let boards: Vec<_> = free_columns(size, &placed)
        .map(|column| [placed.clone(), vec![column]].concat())
        .collect();
    let counts: Vec<_> = boards
        .into_iter()
        .map(|board| spawn!(queens(size, board)))
        .collect();
    counts.into_iter().map(Handle::sync).sum()
}

pub(crate) fn queens_plain(size: u8, placed: &mut Vec<u8>) -> u64 {
    if placed.len() == usize::from(size) {
        return 1;
    }
    let columns: Vec<_> = free_columns(size, placed).collect();
    let mut count = 0;
    for column in columns {
        placed.push(column);
        count += queens_plain(size, placed);
        placed.pop();
    }
    count
}

fn free_columns(size: u8, placed: &[u8]) -> impl Iterator<Item = u8> {
    (0..size).filter(move |&column| {
        placed
            .iter()
            .rev()
            .zip(1..)
            .all(|(&other, distance)| other != column && other.abs_diff(column) != distance)
    })
}

/// Counts the nodes of an unbalanced tree (as UTS does): a node's children
/// follow from its hash and from nothing else.
#[atlas::spawn]
pub(crate) fn tree(hash: u64, depth: u32) -> u64 {
    match children(hash, depth).as_slice() {
        [] => 1,
        [only] => 1 + tree(*only, depth + 1),
        [a, b] => {
            let (a, b) = join!(tree(*a, depth + 1), tree(*b, depth + 1));
            1 + a + b
        }
        [a, b, c, ..] => {
            let (a, b, c) = join!(
                tree(*a, depth + 1),
                tree(*b, depth + 1),
                tree(*c, depth + 1)
            );
            1 + a + b + c
        }
    }
}

pub(crate) fn tree_plain(hash: u64, depth: u32) -> u64 {
    let children = children(hash, depth);
    let below = children
        .into_iter()
        .map(|child| tree_plain(child, depth + 1));
    1 + below.sum::<u64>()
}

fn children(hash: u64, depth: u32) -> Vec<u64> {
    let count = if depth < 4 { 3 } else { hash % 100 / 32 };
    if depth > 40 {
        return Vec::new();
    }
    (1..=count).map(|child| mix(hash ^ child)).collect()
}

/// The finaliser of SplitMix64.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Sorts by merging: arguments and results are large.
#[atlas::spawn]
pub(crate) fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    if numbers.len() <= 64 {
        numbers.sort_unstable();
        return numbers;
    }
    let right = numbers.split_off(numbers.len() / 2);
    let left = spawn!(sorted(numbers));
    let right = sorted(right);
    merged(left.sync(), right)
}

/// The same in continuation-passing style.
#[atlas::spawn]
pub(crate) fn sorted_next(mut numbers: Vec<u64>) -> Next<Vec<u64>> {
    if numbers.len() <= 64 {
        numbers.sort_unstable();
        return Next::value(numbers);
    }
    let right = numbers.split_off(numbers.len() / 2);
    spawn_next!(sorted_next(numbers), sorted_next(right) => merged())
}

#[atlas::spawn]
pub(crate) fn merged(left: Vec<u64>, right: Vec<u64>) -> Vec<u64> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let from = if a <= b { &mut left } else { &mut right };
        merged.extend(from.next());
    }
    merged.extend(left);
    merged.extend(right);
    merged
}

/// A tree one of whose leaves panics.
#[atlas::spawn]
pub(crate) fn mined(from: u64, to: u64, mine: u64) -> u64 {
    if to - from == 1 {
        assert_ne!(from, mine, "stepped on mine {mine}");
        return from;
    }
    let middle = from.midpoint(to);
    let (a, b) = join!(mined(from, middle, mine), mined(middle, to, mine));
    a + b
}
