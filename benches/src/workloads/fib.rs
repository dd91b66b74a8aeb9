//! Fibonacci: no work but the calls themselves, so that the whole difference
//! to the sequential program is what joins cost.

use std::hint::black_box;

use atlas::prelude::*;
use atlas_examples::fib::{fib, fib_cps, joins, sequential};

use crate::options::Size;
use crate::pools::{Atlas, Fork, Rayon};
use crate::program::Program;
use crate::report::Bench;

/// The program in all its forms.
#[must_use]
pub fn program(size: Size) -> Program {
    let n = size.pick(40, 25);
    Program {
        bench: Bench::Fib,
        joins: joins(n),
        sequential: Box::new(move || sequential(black_box(n))),
        join: Box::new(move || fib(black_box(n))),
        cps: Some(Box::new(move || {
            let n = black_box(n);
            spawn!(fib_cps(n)).sync()
        })),
        closure: Box::new(move || by_closures::<Atlas>(black_box(n))),
        rayon: Box::new(move || by_closures::<Rayon>(black_box(n))),
        chili: Some(Box::new(move |scope| by_chili(scope, black_box(n)))),
    }
}

fn by_closures<F: Fork>(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (larger, smaller) = F::join(
        move || by_closures::<F>(n - 1),
        move || by_closures::<F>(n - 2),
    );
    larger + smaller
}

fn by_chili(scope: &mut chili::Scope<'_>, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (smaller, larger) = scope.join(move |s| by_chili(s, n - 2), move |s| by_chili(s, n - 1));
    larger + smaller
}
