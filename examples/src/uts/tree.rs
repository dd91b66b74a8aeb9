//! The trees of the Unbalanced Tree Search benchmark: how a node gets its
//! state, and how many children follow from it.
//!
//! States come from a splittable generator: the root's is SHA-1 over 16 zero
//! bytes and the seed, a child's is SHA-1 over its parent's state and the
//! child's index (both numbers four bytes, big-endian). A node's random number
//! is the last 31 bits of its state.
//!
//! Below the root of a *binomial* tree a node has `children` children with
//! probability `chance`, or none. In a *geometric* tree the number of children
//! is geometrically distributed, with a mean that depends on the depth. A
//! *hybrid* tree is geometric above half its height, and binomial below.
//!
//! The parameters and counts of the named trees are those published with the
//! benchmark. This module knows nothing of tasks.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::Counts;

/// A node: all that its subtree is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The first 16 bytes of the state.
    head: [u8; HEAD_BYTES],
    /// The last 4 bytes of the state, and the depth above them. One word: a
    /// node is copied at each call, and two halves that were stored one by one
    /// would stall a load of both.
    tail: u64,
}

impl Node {
    /// The root of the trees with this seed.
    #[must_use]
    pub fn root(seed: u32) -> Self {
        let mut hasher = Sha1::new_with_prefix([0; STATE_BYTES - 4]);
        hasher.update(seed.to_be_bytes());
        Self::new(hasher.finalize().into(), 0)
    }

    #[inline(always)]
    fn new(state: [u8; STATE_BYTES], depth: u32) -> Self {
        let [head @ .., a, b, c, d] = state;
        let tail = u64::from(u32::from_be_bytes([a, b, c, d])) | u64::from(depth) << 32;
        Self { head, tail }
    }

    /// The last 4 bytes of the state as a number.
    #[inline(always)]
    fn last_word(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
        let word = self.tail as u32;
        word
    }

    /// The child of this number.
    #[inline]
    #[must_use]
    pub fn child(&self, index: u32) -> Self {
        let mut hasher = Sha1::new_with_prefix(self.head);
        let end = u64::from(self.last_word()) << 32 | u64::from(index);
        hasher.update(end.to_be_bytes());
        Self::new(hasher.finalize().into(), self.depth() + 1)
    }

    /// How many edges lie between the root and this node.
    #[inline]
    #[must_use]
    pub fn depth(&self) -> u32 {
        (self.tail >> 32) as u32
    }

    /// The node's random number, uniform in `[0, 1)`.
    #[inline]
    fn uniform(&self) -> f64 {
        let number = self.last_word() & 0x7fff_ffff;
        f64::from(number) / f64::from(1_u32 << 31)
    }
}

/// A tree of the published collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Tree {
    /// Geometric with one mean at all depths: 4.1 million nodes.
    T1,
    /// Geometric with a cyclic mean: 4.1 million nodes.
    T2,
    /// Binomial, deep and narrow: 4.1 million nodes.
    T3,
    /// Hybrid: 4.1 million nodes.
    T4,
    /// Geometric with a mean that falls linearly: 4.1 million nodes.
    T5,
    /// T1, larger: 102 million nodes.
    T1l,
    /// T3 with 20 children of the root in place of 2,000; for tests.
    T3Mini,
}

impl Tree {
    /// The root node.
    #[must_use]
    pub fn root(self) -> Node {
        Node::root(self.parameters().seed)
    }

    /// How many children `node` has in this tree.
    #[inline]
    #[must_use]
    pub fn children(self, node: &Node) -> u32 {
        let Parameters {
            growth,
            root_children,
            ..
        } = self.parameters();
        match growth {
            Growth::Binomial(_) if node.depth() == 0 => *root_children,
            Growth::Binomial(binomial) => binomial.children(node),
            Growth::Geometric(geometric) => geometric.children(node, *root_children),
            Growth::Hybrid(geometric, binomial) => {
                if node.depth() < geometric.height / 2 {
                    geometric.children(node, *root_children)
                } else {
                    binomial.children(node)
                }
            }
        }
    }

    /// The counts published with the benchmark.
    #[must_use]
    pub fn published(self) -> Option<Counts> {
        let (nodes, leaves, depth_max) = match self {
            Self::T1 => (4_130_071, 3_305_118, 10),
            Self::T2 => (4_117_769, 2_342_762, 81),
            Self::T3 => (4_112_897, 3_599_034, 1_572),
            Self::T4 => (4_132_453, 3_108_986, 134),
            Self::T5 => (4_147_582, 2_181_318, 20),
            Self::T1l => (102_181_082, 81_746_377, 13),
            Self::T3Mini => return None,
        };
        Some(Counts {
            nodes,
            leaves,
            depth_max,
        })
    }

    #[inline]
    fn parameters(self) -> &'static Parameters {
        match self {
            Self::T1 => &T1,
            Self::T2 => &T2,
            Self::T3 => &T3,
            Self::T4 => &T4,
            Self::T5 => &T5,
            Self::T1l => &T1L,
            Self::T3Mini => &T3_MINI,
        }
    }
}

/// What tells one tree from another; the letters are the options of the
/// benchmark's own program.
struct Parameters {
    growth: Growth,
    /// `-b`: children of a binomial root; the mean at a geometric one.
    root_children: u32,
    /// `-r`.
    seed: u32,
}

/// `-t`: by which law a node gets its children.
enum Growth {
    Binomial(Binomial),
    Geometric(Geometric),
    Hybrid(Geometric, Binomial),
}

struct Binomial {
    /// `-m`: children of a node that has any.
    children: u32,
    /// `-q`: how likely it has any.
    chance: f64,
}

impl Binomial {
    #[inline]
    fn children(&self, node: &Node) -> u32 {
        if node.uniform() < self.chance {
            self.children
        } else {
            0
        }
    }
}

struct Geometric {
    shape: Shape,
    /// `-d`: the depth that the shapes are scaled to.
    height: u32,
}

/// `-a`: how the mean number of children changes with the depth.
#[derive(Clone, Copy)]
enum Shape {
    Linear,
    Cyclic,
    Fixed,
}

impl Geometric {
    /// Inverts the cumulative distribution at the node's random number.
    fn children(&self, node: &Node, root_children: u32) -> u32 {
        let chance = 1.0 / (1.0 + self.mean(node.depth(), f64::from(root_children)));
        let children = (1.0 - node.uniform()).ln() / (1.0 - chance).ln();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the float is small and not negative"
        )]
        let children = children.floor() as u32;
        children.min(CHILDREN_MAX)
    }

    fn mean(&self, depth: u32, at_root: f64) -> f64 {
        if depth == 0 {
            return at_root;
        }
        let cycles = f64::from(depth) / f64::from(self.height);
        match self.shape {
            Shape::Linear => at_root * (1.0 - cycles),
            Shape::Cyclic if depth > CYCLES_MAX * self.height => 0.0,
            Shape::Cyclic => at_root.powf((2.0 * PI * cycles).sin()),
            Shape::Fixed if depth < self.height => at_root,
            Shape::Fixed => 0.0,
        }
    }
}

/// The length of a SHA-1 value.
const STATE_BYTES: usize = 20;
const HEAD_BYTES: usize = 16;

/// The benchmark lets no node but a binomial root have more.
const CHILDREN_MAX: u32 = 100;

/// A cyclic tree ends after as many periods of its mean.
const CYCLES_MAX: u32 = 5;

static T1: Parameters = Parameters {
    growth: Growth::Geometric(Geometric {
        shape: Shape::Fixed,
        height: 10,
    }),
    root_children: 4,
    seed: 19,
};

static T2: Parameters = Parameters {
    growth: Growth::Geometric(Geometric {
        shape: Shape::Cyclic,
        height: 16,
    }),
    root_children: 6,
    seed: 502,
};

static T3: Parameters = Parameters {
    growth: Growth::Binomial(Binomial {
        children: 8,
        chance: 0.124_875,
    }),
    root_children: 2_000,
    seed: 42,
};

static T4: Parameters = Parameters {
    growth: Growth::Hybrid(
        Geometric {
            shape: Shape::Linear,
            height: 16,
        },
        Binomial {
            children: 4,
            chance: 0.234_375,
        },
    ),
    root_children: 6,
    seed: 1,
};

static T5: Parameters = Parameters {
    growth: Growth::Geometric(Geometric {
        shape: Shape::Linear,
        height: 20,
    }),
    root_children: 4,
    seed: 34,
};

static T1L: Parameters = Parameters {
    growth: Growth::Geometric(Geometric {
        shape: Shape::Fixed,
        height: 13,
    }),
    root_children: 4,
    seed: 29,
};

static T3_MINI: Parameters = Parameters {
    growth: Growth::Binomial(Binomial {
        children: 8,
        chance: 0.124_875,
    }),
    root_children: 20,
    seed: 42,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_hashes_sixteen_zeros_and_the_seed() {
        let by_hand: [u8; STATE_BYTES] = Sha1::digest(
            [0; 16]
                .into_iter()
                .chain([0, 0, 0, 42])
                .collect::<Vec<u8>>(),
        )
        .into();
        assert_eq!(Tree::T3.root(), Node::new(by_hand, 0));
    }

    #[test]
    fn only_a_binomial_root_has_more_than_a_hundred_children() {
        let root = Tree::T3.root();
        assert_eq!(Tree::T3.children(&root), 2_000);
        for index in 0..200 {
            let children = Tree::T3.children(&root.child(index));
            assert!(children == 0 || children == 8, "{children}");
        }
    }
}
