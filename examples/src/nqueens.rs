//! How many ways there are to put N queens on an N x N board so that none
//! attacks another; the published counts are OEIS A000170.
//!
//! A board is three bit masks: the columns that are taken, and the squares of
//! the current row that the queens above attack along the two diagonals.
//! Putting a queen down shifts the diagonals by one square for the next row.
//! Columns beyond the board count as taken, so a full board is all ones. The
//! masks are arguments of their own, since a struct of them would be packed and
//! unpacked at each call.
//!
//! The recursion branches two ways everywhere: [`place`] takes the first free
//! square of the row in one child and leaves the remaining squares of the row
//! to the other. There is no cutoff; where a single square remains there is
//! nothing to split, and hence no join.

use atlas::join;
use serde::{Deserialize, Serialize};

/// A partly filled board: queens in all rows above the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// Columns that have a queen, or are not on the board.
    pub taken: u32,
    /// Squares of the current row attacked along the diagonals that run left.
    pub left: u32,
    /// Squares of the current row attacked along the diagonals that run right.
    pub right: u32,
}

impl Board {
    /// The most queens that the masks have room for; no machine finishes them.
    pub const QUEENS_MAX: u32 = 31;

    /// The empty board of `queens` rows.
    ///
    /// # Panics
    /// If `queens` is more than [`Board::QUEENS_MAX`].
    #[must_use]
    pub fn empty(queens: u32) -> Self {
        assert!(
            queens <= Self::QUEENS_MAX,
            "{queens} queens do not fit into the masks"
        );
        Self {
            taken: u32::MAX << queens,
            left: 0,
            right: 0,
        }
    }

    /// The squares of the current row that no queen attacks, a bit for each.
    #[inline]
    #[must_use]
    pub fn free(self) -> u32 {
        !(self.taken | self.left | self.right)
    }

    /// The board with a queen on `square` of the current row, seen from the next.
    #[inline]
    #[must_use]
    pub fn with_queen(self, square: u32) -> Self {
        Self {
            taken: self.taken | square,
            left: (self.left | square) << 1,
            right: (self.right | square) >> 1,
        }
    }
}

/// The number of ways to fill the board of these masks (see [`Board`]), where the
/// current row's queen goes on one of the squares in `free`.
///
/// ```
/// use atlas_examples::nqueens::{Board, place};
///
/// let Board { taken, left, right } = Board::empty(8);
/// assert_eq!(place(taken, left, right, !taken), 92);
/// ```
#[atlas::spawn]
pub fn place(taken: u32, left: u32, right: u32, free: u32) -> u64 {
    if taken == u32::MAX {
        return 1;
    }
    if free == 0 {
        return 0;
    }
    let below = Board { taken, left, right }.with_queen(lowest(free));
    let rest = without_lowest(free);
    if rest == 0 {
        return place(below.taken, below.left, below.right, below.free());
    }
    let (here, elsewhere) = join!(
        place(below.taken, below.left, below.right, below.free()),
        place(taken, left, right, rest)
    );
    here + elsewhere
}

/// The count that [`place`] gives for all free squares, as the plain loop.
#[must_use]
pub fn sequential(taken: u32, left: u32, right: u32) -> u64 {
    if taken == u32::MAX {
        return 1;
    }
    let board = Board { taken, left, right };
    let mut ways = 0;
    let mut free = board.free();
    while free != 0 {
        let below = board.with_queen(lowest(free));
        ways += sequential(below.taken, below.left, below.right);
        free = without_lowest(free);
    }
    ways
}

/// How many joins [`place`] makes on the way from `board`.
#[must_use]
pub fn joins(board: Board) -> u64 {
    let mut free = board.free();
    let mut joins = u64::from(free.count_ones().saturating_sub(1));
    while free != 0 {
        joins += self::joins(board.with_queen(lowest(free)));
        free = without_lowest(free);
    }
    joins
}

/// The first of the squares in `free`.
#[inline]
#[must_use]
pub fn lowest(free: u32) -> u32 {
    free & free.wrapping_neg()
}

/// The squares in `free` but the first; `free` is not empty.
#[inline]
#[must_use]
pub fn without_lowest(free: u32) -> u32 {
    free & (free - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OEIS A000170 from 0 queens on.
    const PUBLISHED: [u64; 13] = [1, 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2_680, 14_200];

    #[test]
    fn counts_equal_oeis_a000170() {
        for (queens, expected) in (0..).zip(PUBLISHED) {
            let Board { taken, left, right } = Board::empty(queens);
            assert_eq!(
                sequential(taken, left, right),
                expected,
                "{queens} queens, sequential"
            );
            let parallel = atlas::run(move || place(taken, left, right, !taken));
            assert_eq!(parallel, expected, "{queens} queens");
        }
    }

    #[test]
    fn joins_counts_branchings() {
        fn count(board: Board, free: u32) -> u64 {
            if board.taken == u32::MAX || free == 0 {
                return 0;
            }
            let below = board.with_queen(lowest(free));
            match without_lowest(free) {
                0 => count(below, below.free()),
                rest => 1 + count(below, below.free()) + count(board, rest),
            }
        }
        for queens in 1..9 {
            let board = Board::empty(queens);
            assert_eq!(joins(board), count(board, board.free()), "{queens} queens");
        }
    }
}
