//! The shapes that a ray can meet: spheres, planes, triangles.
//!
//! Each gives the distance to its first point in an open interval of distances,
//! and its outward normal there. What they are made of, the scene knows.

use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use super::ray::{DISTANCE_MIN, Ray};
use super::vector::Vec3;

/// All points at one distance from a centre.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sphere {
    /// The middle.
    pub center: Vec3,
    /// Greater than zero.
    pub radius: f64,
}

impl Sphere {
    /// Distance along `ray` to the first hit nearer than `limit`.
    #[must_use]
    pub fn intersect(&self, ray: &Ray, limit: f64) -> Option<f64> {
        let to_center = self.center - ray.origin;
        let middle = to_center.dot(ray.direction);
        // The distance of the centre from the ray, rather than a difference of
        // squares, keeps small far spheres round.
        let apart = to_center - ray.direction * middle;
        let half_chord_squared = self.radius * self.radius - apart.dot(apart);
        if half_chord_squared < 0.0 {
            return None;
        }
        let half_chord = half_chord_squared.sqrt();
        [middle - half_chord, middle + half_chord]
            .into_iter()
            .find(|distance| within(*distance, limit))
    }

    /// The outward unit normal at a point of the surface.
    #[must_use]
    pub fn normal_at(&self, point: Vec3) -> Vec3 {
        (point - self.center) / self.radius
    }

    /// The smallest box around the sphere.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        let reach = Vec3::splat(self.radius);
        Bounds {
            low: self.center - reach,
            high: self.center + reach,
        }
    }
}

/// An infinite plane.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plane {
    /// Any point of it.
    pub point: Vec3,
    /// Unit normal.
    pub normal: Vec3,
}

impl Plane {
    /// Distance along `ray` to the hit, if it is nearer than `limit`.
    #[must_use]
    pub fn intersect(&self, ray: &Ray, limit: f64) -> Option<f64> {
        let slope = self.normal.dot(ray.direction);
        let distance = self.normal.dot(self.point - ray.origin) / slope;
        // A parallel ray gives an infinity or NaN, which no interval holds.
        within(distance, limit).then_some(distance)
    }
}

/// One triangle of a mesh, laid out for intersection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Triangle {
    corner: Vec3,
    edge_b: Vec3,
    edge_c: Vec3,
}

/// Where a ray meets a triangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TriangleHit {
    /// Length of the ray.
    pub distance: f64,
    /// Barycentric weights of the second and third corner.
    pub weights: [f64; 2],
}

impl Triangle {
    /// The triangle of three corners; its outside sees them counter-clockwise.
    #[must_use]
    pub fn new([a, b, c]: [Vec3; 3]) -> Self {
        Self {
            corner: a,
            edge_b: b - a,
            edge_c: c - a,
        }
    }

    /// The hit along `ray`, if it is nearer than `limit`.
    ///
    /// From: Möller and Trumbore, *Fast, Minimum Storage Ray/Triangle
    /// Intersection*, JGT 2(1), 1997.
    #[must_use]
    pub fn intersect(&self, ray: &Ray, limit: f64) -> Option<TriangleHit> {
        let p = ray.direction.cross(self.edge_c);
        let inverse = 1.0 / self.edge_b.dot(p);
        let from_corner = ray.origin - self.corner;
        let b = from_corner.dot(p) * inverse;
        // Written so that NaN, from a degenerate triangle, is outside.
        if !(0.0..=1.0).contains(&b) {
            return None;
        }
        let q = from_corner.cross(self.edge_b);
        let c = ray.direction.dot(q) * inverse;
        if !(c >= 0.0 && b + c <= 1.0) {
            return None;
        }
        let distance = self.edge_c.dot(q) * inverse;
        within(distance, limit).then_some(TriangleHit {
            distance,
            weights: [b, c],
        })
    }

    /// The outward unit normal.
    #[must_use]
    pub fn normal(&self) -> Vec3 {
        self.edge_b.cross(self.edge_c).normalized()
    }

    /// The smallest box around the triangle.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds::of_point(self.corner)
            .with(self.corner + self.edge_b)
            .with(self.corner + self.edge_c)
    }
}

fn within(distance: f64, limit: f64) -> bool {
    distance > DISTANCE_MIN && distance < limit
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Vec3 = Vec3::new(0.0, -1.0, 0.0);

    #[test]
    fn sphere_is_hit_from_outside_and_from_within() {
        let sphere = Sphere {
            center: Vec3::ZERO,
            radius: 2.0,
        };
        let from = |height| Ray {
            origin: Vec3::new(0.0, height, 0.0),
            direction: DOWN,
        };
        assert_eq!(sphere.intersect(&from(5.0), f64::INFINITY), Some(3.0));
        assert_eq!(sphere.intersect(&from(0.0), f64::INFINITY), Some(2.0));
        assert_eq!(sphere.intersect(&from(-5.0), f64::INFINITY), None);
        assert_eq!(sphere.intersect(&from(5.0), 2.5), None);
    }

    #[test]
    fn plane_parallel_to_the_ray_is_missed() {
        let plane = Plane {
            point: Vec3::ZERO,
            normal: Vec3::new(1.0, 0.0, 0.0),
        };
        for x in [0.0, 1.0] {
            let ray = Ray {
                origin: Vec3::new(x, 1.0, 0.0),
                direction: DOWN,
            };
            assert_eq!(plane.intersect(&ray, f64::INFINITY), None);
        }
    }

    #[test]
    fn triangle_gives_barycentric_weights_and_degenerate_one_is_missed() {
        let [a, b, c] = [
            Vec3::ZERO,
            Vec3::new(0.0, 0.0, 1.0),
            Vec3::new(1.0, 0.0, 0.0),
        ];
        let ray = Ray {
            origin: Vec3::new(0.25, 1.0, 0.5),
            direction: DOWN,
        };
        let hit = Triangle::new([a, b, c])
            .intersect(&ray, f64::INFINITY)
            .unwrap();
        assert_eq!((hit.distance, hit.weights), (1.0, [0.5, 0.25]));
        assert_eq!(Triangle::new([a, b, c]).normal(), Vec3::new(0.0, 1.0, 0.0));
        assert_eq!(
            Triangle::new([a, b, b]).intersect(&ray, f64::INFINITY),
            None
        );
    }
}
