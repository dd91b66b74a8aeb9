//! Unbalanced Tree Search: a SHA-1 state a call, in a tree whose shape nobody
//! can predict. The sequential program loops over the children of a node, the
//! parallel ones join each child with those after it.

use std::hint::black_box;

use atlas::prelude::*;
use atlas_examples::uts::{Counts, Node, Tree, search, search_cps, sequential};

use crate::options::Size;
use crate::pools::{Atlas, Fork, Rayon};
use crate::program::Program;
use crate::report::Bench;

/// The program in all its forms.
#[must_use]
pub fn program(size: Size) -> Program {
    let tree = size.pick(Tree::T3, Tree::T3Mini);
    let root = tree.root();
    Program {
        bench: Bench::Uts,
        joins: sequential(tree, root).joins(),
        sequential: Box::new(move || digest(sequential(black_box(tree), root))),
        join: Box::new(move || digest(search(black_box(tree), root))),
        cps: Some(Box::new(move || {
            let tree = black_box(tree);
            digest(spawn!(search_cps(tree, root)).sync())
        })),
        closure: Box::new(move || digest(by_closures::<Atlas>(black_box(tree), root))),
        rayon: Box::new(move || digest(by_closures::<Rayon>(black_box(tree), root))),
        chili: Some(Box::new(move |scope| {
            digest(by_chili(scope, black_box(tree), root))
        })),
    }
}

fn by_closures<F: Fork>(tree: Tree, node: Node) -> Counts {
    match tree.children(&node) {
        0 => Counts::leaf(&node),
        children => Counts::parent(&node) + from_by_closures::<F>(tree, &node, 0, children),
    }
}

fn from_by_closures<F: Fork>(tree: Tree, parent: &Node, first: u32, end: u32) -> Counts {
    if end - first == 1 {
        return by_closures::<F>(tree, parent.child(first));
    }
    let (here, elsewhere) = F::join(
        move || by_closures::<F>(tree, parent.child(first)),
        move || from_by_closures::<F>(tree, parent, first + 1, end),
    );
    here + elsewhere
}

fn by_chili(scope: &mut chili::Scope<'_>, tree: Tree, node: Node) -> Counts {
    match tree.children(&node) {
        0 => Counts::leaf(&node),
        children => Counts::parent(&node) + from_by_chili(scope, tree, &node, 0, children),
    }
}

fn from_by_chili(
    scope: &mut chili::Scope<'_>,
    tree: Tree,
    parent: &Node,
    first: u32,
    end: u32,
) -> Counts {
    if end - first == 1 {
        return by_chili(scope, tree, parent.child(first));
    }
    let (elsewhere, here) = scope.join(
        move |s| from_by_chili(s, tree, parent, first + 1, end),
        move |s| by_chili(s, tree, parent.child(first)),
    );
    here + elsewhere
}

/// The counts in one number, by Horner's rule: equal for equal counts, and
/// apart for trees that differ a little.
fn digest(counts: Counts) -> u64 {
    let Counts {
        nodes,
        leaves,
        depth_max,
    } = counts;
    [nodes, leaves, depth_max]
        .into_iter()
        .fold(0, |digest: u64, count| {
            digest.wrapping_mul(DIGEST_BASE).wrapping_add(count)
        })
}

/// More than any depth, so that the last count never carries into the others.
const DIGEST_BASE: u64 = 1_000_003;
