//! Rays, and what they hit.

use super::material::MaterialId;
use super::vector::Vec3;

/// A half line.
#[derive(Clone, Copy, Debug)]
pub struct Ray {
    /// Where it starts.
    pub origin: Vec3,
    /// Where it goes; of length 1, so that parameters along it are lengths.
    pub direction: Vec3,
}

impl Ray {
    /// The point `distance` along the ray.
    #[must_use]
    pub fn at(&self, distance: f64) -> Vec3 {
        self.origin + self.direction * distance
    }
}

/// The point of a surface where a ray first meets it.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// Length of the ray up to the surface.
    pub distance: f64,
    /// The point.
    pub point: Vec3,
    /// Unit normal of the true surface, on the ray's side.
    pub face_normal: Vec3,
    /// Unit normal for shading, on the ray's side: interpolated in smooth meshes.
    pub normal: Vec3,
    /// True if the ray came from outside of the shape.
    pub outside: bool,
    /// What the surface is made of.
    pub material: MaterialId,
    /// The colour of the surface's texture here; white without one.
    pub tint: Vec3,
    /// The light that was hit, if the surface is one that is sampled.
    pub light: Option<usize>,
}

impl Hit {
    /// A hit of `ray` after `distance`, of a surface with this outward unit
    /// normal and this shading normal.
    #[must_use]
    pub fn new(
        ray: &Ray,
        distance: f64,
        [outward, shading]: [Vec3; 2],
        material: MaterialId,
    ) -> Self {
        let outside = outward.dot(ray.direction) < 0.0;
        let face_normal = if outside { outward } else { -outward };
        let facing = if outside { shading } else { -shading };
        // Near a silhouette an interpolated normal may turn away from the
        // viewer, where no reflection model is defined.
        let usable = facing.dot(ray.direction) < -SHADING_COSINE_MIN;
        Self {
            distance,
            point: ray.at(distance),
            face_normal,
            normal: if usable { facing } else { face_normal },
            outside,
            material,
            tint: Vec3::ONE,
            light: None,
        }
    }
}

/// Hits nearer than this do not count, or a surface would shadow itself by
/// rounding. Scenes are some 1 to 1000 units wide, and 1e-6 is far above the
/// rounding of `f64` (1e-13 there) and far below what can be seen.
pub const DISTANCE_MIN: f64 = 1e-6;

/// Least cosine between the viewer and a shading normal.
const SHADING_COSINE_MIN: f64 = 1e-3;
