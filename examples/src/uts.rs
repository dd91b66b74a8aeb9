//! Unbalanced Tree Search: counts the nodes of a tree that nobody can predict.
//!
//! The benchmark is that of Olivier, Huan, Liu, Prins, Dinan, Sadayappan and
//! Tseng, "UTS: An Unbalanced Tree Search Benchmark" (LCPC 2006). A node is 20
//! bytes of SHA-1 state, its children follow from it and from nothing else, and
//! subtrees of one parent differ in size by orders of magnitude: no partition
//! in advance is fair, so work has to be stolen. [`tree`] says how nodes come
//! about, and holds the published trees; this module searches them.
//!
//! [`search`] joins each child with the children after it, and has no cutoff: a
//! thief takes all children that are left. [`search_cps`] does so by explicit
//! continuations.

pub mod tree;

use std::ops::Add;

use atlas::{Next, join, spawn_next};
use serde::{Deserialize, Serialize};

pub use tree::{Node, Tree};

/// What a search reports of a tree or of a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Nodes seen.
    pub nodes: u64,
    /// Those of them that have no children.
    pub leaves: u64,
    /// The depth of the deepest one; the root's is 0. As wide as the others: a
    /// narrower one would be copied at another width than it is stored at.
    pub depth_max: u64,
}

impl Counts {
    /// One node without children.
    #[inline]
    #[must_use]
    pub fn leaf(node: &Node) -> Self {
        Self {
            nodes: 1,
            leaves: 1,
            depth_max: u64::from(node.depth()),
        }
    }

    /// One node with children, which are not counted here.
    #[inline]
    #[must_use]
    pub fn parent(node: &Node) -> Self {
        Self {
            nodes: 1,
            leaves: 0,
            depth_max: u64::from(node.depth()),
        }
    }

    /// How many joins [`search`] makes in a tree with these counts: `n`
    /// children take `n - 1` splits, which sums to one less than the leaves.
    #[must_use]
    pub fn joins(self) -> u64 {
        self.leaves.saturating_sub(1)
    }
}

impl Add for Counts {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        Self {
            nodes: self.nodes + other.nodes,
            leaves: self.leaves + other.leaves,
            depth_max: self.depth_max.max(other.depth_max),
        }
    }
}

/// Searches the subtree of `node`.
///
/// ```
/// use atlas_examples::uts::{Tree, search, sequential};
///
/// let root = Tree::T3Mini.root();
/// assert_eq!(search(Tree::T3Mini, root), sequential(Tree::T3Mini, root));
/// ```
#[atlas::spawn]
pub fn search(tree: Tree, node: Node) -> Counts {
    match tree.children(&node) {
        0 => Counts::leaf(&node),
        children => Counts::parent(&node) + search_from(tree, node, 0, children),
    }
}

/// Searches the subtrees of the children `first..end` of `parent`, of which
/// there is at least one.
#[atlas::spawn]
pub fn search_from(tree: Tree, parent: Node, first: u32, end: u32) -> Counts {
    if end - first == 1 {
        return search_child(tree, parent, first);
    }
    let (here, elsewhere) = join!(
        search_child(tree, parent, first),
        search_from(tree, parent, first + 1, end),
    );
    here + elsewhere
}

/// Searches the subtree of one child.
#[atlas::spawn]
pub fn search_child(tree: Tree, parent: Node, index: u32) -> Counts {
    search(tree, parent.child(index))
}

/// [`search`] by continuations: no call waits for its children.
#[atlas::spawn]
pub fn search_cps(tree: Tree, node: Node) -> Next<Counts> {
    match tree.children(&node) {
        0 => Next::value(Counts::leaf(&node)),
        children => {
            let own = Counts::parent(&node);
            spawn_next!(search_from_cps(tree, node, 0, children) => add(own))
        }
    }
}

/// [`search_from`] by continuations.
#[atlas::spawn]
pub fn search_from_cps(tree: Tree, parent: Node, first: u32, end: u32) -> Next<Counts> {
    if end - first == 1 {
        return search_child_cps(tree, parent, first);
    }
    spawn_next!(
        search_child_cps(tree, parent, first),
        search_from_cps(tree, parent, first + 1, end)
        => add()
    )
}

/// [`search_child`] by continuations.
#[atlas::spawn]
pub fn search_child_cps(tree: Tree, parent: Node, index: u32) -> Next<Counts> {
    search_cps(tree, parent.child(index))
}

/// The continuation of the searches by continuations.
#[atlas::spawn]
pub fn add(left: Counts, right: Counts) -> Counts {
    left + right
}

/// [`search`] as the plain recursive loop over the children.
#[must_use]
pub fn sequential(tree: Tree, node: Node) -> Counts {
    let children = tree.children(&node);
    if children == 0 {
        return Counts::leaf(&node);
    }
    let mut counts = Counts::parent(&node);
    for index in 0..children {
        counts = counts + sequential(tree, node.child(index));
    }
    counts
}

#[cfg(test)]
mod tests {
    use atlas::prelude::*;

    use super::*;

    #[test]
    fn three_forms_agree() {
        let (tree, root) = (Tree::T3Mini, Tree::T3Mini.root());
        let expected = sequential(tree, root);
        assert!(expected.nodes > 1_000, "{expected:?}");
        assert_eq!(atlas::run(move || search(tree, root)), expected);
        assert_eq!(
            atlas::run(move || spawn!(search_cps(tree, root)).sync()),
            expected
        );
    }

    #[test]
    #[cfg_attr(debug_assertions, ignore = "20 million SHA-1 states: run it optimised")]
    fn counts_equal_those_published() {
        for tree in [Tree::T1, Tree::T2, Tree::T3, Tree::T4, Tree::T5] {
            let counts = atlas::run(move || search(tree, tree.root()));
            assert_eq!(Some(counts), tree.published(), "{tree:?}");
        }
    }
}
