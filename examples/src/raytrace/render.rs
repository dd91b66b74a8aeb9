//! The picture, rendered tile by tile: by tasks, or on one thread.
//!
//! [`render_tile`] is the whole of the sequential work; its pixels depend on
//! nothing but the scene, the view and the tile. [`render_tiles`] is all that Atlas
//! adds: a range of tiles is halved until one tile is left.

use std::ops::Range;

use atlas::Shared;

use super::image::{Image, Rgb};
use super::path;
use super::progress;
use super::sampler::{Sampler, tent};
use super::scene::Scene;
use super::vector::Vec3;
use super::view::{Tile, View};

/// Renders a scene on all idle workers.
#[must_use]
pub fn render(scene: &Shared<Scene>, view: &View) -> Image {
    view.assemble(&render_tiles(scene.clone(), *view, 0..view.tile_count()))
}

/// Renders all tiles on this thread, in order: the reference for every schedule.
#[must_use]
pub fn render_sequential(scene: &Scene, view: &View) -> Image {
    let tiles = (0..view.tile_count()).map(|index| view.tile(index));
    let pixels: Vec<Rgb> = tiles
        .flat_map(|tile| render_tile(scene, view, tile))
        .collect();
    view.assemble(&pixels)
}

/// Renders a range of tiles: their pixels, tile after tile.
#[atlas::spawn]
#[must_use]
pub fn render_tiles(scene: Shared<Scene>, view: View, tiles: Range<u32>) -> Vec<Rgb> {
    if tiles.len() <= 1 {
        let tiles = tiles.map(|index| view.tile(index));
        return tiles
            .flat_map(|tile| render_tile(&scene, &view, tile))
            .collect();
    }
    let middle = tiles.start.midpoint(tiles.end);
    let (mut pixels, rest) = atlas::join!(
        render_tiles(scene.clone(), view, tiles.start..middle),
        render_tiles(scene, view, middle..tiles.end),
    );
    pixels.extend(rest);
    pixels
}

/// Renders one tile: its pixels row by row.
#[must_use]
pub fn render_tile(scene: &Scene, view: &View, tile: Tile) -> Vec<Rgb> {
    let rows = tile.top..tile.top + tile.height;
    let columns = tile.left..tile.left + tile.width;
    let pixels = rows
        .flat_map(|y| {
            columns
                .clone()
                .map(move |x| render_pixel(scene, view, x, y).into())
        })
        .collect();
    progress::count_tile();
    pixels
}

/// The mean radiance of one pixel's samples, summed in their order.
fn render_pixel(scene: &Scene, view: &View, x: u32, y: u32) -> Vec3 {
    let [width, height] = [view.width, view.height].map(f64::from);
    let mut sum = Vec3::ZERO;
    for sample in 0..view.samples {
        let sampler = Sampler::new(view.seed, x, y, sample);
        let [across, down] = sampler.two(0).map(|number| 0.5 + tent(number));
        let point = [
            (2.0 * (f64::from(x) + across) - width) / height,
            1.0 - 2.0 * (f64::from(y) + down) / height,
        ];
        let ray = scene.parts().camera.ray(point, sampler.two(1));
        sum += path::radiance(scene, ray, view.depth, &sampler);
    }
    sum / f64::from(view.samples)
}
