//! Triangle meshes: corners, optional smooth normals and texture coordinates, and their placement.
//!
//! A mesh is kept as it was read, with shared corners; that is small to send. The
//! scene lays its triangles out for intersection when it is built.

use serde::{Deserialize, Serialize};

use super::vector::Vec3;

/// A surface of triangles.
///
/// Invariant, kept by the reader in `obj`: every index of a face is in range.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mesh {
    /// Points, shared by faces.
    pub positions: Vec<Vec3>,
    /// Unit normals, shared by faces.
    pub normals: Vec<Vec3>,
    /// Texture coordinates, shared by faces.
    pub texture_coordinates: Vec<[f64; 2]>,
    /// The triangles.
    pub faces: Vec<Face>,
}

/// One triangle of a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Face {
    /// Indices of the corners, counter-clockwise from outside.
    pub corners: [u32; 3],
    /// Indices of the corners' normals; a face without them is flat.
    pub normals: Option<[u32; 3]>,
    /// Indices of the corners' texture coordinates, if it has them.
    pub texture: Option<[u32; 3]>,
}

/// Where a mesh goes in a scene: it is scaled, then rotated, then moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Factor of its size, the same along all axes; greater than zero.
    pub scale: f64,
    /// Turns about the x, then the y, then the z axis, counter-clockwise for who
    /// looks against the axis, in degrees.
    pub rotate_degrees: Vec3,
    /// Where its origin goes.
    pub translate: Vec3,
}

impl Mesh {
    /// The corners of a face.
    #[must_use]
    pub fn corners(&self, face: &Face) -> [Vec3; 3] {
        face.corners.map(|index| self.positions[index as usize])
    }

    /// The unit normal that the corners of a face have at the point of these
    /// barycentric weights; `None` in a flat face.
    #[must_use]
    pub fn normal_at(&self, face: &Face, [b, c]: [f64; 2]) -> Option<Vec3> {
        let corners = face.normals?.map(|index| self.normals[index as usize]);
        let sum = corners[0] * (1.0 - b - c) + corners[1] * b + corners[2] * c;
        let normal = sum.normalized();
        normal.is_finite().then_some(normal)
    }

    /// The texture coordinates at the point of these barycentric weights, if the face has any.
    #[must_use]
    pub fn texture_at(&self, face: &Face, [b, c]: [f64; 2]) -> Option<[f64; 2]> {
        let corners = face.texture?;
        let corners = corners.map(|index| self.texture_coordinates[index as usize]);
        let along = |axis| {
            let [first, second, third] = corners.map(|corner: [f64; 2]| corner[axis]);
            first * (1.0 - b - c) + second * b + third * c
        };
        Some([along(0), along(1)])
    }

    /// The mesh, moved to its place.
    #[must_use]
    pub fn placed(mut self, placement: &Placement) -> Self {
        let rotation = Rotation::of_degrees(placement.rotate_degrees);
        for position in &mut self.positions {
            *position = rotation.turn(*position * placement.scale) + placement.translate;
        }
        for normal in &mut self.normals {
            *normal = rotation.turn(*normal);
        }
        self
    }
}

/// Turns about the x, y and z axes, as sine and cosine of each.
struct Rotation([(f64, f64); 3]);

impl Rotation {
    fn of_degrees(degrees: Vec3) -> Self {
        let Vec3 { x, y, z } = degrees;
        Self([x, y, z].map(|angle| angle.to_radians().sin_cos()))
    }

    fn turn(&self, vector: Vec3) -> Vec3 {
        let Self([(sx, cx), (sy, cy), (sz, cz)]) = *self;
        let Vec3 { x, y, z } = vector;
        let (y, z) = (y * cx - z * sx, y * sx + z * cx);
        let (x, z) = (x * cy + z * sy, z * cy - x * sy);
        let (x, y) = (x * cz - y * sz, x * sz + y * cz);
        Vec3::new(x, y, z)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placement_scales_then_turns_then_moves() {
        let mesh = Mesh {
            positions: vec![Vec3::new(1.0, 0.0, 0.0)],
            normals: vec![Vec3::new(1.0, 0.0, 0.0)],
            texture_coordinates: Vec::new(),
            faces: Vec::new(),
        };
        let placed = mesh.placed(&Placement {
            scale: 2.0,
            rotate_degrees: Vec3::new(0.0, 0.0, 90.0),
            translate: Vec3::new(0.0, 0.0, 5.0),
        });
        assert!((placed.positions[0] - Vec3::new(0.0, 2.0, 5.0)).length() < 1e-12);
        assert!((placed.normals[0] - Vec3::new(0.0, 1.0, 0.0)).length() < 1e-12);
    }
}
