//! What is rendered: the size and quality of a picture, and its cut into tiles.

use serde::{Deserialize, Serialize};

use super::image::{Image, Rgb};

/// How a scene is rendered. [`View::check`] finds what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Columns of pixels.
    pub width: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Light paths for each pixel; powers of two are spread most evenly.
    pub samples: u32,
    /// Surfaces that a light path may meet.
    pub depth: u32,
    /// Another seed gives other noise.
    pub seed: u64,
}

/// A view cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// A number is out of its range.
    #[error("{name} is {number}; choose a number within 1 and {most}")]
    Range {
        /// Which number.
        name: &'static str,
        /// What it is.
        number: u32,
        /// What it may be.
        most: u32,
    },
    /// The picture would not fit into memory.
    #[error("{width}x{height} are too many pixels; the limit is {PIXELS_MAX}")]
    Pixels {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
}

impl View {
    /// Checks a view.
    ///
    /// # Errors
    /// [`ViewError`] if a number is zero or too large.
    pub fn check(self) -> Result<Self, ViewError> {
        for (name, number, most) in [
            ("the width", self.width, SIDE_MAX),
            ("the height", self.height, SIDE_MAX),
            ("the number of samples", self.samples, SAMPLES_MAX),
            ("the depth", self.depth, DEPTH_MAX),
        ] {
            if !(1..=most).contains(&number) {
                return Err(ViewError::Range { name, number, most });
            }
        }
        if self.width * self.height > PIXELS_MAX {
            return Err(ViewError::Pixels {
                width: self.width,
                height: self.height,
            });
        }
        Ok(self)
    }

    /// The number of tiles.
    #[must_use]
    pub fn tile_count(&self) -> u32 {
        self.width.div_ceil(TILE_WIDTH) * self.height.div_ceil(TILE_HEIGHT)
    }

    /// The tile of this index, counted by rows; those at the edges may be smaller.
    #[must_use]
    pub fn tile(&self, index: u32) -> Tile {
        let columns = self.width.div_ceil(TILE_WIDTH);
        let [left, top] = [index % columns * TILE_WIDTH, index / columns * TILE_HEIGHT];
        Tile {
            left,
            top,
            width: TILE_WIDTH.min(self.width - left),
            height: TILE_HEIGHT.min(self.height - top),
        }
    }

    /// The picture of all tiles' pixels, tile after tile.
    ///
    /// # Panics
    /// If `pixels` are not as many as the picture has.
    #[must_use]
    pub fn assemble(&self, pixels: &[Rgb]) -> Image {
        let mut image = Image {
            width: self.width,
            height: self.height,
            pixels: vec![Rgb::default(); self.width as usize * self.height as usize],
        };
        assert_eq!(pixels.len(), image.pixels.len(), "pixels of all tiles");
        let mut rest = pixels;
        for index in 0..self.tile_count() {
            let tile = self.tile(index);
            for y in tile.top..tile.top + tile.height {
                let (row, others) = rest.split_at(tile.width as usize);
                let start = y as usize * self.width as usize + tile.left as usize;
                image.pixels[start..start + row.len()].copy_from_slice(row);
                rest = others;
            }
        }
        image
    }
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The first column.
    pub left: u32,
    /// The first row.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// A tile: some milliseconds of work at a few samples, so that sharing it costs
/// nothing beside it, and yet hundreds of them in a small picture.
const TILE_WIDTH: u32 = 32;

/// See [`TILE_WIDTH`].
const TILE_HEIGHT: u32 = 8;

/// Longest side of a picture: twice that of an 8K screen.
pub const SIDE_MAX: u32 = 16_384;

/// Most pixels of a picture: those of an 8K screen, whose light takes 400 MB.
pub const PIXELS_MAX: u32 = 1 << 25;

/// Most samples for each pixel.
pub const SAMPLES_MAX: u32 = 1 << 20;

/// Most surfaces of a path: beyond, all materials have absorbed the light.
pub const DEPTH_MAX: u32 = 256;
