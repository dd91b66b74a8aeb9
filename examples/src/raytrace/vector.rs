//! Three-component vectors: points, directions and linear colours.
//!
//! One type serves all three, as their arithmetic is the same; products by
//! component are wanted for colours only. No operation here is rounded
//! differently by different platforms (see the module `raytrace`).

use std::ops::{Add, AddAssign, Div, Index, Mul, MulAssign, Neg, Sub};

use serde::{Deserialize, Serialize};

/// A point, a direction, or a linear RGB colour as `(x, y, z)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 3]", into = "[f64; 3]")]
pub struct Vec3 {
    /// First component; red.
    pub x: f64,
    /// Second component (up, in scenes); green.
    pub y: f64,
    /// Third component; blue.
    pub z: f64,
}

impl Vec3 {
    /// The origin; black.
    pub const ZERO: Self = Self::splat(0.0);
    /// All ones; white.
    pub const ONE: Self = Self::splat(1.0);

    /// The vector of these components.
    #[must_use]
    pub const fn new(x: f64, y: f64, z: f64) -> Self {
        Self { x, y, z }
    }

    /// The vector whose components are all `value`.
    #[must_use]
    pub const fn splat(value: f64) -> Self {
        Self::new(value, value, value)
    }

    /// The scalar product.
    #[must_use]
    pub fn dot(self, other: Self) -> f64 {
        self.x * other.x + self.y * other.y + self.z * other.z
    }

    /// The right-handed vector product.
    #[must_use]
    pub fn cross(self, other: Self) -> Self {
        Self::new(
            self.y * other.z - self.z * other.y,
            self.z * other.x - self.x * other.z,
            self.x * other.y - self.y * other.x,
        )
    }

    /// The Euclidean length.
    #[must_use]
    pub fn length(self) -> f64 {
        self.dot(self).sqrt()
    }

    /// The vector of length 1 in this direction; NaN for a zero vector.
    #[must_use]
    pub fn normalized(self) -> Self {
        self * (1.0 / self.length())
    }

    /// The mirror image of the incoming direction `self` at a surface with this unit `normal`.
    #[must_use]
    pub fn reflect(self, normal: Self) -> Self {
        self - normal * (2.0 * self.dot(normal))
    }

    /// The smaller of each pair of components.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self::new(
            self.x.min(other.x),
            self.y.min(other.y),
            self.z.min(other.z),
        )
    }

    /// The larger of each pair of components.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self::new(
            self.x.max(other.x),
            self.y.max(other.y),
            self.z.max(other.z),
        )
    }

    /// The largest component.
    #[must_use]
    pub fn max_component(self) -> f64 {
        self.x.max(self.y).max(self.z)
    }

    /// A colour's luminance (Rec. 709 weights).
    #[must_use]
    pub fn luminance(self) -> f64 {
        0.2126 * self.x + 0.7152 * self.y + 0.0722 * self.z
    }

    /// `self` at `share` 0, `other` at 1, and the straight line between.
    #[must_use]
    pub fn mix(self, other: Self, share: f64) -> Self {
        self * (1.0 - share) + other * share
    }

    /// True if no component is infinite or NaN.
    #[must_use]
    pub fn is_finite(self) -> bool {
        self.x.is_finite() && self.y.is_finite() && self.z.is_finite()
    }
}

/// An orthonormal frame around a unit vector, which is its third axis.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    tangent: Vec3,
    bitangent: Vec3,
    normal: Vec3,
}

impl Frame {
    /// The frame around the unit vector `normal`.
    ///
    /// From: Duff et al., *Building an Orthonormal Basis, Revisited*, JCGT 6(1), 2017.
    #[must_use]
    pub fn around(normal: Vec3) -> Self {
        let sign = 1.0_f64.copysign(normal.z);
        let a = -1.0 / (sign + normal.z);
        let b = normal.x * normal.y * a;
        Self {
            tangent: Vec3::new(
                1.0 + sign * normal.x * normal.x * a,
                sign * b,
                -sign * normal.x,
            ),
            bitangent: Vec3::new(b, sign + normal.y * normal.y * a, -normal.y),
            normal,
        }
    }

    /// A vector of this frame, seen from the world.
    #[must_use]
    pub fn to_world(&self, local: Vec3) -> Vec3 {
        self.tangent * local.x + self.bitangent * local.y + self.normal * local.z
    }

    /// A vector of the world, seen from this frame.
    #[must_use]
    pub fn to_local(&self, world: Vec3) -> Vec3 {
        Vec3::new(
            self.tangent.dot(world),
            self.bitangent.dot(world),
            self.normal.dot(world),
        )
    }
}

impl From<[f64; 3]> for Vec3 {
    fn from([x, y, z]: [f64; 3]) -> Self {
        Self::new(x, y, z)
    }
}

impl From<Vec3> for [f64; 3] {
    fn from(vector: Vec3) -> Self {
        [vector.x, vector.y, vector.z]
    }
}

impl Index<usize> for Vec3 {
    type Output = f64;

    fn index(&self, axis: usize) -> &f64 {
        match axis {
            0 => &self.x,
            1 => &self.y,
            2 => &self.z,
            _ => panic!("axis {axis} of a three-dimensional vector"),
        }
    }
}

impl Add for Vec3 {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::new(self.x + other.x, self.y + other.y, self.z + other.z)
    }
}

impl AddAssign for Vec3 {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Vec3 {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::new(self.x - other.x, self.y - other.y, self.z - other.z)
    }
}

impl Neg for Vec3 {
    type Output = Self;

    fn neg(self) -> Self {
        Self::new(-self.x, -self.y, -self.z)
    }
}

impl Mul<f64> for Vec3 {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self::new(self.x * factor, self.y * factor, self.z * factor)
    }
}

impl Mul for Vec3 {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self::new(self.x * other.x, self.y * other.y, self.z * other.z)
    }
}

impl MulAssign for Vec3 {
    fn mul_assign(&mut self, other: Self) {
        *self = *self * other;
    }
}

impl Div<f64> for Vec3 {
    type Output = Self;

    fn div(self, divisor: f64) -> Self {
        Self::new(self.x / divisor, self.y / divisor, self.z / divisor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_is_orthonormal_around_any_normal() {
        for normal in [
            Vec3::new(0.0, 0.0, 1.0),
            Vec3::new(0.0, 0.0, -1.0),
            Vec3::new(1.0, -2.0, 0.5).normalized(),
        ] {
            let frame = Frame::around(normal);
            let probe = Vec3::new(0.3, -0.4, 0.5);
            let back = frame.to_local(frame.to_world(probe));
            assert!((back - probe).length() < 1e-12, "{normal:?}: {back:?}");
            assert!((frame.to_world(Vec3::new(0.0, 0.0, 1.0)) - normal).length() < 1e-12);
        }
    }

    #[test]
    fn reflection_keeps_length_and_flips_the_normal_part() {
        let incoming = Vec3::new(1.0, -1.0, 0.25);
        let mirrored = incoming.reflect(Vec3::new(0.0, 1.0, 0.0));
        assert_eq!(mirrored, Vec3::new(1.0, 1.0, 0.25));
    }
}
