//! Fibonacci numbers by their definition: the smallest recursive program, all
//! of whose time is calls. No use as mathematics; every nanosecond that a join
//! costs shows in it.
//!
//! [`fib`] is the direct style, [`fib_cps`] the continuation-passing one with
//! [`sum`] for its continuation, [`sequential`] the same without Atlas.

use atlas::{Next, join, spawn_next};

/// The `n`-th Fibonacci number, with a join at every call that has children.
///
/// ```
/// assert_eq!(atlas_examples::fib::fib(10), 55);
/// ```
#[atlas::spawn]
pub fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (larger, smaller) = join!(fib(n - 1), fib(n - 2));
    larger + smaller
}

/// [`fib`] as Cilk first had it: a call never waits for its children, it leaves
/// a closure of [`sum`] behind that their results fill.
#[atlas::spawn]
pub fn fib_cps(n: u64) -> Next<u64> {
    if n < 2 {
        return Next::value(n);
    }
    spawn_next!(fib_cps(n - 1), fib_cps(n - 2) => sum())
}

/// The continuation of [`fib_cps`].
#[atlas::spawn]
pub fn sum(larger: u64, smaller: u64) -> u64 {
    larger + smaller
}

/// [`fib`] as plain recursion.
#[must_use]
pub fn sequential(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    sequential(n - 1) + sequential(n - 2)
}

/// How many joins [`fib`] makes: one for each call with `n >= 2`.
#[must_use]
pub fn joins(n: u64) -> u64 {
    let (mut current, mut following) = (0, 1);
    for _ in 0..n {
        (current, following) = (following, current + following);
    }
    following - 1
}

#[cfg(test)]
mod tests {
    use atlas::prelude::*;

    use super::*;

    #[test]
    fn three_forms_agree_with_the_known_numbers() {
        for (n, expected) in [(0, 0), (1, 1), (2, 1), (10, 55), (20, 6_765)] {
            assert_eq!(sequential(n), expected);
            assert_eq!(atlas::run(move || fib(n)), expected);
            assert_eq!(atlas::run(move || spawn!(fib_cps(n)).sync()), expected);
        }
    }

    #[test]
    fn joins_counts_calls_with_children() {
        fn count(n: u64) -> u64 {
            if n < 2 {
                return 0;
            }
            1 + count(n - 1) + count(n - 2)
        }
        for n in 0..20 {
            assert_eq!(joins(n), count(n), "fib({n})");
        }
    }
}
