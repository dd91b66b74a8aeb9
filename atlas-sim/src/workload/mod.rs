//! Synthetic programs: trees of closures, each node generated from its parent.
//!
//! A tree is never in memory: a node is a few bytes, and what is below it follows from them. So a workload of
//! millions of closures costs nothing to hold, any server can run any part of it, and the result of a plain
//! sequential walk is at hand to compare with. The total work is exact, in nanoseconds, for every shape.

mod binomial;
mod geometric;
mod kind;
mod node;
mod results;
mod split;

use std::sync::OnceLock;
use std::time::Duration;

use atlas_engine::Key;
use serde::{Deserialize, Serialize};

use binomial::Binomial;
use geometric::Geometric;
pub use kind::{EXACT_DEPTHS, bucket_start, depth_bucket, kind_at, kind_of_bucket};
pub(crate) use node::encode_result_in;
pub use node::{TreeNode, decode_result, encode_result, outcome_of, result_of};
pub(crate) use results::{Done, PlaceSet, Results, name_of};

/// The shape of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Geometric numbers of children, to a limit of depth.
    Uts,
    /// Eight children or none; thousands deep.
    UtsBinomial,
    /// Two equal halves, down to leaves.
    Balanced,
    /// Two children, one with nine tenths of the work.
    Skewed,
    /// A root with leaves.
    Flat,
    /// One child each: no parallelism.
    Chain,
}

impl Workload {
    /// Every shape.
    pub const ALL: [Self; 6] = [
        Self::Uts,
        Self::UtsBinomial,
        Self::Balanced,
        Self::Skewed,
        Self::Flat,
        Self::Chain,
    ];
}

/// Which tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadConfig {
    /// Its shape.
    pub shape: Workload,
    /// The work of all nodes together, at speed 1.
    pub total_work: Duration,
    /// The work of one node (of a leaf, where nodes divide a budget), as near as the total allows.
    pub granularity: Duration,
    /// The size of a closure's arguments.
    pub args_bytes: usize,
    /// The size of a closure's result.
    pub result_bytes: usize,
    /// What random shapes and all results are drawn from.
    pub seed: u64,
}

/// What a sequential run gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many closures.
    pub nodes: u64,
    /// The work of all of them at speed 1.
    pub work_ns: u64,
    /// The result of the root.
    pub result: u64,
    /// The depth of the deepest; the root's is zero.
    pub max_depth: u32,
}

/// A synthetic program.
#[derive(Debug)]
pub struct Tree {
    config: WorkloadConfig,
    law: Law,
    root: TreeNode,
    costs: Costs,
    summary: OnceLock<Summary>,
    remembered: Results,
}

#[derive(Clone, Debug)]
enum Law {
    Geometric(Geometric),
    Binomial(Binomial),
    Balanced,
    Skewed,
    Flat,
    Chain,
}

/// The work of nodes, in nanoseconds at speed 1.
#[derive(Clone, Copy, Debug)]
struct Costs {
    /// Of a node with a budget of one or none.
    leaf: u64,
    /// Of a node with a budget to divide.
    split: u64,
    /// What the root has beside, so that the total is exact.
    root_extra: u64,
}

impl Tree {
    /// The tree of a configuration. Random shapes are drawn until their size is between half and twice the
    /// wanted one; the work of a node is then what makes the total exact.
    #[must_use]
    pub fn new(config: &WorkloadConfig) -> Self {
        let total = nanos(config.total_work);
        let nodes = (total / nanos(config.granularity).max(1)).max(1);
        match config.shape {
            Workload::Uts => {
                Self::random(config, Law::Geometric(Geometric::expecting(nodes)), nodes)
            }
            Workload::UtsBinomial => {
                Self::random(config, Law::Binomial(Binomial::expecting(nodes)), nodes)
            }
            Workload::Balanced => Self::split(config, Law::Balanced),
            Workload::Skewed => Self::split(config, Law::Skewed),
            Workload::Flat => Self::split(config, Law::Flat),
            Workload::Chain => {
                let costs = Costs::even(total, nodes);
                Self::with(
                    config,
                    Law::Chain,
                    TreeNode {
                        seed: config.seed,
                        budget: nodes,
                        depth: 0,
                    },
                    costs,
                )
            }
        }
    }

    fn random(config: &WorkloadConfig, law: Law, nodes: u64) -> Self {
        let mut tree = Self::with(
            config,
            law,
            TreeNode {
                seed: config.seed,
                budget: 0,
                depth: 0,
            },
            Costs::FREE,
        );
        let mut drawn = Summary::default();
        for attempt in 0..ATTEMPTS_MAX {
            tree.root.seed = node::derive(config.seed, attempt);
            // Twice the wanted size is too large, so the walk need not go on.
            drawn = tree.walk(nodes.saturating_mul(2));
            if drawn.nodes.saturating_mul(2) >= nodes && drawn.nodes <= nodes.saturating_mul(2) {
                break;
            }
        }
        if drawn.nodes > nodes.saturating_mul(2) {
            drawn = tree.walk(u64::MAX);
        }
        let total = nanos(config.total_work);
        tree.costs = Costs::even(total, drawn.nodes);
        tree.summary = OnceLock::from(Summary {
            work_ns: total,
            ..drawn
        });
        tree
    }

    fn split(config: &WorkloadConfig, law: Law) -> Self {
        let total = nanos(config.total_work);
        let granularity = nanos(config.granularity).max(1);
        let split = (granularity / SPLITS_PER_LEAF).max(SPLIT_MIN_NS);
        let flat = matches!(law, Law::Flat);
        let leaves = match flat {
            true => total.saturating_sub(split) / granularity,
            false => (total + split) / (granularity + split),
        };
        let leaves = leaves.max(1);
        let splits = if flat {
            u64::from(leaves > 1)
        } else {
            leaves - 1
        };
        let in_leaves = total - splits * split;
        let costs = Costs {
            leaf: in_leaves / leaves,
            split,
            root_extra: in_leaves % leaves,
        };
        Self::with(
            config,
            law,
            TreeNode {
                seed: config.seed,
                budget: leaves,
                depth: 0,
            },
            costs,
        )
    }

    fn with(config: &WorkloadConfig, law: Law, root: TreeNode, costs: Costs) -> Self {
        Self {
            config: config.clone(),
            law,
            root,
            costs,
            summary: OnceLock::new(),
            remembered: Results::default(),
        }
    }

    /// What the tree was made from.
    #[must_use]
    pub fn config(&self) -> &WorkloadConfig {
        &self.config
    }

    /// The closure that a client submits.
    #[must_use]
    pub fn root(&self) -> TreeNode {
        self.root
    }

    /// What the result of the node is kept under: the key of the closure that it is.
    #[must_use]
    pub fn key(&self, node: &TreeNode) -> Key {
        Key::of(
            kind_at(node.depth).task,
            &node.encode(self.config.args_bytes),
        )
    }

    /// The results of its nodes that any engine remembers.
    pub(crate) fn remembered(&self) -> &Results {
        &self.remembered
    }

    /// The work of the node alone, in nanoseconds at speed 1.
    #[inline]
    #[must_use]
    pub fn work(&self, node: &TreeNode) -> u64 {
        let own = if node.budget <= 1 {
            self.costs.leaf
        } else {
            self.costs.split
        };
        if node.depth == 0 {
            own + self.costs.root_extra
        } else {
            own
        }
    }

    /// No node without children has less work than this.
    #[must_use]
    pub fn leaf_work(&self) -> u64 {
        self.costs.leaf
    }

    /// Appends the children of the node, the first one first.
    #[inline]
    pub fn children(&self, node: &TreeNode, out: &mut Vec<TreeNode>) {
        match &self.law {
            Law::Geometric(law) => law.children(node, out),
            Law::Binomial(law) => law.children(node, out),
            Law::Balanced => split::balanced(node, out),
            Law::Skewed => split::skewed(node, out),
            Law::Flat => split::flat(node, out),
            Law::Chain => split::chain(node, out),
        }
    }

    /// What a sequential run gives; it is run at most once.
    pub fn sequential(&self) -> Summary {
        *self.summary.get_or_init(|| self.walk(u64::MAX))
    }

    /// Walks depth first, on a stack of its own since trees are deep, and gives up beyond `nodes_max`.
    fn walk(&self, nodes_max: u64) -> Summary {
        let mut summary = Summary::default();
        let mut stack = vec![self.root];
        while let Some(node) = stack.pop() {
            summary.nodes += 1;
            summary.work_ns += self.work(&node);
            summary.result = summary.result.wrapping_add(node.own_result());
            summary.max_depth = summary.max_depth.max(node.depth);
            if summary.nodes > nodes_max {
                break;
            }
            self.children(&node, &mut stack);
        }
        summary
    }
}

impl Costs {
    /// Before the number of nodes is known.
    const FREE: Self = Self {
        leaf: 0,
        split: 0,
        root_extra: 0,
    };

    /// The same for every node.
    fn even(total: u64, nodes: u64) -> Self {
        Self {
            leaf: total / nodes,
            split: total / nodes,
            root_extra: total % nodes,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Random trees drawn until one has the wanted size. The largest binomial ones have it once in eight times.
const ATTEMPTS_MAX: u64 = 256;
/// Dividing a budget takes this part of a leaf's work.
const SPLITS_PER_LEAF: u64 = 64;
/// And never less than this.
const SPLIT_MIN_NS: u64 = 1000;

#[cfg(test)]
mod tests;
