//! The build of a hierarchy: boxes are split where the binned surface area
//! heuristic expects the least work.
//!
//! From: Wald, *On fast Construction of SAH-based Bounding Volume Hierarchies*, 2007.
//!
//! Invariants: an inner node's children stand side by side, after it; each item
//! is in one leaf; no leaf is deeper than [`DEPTH_MAX`], which bounds the stack of a
//! traversal. The hierarchy is a function of the boxes and their order.

use super::bounds::Bounds;
use super::bvh::Node;
use super::vector::Vec3;

/// The nodes of a hierarchy over these boxes, root first, and the items in the
/// order of the leaves. Without boxes there is not even a root.
pub(super) fn build(boxes: &[Bounds]) -> (Vec<Node>, Vec<u32>) {
    let count = u32::try_from(boxes.len()).expect("fewer than 2^31 items");
    assert!(count < 1 << 31, "fewer than 2^31 items");
    if count == 0 {
        return (Vec::new(), Vec::new());
    }
    let mut order: Vec<u32> = (0..count).collect();
    let mut builder = Builder {
        boxes,
        nodes: vec![Node::leaf(Bounds::EMPTY, 0, 0)],
    };
    builder.fill(0, &mut order, 0, 0);
    (builder.nodes, order)
}

struct Builder<'boxes> {
    boxes: &'boxes [Bounds],
    nodes: Vec<Node>,
}

impl Builder<'_> {
    /// Makes node `at` hold `items`, which stand at `first` in the whole order.
    fn fill(&mut self, at: usize, items: &mut [u32], first: u32, depth: usize) {
        let bounds = self.union(items);
        let count = items.len();
        let Some(middle) = self.split(&bounds, items, depth) else {
            self.nodes[at] = Node::leaf(bounds, first, to_u32(count));
            return;
        };
        let children = self.nodes.len();
        self.nodes[at] = Node::leaf(bounds, to_u32(children), 0);
        self.nodes.extend([self.nodes[at]; 2]);
        let (left, right) = items.split_at_mut(middle);
        self.fill(children, left, first, depth + 1);
        self.fill(children + 1, right, first + to_u32(middle), depth + 1);
    }

    /// Sorts `items` into two parts and gives the length of the first; `None` if
    /// they should stay together.
    fn split(&self, bounds: &Bounds, items: &mut [u32], depth: usize) -> Option<usize> {
        let count = items.len();
        if count <= 1 {
            return None;
        }
        let centers = items.iter().fold(Bounds::EMPTY, |all, item| {
            all.with(self.boxes[*item as usize].center())
        });
        let axis = centers.longest_axis();
        if depth < SAH_DEPTH_MAX
            && let Some((bin, cost)) = self.cheapest_bin(&centers, axis, items)
        {
            if count <= LEAF_MAX && cost >= (count as f64 - NODE_COST) * bounds.half_area() {
                return None;
            }
            let middle = partition(items, |item| {
                bin_of(&centers, axis, self.boxes[item as usize].center()) < bin
            });
            return Some(middle);
        }
        if count <= LEAF_MAX {
            return None;
        }
        items.sort_by(|a, b| {
            let [a, b] = [a, b].map(|item| self.boxes[*item as usize].center()[axis]);
            a.total_cmp(&b)
        });
        Some(count / 2)
    }

    /// The bin that the second part should begin with, and the expected work of
    /// that split: area times items, summed. `None` if all centres share one bin.
    fn cheapest_bin(&self, centers: &Bounds, axis: usize, items: &[u32]) -> Option<(usize, f64)> {
        let mut bins = [(Bounds::EMPTY, 0_u32); BINS];
        for item in items {
            let bounds = self.boxes[*item as usize];
            let bin = &mut bins[bin_of(centers, axis, bounds.center())];
            *bin = (bin.0.union(bounds), bin.1 + 1);
        }
        let cost = |part: &[(Bounds, u32)]| {
            let (bounds, count) = part
                .iter()
                .fold((Bounds::EMPTY, 0), |(bounds, count), bin| {
                    (bounds.union(bin.0), count + bin.1)
                });
            (count > 0).then(|| bounds.half_area() * f64::from(count))
        };
        (1..BINS)
            .filter_map(|bin| {
                let (left, right) = bins.split_at(bin);
                Some((bin, cost(left)? + cost(right)?))
            })
            .min_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn union(&self, items: &[u32]) -> Bounds {
        items.iter().fold(Bounds::EMPTY, |all, item| {
            all.union(self.boxes[*item as usize])
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share is within 0 and 1, and a NaN gives bin 0"
)]
fn bin_of(centers: &Bounds, axis: usize, center: Vec3) -> usize {
    let share = (center[axis] - centers.low[axis]) / (centers.high[axis] - centers.low[axis]);
    ((share * BINS as f64) as usize).min(BINS - 1)
}

/// Moves the items that `belongs` to the front, keeping both orders, and counts them.
fn partition(items: &mut [u32], belongs: impl Fn(u32) -> bool) -> usize {
    let (mut front, back): (Vec<u32>, Vec<u32>) = items.iter().partition(|item| belongs(**item));
    let middle = front.len();
    front.extend(back);
    items.copy_from_slice(&front);
    middle
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).expect("there are fewer than 2^31 items, so fewer than 2^32 nodes")
}

/// Greatest depth of a leaf: the heuristic's levels, and 31 halvings of fewer than 2^31 items.
pub(super) const DEPTH_MAX: usize = SAH_DEPTH_MAX + 31;

/// Levels split by the heuristic, which may cut off one item at a time; below, items are halved.
const SAH_DEPTH_MAX: usize = 33;

/// Bins of the heuristic: more than 16 hardly find better splits.
const BINS: usize = 16;

/// Items that may share a leaf, unless the heuristic cannot part more.
const LEAF_MAX: usize = 4;

/// Cost of visiting a node, in tests of one item.
const NODE_COST: f64 = 1.0;
