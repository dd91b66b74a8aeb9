//! The sum over a complete binary tree that exists nowhere: a node is its
//! height and its number (the children of `i` are `2i` and `2i + 1`), its value
//! a hash of the number. No memory is touched, a call takes about a nanosecond,
//! and every node joins.

use std::hint::black_box;

use atlas::prelude::*;

use crate::options::Size;
use crate::pools::{Atlas, Fork, Rayon};
use crate::program::Program;
use crate::report::Bench;

/// The program in all its forms.
#[must_use]
pub fn program(size: Size) -> Program {
    let height = size.pick(24, 14);
    Program {
        bench: Bench::Tree,
        joins: (1 << height) - 1,
        sequential: Box::new(move || sequential(black_box(height), ROOT)),
        join: Box::new(move || tree_sum(black_box(height), ROOT)),
        cps: Some(Box::new(move || {
            let height = black_box(height);
            spawn!(tree_sum_cps(height, ROOT)).sync()
        })),
        closure: Box::new(move || by_closures::<Atlas>(black_box(height), ROOT)),
        rayon: Box::new(move || by_closures::<Rayon>(black_box(height), ROOT)),
        chili: Some(Box::new(move |scope| {
            by_chili(scope, black_box(height), ROOT)
        })),
    }
}

fn sequential(height: u32, node: u64) -> u64 {
    if height == 0 {
        return 0;
    }
    let left = sequential(height - 1, 2 * node);
    let right = sequential(height - 1, 2 * node + 1);
    total(node, left, right)
}

#[atlas::spawn]
fn tree_sum(height: u32, node: u64) -> u64 {
    if height == 0 {
        return 0;
    }
    let (left, right) = join!(
        tree_sum(height - 1, 2 * node),
        tree_sum(height - 1, 2 * node + 1)
    );
    total(node, left, right)
}

#[atlas::spawn]
fn tree_sum_cps(height: u32, node: u64) -> Next<u64> {
    if height == 0 {
        return Next::value(0);
    }
    spawn_next!(
        tree_sum_cps(height - 1, 2 * node),
        tree_sum_cps(height - 1, 2 * node + 1)
        => add(node)
    )
}

#[atlas::spawn]
fn add(left: u64, right: u64, node: u64) -> u64 {
    total(node, left, right)
}

fn by_closures<F: Fork>(height: u32, node: u64) -> u64 {
    if height == 0 {
        return 0;
    }
    let (left, right) = F::join(
        move || by_closures::<F>(height - 1, 2 * node),
        move || by_closures::<F>(height - 1, 2 * node + 1),
    );
    total(node, left, right)
}

fn by_chili(scope: &mut chili::Scope<'_>, height: u32, node: u64) -> u64 {
    if height == 0 {
        return 0;
    }
    let (right, left) = scope.join(
        move |s| by_chili(s, height - 1, 2 * node + 1),
        move |s| by_chili(s, height - 1, 2 * node),
    );
    total(node, left, right)
}

/// The sum of a subtree: the node's value and its children's sums.
#[inline(always)]
fn total(node: u64, left: u64, right: u64) -> u64 {
    (node.wrapping_mul(MULTIPLIER) >> 32)
        .wrapping_add(left)
        .wrapping_add(right)
}

const ROOT: u64 = 1;

/// 2^64 over the golden ratio: Fibonacci hashing (Knuth, volume 3, 6.4).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
