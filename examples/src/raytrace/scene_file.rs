//! Reader of scene files: TOML, written by hand.
//!
//! ```toml
//! [camera]                      # lengths in any one unit; angles in degrees
//! position = [0, 1.5, 6]
//! look_at = [0, 1, 0]
//! vertical_fov_degrees = 35
//!
//! [sky]                         # colours are linear red, green, blue
//! zenith = [0.2, 0.4, 0.9]
//! horizon = [0.9, 0.8, 0.7]
//!
//! [materials.chalk.diffuse]     # or .metal, .dielectric, .emissive
//! color = [0.8, 0.8, 0.8]
//!
//! [[spheres]]                   # and [[planes]], [[meshes]]
//! center = [0, 1, 0]
//! radius = 1
//! material = "chalk"
//! ```
//!
//! What is wrong is said with the file and the line. A mesh's file is looked for
//! beside the scene's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::camera::{Camera, CameraPose};
use super::material::{Material, MaterialId};
use super::mesh::{Mesh, Placement};
use super::obj::{self, ObjError};
use super::scene::{Scene, SceneParts, Sky};
use super::shapes::{Plane, Sphere};
use super::vector::Vec3;

/// A scene could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SceneError {
    /// A file is missing or not readable.
    #[error("cannot read `{}`; check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text is no TOML, or has a field that scenes do not have.
    #[error("`{}` is not a scene file", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: Box<toml::de::Error>,
    },
    /// A field has an impossible value.
    #[error("{}:{line}: {problem}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The field, and what it should be.
        problem: String,
    },
    /// A mesh file is wrong.
    #[error("a mesh of `{}` is not an OBJ file", path.display())]
    Mesh {
        /// The scene's file.
        path: PathBuf,
        /// The mesh file, its line and the reason.
        source: ObjError,
    },
}

/// Where the files of a scene come from: from the disk, or from the program.
pub trait Files {
    /// The text of a file.
    ///
    /// # Errors
    /// Those of the file system.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The files of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// The files that the program carries, so that it can show something wherever it
/// runs: [`SHOWCASE`] and its mesh.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn;

/// The path of the scene in [`BuiltIn`].
pub const SHOWCASE: &str = "showcase.toml";

impl Files for BuiltIn {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some(SHOWCASE) => Ok(include_str!("../../scenes/showcase.toml").to_owned()),
            Some("knot.obj") => Ok(include_str!("../../scenes/knot.obj").to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Reads a scene and its meshes.
///
/// # Errors
/// [`SceneError`].
pub fn load(path: &Path, files: &dyn Files) -> Result<Scene, SceneError> {
    let read = |path: &Path| {
        files.read(path).map_err(|source| SceneError::Read {
            path: path.to_owned(),
            source,
        })
    };
    let text = read(path)?;
    let file: SceneFile = toml::from_str(&text).map_err(|source| SceneError::Syntax {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let mut meshes = Vec::new();
    for entry in &file.meshes {
        let mesh_path = path.with_file_name(&entry.file);
        let mesh = obj::parse(&read(&mesh_path)?, &mesh_path.to_string_lossy());
        meshes.push(mesh.map_err(|source| SceneError::Mesh {
            path: path.to_owned(),
            source,
        })?);
    }
    let parts = file.into_parts(meshes).map_err(|wrong| SceneError::Field {
        path: path.to_owned(),
        line: text[..wrong.offset].lines().count().max(1),
        problem: wrong.problem,
    })?;
    Ok(Scene::new(parts))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SceneFile {
    camera: Spanned<CameraEntry>,
    sky: Sky,
    materials: BTreeMap<String, Spanned<Material>>,
    #[serde(default)]
    spheres: Vec<SphereEntry>,
    #[serde(default)]
    planes: Vec<PlaneEntry>,
    #[serde(default)]
    meshes: Vec<MeshEntry>,
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
struct MeshEntry {
    file: String,
    material: Spanned<String>,
    #[serde(default = "unscaled")]
    scale: Spanned<f64>,
    #[serde(default)]
    rotate_degrees: Vec3,
    #[serde(default)]
    translate: Vec3,
}

/// A field with an impossible value, by its place in the text.
struct Wrong {
    offset: usize,
    problem: String,
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
    /// The description of the scene, with these meshes in the order of the file.
    fn into_parts(self, meshes: Vec<Mesh>) -> Result<SceneParts, Wrong> {
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
            placed.push((mesh, find_material(&names, &entry.material)?));
        }
        Ok(SceneParts {
            camera,
            exposure: self.camera.get_ref().exposure,
            sky: self.sky,
            materials: self
                .materials
                .into_values()
                .map(Spanned::into_inner)
                .collect(),
            spheres,
            planes,
            meshes: placed,
        })
    }
}

impl CameraEntry {
    fn camera(&self, at: &Spanned<Self>) -> Result<Camera, Wrong> {
        let focus_distance = self
            .focus_distance
            .unwrap_or_else(|| (self.look_at - self.position).length());
        let fov = self.vertical_fov_degrees;
        check(
            at,
            fov > 0.0 && fov < 180.0,
            "camera: `vertical_fov_degrees` must be between 0 and 180",
        )?;
        check(
            at,
            self.aperture >= 0.0,
            "camera: `aperture` must be 0 or more",
        )?;
        check(
            at,
            self.exposure > 0.0,
            "camera: `exposure` must be greater than 0",
        )?;
        check(
            at,
            focus_distance > 0.0,
            "camera: `focus_distance` must be greater than 0",
        )?;
        Camera::new(&CameraPose {
            position: self.position,
            look_at: self.look_at,
            up: self.up,
            vertical_fov_degrees: fov,
            aperture: self.aperture,
            focus_distance,
        })
        .ok_or_else(|| Wrong {
            offset: at.span().end,
            problem: "camera: `look_at` must differ from `position`, and not lie along `up`".into(),
        })
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
fn impossible(material: &Material) -> Option<&'static str> {
    let is_share = |color: Vec3| {
        [color.x, color.y, color.z]
            .iter()
            .all(|v| (0.0..=1.0).contains(v))
    };
    match material {
        Material::Diffuse { color, checker } => {
            let others = checker.map_or(Vec3::ZERO, |checker| checker.color);
            if !is_share(*color) || !is_share(others) {
                return Some(COLOR_RANGE);
            }
            let size = checker.map_or(1.0, |checker| checker.size);
            (!is_positive(size)).then_some("`size` must be greater than 0")
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
