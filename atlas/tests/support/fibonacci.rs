//! Small work with a known result, in direct and in continuation-passing style.

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
fn sum(a: u64, b: u64) -> u64 {
    a + b
}
