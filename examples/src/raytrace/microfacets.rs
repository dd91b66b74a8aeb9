//! Rough metal: a surface of tiny mirrors, with GGX normals and Smith's shadowing.
//!
//! Only facets that the viewer sees are sampled, so that few paths are lost. In
//! this file directions are in the frame of the surface, where its normal is +z.
//!
//! From: Heitz, *Sampling the GGX Distribution of Visible Normals*, JCGT 7(4), 2018.

use std::f64::consts::PI;

use super::material::Scatter;
use super::ray::Hit;
use super::sampler::disk;
use super::vector::{Frame, Vec3};

/// A rough mirror.
pub(super) struct Microfacets {
    color: Vec3,
    alpha: f64,
}

impl Microfacets {
    pub(super) fn new(color: Vec3, roughness: f64) -> Self {
        Self {
            color,
            alpha: roughness * roughness,
        }
    }

    pub(super) fn scatter(
        &self,
        hit: &Hit,
        towards_viewer: Vec3,
        point: [f64; 2],
    ) -> Option<Scatter> {
        let frame = Frame::around(hit.normal);
        let viewer = frame.to_local(towards_viewer);
        let facet = self.visible_normal(viewer, point);
        let light = (-viewer).reflect(facet);
        if light.z <= 0.0 {
            return None;
        }
        let [viewer_shadow, light_shadow] = [self.shadow(viewer), self.shadow(light)];
        let passed = (1.0 + viewer_shadow) / (1.0 + viewer_shadow + light_shadow);
        Some(Scatter {
            direction: frame.to_world(light),
            weight: schlick(self.color, viewer.dot(facet)) * passed,
            density: Some(self.density(viewer, facet)),
        })
    }

    pub(super) fn evaluate(
        &self,
        hit: &Hit,
        towards_viewer: Vec3,
        towards_light: Vec3,
    ) -> (Vec3, f64) {
        let frame = Frame::around(hit.normal);
        let viewer = frame.to_local(towards_viewer);
        let light = frame.to_local(towards_light);
        let facet = (viewer + light).normalized();
        let passed = 1.0 / (1.0 + self.shadow(viewer) + self.shadow(light));
        let value = self.facets(facet) * passed / (4.0 * viewer.z);
        (
            schlick(self.color, viewer.dot(facet)) * value,
            self.density(viewer, facet),
        )
    }

    /// Density, by solid angle, of the direction that `facet` mirrors `viewer` to.
    fn density(&self, viewer: Vec3, facet: Vec3) -> f64 {
        self.facets(facet) / ((1.0 + self.shadow(viewer)) * 4.0 * viewer.z)
    }

    /// The GGX distribution of facet normals.
    fn facets(&self, facet: Vec3) -> f64 {
        let square = self.alpha * self.alpha;
        let spread = facet.z * facet.z * (square - 1.0) + 1.0;
        square / (PI * spread * spread)
    }

    /// Smith's function lambda: what facets hide from each other.
    fn shadow(&self, direction: Vec3) -> f64 {
        let cosine_squared = direction.z * direction.z;
        let tangent_squared = (1.0 - cosine_squared).max(0.0) / cosine_squared;
        ((1.0 + self.alpha * self.alpha * tangent_squared).sqrt() - 1.0) / 2.0
    }

    /// A facet normal, by the share of it that the viewer sees.
    fn visible_normal(&self, viewer: Vec3, point: [f64; 2]) -> Vec3 {
        let stretch = |vector: Vec3| {
            let z = vector.z.max(0.0);
            Vec3::new(self.alpha * vector.x, self.alpha * vector.y, z).normalized()
        };
        let stretched = stretch(viewer);
        let flat_squared = stretched.x * stretched.x + stretched.y * stretched.y;
        let across = if flat_squared > 0.0 {
            Vec3::new(-stretched.y, stretched.x, 0.0) / flat_squared.sqrt()
        } else {
            Vec3::new(1.0, 0.0, 0.0)
        };
        let along = stretched.cross(across);
        let [a, b] = disk(point);
        let seen = (1.0 + stretched.z) / 2.0;
        let b = (1.0 - seen) * (1.0 - a * a).max(0.0).sqrt() + seen * b;
        let c = (1.0 - a * a - b * b).max(0.0).sqrt();
        stretch(across * a + along * b + stretched * c)
    }
}

/// Schlick's approximation of Fresnel's reflectance.
pub(super) fn schlick(straight_on: Vec3, cosine: f64) -> Vec3 {
    let rest = (1.0 - cosine).clamp(0.0, 1.0);
    let square = rest * rest;
    straight_on + (Vec3::ONE - straight_on) * (square * square * rest)
}
