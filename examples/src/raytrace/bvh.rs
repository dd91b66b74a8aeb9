//! Bounding-volume hierarchy: which of many boxes a ray passes, nearest first.
//!
//! It knows boxes and item numbers, not shapes: the caller gives one box for each
//! item, and tests the items that a ray may meet. How boxes are grouped, and what
//! holds of every hierarchy, stands in `bvh_build`.

use super::bounds::Bounds;
use super::bvh_build::{self, DEPTH_MAX};
use super::ray::Ray;
use super::vector::Vec3;

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
        let (nodes, order) = bvh_build::build(boxes);
        Self { nodes, order }
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
pub(super) struct Node {
    pub(super) bounds: Bounds,
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Node {
    pub(super) fn leaf(bounds: Bounds, first: u32, count: u32) -> Self {
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
