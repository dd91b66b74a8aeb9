//! A loop written as `join(item, rest)`: a list of joins and no tree. What can
//! be stolen is always one large piece, the rest of the loop; a scheduler that
//! shares the oldest join only once in a while never gets it out.
//!
//! Two loops: 2,000 items of 100 us, and a deep one of short items. chili is not
//! asked to run the deep one: its workers' stacks cannot be made large enough.

use std::time::Duration;

use anyhow::Result;
use atlas::prelude::*;

use crate::options::Size;
use crate::pools::{Atlas, Fork, Pools, Rayon};
use crate::program::Program;
use crate::report::{Bench, Row, Variant};
use crate::sample::Sampling;
use crate::spin::Spin;

/// Times both loops with two workers.
///
/// # Errors
/// If a form answers otherwise than the sequential loop, or a child fails.
pub fn measure(two: &Pools, sampling: Sampling, size: Size) -> Result<Vec<Row>> {
    let items = size.pick(2_000, 100);
    let deep_items = size.pick(20_000, 500);
    let deep = Program {
        chili: None,
        ..looping(deep_items, DEEP_ITEM)
    };
    let mut rows = program(size).measure_speedup(two, sampling, variant(items))?;
    rows.extend(deep.measure_speedup(two, sampling, variant(deep_items))?);
    rows.extend(program(size).peak_rss(size, variant(items))?);
    Ok(rows)
}

/// The loop of 100 us items in all its forms.
#[must_use]
pub fn program(size: Size) -> Program {
    looping(size.pick(2_000, 100), ITEM)
}

fn looping(items: u32, length: Duration) -> Program {
    let spin = Spin::lasting(length);
    Program {
        bench: Bench::Flat,
        joins: u64::from(items),
        sequential: Box::new(move || {
            (0..items).fold(0, |sum: u64, _| sum.wrapping_add(spin.run()))
        }),
        join: Box::new(move || rest(items, spin)),
        cps: None,
        closure: Box::new(move || by_closures::<Atlas>(items, spin)),
        rayon: Box::new(move || by_closures::<Rayon>(items, spin)),
        chili: Some(Box::new(move |scope| by_chili(scope, items, spin))),
    }
}

#[atlas::spawn]
fn item(spin: Spin) -> u64 {
    spin.run()
}

#[atlas::spawn]
fn rest(items: u32, spin: Spin) -> u64 {
    if items == 0 {
        return 0;
    }
    let (first, others) = join!(item(spin), rest(items - 1, spin));
    first.wrapping_add(others)
}

fn by_closures<F: Fork>(items: u32, spin: Spin) -> u64 {
    if items == 0 {
        return 0;
    }
    let (first, others) = F::join(
        move || spin.run(),
        move || by_closures::<F>(items - 1, spin),
    );
    first.wrapping_add(others)
}

fn by_chili(scope: &mut chili::Scope<'_>, items: u32, spin: Spin) -> u64 {
    if items == 0 {
        return 0;
    }
    let (others, first) = scope.join(move |s| by_chili(s, items - 1, spin), move |_| spin.run());
    first.wrapping_add(others)
}

fn variant(items: u32) -> Variant {
    Variant {
        items: Some(items),
        ..Variant::default()
    }
}

const ITEM: Duration = Duration::from_micros(100);
const DEEP_ITEM: Duration = Duration::from_micros(1);
