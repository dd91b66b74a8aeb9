//! Axis-aligned boxes, which the hierarchy in `bvh` is made of.

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
    #[must_use]
    pub fn half_area(&self) -> f64 {
        let size = (self.high - self.low).max(Vec3::ZERO);
        size.x * size.y + size.y * size.z + size.z * size.x
    }

    /// The axis along which the box is longest.
    #[must_use]
    pub fn longest_axis(&self) -> usize {
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
