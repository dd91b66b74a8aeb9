//! What stands in a scene file, field by field, and what each field may be.
//!
//! The reader in `scene_file` finds the files; this module knows their form. A
//! problem is given with its place in the text, from which the reader counts lines.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::camera::{Camera, CameraPose};
use super::material::{Material, MaterialId};
use super::mesh::{Mesh, Placement};
use super::scene::{SceneParts, Sky};
use super::shapes::{Plane, Sphere};
use super::texture::{Texture, TextureId};
use super::vector::Vec3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SceneFile {
    camera: Spanned<CameraEntry>,
    sky: Sky,
    materials: BTreeMap<String, Spanned<Material<String>>>,
    #[serde(default)]
    spheres: Vec<SphereEntry>,
    #[serde(default)]
    planes: Vec<PlaneEntry>,
    #[serde(default)]
    pub(super) meshes: Vec<MeshEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CameraEntry {
    position: Vec3,
    look_at: Vec3,
    #[serde(default = "upwards")]
    up: Vec3,
    vertical_fov_degrees: f64,
    #[serde(default)]
    aperture: f64,
    focus_distance: Option<f64>,
    #[serde(default = "one")]
    exposure: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SphereEntry {
    center: Vec3,
    radius: Spanned<f64>,
    material: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaneEntry {
    point: Vec3,
    normal: Spanned<Vec3>,
    material: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeshEntry {
    pub(super) file: String,
    material: Spanned<String>,
    #[serde(default = "unscaled")]
    scale: Spanned<f64>,
    #[serde(default)]
    rotate_degrees: Vec3,
    #[serde(default)]
    translate: Vec3,
}

/// A field with an impossible value, by its place in the text.
pub(super) struct Wrong {
    pub(super) offset: usize,
    pub(super) problem: String,
}

/// `Ok` if a claim about a field holds, else the problem at the field's place.
fn check<T>(field: &Spanned<T>, holds: bool, problem: &str) -> Result<(), Wrong> {
    if holds {
        return Ok(());
    }
    Err(Wrong {
        // The end, as a table's first bytes may be the line break before it.
        offset: field.span().end,
        problem: problem.to_owned(),
    })
}

impl SceneFile {
    /// The files of the textures that materials wear.
    pub(super) fn textures(&self) -> BTreeSet<String> {
        let worn = self
            .materials
            .values()
            .filter_map(|material| material.get_ref().texture());
        worn.map(|worn| worn.texture.clone()).collect()
    }

    /// The description of the scene, with these meshes in the order of the file, and the textures by their files.
    pub(super) fn into_parts(
        self,
        meshes: Vec<Mesh>,
        textures: BTreeMap<String, Texture>,
    ) -> Result<SceneParts, Wrong> {
        let camera = self.camera.get_ref().camera(&self.camera)?;
        for (name, material) in &self.materials {
            let problem = impossible(material.get_ref());
            let problem = problem.map(|problem| format!("material `{name}`: {problem}"));
            check(material, problem.is_none(), &problem.unwrap_or_default())?;
        }
        let names: Vec<&str> = self.materials.keys().map(String::as_str).collect();
        let mut spheres = Vec::new();
        for entry in &self.spheres {
            spheres.push((entry.sphere()?, find_material(&names, &entry.material)?));
        }
        let mut planes = Vec::new();
        for entry in &self.planes {
            planes.push((entry.plane()?, find_material(&names, &entry.material)?));
        }
        let mut placed = Vec::new();
        for (entry, mesh) in self.meshes.iter().zip(meshes) {
            let mesh = mesh.placed(&entry.placement()?);
            let material = find_material(&names, &entry.material)?;
            let wears = self.materials[entry.material.get_ref()].get_ref().texture();
            check(
                &entry.material,
                wears.is_none() || mesh.faces.iter().all(|face| face.texture.is_some()),
                &format!(
                    "`{}` has a texture, but not all faces of `{}` have texture coordinates (`vt`)",
                    entry.material.get_ref(),
                    entry.file,
                ),
            )?;
            placed.push((mesh, material));
        }
        let place = |file: &String| {
            let place = textures.keys().position(|known| known == file);
            TextureId::try_from(place.expect("all of them were read"))
                .expect("fewer than 2^32 textures")
        };
        let materials = self.materials.into_values();
        let materials = materials
            .map(|material| material.into_inner().rename_texture(place))
            .collect();
        Ok(SceneParts {
            camera,
            exposure: self.camera.get_ref().exposure,
            sky: self.sky,
            materials,
            textures: textures.into_values().collect(),
            spheres,
            planes,
            meshes: placed,
        })
    }
}

impl CameraEntry {
    fn camera(&self, at: &Spanned<Self>) -> Result<Camera, Wrong> {
        let pose = CameraPose {
            position: self.position,
            look_at: self.look_at,
            up: self.up,
            vertical_fov_degrees: self.vertical_fov_degrees,
            aperture: self.aperture,
            focus_distance: self
                .focus_distance
                .unwrap_or_else(|| (self.look_at - self.position).length()),
        };
        let camera = Camera::new(&pose);
        let fov = pose.vertical_fov_degrees;
        for (holds, problem) in [
            (
                camera.is_some(),
                "`look_at` must differ from `position`, and not lie along `up`",
            ),
            (
                fov > 0.0 && fov < 180.0,
                "`vertical_fov_degrees` must be between 0 and 180",
            ),
            (pose.aperture >= 0.0, "`aperture` must be 0 or more"),
            (
                is_positive(pose.focus_distance),
                "`focus_distance` must be greater than 0",
            ),
            (
                is_positive(self.exposure),
                "`exposure` must be greater than 0",
            ),
        ] {
            check(at, holds, &format!("camera: {problem}"))?;
        }
        Ok(camera.expect("it was checked above"))
    }
}

impl SphereEntry {
    fn sphere(&self) -> Result<Sphere, Wrong> {
        let radius = *self.radius.get_ref();
        check(
            &self.radius,
            is_positive(radius),
            "`radius` must be greater than 0",
        )?;
        Ok(Sphere {
            center: self.center,
            radius,
        })
    }
}

impl PlaneEntry {
    fn plane(&self) -> Result<Plane, Wrong> {
        let normal = self.normal.get_ref().normalized();
        check(
            &self.normal,
            normal.is_finite(),
            "`normal` must not be zero",
        )?;
        Ok(Plane {
            point: self.point,
            normal,
        })
    }
}

impl MeshEntry {
    fn placement(&self) -> Result<Placement, Wrong> {
        let scale = *self.scale.get_ref();
        check(
            &self.scale,
            is_positive(scale),
            "`scale` must be greater than 0",
        )?;
        Ok(Placement {
            scale,
            rotate_degrees: self.rotate_degrees,
            translate: self.translate,
        })
    }
}

fn find_material(names: &[&str], name: &Spanned<String>) -> Result<MaterialId, Wrong> {
    let place = names.binary_search(&name.get_ref().as_str()).ok();
    place
        .and_then(|place| MaterialId::try_from(place).ok())
        .ok_or_else(|| Wrong {
            offset: name.span().end,
            problem: format!(
                "no material is called `{}`; there are: {}",
                name.get_ref(),
                names.join(", ")
            ),
        })
}

/// What cannot be in this material, if anything.
fn impossible(material: &Material<String>) -> Option<&'static str> {
    let is_share = |color: Vec3| {
        [color.x, color.y, color.z]
            .iter()
            .all(|v| (0.0..=1.0).contains(v))
    };
    match material {
        Material::Diffuse {
            color,
            checker,
            texture,
        } => {
            let others = checker.map_or(Vec3::ZERO, |checker| checker.color);
            if !is_share(*color) || !is_share(others) {
                return Some(COLOR_RANGE);
            }
            let sizes = [
                checker.map_or(1.0, |checker| checker.size),
                texture.as_ref().map_or(1.0, |texture| texture.size),
            ];
            (!sizes.into_iter().all(is_positive)).then_some("`size` must be greater than 0")
        }
        Material::Metal { color, roughness } => {
            if !is_share(*color) {
                return Some(COLOR_RANGE);
            }
            (!(0.0..=1.0).contains(roughness)).then_some("`roughness` must be within 0 and 1")
        }
        Material::Dielectric { ior, color } => {
            if !is_share(*color) {
                return Some(COLOR_RANGE);
            }
            (!is_positive(*ior)).then_some("`ior` must be greater than 0")
        }
        Material::Emissive { radiance } => {
            let dark = radiance.min(Vec3::ZERO) != Vec3::ZERO || !radiance.is_finite();
            dark.then_some("`radiance` must be 0 or more in each colour")
        }
    }
}

fn is_positive(number: f64) -> bool {
    number > 0.0 && number.is_finite()
}

fn upwards() -> Vec3 {
    Vec3::new(0.0, 1.0, 0.0)
}

fn one() -> f64 {
    1.0
}

fn unscaled() -> Spanned<f64> {
    Spanned::new(0..0, 1.0)
}

const COLOR_RANGE: &str = "`color` must be within 0 and 1 in each colour";
