//! Textures: pictures that surfaces wear.
//!
//! A texture is asked for its colour at texture coordinates: `u` runs to the right and `v` upwards, a picture
//! is one unit wide and high, and is repeated beyond. Pixels are kept as they were read, 8 bits for each
//! colour; the light that each level stands for travels with them, so that every machine reads the same.

use std::io::Cursor;

use serde::{Deserialize, Serialize};

use super::vector::Vec3;

/// The place of a texture in its scene's list.
pub type TextureId = u32;

/// A texture, and how a surface wears it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Textured<Name = TextureId> {
    /// Which: in a scene its place, in a scene file the name of a PNG file.
    #[serde(rename = "file")]
    pub texture: Name,
    /// How much of the surface the picture covers before it is repeated: a length on planes, a share of the whole
    /// on spheres and meshes.
    #[serde(default = "whole")]
    pub size: f64,
}

impl<Name> Textured<Name> {
    /// The same, of a texture that has another name.
    pub fn renamed<Other>(self, texture: Other) -> Textured<Other> {
        Textured {
            texture,
            size: self.size,
        }
    }
}

/// A picture of colours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Texture {
    width: u32,
    height: u32,
    /// Red, green and blue of each pixel, row by row from the top.
    levels: Vec<u8>,
    /// The share of light, within 0 and 1, of each level.
    shares: Vec<f64>,
}

impl Texture {
    /// The texture of a PNG file's bytes, of any depth and colour type; what is transparent shows its colour.
    ///
    /// # Errors
    /// Those of the decoder: no PNG, damage, more pixels than it takes.
    pub fn from_png(bytes: &[u8]) -> Result<Self, png::DecodingError> {
        let mut decoder = png::Decoder::new(Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info()?;
        let length = reader.output_buffer_size().unwrap_or(usize::MAX);
        if length > BYTES_MAX {
            return Err(png::DecodingError::LimitsExceeded);
        }
        let mut samples = vec![0; length];
        let frame = reader.next_frame(&mut samples)?;
        samples.truncate(frame.buffer_size());
        let channels = frame.color_type.samples();
        let levels = samples
            .chunks_exact(channels)
            .flat_map(|pixel| match pixel {
                [red, green, blue, ..] => [*red, *green, *blue],
                _ => [pixel[0]; 3],
            });
        Ok(Self {
            width: frame.width,
            height: frame.height,
            levels: levels.collect(),
            shares: (0..=u8::MAX).map(share_of_level).collect(),
        })
    }

    /// The colour at texture coordinates, interpolated between the four nearest pixels.
    #[must_use]
    pub fn color(&self, [u, v]: [f64; 2]) -> Vec3 {
        // Pixels are points in the middle of their squares; rows are counted from the top.
        let ([left, right], across) = neighbours(u, self.width);
        let ([above, below], down) = neighbours(-v, self.height);
        let row = |y| self.pixel(left, y).mix(self.pixel(right, y), across);
        row(above).mix(row(below), down)
    }

    fn pixel(&self, x: u32, y: u32) -> Vec3 {
        let start = 3 * (y as usize * self.width as usize + x as usize);
        let share = |channel: usize| self.shares[usize::from(self.levels[start + channel])];
        Vec3::new(share(0), share(1), share(2))
    }
}

/// The two pixels of a row of `count` that a coordinate lies between, and how far it is from the first.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the place is within 0 and the count, and that of a NaN is 0"
)]
fn neighbours(coordinate: f64, count: u32) -> ([u32; 2], f64) {
    let place = (coordinate - coordinate.floor()) * f64::from(count) - 0.5;
    let first = place.floor();
    let wrapped = if first < 0.0 {
        count - 1
    } else {
        (first as u32).min(count - 1)
    };
    ([wrapped, (wrapped + 1) % count], place - first)
}

/// The light that an sRGB level stands for (IEC 61966-2-1).
fn share_of_level(level: u8) -> f64 {
    let value = f64::from(level) / 255.0;
    if value <= 0.040_45 {
        value / 12.92
    } else {
        ((value + 0.055) / 1.055).powf(2.4)
    }
}

/// Texture coordinates of a point of the unit sphere, as on a globe: `v` is the latitude, from 0 in the south to
/// 1 in the north, and `u` the longitude, eastwards, with its middle at +z.
#[must_use]
pub fn globe(direction: Vec3) -> [f64; 2] {
    let Vec3 { x, y, z } = direction;
    let from_axis = (x * x + z * z).sqrt();
    [0.5 + turns(x, z), 0.5 + turns(y, from_axis) * 2.0]
}

/// The angle of the point (`along`, `beside`) from the axis `along`, in whole turns, within -0.5 and 0.5.
///
/// `atan2` is not rounded alike on all platforms. This polynomial is: Abramowitz and Stegun, *Handbook of Mathematical
/// Functions*, 4.4.49, whose error of 2e-8 is far below a pixel.
fn turns(beside: f64, along: f64) -> f64 {
    let (low, high) = (beside.abs().min(along.abs()), beside.abs().max(along.abs()));
    if high == 0.0 {
        return 0.0;
    }
    let tangent = low / high;
    let square = tangent * tangent;
    let sum = ARC_TANGENT
        .iter()
        .rev()
        .fold(0.0, |sum, factor| sum * square + factor);
    let eighth = tangent * sum * (0.5 / std::f64::consts::PI);
    let quarter = if beside.abs() > along.abs() {
        0.25 - eighth
    } else {
        eighth
    };
    let half = if along < 0.0 { 0.5 - quarter } else { quarter };
    half.copysign(beside)
}

fn whole() -> f64 {
    1.0
}

/// See [`turns`].
const ARC_TANGENT: [f64; 9] = [
    1.0,
    -0.333_331_452_8,
    0.199_935_508_5,
    -0.142_088_994_4,
    0.106_562_639_3,
    -0.075_289_640_0,
    0.042_909_613_8,
    -0.016_165_736_7,
    0.002_866_225_7,
];

/// Most bytes of a decoded picture: one of 8192 by 8192 pixels with four channels.
const BYTES_MAX: usize = 4 << 26;

#[cfg(test)]
mod tests {
    use super::*;

    /// The PNG of a picture with this many columns.
    fn png(color: png::ColorType, width: u32, samples: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let height = u32::try_from(samples.len() / color.samples()).unwrap() / width;
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(samples).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn middles_of_pixels_have_their_colours_and_what_is_between_is_mixed() {
        let samples = [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255];
        let texture = Texture::from_png(&png(png::ColorType::Rgb, 2, &samples)).unwrap();
        let [red, green, blue] =
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(Vec3::from);
        // The first row is the upper one.
        assert_eq!(texture.color([0.25, 0.75]), red);
        assert_eq!(texture.color([0.75, 0.75]), green);
        assert_eq!(texture.color([0.25, 0.25]), blue);
        assert_eq!(texture.color([0.75, 0.25]), Vec3::ONE);
        assert_eq!(texture.color([0.5, 0.75]), (red + green) * 0.5);
        // Beyond its edges the picture is repeated, and its edges are neighbours.
        assert_eq!(texture.color([-2.75, 3.75]), red);
        assert_eq!(texture.color([1.0, 0.75]), (red + green) * 0.5);
        assert_eq!(texture.color([0.25, 0.0]), (red + blue) * 0.5);
    }

    #[test]
    fn every_kind_of_png_is_read_as_light() {
        let middle = share_of_level(188);
        assert!((middle - 0.5).abs() < 0.01, "{middle}");
        for (color, samples) in [
            (png::ColorType::Grayscale, &[188][..]),
            (png::ColorType::GrayscaleAlpha, &[188, 7]),
            (png::ColorType::Rgba, &[188, 188, 188, 7]),
        ] {
            let texture = Texture::from_png(&png(color, 1, samples)).unwrap();
            assert_eq!(texture.color([0.3, 0.6]), Vec3::splat(middle), "{color:?}");
        }
        assert!(Texture::from_png(b"no picture").is_err());
        let whole = png(png::ColorType::Grayscale, 16, &[9; 256]);
        assert!(Texture::from_png(&whole[..whole.len() - 20]).is_err());
    }

    #[test]
    fn globes_have_their_poles_above_and_below_and_east_to_the_right() {
        let at = |x, y, z| globe(Vec3::new(x, y, z).normalized());
        let close =
            |[u, v]: [f64; 2], [a, b]: [f64; 2]| (u - a).abs() < 1e-7 && (v - b).abs() < 1e-7;
        assert!(close(at(0.0, 0.0, 1.0), [0.5, 0.5]));
        assert!(close(at(1.0, 0.0, 0.0), [0.75, 0.5]));
        assert!(close(at(-1.0, 0.0, 0.0), [0.25, 0.5]));
        assert!(close(at(1.0, 0.0, -1.0), [0.875, 0.5]));
        assert!(close(at(0.0, 1.0, 1.0), [0.5, 0.75]));
        assert!(close(at(0.0, -1.0, 0.0), [0.5, 0.0]));
    }

    #[test]
    fn angles_are_those_of_the_library_to_2e_8() {
        for step in 0..1000 {
            let (sine, cosine) = (f64::from(step) * 0.0123).sin_cos();
            let expected = sine.atan2(cosine) / (2.0 * std::f64::consts::PI);
            assert!((turns(sine, cosine) - expected).abs() < 2e-8, "{step}");
        }
    }
}
