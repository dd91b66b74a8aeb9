//! A scene: everything that a ray can meet, and where it is seen from.
//!
//! [`SceneParts`] is the description, as it is read and sent; [`Scene`] adds what
//! is derived from it: triangles laid out for intersection, the hierarchy, the list of lights.
//! Only the description is serialised; whoever receives it derives the rest again,
//! to the same bits, in less time than sending it would take.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bounds::Bounds;
use super::bvh::Bvh;
use super::camera::Camera;
use super::light::{Light, Lights};
use super::material::{Material, MaterialId};
use super::mesh::Mesh;
use super::ray::{Hit, Ray};
use super::shapes::{Plane, Sphere, Triangle, TriangleHit};
use super::texture::{self, Texture};
use super::vector::{Frame, Vec3};

/// The description of a scene.
///
/// Invariant, kept by the reader in `scene_file`: the ids of materials and textures are in range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SceneParts {
    /// Where the scene is seen from.
    pub camera: Camera,
    /// Factor of all light in the picture; 1 leaves it as it is.
    pub exposure: f64,
    /// What is behind everything.
    pub sky: Sky,
    /// The materials that shapes refer to.
    pub materials: Vec<Material>,
    /// The textures that materials wear.
    pub textures: Vec<Texture>,
    /// Spheres with their materials.
    pub spheres: Vec<(Sphere, MaterialId)>,
    /// Planes with their materials.
    pub planes: Vec<(Plane, MaterialId)>,
    /// Meshes, at their places, with their materials.
    pub meshes: Vec<(Mesh, MaterialId)>,
}

/// The light of the sky, by height above the horizon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sky {
    /// Radiance straight above.
    pub zenith: Vec3,
    /// Radiance at the horizon and below.
    pub horizon: Vec3,
}

impl Sky {
    /// The radiance that comes from this unit direction.
    #[must_use]
    pub fn radiance(&self, direction: Vec3) -> Vec3 {
        let low = 1.0 - direction.y.max(0.0);
        let power_4 = low * low * low * low;
        self.zenith.mix(self.horizon, power_4 * power_4)
    }
}

/// A scene, ready for rays.
#[derive(Clone, Debug)]
pub struct Scene {
    parts: SceneParts,
    primitives: Vec<Primitive>,
    bvh: Bvh,
    lights: Lights,
}

impl Scene {
    /// The scene of this description.
    #[must_use]
    pub fn new(parts: SceneParts) -> Self {
        let mut lights = Lights::default();
        let mut primitives = Vec::new();
        for (sphere, material) in &parts.spheres {
            // A black light would be chosen with odds of zero over zero.
            let radiance = parts.materials[*material as usize].radiance();
            let light = (radiance.luminance() > 0.0).then(|| {
                lights.push(Light {
                    sphere: *sphere,
                    radiance,
                })
            });
            primitives.push(Primitive::Sphere(*sphere, *material, light));
        }
        for (place, (mesh, _)) in parts.meshes.iter().enumerate() {
            let triangles = mesh
                .faces
                .iter()
                .map(|face| Triangle::new(mesh.corners(face)));
            primitives.extend(triangles.enumerate().map(|(face, triangle)| {
                Primitive::Triangle(triangle, FaceId { mesh: place, face })
            }));
        }
        let boxes: Vec<_> = primitives.iter().map(Primitive::bounds).collect();
        let bvh = Bvh::build(&boxes);
        let in_leaf_order = bvh.order().iter().map(|item| primitives[*item as usize]);
        Self {
            primitives: in_leaf_order.collect(),
            parts,
            bvh,
            lights,
        }
    }

    /// The description.
    #[must_use]
    pub fn parts(&self) -> &SceneParts {
        &self.parts
    }

    /// The lights that are sampled.
    #[must_use]
    pub fn lights(&self) -> &Lights {
        &self.lights
    }

    /// The material of a hit.
    #[must_use]
    pub fn material(&self, hit: &Hit) -> &Material {
        &self.parts.materials[hit.material as usize]
    }

    /// Number of shapes in the hierarchy: spheres and triangles.
    #[must_use]
    pub fn primitive_count(&self) -> usize {
        self.primitives.len()
    }

    /// What the ray meets first.
    #[must_use]
    pub fn nearest(&self, ray: &Ray) -> Option<Hit> {
        let mut nearest = None;
        let mut limit = f64::INFINITY;
        for (plane, material) in &self.parts.planes {
            if let Some(distance) = plane.intersect(ray, limit) {
                limit = distance;
                nearest = Some(Found::Plane(plane, *material, distance));
            }
        }
        self.bvh.traverse(ray, limit, |place, limit| {
            let found = self.primitives[place].intersect(ray, limit)?;
            let distance = found.distance();
            nearest = Some(found);
            Some(distance)
        });
        nearest.map(|found| self.surface(ray, &found))
    }

    /// True if something is in the way of the ray before `limit`.
    #[must_use]
    pub fn is_blocked(&self, ray: &Ray, limit: f64) -> bool {
        let mut blocked = self
            .parts
            .planes
            .iter()
            .any(|(plane, _)| plane.intersect(ray, limit).is_some());
        if !blocked {
            self.bvh.traverse(ray, limit, |place, limit| {
                blocked |= self.primitives[place].intersect(ray, limit).is_some();
                blocked.then_some(0.0)
            });
        }
        blocked
    }

    fn surface(&self, ray: &Ray, found: &Found<'_>) -> Hit {
        match *found {
            Found::Plane(plane, material, distance) => {
                let hit = Hit::new(ray, distance, [plane.normal; 2], material);
                self.tinted(hit, || {
                    let local = Frame::around(plane.normal).to_local(hit.point - plane.point);
                    [local.x, local.y]
                })
            }
            Found::Sphere(sphere, material, light, distance) => {
                let normal = sphere.normal_at(ray.at(distance));
                let hit = Hit::new(ray, distance, [normal; 2], material);
                self.tinted(Hit { light, ..hit }, || texture::globe(normal))
            }
            Found::Triangle(triangle, id, met) => {
                let (mesh, material) = &self.parts.meshes[id.mesh];
                let face = &mesh.faces[id.face];
                let flat = triangle.normal();
                let smooth = mesh.normal_at(face, met.weights);
                let normals = [flat, smooth.unwrap_or(flat)];
                let hit = Hit::new(ray, met.distance, normals, *material);
                self.tinted(hit, || {
                    mesh.texture_at(face, met.weights).unwrap_or_default()
                })
            }
        }
    }

    /// The hit, with the colour of the texture that its material wears, if any, at these texture coordinates.
    fn tinted(&self, hit: Hit, coordinates: impl FnOnce() -> [f64; 2]) -> Hit {
        let Some(worn) = self.material(&hit).texture() else {
            return hit;
        };
        let place = coordinates().map(|coordinate| coordinate / worn.size);
        Hit {
            tint: self.parts.textures[worn.texture as usize].color(place),
            ..hit
        }
    }
}

impl Serialize for Scene {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.parts.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Scene {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SceneParts::deserialize(deserializer).map(Self::new)
    }
}

/// A bounded shape.
#[derive(Clone, Copy, Debug)]
enum Primitive {
    Sphere(Sphere, MaterialId, Option<usize>),
    Triangle(Triangle, FaceId),
}

/// A face by the places of its mesh in the scene, and of itself in the mesh.
#[derive(Clone, Copy, Debug)]
struct FaceId {
    mesh: usize,
    face: usize,
}

/// A shape that a ray meets, with the distance.
enum Found<'scene> {
    Plane(&'scene Plane, MaterialId, f64),
    Sphere(&'scene Sphere, MaterialId, Option<usize>, f64),
    Triangle(&'scene Triangle, FaceId, TriangleHit),
}

impl Primitive {
    fn bounds(&self) -> Bounds {
        match self {
            Self::Sphere(sphere, ..) => sphere.bounds(),
            Self::Triangle(triangle, _) => triangle.bounds(),
        }
    }

    fn intersect(&self, ray: &Ray, limit: f64) -> Option<Found<'_>> {
        match self {
            Self::Sphere(sphere, material, light) => {
                let distance = sphere.intersect(ray, limit)?;
                Some(Found::Sphere(sphere, *material, *light, distance))
            }
            Self::Triangle(triangle, id) => {
                let hit = triangle.intersect(ray, limit)?;
                Some(Found::Triangle(triangle, *id, hit))
            }
        }
    }
}

impl Found<'_> {
    fn distance(&self) -> f64 {
        match self {
            Self::Plane(.., distance) | Self::Sphere(.., distance) => *distance,
            Self::Triangle(.., hit) => hit.distance,
        }
    }
}
