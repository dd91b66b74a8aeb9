//! n-queens on bit boards: a few nanoseconds of work a call, in a tree whose
//! branches differ.

use std::hint::black_box;

use atlas_examples::nqueens::{Board, joins, lowest, place, sequential, without_lowest};

use crate::options::Size;
use crate::pools::{Atlas, Fork, Rayon};
use crate::program::Program;
use crate::report::Bench;

/// The program in all its forms.
#[must_use]
pub fn program(size: Size) -> Program {
    let board = Board::empty(size.pick(14, 9));
    let masks = move || {
        let Board { taken, left, right } = black_box(board);
        (taken, left, right, !taken)
    };
    Program {
        bench: Bench::Nqueens,
        joins: joins(board),
        sequential: Box::new(move || {
            let (taken, left, right, _) = masks();
            sequential(taken, left, right)
        }),
        join: Box::new(move || {
            let (taken, left, right, free) = masks();
            place(taken, left, right, free)
        }),
        cps: None,
        closure: Box::new(move || {
            let (taken, left, right, free) = masks();
            by_closures::<Atlas>(taken, left, right, free)
        }),
        rayon: Box::new(move || {
            let (taken, left, right, free) = masks();
            by_closures::<Rayon>(taken, left, right, free)
        }),
        chili: Some(Box::new(move |scope| {
            let (taken, left, right, free) = masks();
            by_chili(scope, taken, left, right, free)
        })),
    }
}

fn by_closures<F: Fork>(taken: u32, left: u32, right: u32, free: u32) -> u64 {
    if taken == u32::MAX {
        return 1;
    }
    if free == 0 {
        return 0;
    }
    let below = Board { taken, left, right }.with_queen(lowest(free));
    let rest = without_lowest(free);
    let deeper = move || by_closures::<F>(below.taken, below.left, below.right, below.free());
    if rest == 0 {
        return deeper();
    }
    let (here, elsewhere) = F::join(deeper, move || by_closures::<F>(taken, left, right, rest));
    here + elsewhere
}

fn by_chili(s: &mut chili::Scope<'_>, taken: u32, left: u32, right: u32, free: u32) -> u64 {
    if taken == u32::MAX {
        return 1;
    }
    if free == 0 {
        return 0;
    }
    let below = Board { taken, left, right }.with_queen(lowest(free));
    let rest = without_lowest(free);
    if rest == 0 {
        return by_chili(s, below.taken, below.left, below.right, below.free());
    }
    let (elsewhere, here) = s.join(
        move |s| by_chili(s, taken, left, right, rest),
        move |s| by_chili(s, below.taken, below.left, below.right, below.free()),
    );
    here + elsewhere
}
