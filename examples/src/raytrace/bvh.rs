//! Bounding-volume hierarchy: which of many boxes a ray passes, nearest first.
//!
//! It knows boxes and item numbers, not shapes: the caller gives one box for each
//! item, and tests the items that a ray may meet. Boxes are split where the binned
//! surface area heuristic expects the least work (Wald, *On fast Construction of
//! SAH-based Bounding Volume Hierarchies*, 2007).
//!
//! Invariants: an inner node's children stand side by side, after it; each item
//! is in one leaf; no leaf is deeper than [`DEPTH_MAX`], which bounds the stack of a
//! traversal. The hierarchy is a function of the boxes and their order.

use super::ray::Ray;
use super::vector::Vec3;

/// An axis-aligned box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The corner of least coordinates.
    pub low: Vec3,
    /// The corner of greatest coordinates.
    pub high: Vec3,
}

impl Bounds {
    /// The box that holds nothing.
    pub const EMPTY: Self = Self {
        low: Vec3::splat(f64::INFINITY),
        high: Vec3::splat(f64::NEG_INFINITY),
    };

    /// The box that holds one point.
    #[must_use]
    pub fn of_point(point: Vec3) -> Self {
        Self {
            low: point,
            high: point,
        }
    }

    /// The smallest box around this one and a point.
    #[must_use]
    pub fn with(self, point: Vec3) -> Self {
        self.union(Self::of_point(point))
    }

    /// The smallest box around both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }

    /// The box's middle.
    #[must_use]
    pub fn center(&self) -> Vec3 {
        (self.low + self.high) * 0.5
    }

    /// Half of the surface area; zero for the empty box.
    fn half_area(&self) -> f64 {
        let size = (self.high - self.low).max(Vec3::ZERO);
        size.x * size.y + size.y * size.z + size.z * size.x
    }

    /// The axis along which the box is longest.
    fn longest_axis(&self) -> usize {
        let size = self.high - self.low;
        if size.x >= size.y && size.x >= size.z {
            0
        } else if size.y >= size.z {
            1
        } else {
            2
        }
    }
}

/// The hierarchy over a list of items.
#[derive(Clone, Debug, Default)]
pub struct Bvh {
    nodes: Vec<Node>,
    order: Vec<u32>,
}

impl Bvh {
    /// The hierarchy over items `0..boxes.len()`.
    ///
    /// # Panics
    /// If there are 2^31 boxes or more.
    #[must_use]
    pub fn build(boxes: &[Bounds]) -> Self {
        let count = u32::try_from(boxes.len()).expect("fewer than 2^31 items");
        assert!(count < 1 << 31, "fewer than 2^31 items");
        if count == 0 {
            return Self::default();
        }
        let mut order: Vec<u32> = (0..count).collect();
        let mut builder = Builder {
            boxes,
            nodes: vec![Node::leaf(Bounds::EMPTY, 0, 0)],
        };
        builder.fill(0, &mut order, 0, 0);
        Self {
            nodes: builder.nodes,
            order,
        }
    }

    /// The items in the order of the leaves: a caller that sorts its items so
    /// gives them numbers that [`Bvh::traverse`] reads from one stretch of memory.
    #[must_use]
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// Shows `visit` the items whose boxes `ray` enters before `limit`, by their
    /// places in [`Bvh::order`], near boxes first. What `visit` returns is
    /// the new limit: the distance of a hit, or 0 to end the search.
    pub fn traverse(
        &self,
        ray: &Ray,
        mut limit: f64,
        mut visit: impl FnMut(usize, f64) -> Option<f64>,
    ) {
        let slabs = Slabs::of(ray);
        let mut waiting = [(0.0, 0_u32); DEPTH_MAX];
        let mut waiting_count = 0;
        let mut at = match self.nodes.first() {
            Some(root) if slabs.entry(&root.bounds, limit).is_some() => 0,
            _ => return,
        };
        loop {
            let node = &self.nodes[at as usize];
            let mut next = None;
            if node.count > 0 {
                for place in node.first..node.first + node.count {
                    limit = visit(place as usize, limit).unwrap_or(limit);
                }
            } else {
                let children = [node.first, node.first + 1];
                let [a, b] =
                    children.map(|child| slabs.entry(&self.nodes[child as usize].bounds, limit));
                next = match (a, b) {
                    (Some(a), Some(b)) => {
                        let [near, far] = if a <= b { [0, 1] } else { [1, 0] };
                        waiting[waiting_count] = (a.max(b), children[far]);
                        waiting_count += 1;
                        Some(children[near])
                    }
                    (Some(_), None) => Some(children[0]),
                    (None, Some(_)) => Some(children[1]),
                    (None, None) => None,
                };
            }
            while next.is_none() {
                if waiting_count == 0 {
                    return;
                }
                waiting_count -= 1;
                let (entry, child) = waiting[waiting_count];
                next = (entry < limit).then_some(child);
            }
            at = next.unwrap_or(0);
        }
    }
}

/// A box, and either two nodes (`count` 0, the first of them `first`) or the
/// `count` items from place `first` on.
#[derive(Clone, Copy, Debug)]
struct Node {
    bounds: Bounds,
    first: u32,
    count: u32,
}

impl Node {
    fn leaf(bounds: Bounds, first: u32, count: u32) -> Self {
        Self {
            bounds,
            first,
            count,
        }
    }
}

/// A ray, prepared for boxes.
struct Slabs {
    origin: Vec3,
    inverse: Vec3,
}

impl Slabs {
    fn of(ray: &Ray) -> Self {
        let Vec3 { x, y, z } = ray.direction;
        Self {
            origin: ray.origin,
            inverse: Vec3::new(1.0 / x, 1.0 / y, 1.0 / z),
        }
    }

    /// Where the ray enters the box, if it does so before `limit`.
    #[inline]
    fn entry(&self, bounds: &Bounds, limit: f64) -> Option<f64> {
        let (mut near, mut far) = (0.0_f64, limit);
        for axis in 0..3 {
            let low = (bounds.low[axis] - self.origin[axis]) * self.inverse[axis];
            let high = (bounds.high[axis] - self.origin[axis]) * self.inverse[axis];
            let (enter, leave) = if self.inverse[axis] >= 0.0 {
                (low, high)
            } else {
                (high, low)
            };
            // NaN (a ray inside the face's plane) must leave the interval as it is.
            near = if enter > near { enter } else { near };
            far = if leave < far { leave } else { far };
        }
        (near <= far).then_some(near)
    }
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
pub const DEPTH_MAX: usize = SAH_DEPTH_MAX + 31;

/// Levels split by the heuristic, which may cut off one item at a time; below, items are halved.
const SAH_DEPTH_MAX: usize = 33;

/// Bins of the heuristic: more than 16 hardly find better splits.
const BINS: usize = 16;

/// Items that may share a leaf, unless the heuristic cannot part more.
const LEAF_MAX: usize = 4;

/// Cost of visiting a node, in tests of one item.
const NODE_COST: f64 = 1.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::shapes::Sphere;
    use super::*;

    fn vector() -> impl Strategy<Value = Vec3> {
        [-10.0..10.0_f64, -10.0..10.0_f64, -10.0..10.0_f64].prop_map(Vec3::from)
    }

    fn spheres() -> impl Strategy<Value = Vec<Sphere>> {
        let sphere =
            (vector(), 0.01..2.0_f64).prop_map(|(center, radius)| Sphere { center, radius });
        prop::collection::vec(sphere, 0..200)
    }

    proptest! {
        #[test]
        fn nearest_hit_equals_brute_force(
            spheres in spheres(),
            rays in prop::collection::vec((vector(), vector()), 50),
        ) {
            let boxes: Vec<_> = spheres.iter().map(Sphere::bounds).collect();
            let bvh = Bvh::build(&boxes);
            for (origin, target) in rays {
                let ray = Ray { origin, direction: (target - origin).normalized() };
                let expected = spheres
                    .iter()
                    .filter_map(|sphere| sphere.intersect(&ray, f64::INFINITY))
                    .min_by(f64::total_cmp);
                let mut found = None;
                bvh.traverse(&ray, f64::INFINITY, |place, limit| {
                    let sphere = spheres[bvh.order()[place] as usize];
                    found = sphere.intersect(&ray, limit).or(found);
                    found
                });
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn each_item_is_in_one_leaf_even_if_all_boxes_are_equal() {
        let boxes = vec![Bounds::of_point(Vec3::ONE); 1000];
        let bvh = Bvh::build(&boxes);
        let mut order = bvh.order().to_vec();
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
        let in_leaves: u32 = bvh.nodes.iter().map(|node| node.count).sum();
        assert_eq!(in_leaves, 1000);
    }

    #[test]
    fn no_leaf_is_deeper_than_the_stack_for_boxes_that_grow_exponentially() {
        let boxes: Vec<_> = (0..1000)
            .map(|step| Bounds::of_point(Vec3::splat(1.5_f64.powi(step))))
            .collect();
        let bvh = Bvh::build(&boxes);
        let mut deepest = 0;
        let mut open = vec![(0_usize, 0)];
        while let Some((at, depth)) = open.pop() {
            deepest = deepest.max(depth);
            let node = bvh.nodes[at];
            if node.count == 0 {
                open.extend([0, 1].map(|side| (node.first as usize + side, depth + 1)));
            }
        }
        assert!(deepest <= DEPTH_MAX, "{deepest}");
    }

    #[test]
    fn empty_hierarchy_shows_nothing() {
        let ray = Ray {
            origin: Vec3::ZERO,
            direction: Vec3::new(1.0, 0.0, 0.0),
        };
        Bvh::build(&[]).traverse(&ray, f64::INFINITY, |_, _| panic!("no item"));
    }
}
