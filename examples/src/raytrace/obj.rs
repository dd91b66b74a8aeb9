//! Reader of the Wavefront OBJ format: the part of it that is geometry.
//!
//! `v`, `vt`, `vn` and `f` are read; polygons are cut into fans of triangles; indices
//! may count from the end (`-1` is the last); `f` takes `a`, `a/b`, `a//c` and `a/b/c`.
//! Every other statement (groups, materials) is skipped.
//! An error names the file and the line.

use std::str::SplitAsciiWhitespace;

use super::mesh::{Face, Mesh};
use super::vector::Vec3;

/// A text is not an OBJ mesh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
#[non_exhaustive]
pub struct ObjError {
    /// The file's name, as the caller gave it.
    pub file: String,
    /// The line, counted from 1; the last one if something is missing.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

/// Reads a mesh from the text of an OBJ file.
///
/// # Errors
/// [`ObjError`] for a number that is none, an index without its vertex, a face of
/// fewer than three corners, and a text without any face.
pub fn parse(text: &str, file: &str) -> Result<Mesh, ObjError> {
    let mut mesh = Mesh::default();
    let mut line_count = 0;
    let error = |line, problem| ObjError {
        file: file.to_owned(),
        line,
        problem,
    };
    for (index, line) in text.lines().enumerate() {
        line_count = index + 1;
        read_line(line, &mut mesh).map_err(|problem| error(line_count, problem))?;
    }
    if mesh.faces.is_empty() {
        return Err(error(line_count, "the mesh has no face (`f`)".to_owned()));
    }
    Ok(mesh)
}

fn read_line(line: &str, mesh: &mut Mesh) -> Result<(), String> {
    let statement = line.split('#').next().unwrap_or_default();
    let mut words = statement.split_ascii_whitespace();
    match words.next() {
        Some("v") => mesh.positions.push(Vec3::from(numbers(words)?)),
        Some("vt") => mesh.texture_coordinates.push(numbers(words)?),
        Some("vn") => {
            let normal = Vec3::from(numbers(words)?).normalized();
            if !normal.is_finite() {
                return Err("a normal (`vn`) of length zero".to_owned());
            }
            mesh.normals.push(normal);
        }
        Some("f") => {
            let corners = words
                .map(|word| Corner::parse(word, mesh))
                .collect::<Result<Vec<_>, _>>()?;
            mesh.faces.extend(fan(&corners)?);
        }
        _ => {}
    }
    Ok(())
}

/// The first numbers of a statement; more (a weight, a colour, a third texture coordinate) may follow.
fn numbers<const COUNT: usize>(
    mut words: SplitAsciiWhitespace<'_>,
) -> Result<[f64; COUNT], String> {
    let mut numbers = [0.0; COUNT];
    for number in &mut numbers {
        let word = words.next();
        let word = word.ok_or_else(|| format!("{COUNT} numbers are wanted here"))?;
        match word.parse::<f64>() {
            Ok(parsed) if parsed.is_finite() => *number = parsed,
            _ => return Err(format!("`{word}` is not a finite number")),
        }
    }
    Ok(numbers)
}

fn fan(corners: &[Corner]) -> Result<Vec<Face>, String> {
    let [first, rest @ ..] = corners else {
        return Err("a face without corners".to_owned());
    };
    if rest.len() < 2 {
        return Err(format!(
            "a face of {} corners; at least three are wanted",
            corners.len()
        ));
    }
    let triangle = |pair: &[Corner]| {
        let [a, b, c] = [*first, pair[0], pair[1]];
        Face {
            corners: [a.position, b.position, c.position],
            normals: all_of([a.normal, b.normal, c.normal]),
            texture: all_of([a.texture, b.texture, c.texture]),
        }
    };
    Ok(rest.windows(2).map(triangle).collect())
}

fn all_of(indices: [Option<u32>; 3]) -> Option<[u32; 3]> {
    let [a, b, c] = indices;
    Some([a?, b?, c?])
}

/// One `a/b/c` of a face, as indices from 0.
#[derive(Clone, Copy)]
struct Corner {
    position: u32,
    texture: Option<u32>,
    normal: Option<u32>,
}

impl Corner {
    fn parse(word: &str, mesh: &Mesh) -> Result<Self, String> {
        let mut parts = word.split('/');
        let position = parts.next().unwrap_or_default();
        let texture = parts.next().filter(|part| !part.is_empty());
        let normal = parts.next().filter(|part| !part.is_empty());
        if parts.next().is_some() {
            return Err(format!("`{word}` has more than three parts"));
        }
        Ok(Self {
            position: resolve(position, mesh.positions.len(), "vertex")?,
            texture: texture
                .map(|part| resolve(part, mesh.texture_coordinates.len(), "texture coordinate"))
                .transpose()?,
            normal: normal
                .map(|part| resolve(part, mesh.normals.len(), "normal"))
                .transpose()?,
        })
    }
}

/// The place, from 0, of an index that counts from 1, or from the end if negative.
fn resolve(word: &str, count: usize, what: &str) -> Result<u32, String> {
    let index: i64 = word
        .parse()
        .map_err(|_| format!("`{word}` is not the index of a {what}"))?;
    let known = i64::try_from(count).map_err(|_| format!("too many of {what}"))?;
    let place = if index < 0 { known + index } else { index - 1 };
    if index == 0 || !(0..known).contains(&place) {
        return Err(format!(
            "{what} {index} does not exist: {count} are known here, and the first is 1"
        ));
    }
    u32::try_from(place).map_err(|_| format!("{what} {index} is beyond 2^32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: &str = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0 # the last\n";

    #[test]
    fn polygon_becomes_a_fan() {
        let mesh = parse(&format!("{SQUARE}f 1 2 3 4\n"), "square.obj").unwrap();
        let corners: Vec<_> = mesh.faces.iter().map(|face| face.corners).collect();
        assert_eq!(corners, [[0, 1, 2], [0, 2, 3]]);
        assert_eq!(mesh.faces[0].normals, None);
    }

    #[test]
    fn all_forms_of_a_corner_and_negative_indices_are_read() {
        let text = format!("{SQUARE}vt 0 0\nvn 0 0 2\nf 1//1 2//-1 3/1/1\nf -4 -3/1 -2/1/\n");
        let mesh = parse(&text, "square.obj").unwrap();
        assert_eq!(mesh.normals, [Vec3::new(0.0, 0.0, 1.0)]);
        assert_eq!(mesh.faces[0].normals, Some([0, 0, 0]));
        assert_eq!(mesh.faces[1].corners, [0, 1, 2]);
        assert_eq!(mesh.faces[1].normals, None);
        assert_eq!(mesh.faces[0].texture, None);
    }

    #[test]
    fn texture_coordinates_are_read_with_their_corners() {
        let text = format!("{SQUARE}vt 0 0\nvt 1 0 0.5\nvt 1 1\nf 1/1 2/2 3/-1\n");
        let mesh = parse(&text, "square.obj").unwrap();
        let face = &mesh.faces[0];
        assert_eq!(face.texture, Some([0, 1, 2]));
        assert_eq!(mesh.texture_at(face, [0.5, 0.25]), Some([0.75, 0.25]));
    }

    #[test]
    fn errors_name_file_and_line() {
        for (tail, expected) in [
            ("v 1 2", "square.obj:5: 3 numbers are wanted here"),
            ("vt 1", "square.obj:5: 2 numbers are wanted here"),
            (
                "f 1/1 2/1 3/1",
                "square.obj:5: texture coordinate 1 does not exist: 0 are known here, and the first is 1",
            ),
            ("v 1 2 x", "square.obj:5: `x` is not a finite number"),
            ("v 1 2 inf", "square.obj:5: `inf` is not a finite number"),
            ("vn 0 0 0", "square.obj:5: a normal (`vn`) of length zero"),
            (
                "f 1 2",
                "square.obj:5: a face of 2 corners; at least three are wanted",
            ),
            ("f", "square.obj:5: a face without corners"),
            (
                "f 1 2 5",
                "square.obj:5: vertex 5 does not exist: 4 are known here, and the first is 1",
            ),
            (
                "f 0 1 2",
                "square.obj:5: vertex 0 does not exist: 4 are known here, and the first is 1",
            ),
            (
                "f -5 1 2",
                "square.obj:5: vertex -5 does not exist: 4 are known here, and the first is 1",
            ),
            ("f 1 2 a", "square.obj:5: `a` is not the index of a vertex"),
            (
                "f 1//1 2 3",
                "square.obj:5: normal 1 does not exist: 0 are known here, and the first is 1",
            ),
            (
                "f 1/2/3/4 2 3",
                "square.obj:5: `1/2/3/4` has more than three parts",
            ),
            ("", "square.obj:4: the mesh has no face (`f`)"),
        ] {
            let error = parse(&format!("{SQUARE}{tail}"), "square.obj").unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
