//! Unbalanced trees where a node has either many children or none: the UTS benchmark's `BIN`.
//!
//! Each subtree has the same expected size, whatever its depth, and the largest are larger than the expected
//! one by far: nothing about a node tells how much work is below it. Trees are thousands of nodes deep.

use super::node::{ALL_DRAWS, TreeNode};

/// The law by which nodes get their children.
#[derive(Clone, Debug)]
pub(super) struct Binomial {
    root_children: u64,
    /// The chance, of 2^64, that a node has children.
    chance: u64,
}

impl Binomial {
    /// A law under which a tree is expected to have so many nodes: each child of the root stands for
    /// `1 / (1 - CHILDREN * chance)` of them.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a chance below 2^61"
    )]
    pub(super) fn expecting(nodes: u64) -> Self {
        let below_root = nodes.saturating_sub(1);
        let root_children = below_root.div_ceil(SUBTREE_MIN).min(ROOT_CHILDREN_MAX);
        let chance = match below_root {
            0 => 0.0,
            _ => (1.0 - root_children as f64 / below_root as f64) / CHILDREN as f64,
        };
        Self {
            root_children,
            chance: (chance * ALL_DRAWS) as u64,
        }
    }

    #[inline]
    pub(super) fn children(&self, node: &TreeNode, out: &mut Vec<TreeNode>) {
        let children = match node.depth {
            0 => self.root_children,
            _ if node.draw() < self.chance => CHILDREN,
            _ => 0,
        };
        out.extend((0..children).map(|number| node.child(number, 0)));
    }
}

/// As in the benchmark's published trees.
const CHILDREN: u64 = 8;
/// As in the benchmark's published trees.
const ROOT_CHILDREN_MAX: u64 = 2000;
/// Small trees have fewer children of the root, so that there is something below these.
const SUBTREE_MIN: u64 = 10;
