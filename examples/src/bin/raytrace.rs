//! `raytrace`: renders a scene file to a PNG picture.
//!
//! Parse, build, run, report; the work is in `atlas_examples::raytrace`.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use atlas_examples::raytrace::image::{self, Image};
use atlas_examples::raytrace::progress::Progress;
use atlas_examples::raytrace::render;
use atlas_examples::raytrace::scene::Scene;
use atlas_examples::raytrace::scene_file::{self, BuiltIn, Disk};
use atlas_examples::raytrace::view::View;
use clap::Parser;

/// Renders a scene to a PNG picture by path tracing.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Scene file (TOML), a path or a URL, as may be the meshes and textures that it names; without it, the showcase that the program carries.
    scene: Option<PathBuf>,
    /// Columns of pixels.
    #[arg(long, default_value_t = 640)]
    width: u32,
    /// Rows of pixels.
    #[arg(long, default_value_t = 360)]
    height: u32,
    /// Light paths for each pixel; powers of two are spread most evenly.
    #[arg(long, default_value_t = 64)]
    samples: u32,
    /// Surfaces that a light path may meet.
    #[arg(long, default_value_t = 10)]
    depth: u32,
    /// Another seed gives other noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The picture's file; it is replaced.
    #[arg(long, default_value = "raytrace.png")]
    out: PathBuf,
    /// Render on one thread, without tasks; the picture is the same to the bit.
    #[arg(long)]
    sequential: bool,
    /// Print nothing but errors.
    #[arg(long)]
    quiet: bool,
}

#[atlas::main]
fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let view = options.view().check()?;
    let scene = options.load_scene()?;
    let cannot_write = || {
        format!(
            "cannot write `{}`; choose another --out",
            options.out.display()
        )
    };
    image::check_writable(&options.out).with_context(cannot_write)?;
    let exposure = scene.parts().exposure;

    let start = Instant::now();
    let picture = options.render(scene, view);
    let seconds = start.elapsed().as_secs_f64();

    picture
        .save(exposure, &options.out)
        .with_context(cannot_write)?;
    if !options.quiet {
        report(&options.out, &view, seconds);
    }
    Ok(())
}

impl Options {
    fn view(&self) -> View {
        View {
            width: self.width,
            height: self.height,
            samples: self.samples,
            depth: self.depth,
            seed: self.seed,
        }
    }

    fn load_scene(&self) -> Result<Scene, scene_file::SceneError> {
        match &self.scene {
            Some(path) => scene_file::load(path, &Disk),
            None => scene_file::load(Path::new(scene_file::SHOWCASE), &BuiltIn),
        }
    }

    fn render(&self, scene: Scene, view: View) -> Image {
        let _progress = (!self.quiet).then(|| Progress::start(view.tile_count()));
        if self.sequential {
            render::render_sequential(&scene, &view)
        } else {
            render::render(&atlas::share(scene), &view)
        }
    }
}

fn report(path: &Path, view: &View, seconds: f64) {
    let [width, height] = [view.width, view.height];
    let paths = f64::from(width) * f64::from(height) * f64::from(view.samples);
    println!(
        "{}: {width}x{height}, {} samples for each pixel, {seconds:.2} s, {:.2} million samples/s",
        path.display(),
        view.samples,
        paths / seconds / 1e6,
    );
}
