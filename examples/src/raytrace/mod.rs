//! A path tracer: the main demonstration program of Atlas.
//!
//! It is written as one would write it for one core, and split by halves into
//! tasks in one place, [`render`]. The rest never mentions tasks:
//!
//! ```text
//! scene_file, obj   files -> Scene           (scene: shapes, mesh, bvh, light, material, texture, camera)
//! render            Scene + View -> tiles    (path: one light path; sampler: its random numbers)
//! view              the size and quality of a picture, and its cut into tiles
//! image             tiles -> PNG             (tone mapping, sRGB, dithering)
//! ```
//!
//! Invariants:
//! - A picture is a function of scene and view. Each pixel draws its numbers from
//!   a counter (`seed, x, y, sample, dimension`) and adds its samples in order, so
//!   no schedule, machine or recomputation can change a bit.
//! - Between the parsed scene and the finished pixel only `+ - * /` and `sqrt` are
//!   used, which IEEE 754 rounds alike everywhere. `sin`, `cos`, `tan` and `powf`, which a
//!   platform may round in its own way, are called only while the scene is read and the PNG written.
//!
//! Lengths are in the scene's own unit, angles in degrees where a person writes
//! them, colours are linear RGB with Rec. 709 primaries.

pub mod bounds;
pub mod bvh;
mod bvh_build;
pub mod camera;
pub mod image;
pub mod light;
pub mod material;
pub mod mesh;
mod microfacets;
pub mod obj;
pub mod path;
pub mod progress;
pub mod ray;
pub mod render;
pub mod sampler;
pub mod scene;
mod scene_entries;
pub mod scene_file;
pub mod shapes;
pub mod texture;
pub mod vector;
pub mod view;
