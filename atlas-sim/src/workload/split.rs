//! Shapes that follow from a budget: a node divides its budget among its children, and needs no luck.
//!
//! *Balanced* halves it; *skewed* gives nine tenths to one of two children; *flat* gives the root's to leaves,
//! one each; a *chain* passes on all but one to its only child, and so has no parallelism at all.

use super::node::TreeNode;

#[inline]
pub(super) fn balanced(node: &TreeNode, out: &mut Vec<TreeNode>) {
    if node.budget > 1 {
        let half = node.budget / 2;
        out.extend([node.child(0, node.budget - half), node.child(1, half)]);
    }
}

/// Which child is the large one is drawn, so that neither order of running children is favoured.
#[inline]
pub(super) fn skewed(node: &TreeNode, out: &mut Vec<TreeNode>) {
    if node.budget > 1 {
        let small = (node.budget / 10).max(1);
        let large = node.budget - small;
        let (first, second) = if node.draw() & 1 == 0 {
            (small, large)
        } else {
            (large, small)
        };
        out.extend([node.child(0, first), node.child(1, second)]);
    }
}

#[inline]
pub(super) fn flat(node: &TreeNode, out: &mut Vec<TreeNode>) {
    if node.budget > 1 {
        out.extend((0..node.budget).map(|number| node.child(number, 1)));
    }
}

#[inline]
pub(super) fn chain(node: &TreeNode, out: &mut Vec<TreeNode>) {
    if node.budget > 1 {
        out.push(node.child(0, node.budget - 1));
    }
}
