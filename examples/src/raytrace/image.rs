//! From light to a PNG file: tone mapping, the sRGB curve, dithering, encoding.
//!
//! Everything before this module is linear and unbounded; everything after it is
//! 8 bits for each colour.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::sampler::hash_unit;
use super::vector::Vec3;

/// One pixel's linear light; single precision, as it travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rgb(pub [f32; 3]);

impl From<Vec3> for Rgb {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "24 bits are far more than can be seen"
    )]
    fn from(light: Vec3) -> Self {
        Self([light.x as f32, light.y as f32, light.z as f32])
    }
}

/// A picture of linear light.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Row by row from the top, each from the left.
    pub pixels: Vec<Rgb>,
}

impl Image {
    /// The picture as 8-bit sRGB, three bytes for each pixel.
    ///
    /// Dithering, by a hash of the pixel's place, keeps smooth gradients free of bands.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the level is within 0 and 255"
    )]
    pub fn to_srgb8(&self, exposure: f64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.pixels.len() * 3);
        let places = (0..self.height).flat_map(|y| (0..self.width).map(move |x| (x, y)));
        for (pixel, (x, y)) in self.pixels.iter().zip(places) {
            let light = pixel.0.map(|value| f64::from(value) * exposure);
            for (channel, value) in (0..).zip(tone_map(light)) {
                let level = srgb(value) * 255.0 + hash_unit(x, y, channel);
                bytes.push(level.min(255.0) as u8);
            }
        }
        bytes
    }

    /// Encodes the picture as PNG.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn write_png(&self, exposure: f64, output: impl Write) -> io::Result<()> {
        let mut encoder = png::Encoder::new(output, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.to_srgb8(exposure))?;
        Ok(writer.finish()?)
    }

    /// Writes the picture to a PNG file, which it replaces.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, exposure: f64, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        self.write_png(exposure, &mut file)?;
        file.flush()
    }
}

/// Finds out, before hours of work, whether [`Image::save`] could write `path`. A
/// file that is there keeps its content; otherwise an empty one is made.
///
/// # Errors
/// Those of the file system.
pub fn check_writable(path: &Path) -> io::Result<()> {
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map(drop)
}

/// Unbounded light to `[0, 1]`, as film would: dark tones keep their
/// contrast, bright ones lose it, then their colour.
///
/// From: Hill's fit of the ACES reference and output transforms.
fn tone_map(light: [f64; 3]) -> [f64; 3] {
    let [r, g, b] = times(&ACES_INPUT, light).map(|v| {
        (v * (v + 0.024_578_6) - 0.000_090_537) / (v * (0.983_729 * v + 0.432_951) + 0.238_081)
    });
    times(&ACES_OUTPUT, [r, g, b]).map(|value| value.clamp(0.0, 1.0))
}

fn times(matrix: &[[f64; 3]; 3], vector: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row[0] * vector[0] + row[1] * vector[1] + row[2] * vector[2])
}

/// The sRGB transfer curve (IEC 61966-2-1).
fn srgb(value: f64) -> f64 {
    if value <= 0.003_130_8 {
        12.92 * value
    } else {
        1.055 * value.powf(1.0 / 2.4) - 0.055
    }
}

const ACES_INPUT: [[f64; 3]; 3] = [
    [0.597_19, 0.354_58, 0.048_23],
    [0.076_00, 0.908_34, 0.015_66],
    [0.028_40, 0.133_83, 0.837_77],
];

const ACES_OUTPUT: [[f64; 3]; 3] = [
    [1.604_75, -0.531_08, -0.073_67],
    [-0.102_08, 1.108_13, -0.006_05],
    [-0.003_27, -0.072_76, 1.076_02],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_rise_from_black_to_white() {
        let levels: Vec<_> = [0.0, 0.01, 0.1, 1.0, 10.0, 1000.0]
            .into_iter()
            .map(|light| srgb(tone_map([light; 3])[0]))
            .collect();
        assert!(levels.is_sorted(), "{levels:?}");
        assert!(levels[0] < 1e-3 && levels[5] > 0.99, "{levels:?}");
    }

    #[test]
    fn written_png_reads_back() {
        let image = Image {
            width: 2,
            height: 1,
            pixels: vec![Rgb([0.0; 3]), Rgb([1e6; 3])],
        };
        let mut bytes = Vec::new();
        image.write_png(1.0, &mut bytes).unwrap();
        let mut reader = png::Decoder::new(io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; 6];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, [0, 0, 0, 255, 255, 255]);
    }
}
