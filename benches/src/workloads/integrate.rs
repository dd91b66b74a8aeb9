//! Adaptive integration of `(x^2 + 1) x` by trapezoids, as in the program that
//! came with Cilk: an interval is halved until halving it changes its area by
//! less than epsilon. Arguments are five floating-point numbers, and a call
//! computes a little.

use std::hint::black_box;

use atlas::prelude::*;

use crate::options::Size;
use crate::pools::{Atlas, Fork, Rayon};
use crate::program::Program;
use crate::report::Bench;

/// The program in all its forms. Halves are added in the same order by all, so
/// that answers are equal to the last bit.
#[must_use]
pub fn program(size: Size) -> Program {
    let end = size.pick(END, END_QUICK);
    let start = move || {
        let end = black_box(end);
        (end, curve(end))
    };
    Program {
        bench: Bench::Integrate,
        joins: joins(0.0, 0.0, end, curve(end), 0.0),
        sequential: Box::new(move || {
            let (x2, y2) = start();
            sequential(0.0, 0.0, x2, y2, 0.0).to_bits()
        }),
        join: Box::new(move || {
            let (x2, y2) = start();
            integrate(0.0, 0.0, x2, y2, 0.0).to_bits()
        }),
        cps: None,
        closure: Box::new(move || {
            let (x2, y2) = start();
            by_closures::<Atlas>(0.0, 0.0, x2, y2, 0.0).to_bits()
        }),
        rayon: Box::new(move || {
            let (x2, y2) = start();
            by_closures::<Rayon>(0.0, 0.0, x2, y2, 0.0).to_bits()
        }),
        chili: Some(Box::new(move |scope| {
            let (x2, y2) = start();
            by_chili(scope, 0.0, 0.0, x2, y2, 0.0).to_bits()
        })),
    }
}

fn sequential(x1: f64, y1: f64, x2: f64, y2: f64, area: f64) -> f64 {
    let Halves {
        x0,
        y0,
        left,
        right,
    } = halve(x1, y1, x2, y2);
    if (left + right - area).abs() < EPSILON {
        return left + right;
    }
    sequential(x1, y1, x0, y0, left) + sequential(x0, y0, x2, y2, right)
}

#[atlas::spawn]
fn integrate(x1: f64, y1: f64, x2: f64, y2: f64, area: f64) -> f64 {
    let Halves {
        x0,
        y0,
        left,
        right,
    } = halve(x1, y1, x2, y2);
    if (left + right - area).abs() < EPSILON {
        return left + right;
    }
    let (left, right) = join!(
        integrate(x1, y1, x0, y0, left),
        integrate(x0, y0, x2, y2, right)
    );
    left + right
}

fn by_closures<F: Fork>(x1: f64, y1: f64, x2: f64, y2: f64, area: f64) -> f64 {
    let Halves {
        x0,
        y0,
        left,
        right,
    } = halve(x1, y1, x2, y2);
    if (left + right - area).abs() < EPSILON {
        return left + right;
    }
    let (left, right) = F::join(
        move || by_closures::<F>(x1, y1, x0, y0, left),
        move || by_closures::<F>(x0, y0, x2, y2, right),
    );
    left + right
}

fn by_chili(s: &mut chili::Scope<'_>, x1: f64, y1: f64, x2: f64, y2: f64, area: f64) -> f64 {
    let Halves {
        x0,
        y0,
        left,
        right,
    } = halve(x1, y1, x2, y2);
    if (left + right - area).abs() < EPSILON {
        return left + right;
    }
    let (right, left) = s.join(
        move |s| by_chili(s, x0, y0, x2, y2, right),
        move |s| by_chili(s, x1, y1, x0, y0, left),
    );
    left + right
}

/// How many intervals are halved.
fn joins(x1: f64, y1: f64, x2: f64, y2: f64, area: f64) -> u64 {
    let Halves {
        x0,
        y0,
        left,
        right,
    } = halve(x1, y1, x2, y2);
    if (left + right - area).abs() < EPSILON {
        return 0;
    }
    1 + joins(x1, y1, x0, y0, left) + joins(x0, y0, x2, y2, right)
}

/// The middle of an interval, and the areas of the trapezoids on both sides.
struct Halves {
    x0: f64,
    y0: f64,
    left: f64,
    right: f64,
}

#[inline(always)]
fn halve(x1: f64, y1: f64, x2: f64, y2: f64) -> Halves {
    let half = (x2 - x1) / 2.0;
    let x0 = x1 + half;
    let y0 = curve(x0);
    Halves {
        x0,
        y0,
        left: (y1 + y0) / 2.0 * half,
        right: (y0 + y2) / 2.0 * half,
    }
}

#[inline(always)]
fn curve(x: f64) -> f64 {
    (x * x + 1.0) * x
}

/// The interval starts at 0 and ends here.
const END: f64 = 3_000.0;
const END_QUICK: f64 = 50.0;
const EPSILON: f64 = 1e-9;
