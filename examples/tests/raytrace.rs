//! The path tracer as a whole: schedules, physics, and what its command says.
//!
//! No picture is compared with a stored one: the sRGB curve's `powf` may differ in
//! the last bit between platforms. Light before it does not.

use std::path::Path;
use std::process::{Command, Output};

use atlas_examples::raytrace::camera::{Camera, CameraPose};
use atlas_examples::raytrace::image::Image;
use atlas_examples::raytrace::material::Material;
use atlas_examples::raytrace::render::{render, render_sequential, render_tiles};
use atlas_examples::raytrace::scene::{Scene, SceneParts, Sky};
use atlas_examples::raytrace::scene_file::{self, BuiltIn, SHOWCASE};
use atlas_examples::raytrace::shapes::Sphere;
use atlas_examples::raytrace::texture::{Texture, Textured};
use atlas_examples::raytrace::vector::Vec3;
use atlas_examples::raytrace::view::{View, ViewError};

const SMALL: View = View {
    width: 64,
    height: 36,
    samples: 4,
    depth: 6,
    seed: 3,
};

fn showcase() -> Scene {
    scene_file::load(Path::new(SHOWCASE), &BuiltIn).expect("the program carries it")
}

/// One unit sphere at the origin, which fills most of the picture.
fn lone_sphere(material: Material, sky: Sky) -> Scene {
    let pose = CameraPose {
        position: Vec3::new(0.0, 0.0, 4.0),
        look_at: Vec3::ZERO,
        up: Vec3::new(0.0, 1.0, 0.0),
        vertical_fov_degrees: 35.0,
        aperture: 0.0,
        focus_distance: 4.0,
    };
    let sphere = Sphere {
        center: Vec3::ZERO,
        radius: 1.0,
    };
    Scene::new(SceneParts {
        camera: Camera::new(&pose).expect("it looks along -z"),
        exposure: 1.0,
        sky,
        materials: vec![material],
        textures: Vec::new(),
        spheres: vec![(sphere, 0)],
        planes: Vec::new(),
        meshes: Vec::new(),
    })
}

fn even_sky(radiance: f64) -> Sky {
    Sky {
        zenith: Vec3::splat(radiance),
        horizon: Vec3::splat(radiance),
    }
}

fn pixel(image: &Image, x: u32, y: u32) -> [f32; 3] {
    image.pixels[(y * image.width + x) as usize].0
}

#[test]
fn tasks_render_the_same_bits_as_one_thread() {
    let scene = atlas::share(showcase());
    let expected = render_sequential(&scene, &SMALL);
    for workers in [1, 2, 5] {
        let runtime = atlas::Runtime::builder().workers(workers).build().unwrap();
        let rendered = runtime.run(|| render(&scene, &SMALL));
        assert_eq!(rendered, expected, "{workers} workers");
    }
    let other_seed = View { seed: 4, ..SMALL };
    assert_ne!(render_sequential(&scene, &other_seed), expected);
}

#[test]
fn task_with_arguments_that_travelled_renders_the_same_bits() {
    let scene = atlas::share(showcase());
    let tiles = 2..5_u32;
    let expected = atlas::run(|| render_tiles(scene.clone(), SMALL, tiles.clone()));
    let sent = postcard::to_allocvec(&(scene, SMALL, tiles)).unwrap();
    // The scene that was sent is gone, so this one is decoded and built again.
    let (scene, view, tiles) = postcard::from_bytes(&sent).unwrap();
    assert_eq!(atlas::run(|| render_tiles(scene, view, tiles)), expected);
}

#[test]
fn pictures_that_tiles_do_not_divide_are_whole() {
    let scene = lone_sphere(
        Material::Emissive {
            radiance: Vec3::ONE,
        },
        even_sky(1.0),
    );
    for (width, height) in [(1, 1), (33, 9), (31, 17)] {
        let view = View {
            width,
            height,
            ..SMALL
        };
        let image = render_sequential(&scene, &view);
        assert!(image.pixels.iter().all(|pixel| pixel.0 == [1.0; 3]));
    }
}

#[test]
fn white_sphere_in_white_surroundings_cannot_be_seen() {
    let scene = lone_sphere(
        Material::Diffuse {
            color: Vec3::ONE,
            checker: None,
            texture: None,
        },
        even_sky(0.5),
    );
    let image = render_sequential(&scene, &SMALL);
    for pixel in &image.pixels {
        assert!((pixel.0[1] - 0.5).abs() < 1e-6, "{pixel:?}");
    }
}

#[test]
fn rough_metal_reflects_no_more_than_it_receives() {
    let scene = lone_sphere(
        Material::Metal {
            color: Vec3::ONE,
            roughness: 0.5,
        },
        even_sky(1.0),
    );
    let view = View {
        samples: 64,
        ..SMALL
    };
    let middle = pixel(&render_sequential(&scene, &view), 32, 18)[0];
    // What facets hide from each other is lost: a few percent at this roughness.
    assert!((0.9..=1.0 + 1e-6).contains(&middle), "{middle}");
}

#[test]
fn mirror_sphere_shows_the_zenith_above_and_the_horizon_in_its_middle() {
    let sky = Sky {
        zenith: Vec3::new(0.0, 0.0, 1.0),
        horizon: Vec3::new(1.0, 0.0, 0.0),
    };
    let mirror = Material::Metal {
        color: Vec3::ONE,
        roughness: 0.0,
    };
    let image = render_sequential(&lone_sphere(mirror, sky), &SMALL);
    let [red, _, blue] = pixel(&image, 32, 19);
    assert!(red > 0.9 && blue < 0.1, "middle: {red} {blue}");
    // Where the normal is at 45 degrees, 0.7 radii up, the ray goes straight up.
    let [red, _, blue] = pixel(&image, 32, 8);
    assert!(red < 0.1 && blue > 0.9, "above: {red} {blue}");
}

#[test]
fn a_globe_shows_its_texture_with_north_above() {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 1, 2);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[255, 0, 0, 0, 0, 255]).unwrap();
    writer.finish().unwrap();
    let globe = lone_sphere(
        Material::Diffuse {
            color: Vec3::ONE,
            checker: None,
            texture: Some(Textured {
                texture: 0,
                size: 1.0,
            }),
        },
        even_sky(1.0),
    );
    let mut parts = globe.parts().clone();
    parts.textures.push(Texture::from_png(&png).unwrap());
    let image = render_sequential(&Scene::new(parts), &SMALL);
    let [north, south] = [pixel(&image, 32, 8), pixel(&image, 32, 28)];
    assert!(north[0] > 0.7 && north[2] < 0.3, "{north:?}");
    assert!(south[2] > 0.7 && south[0] < 0.3, "{south:?}");
}

#[test]
fn black_light_is_black() {
    let radiance = Vec3::ZERO;
    let scene = lone_sphere(Material::Emissive { radiance }, even_sky(1.0));
    assert_eq!(pixel(&render_sequential(&scene, &SMALL), 32, 18), [0.0; 3]);
}

#[test]
fn impossible_views_are_refused() {
    let check = |view: View| view.check().unwrap_err();
    assert_eq!(
        check(View { width: 0, ..SMALL }).to_string(),
        "the width is 0; choose a number within 1 and 16384"
    );
    assert!(matches!(
        check(View {
            depth: 999,
            ..SMALL
        }),
        ViewError::Range {
            name: "the depth",
            ..
        }
    ));
    let huge = View {
        width: 16_384,
        height: 16_384,
        ..SMALL
    };
    assert!(matches!(check(huge), ViewError::Pixels { .. }));
}

fn raytrace(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_raytrace"))
        .args(["--width", "16", "--height", "8", "--samples", "1"])
        .args(arguments)
        .output()
        .expect("the command was built")
}

#[test]
fn command_writes_a_picture_and_reports_it() {
    let [tasks, alone] =
        ["tasks.png", "alone.png"].map(|name| format!("{}/{name}", env!("CARGO_TARGET_TMPDIR")));
    let output = raytrace(&["--out", &tasks]);
    assert!(output.status.success(), "{output:?}");
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(
        report.starts_with(&format!("{tasks}: 16x8, 1 ")),
        "{report}"
    );
    assert_eq!(output.stderr, b"", "no bar without a terminal");

    let output = raytrace(&["--out", &alone, "--sequential", "--quiet"]);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    let [tasks, alone] = [tasks, alone].map(|path| std::fs::read(path).unwrap());
    assert_eq!(tasks, alone);
}

#[test]
fn command_fails_with_the_name_of_what_is_wrong() {
    let not_a_scene = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for (arguments, expected) in [
        (
            vec!["no/such.toml"],
            "cannot read `no/such.toml`; check the path",
        ),
        (vec![not_a_scene], "Cargo.toml` is not a scene file"),
        (
            vec!["--out", "no/such/a.png"],
            "cannot write `no/such/a.png`; choose another --out",
        ),
        (vec!["--out", "/"], "cannot write `/`; choose another --out"),
    ] {
        let output = raytrace(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(expected), "{message}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_raytrace"))
        .args(["--width", "0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("the width is 0"), "{message}");
}
