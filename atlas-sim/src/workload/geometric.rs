//! Unbalanced trees with geometric numbers of children, down to a limit of depth: the UTS benchmark's `GEO`
//! with fixed shape (Olivier et al., *UTS: An Unbalanced Tree Search Benchmark*, 2006).
//!
//! Most of the imbalance is near the leaves, and the depth is small: this is the shape of recursive search.

use super::node::{ALL_DRAWS, TreeNode};

/// The law by which nodes get their children.
#[derive(Clone, Debug)]
pub(super) struct Geometric {
    root_children: u64,
    depth_limit: u32,
    /// The chance, of 2^64, that a node has more children than the place in the list.
    more_than: Vec<u64>,
}

impl Geometric {
    /// A law under which a tree is expected to have so many nodes.
    pub(super) fn expecting(nodes: u64) -> Self {
        let root_children = ROOT_CHILDREN.min(nodes.saturating_sub(1));
        let below_root = |mean, limit| root_children as f64 * subtree(mean, limit);
        let wanted = nodes.saturating_sub(1) as f64;
        let mut depth_limit = 1;
        while root_children > 0 && below_root(MEAN_MAX, depth_limit) < wanted {
            depth_limit += 1;
        }
        let (mut low, mut high) = (0.0, MEAN_MAX);
        for _ in 0..MEAN_STEPS {
            let middle = (low + high) / 2.0;
            if below_root(middle, depth_limit) < wanted {
                low = middle;
            } else {
                high = middle;
            }
        }
        Self {
            root_children,
            depth_limit,
            more_than: tail(high),
        }
    }

    #[inline]
    pub(super) fn children(&self, node: &TreeNode, out: &mut Vec<TreeNode>) {
        let children = self.count(node);
        out.extend((0..children).map(|number| node.child(number, 0)));
    }

    #[inline]
    fn count(&self, node: &TreeNode) -> u64 {
        if node.depth == 0 {
            return self.root_children;
        }
        if node.depth >= self.depth_limit {
            return 0;
        }
        let draw = node.draw();
        self.more_than
            .iter()
            .take_while(|&&chance| draw < chance)
            .count() as u64
    }
}

/// The nodes expected in the subtree of a child of the root.
fn subtree(mean: f64, depth_limit: u32) -> f64 {
    (0..depth_limit)
        .fold((0.0, 1.0), |(sum, level), _| (sum + level, level * mean))
        .0
}

/// The tail of the geometric distribution. Products only, so that every machine finds the same bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a product of chances"
)]
fn tail(mean: f64) -> Vec<u64> {
    let ratio = mean / (1.0 + mean);
    let powers = std::iter::successors(Some(ratio), |power| Some(power * ratio));
    powers
        .take(CHILDREN_MAX)
        .map(|chance| (chance * ALL_DRAWS) as u64)
        .collect()
}

/// Enough subtrees that their number of nodes together is near the expected one more often than not.
const ROOT_CHILDREN: u64 = 16;
/// As in the benchmark's published trees; the mean is at most this, with the least depth that allows it.
const MEAN_MAX: f64 = 4.0;
/// Halvings until the mean is as exact as a double.
const MEAN_STEPS: u32 = 60;
/// As in the benchmark. A node has more with a chance of 2e-10.
const CHILDREN_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_children_have_the_wanted_mean_and_tail() {
        let law = Geometric::expecting(1 + 16 * (1 + 3 + 9));
        assert_eq!(law.depth_limit, 3);
        let root = TreeNode {
            seed: 9,
            budget: 0,
            depth: 0,
        };
        let counts: Vec<_> = (0..100_000)
            .map(|number| law.count(&root.child(number, 0)))
            .collect();
        let mean = counts.iter().sum::<u64>() as f64 / 1e5;
        assert!((mean - 3.0).abs() < 0.05, "{mean}");
        let none = counts.iter().filter(|&&count| count == 0).count();
        assert!(none.abs_diff(25_000) < 800, "{none}");
    }
}
