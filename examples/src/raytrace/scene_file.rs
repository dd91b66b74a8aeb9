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
//! texture = { file = "chalk.png", size = 0.5 }   # or none; its colours times this one
//!
//! [[spheres]]                   # and [[planes]], [[meshes]]
//! center = [0, 1, 0]
//! radius = 1
//! material = "chalk"
//! ```
//!
//! What is wrong is said with the file and the line. Files of meshes (OBJ) and textures (PNG) are looked for
//! beside the scene's; each of these names may be a URL.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::obj::{self, ObjError};
use super::scene::Scene;
use super::scene_entries::SceneFile;
use super::texture::Texture;

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
    /// A texture file is wrong.
    #[error("a texture of `{}`, `{}`, is not a PNG picture that can be read", path.display(), texture.display())]
    Texture {
        /// The scene's file.
        path: PathBuf,
        /// The texture's file.
        texture: PathBuf,
        /// The reason.
        source: png::DecodingError,
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
    /// The bytes of a file.
    ///
    /// # Errors
    /// Those of the file system.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// The files of this machine, and those that have a URL.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match url_in(path) {
            Some(url) => Ok(atlas::fs::read(url)?),
            None => std::fs::read(path),
        }
    }
}

/// The URL that a path is, or ends in: what a scene names stands behind the scene's own folder.
fn url_in(path: &Path) -> Option<&str> {
    let path = path.to_str()?;
    let begins = ["http://", "https://", "atlas://"].map(|scheme| path.rfind(scheme));
    path.get(begins.into_iter().flatten().max()?..)
}

/// The files that the program carries, so that it can show something wherever it
/// runs: [`SHOWCASE`] and its mesh.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn;

/// The path of the scene in [`BuiltIn`].
pub const SHOWCASE: &str = "showcase.toml";

impl Files for BuiltIn {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some(SHOWCASE) => Ok(include_bytes!("../../scenes/showcase.toml").to_vec()),
            Some("knot.obj") => Ok(include_bytes!("../../scenes/knot.obj").to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Reads a scene with its meshes and textures.
///
/// # Errors
/// [`SceneError`].
pub fn load(path: &Path, files: &dyn Files) -> Result<Scene, SceneError> {
    let unreadable = |path: &Path, source| SceneError::Read {
        path: path.to_owned(),
        source,
    };
    let read = |path: &Path| files.read(path).map_err(|source| unreadable(path, source));
    let read_text = |path: &Path| {
        String::from_utf8(read(path)?).map_err(|_| {
            unreadable(
                path,
                io::Error::new(io::ErrorKind::InvalidData, "it is no text"),
            )
        })
    };
    let text = read_text(path)?;
    let file: SceneFile = toml::from_str(&text).map_err(|source| SceneError::Syntax {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let mut meshes = Vec::new();
    for entry in &file.meshes {
        let mesh_path = path.with_file_name(&entry.file);
        let mesh = obj::parse(&read_text(&mesh_path)?, &mesh_path.to_string_lossy());
        meshes.push(mesh.map_err(|source| SceneError::Mesh {
            path: path.to_owned(),
            source,
        })?);
    }
    let mut textures = BTreeMap::new();
    for name in file.textures() {
        let texture_path = path.with_file_name(&name);
        let texture = Texture::from_png(&read(&texture_path)?);
        let texture = texture.map_err(|source| SceneError::Texture {
            path: path.to_owned(),
            texture: texture_path,
            source,
        })?;
        textures.insert(name, texture);
    }
    let parts = file
        .into_parts(meshes, textures)
        .map_err(|wrong| SceneError::Field {
            path: path.to_owned(),
            line: text[..wrong.offset].lines().count().max(1),
            problem: wrong.problem,
        })?;
    Ok(Scene::new(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scene and no other file.
    struct Text(String);

    impl Files for Text {
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            match path.to_str() {
                Some("test.toml") => Ok(self.0.clone().into_bytes()),
                Some("bad.obj") => Ok(b"v 0 0\n".to_vec()),
                Some("flat.obj") => Ok(b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n".to_vec()),
                Some("red.png") => Ok(red_png()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn red_png() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[255, 0, 0]).unwrap();
        writer.finish().unwrap();
        bytes
    }

    const HEAD: &str = "\
[camera]
position = [0, 1, 5]
look_at = [0, 1, 0]
vertical_fov_degrees = 40
[sky]
zenith = [0, 0, 1]
horizon = [1, 1, 1]
[materials.chalk.diffuse]
color = [0.5, 0.5, 0.5]
";

    /// The error, with its causes, of a scene that begins with [`HEAD`].
    fn error_of(tail: &str) -> String {
        error_of_text(format!("{HEAD}{tail}"))
    }

    fn error_of_text(text: String) -> String {
        let error = load(Path::new("test.toml"), &Text(text)).unwrap_err();
        format!("{:#}", anyhow::Error::new(error))
    }

    #[test]
    fn showcase_is_read() {
        let scene = load(Path::new(SHOWCASE), &BuiltIn).unwrap();
        assert!(scene.primitive_count() > 5000);
    }

    #[test]
    fn a_scene_of_the_web_names_meshes_beside_it_or_anywhere() {
        let scene = Path::new("https://example.org/scenes/glass.toml");
        assert_eq!(url_in(scene), scene.to_str());
        let beside = scene.with_file_name("knot.obj");
        assert_eq!(url_in(&beside), Some("https://example.org/scenes/knot.obj"));
        let elsewhere = scene.with_file_name("http://example.net/knot.obj");
        assert_eq!(url_in(&elsewhere), Some("http://example.net/knot.obj"));
        assert_eq!(url_in(Path::new("scenes/glass.toml")), None);
        let of_client = Path::new("atlas://client/scenes/glass.toml");
        assert_eq!(url_in(of_client), of_client.to_str());
    }

    #[test]
    fn impossible_values_are_named_with_their_line() {
        for (tail, expected) in [
            (
                "[[spheres]]\ncenter = [0, 0, 0]\nradius = -1\nmaterial = \"chalk\"",
                "test.toml:12: `radius` must be greater than 0",
            ),
            (
                "[[spheres]]\ncenter = [0, 0, 0]\nradius = 1\nmaterial = \"cheese\"",
                "test.toml:13: no material is called `cheese`; there are: chalk",
            ),
            (
                "[[planes]]\npoint = [0, 0, 0]\nnormal = [0, 0, 0]\nmaterial = \"chalk\"",
                "test.toml:12: `normal` must not be zero",
            ),
            (
                "[materials.tin.metal]\ncolor = [2, 1, 1]\nroughness = 0",
                "material `tin`: `color` must be within 0 and 1 in each colour",
            ),
        ] {
            let error = error_of(tail);
            assert!(error.contains(expected), "{error}");
        }
        let error = error_of_text(HEAD.replace("= 40", "= 180"));
        assert!(error.starts_with("test.toml:"), "{error}");
        assert!(error.contains("`vertical_fov_degrees` must be between 0 and 180"));
    }

    #[test]
    fn unknown_and_missing_fields_are_named_with_their_line() {
        let error = error_of("[[spheres]]\ncentre = [0, 0, 0]");
        assert!(
            error.contains("line 11") && error.contains("centre"),
            "{error}"
        );
        let error = error_of("[[spheres]]\nradius = 1\nmaterial = \"chalk\"");
        assert!(
            error.contains("line 10") && error.contains("center"),
            "{error}"
        );
        let error = error_of("[materials.x.jelly]\ncolor = [0, 0, 0]");
        assert!(
            error.contains("line 10") && error.contains("jelly"),
            "{error}"
        );
        let error = error_of("[[spheres]\n");
        assert!(error.contains("`test.toml` is not a scene file"), "{error}");
    }

    #[test]
    fn errors_of_meshes_name_the_mesh() {
        let mesh = |file| {
            error_of(&format!(
                "[[meshes]]\nfile = \"{file}\"\nmaterial = \"chalk\""
            ))
        };
        let missing = mesh("none.obj");
        assert!(missing.contains("cannot read `none.obj`"), "{missing}");
        let bad = mesh("bad.obj");
        assert!(bad.contains("bad.obj:1: 3 numbers are wanted"), "{bad}");
    }

    #[test]
    fn errors_of_textures_name_the_texture() {
        let worn = |file, tail| {
            error_of(&format!(
                "texture = {{ file = \"{file}\", size = 1 }}\n{tail}"
            ))
        };
        let missing = worn("none.png", "");
        assert!(missing.contains("cannot read `none.png`"), "{missing}");
        let bad = worn("bad.obj", "");
        assert!(
            bad.contains("texture of `test.toml`, `bad.obj`, is not a PNG"),
            "{bad}"
        );
        let bare = worn(
            "red.png",
            "[[meshes]]\nfile = \"flat.obj\"\nmaterial = \"chalk\"",
        );
        assert!(
            bare.contains("test.toml:13: `chalk` has a texture, but"),
            "{bare}"
        );
    }
}
