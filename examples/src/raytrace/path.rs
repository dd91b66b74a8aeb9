//! One light path, from the camera backwards to what shines.
//!
//! At each surface that spreads light, one light is sampled, and the path goes on in a direction
//! that the material chooses. Light met either way is weighed by the power
//! heuristic (Veach, *Robust Monte Carlo Methods for Light Transport Simulation*,
//! 1997, section 9.2), so that each way serves where it is good.
//!
//! Long paths end by chance, in proportion to what they could still bring
//! (Russian roulette), which does not change the mean. Two limits do change it:
//! `INDIRECT_MAX`, or a caustic that one path in a million finds would leave a
//! white dot; and `MIRRORED_MAX`, or the sun in a mirror would have a jagged edge.

use super::ray::{Hit, Ray};
use super::sampler::Sampler;
use super::scene::Scene;
use super::vector::Vec3;

/// The radiance that comes against `ray`, over at most `depth_max` surfaces:
/// one random estimate of it.
#[must_use]
pub fn radiance(scene: &Scene, ray: Ray, depth_max: u32, sampler: &Sampler) -> Vec3 {
    let mut path = Path {
        scene,
        ray,
        throughput: Vec3::ONE,
        last: None,
        blurred: false,
        light: Vec3::ZERO,
    };
    for depth in 0..depth_max {
        let numbers = Numbers {
            sampler,
            first: FIRST_DIMENSION + depth * DIMENSIONS,
        };
        if path.extend(depth, &numbers).is_none() {
            break;
        }
    }
    path.light
}

struct Path<'scene> {
    scene: &'scene Scene,
    /// Where the path goes on.
    ray: Ray,
    /// What light from there is multiplied by.
    throughput: Vec3,
    /// The density with which the last surface chose the ray; `None` if
    /// light on it could not have been sampled there.
    last: Option<f64>,
    /// True if an earlier surface spread the path.
    blurred: bool,
    /// What has been gathered.
    light: Vec3,
}

impl Path<'_> {
    /// Follows the ray over one surface; `None` if the path ends there.
    fn extend(&mut self, depth: u32, numbers: &Numbers<'_>) -> Option<()> {
        let Some(hit) = self.scene.nearest(&self.ray) else {
            let sky = self.scene.parts().sky.radiance(self.ray.direction);
            self.gather(sky, self.most(depth));
            return None;
        };
        let material = self.scene.material(&hit);
        let towards_viewer = -self.ray.direction;
        let share = self.share_of_chance(&hit);
        self.gather(material.emitted(&hit) * share, self.most(depth));
        // The ray that ended here is no longer the last.
        self.blurred |= self.last.is_some();
        if material.spreads() {
            self.sample_light(&hit, numbers);
        }
        let scatter =
            material.scatter(&hit, towards_viewer, numbers.direction(), numbers.choice())?;
        self.throughput *= scatter.weight;
        self.last = scatter.density;
        self.ray = Ray {
            origin: hit.point,
            direction: scatter.direction,
        };
        self.survive(depth, numbers.survival())
    }

    /// Adds the light of a sampled direction.
    fn sample_light(&mut self, hit: &Hit, numbers: &Numbers<'_>) {
        let lights = self.scene.lights();
        let Some(sample) = lights.sample(hit.point, numbers.light(), numbers.light_point()) else {
            return;
        };
        let material = self.scene.material(hit);
        let (value, density) = material.evaluate(hit, -self.ray.direction, sample.direction);
        if value.max_component() <= 0.0 {
            return;
        }
        let shadow_ray = Ray {
            origin: hit.point,
            direction: sample.direction,
        };
        // The light itself must not be in the way.
        if self
            .scene
            .is_blocked(&shadow_ray, sample.distance * (1.0 - 1e-6))
        {
            return;
        }
        let share = power_heuristic(sample.density, density);
        let most = if self.blurred {
            INDIRECT_MAX
        } else {
            f64::INFINITY
        };
        self.gather(value * sample.radiance * (share / sample.density), most);
    }

    /// The weight of light that the path met by chance at `hit`.
    fn share_of_chance(&self, hit: &Hit) -> f64 {
        match (self.last, hit.light) {
            (Some(chosen), Some(light)) => {
                let sampled = self.scene.lights().density(self.ray.origin, light);
                power_heuristic(chosen, sampled)
            }
            _ => 1.0,
        }
    }

    /// Adds light, of which no colour may bring more than `most`.
    fn gather(&mut self, light: Vec3, most: f64) {
        let light = self.throughput * light;
        let excess = light.max_component() / most;
        self.light += if excess > 1.0 { light / excess } else { light };
    }

    /// The limit of light that the ray itself meets.
    fn most(&self, depth: u32) -> f64 {
        if self.blurred {
            INDIRECT_MAX
        } else if depth > 0 && self.last.is_none() {
            MIRRORED_MAX
        } else {
            f64::INFINITY
        }
    }

    /// Ends the path by chance, or makes up for those that ended.
    fn survive(&mut self, depth: u32, number: f64) -> Option<()> {
        let odds = self.throughput.max_component();
        if depth < SURE_SURFACES {
            return (odds > 0.0).then_some(());
        }
        let odds = odds.min(1.0);
        if number >= odds {
            return None;
        }
        self.throughput = self.throughput / odds;
        Some(())
    }
}

/// The weight of a way that has density `own`, beside one that has density `other`.
fn power_heuristic(own: f64, other: f64) -> f64 {
    let [own, other] = [own * own, other * other];
    own / (own + other)
}

/// The random numbers of one surface of a path.
struct Numbers<'sample> {
    sampler: &'sample Sampler,
    first: u32,
}

impl Numbers<'_> {
    fn direction(&self) -> [f64; 2] {
        self.sampler.two(self.first)
    }

    fn light_point(&self) -> [f64; 2] {
        self.sampler.two(self.first + 1)
    }

    fn light(&self) -> f64 {
        self.sampler.one(self.first + 2)
    }

    fn choice(&self) -> f64 {
        self.sampler.one(self.first + 3)
    }

    fn survival(&self) -> f64 {
        self.sampler.one(self.first + 4)
    }
}

/// Dimensions that a surface uses.
const DIMENSIONS: u32 = 5;

/// The dimensions before it belong to the camera.
pub const FIRST_DIMENSION: u32 = 2;

/// Surfaces after which a path may end by chance.
const SURE_SURFACES: u32 = 2;

/// Greatest radiance, per colour, that comes over two surfaces which spread light.
const INDIRECT_MAX: f64 = 2.5;

/// Greatest radiance, per colour, that is seen in mirrors and glass: enough for the
/// 4 percent that glass mirrors of a sun to be white.
const MIRRORED_MAX: f64 = 40.0;
