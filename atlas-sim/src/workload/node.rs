//! A node of a synthetic tree, small enough to copy, and its form on the wire.
//!
//! All that is below a node follows from the node alone. Its result is a hash of its seed plus the results of
//! its children, wrapping: one that is lost, or counted twice, changes the result of the whole tree.

use atlas_proto::job::{Outcome, SharedName};
use atlas_proto::limits::CLOSURE_BYTES_MAX;
use bytes::{BufMut as _, Bytes, BytesMut};

/// One closure of a synthetic program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeNode {
    /// What its children, and its share of the result, are drawn from.
    pub seed: u64,
    /// The leaves below it (a leaf counts itself), or the nodes left of a chain. Random shapes have no budget.
    pub budget: u64,
    /// How many nodes are above it.
    pub depth: u32,
}

impl TreeNode {
    /// The child of a number, with a budget.
    #[inline]
    #[must_use]
    pub fn child(&self, number: u64, budget: u64) -> Self {
        Self {
            seed: derive(self.seed, number),
            budget,
            depth: self.depth + 1,
        }
    }

    /// What this node alone adds to the result.
    #[inline]
    #[must_use]
    pub fn own_result(&self) -> u64 {
        mix(self.seed ^ RESULT_SALT)
    }

    /// The draw that decides the children of this node.
    #[inline]
    pub(crate) fn draw(&self) -> u64 {
        mix(self.seed ^ CHILDREN_SALT)
    }

    /// The node as a closure's arguments: `args_bytes` long, but never too short for the node itself.
    #[must_use]
    pub fn encode(&self, args_bytes: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(args_bytes.max(NODE_BYTES));
        bytes.put_u64_le(self.seed);
        bytes.put_u64_le(self.budget);
        bytes.put_u32_le(self.depth);
        padded(bytes, args_bytes)
    }

    /// The node in a closure's arguments; none if they are too short.
    #[must_use]
    pub fn decode(args: &[u8]) -> Option<Self> {
        let (seed, rest) = args.split_first_chunk::<8>()?;
        let (budget, rest) = rest.split_first_chunk::<8>()?;
        let (depth, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            seed: u64::from_le_bytes(*seed),
            budget: u64::from_le_bytes(*budget),
            depth: u32::from_le_bytes(*depth),
        })
    }
}

/// A result as it travels: `result_bytes` long, but never too short for the number.
#[must_use]
pub fn encode_result(result: u64, result_bytes: usize) -> Bytes {
    let mut room = BytesMut::with_capacity(result_bytes.max(RESULT_BYTES));
    encode_result_in(&mut room, result, result_bytes)
}

/// The same, next to others: who goes through many results that are kept for long finds one count of references for some dozens.
pub(crate) fn encode_result_in(room: &mut BytesMut, result: u64, result_bytes: usize) -> Bytes {
    let length = result_bytes.max(RESULT_BYTES);
    if room.capacity() < length {
        *room = BytesMut::with_capacity(length.max(ROOM_BYTES));
    }
    room.put_u64_le(result);
    room.resize(length, 0);
    room.split().freeze()
}

/// The number in a result; none if the bytes are too few.
#[must_use]
pub fn decode_result(bytes: &[u8]) -> Option<u64> {
    bytes
        .first_chunk::<8>()
        .map(|first| u64::from_le_bytes(*first))
}

/// How a closure with this result ends. A large one is a blob, which here is its own name.
#[must_use]
pub fn outcome_of(result: u64, result_bytes: usize) -> Outcome {
    if result_bytes <= CLOSURE_BYTES_MAX {
        return Outcome::Value(encode_result(result, result_bytes));
    }
    let mut name = [0; SharedName::BYTES];
    name[..RESULT_BYTES].copy_from_slice(&result.to_le_bytes());
    Outcome::Blob {
        name: SharedName(name),
        bytes: result_bytes as u64,
    }
}

/// The number that came out of a closure; none if there is none.
#[must_use]
pub fn result_of(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Value(bytes) => decode_result(bytes),
        Outcome::Blob { name, .. } => decode_result(&name.0),
        Outcome::Panic(_) => None,
    }
}

/// The seed of a number under a seed: a step of `SplitMix64` (Steele, Lea, Flood, 2014).
#[inline]
#[must_use]
pub(crate) fn derive(seed: u64, number: u64) -> u64 {
    mix(seed.wrapping_add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

#[inline]
fn mix(seed: u64) -> u64 {
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

fn padded(mut bytes: BytesMut, length: usize) -> Bytes {
    if bytes.len() < length {
        bytes.resize(length, 0);
    }
    bytes.freeze()
}

/// How many values a draw can have: what a chance is a part of.
pub(super) const ALL_DRAWS: f64 = (1_u128 << 64) as f64;
const NODE_BYTES: usize = 20;
const RESULT_BYTES: usize = 8;
/// All of it stays as long as one of its results.
const ROOM_BYTES: usize = 1024;
const RESULT_SALT: u64 = 0x5bd1_e995_7b93_d1a3;
const CHILDREN_SALT: u64 = 0xa24b_aed4_963e_e407;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_survives_its_arguments() {
        let node = TreeNode {
            seed: 1 << 60,
            budget: 77,
            depth: 12,
        };
        for args_bytes in [0, 20, 21, 400] {
            let args = node.encode(args_bytes);
            assert_eq!(args.len(), args_bytes.max(20));
            assert_eq!(TreeNode::decode(&args), Some(node));
        }
        assert_eq!(TreeNode::decode(&node.encode(0)[..19]), None);
    }

    #[test]
    fn a_result_survives_its_padding() {
        for result_bytes in [0, 8, 100] {
            assert_eq!(decode_result(&encode_result(42, result_bytes)), Some(42));
        }
        for (result_bytes, size) in [(100, 100), (CLOSURE_BYTES_MAX + 1, SharedName::BYTES)] {
            let outcome = outcome_of(42, result_bytes);
            assert_eq!((outcome.size(), result_of(&outcome)), (size, Some(42)));
        }
        assert_eq!(decode_result(&[1; 7]), None);
        let mut room = BytesMut::new();
        for number in 0..200 {
            let bytes = encode_result_in(&mut room, number, 16);
            assert_eq!((bytes.len(), decode_result(&bytes)), (16, Some(number)));
        }
    }

    #[test]
    fn children_of_one_node_differ() {
        let node = TreeNode {
            seed: 0,
            budget: 0,
            depth: 0,
        };
        let mut seeds: Vec<_> = (0..1000).map(|number| node.child(number, 0).seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 1000);
    }
}
