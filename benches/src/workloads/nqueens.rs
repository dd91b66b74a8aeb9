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
    let free = board.free();
    Program {
        bench: Bench::Nqueens,
        joins: joins(board),
        sequential: Box::new(move || sequential(black_box(board))),
        join: Box::new(move || place(black_box(board), free)),
        cps: None,
        closure: Box::new(move || by_closures::<Atlas>(black_box(board), free)),
        rayon: Box::new(move || by_closures::<Rayon>(black_box(board), free)),
        chili: Some(Box::new(move |scope| {
            by_chili(scope, black_box(board), free)
        })),
    }
}

fn by_closures<F: Fork>(board: Board, free: u32) -> u64 {
    if board.is_full() {
        return 1;
    }
    if free == 0 {
        return 0;
    }
    let below = board.with_queen(lowest(free));
    let rest = without_lowest(free);
    if rest == 0 {
        return by_closures::<F>(below, below.free());
    }
    let (here, elsewhere) = F::join(
        move || by_closures::<F>(below, below.free()),
        move || by_closures::<F>(board, rest),
    );
    here + elsewhere
}

fn by_chili(scope: &mut chili::Scope<'_>, board: Board, free: u32) -> u64 {
    if board.is_full() {
        return 1;
    }
    if free == 0 {
        return 0;
    }
    let below = board.with_queen(lowest(free));
    let rest = without_lowest(free);
    if rest == 0 {
        return by_chili(scope, below, below.free());
    }
    let (elsewhere, here) = scope.join(
        move |s| by_chili(s, board, rest),
        move |s| by_chili(s, below, below.free()),
    );
    here + elsewhere
}
