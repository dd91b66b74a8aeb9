//! Spheres that shine, sampled on purpose: next-event estimation.
//!
//! A path that waits until it meets a small light by chance is noisy, so each
//! diffuse or rough surface asks here for a direction to a light. A light is chosen by what
//! it sends to that point, which takes time linear in the number of lights: scenes have a few.
//! Whoever meets a light by chance asks [`Lights::density`] for the odds, to weigh both ways.

use super::ray::Ray;
use super::sampler::cone;
use super::shapes::Sphere;
use super::vector::{Frame, Vec3};

/// A sphere with an emissive material.
#[derive(Clone, Copy, Debug)]
pub struct Light {
    /// Its shape.
    pub sphere: Sphere,
    /// What its surface emits.
    pub radiance: Vec3,
}

/// The lights of a scene that are sampled.
#[derive(Clone, Debug, Default)]
pub struct Lights(Vec<Light>);

/// A direction to a light.
#[derive(Clone, Copy, Debug)]
pub struct LightSample {
    /// From the point that asked; of length 1.
    pub direction: Vec3,
    /// Up to the light's surface.
    pub distance: f64,
    /// What the light emits.
    pub radiance: Vec3,
    /// Density of the direction by solid angle, among all lights.
    pub density: f64,
}

impl Lights {
    /// Adds a light and gives its index.
    pub fn push(&mut self, light: Light) -> usize {
        self.0.push(light);
        self.0.len() - 1
    }

    /// A direction from `point` to a light, from a random number and a random
    /// point of the unit square; `None` if no light reaches the point.
    #[must_use]
    pub fn sample(&self, point: Vec3, choice: f64, square: [f64; 2]) -> Option<LightSample> {
        let total = self.power_at(point);
        let mut left = choice * total;
        let light = self.0.iter().find(|light| {
            let power = light.power_at(point);
            left -= power;
            power > 0.0 && left < 0.0
        })?;
        let one_minus_cosine = light.one_minus_cosine(point)?;
        let towards = (light.sphere.center - point).normalized();
        let direction = Frame::around(towards).to_world(cone(square, one_minus_cosine));
        let ray = Ray {
            origin: point,
            direction,
        };
        Some(LightSample {
            direction,
            distance: light.sphere.intersect(&ray, f64::INFINITY)?,
            radiance: light.radiance,
            density: light.power_at(point) / total / (TAU * one_minus_cosine),
        })
    }

    /// The density with which [`Lights::sample`] at `point` would have chosen a
    /// direction that meets this light; 0 if it never would.
    #[must_use]
    pub fn density(&self, point: Vec3, light: usize) -> f64 {
        let light = &self.0[light];
        light
            .one_minus_cosine(point)
            .map_or(0.0, |one_minus_cosine| {
                light.power_at(point) / self.power_at(point) / (TAU * one_minus_cosine)
            })
    }

    fn power_at(&self, point: Vec3) -> f64 {
        self.0.iter().map(|light| light.power_at(point)).sum()
    }
}

impl Light {
    /// One less the cosine of the half angle that the sphere fills at `point`;
    /// `None` within the sphere.
    fn one_minus_cosine(&self, point: Vec3) -> Option<f64> {
        let away = self.sphere.center - point;
        let sine_squared = self.sphere.radius * self.sphere.radius / away.dot(away);
        // sin^2 / (1 + cos), as 1 - cos would cancel for a far light.
        (sine_squared < 1.0).then(|| sine_squared / (1.0 + (1.0 - sine_squared).sqrt()))
    }

    /// What the light sends to `point`, whatever is between: luminance times solid angle.
    fn power_at(&self, point: Vec3) -> f64 {
        self.one_minus_cosine(point)
            .map_or(0.0, |share| share * TAU * self.radiance.luminance())
    }
}

const TAU: f64 = std::f64::consts::TAU;

#[cfg(test)]
mod tests {
    use super::super::sampler::Sampler;
    use super::*;

    fn light(x: f64, radius: f64) -> Light {
        Light {
            sphere: Sphere {
                center: Vec3::new(x, 3.0, 0.0),
                radius,
            },
            radiance: Vec3::ONE,
        }
    }

    #[test]
    fn samples_meet_a_light_and_their_density_is_the_one_stated() {
        let mut lights = Lights::default();
        let known = [light(-4.0, 1.0), light(4.0, 0.5)];
        for light in known {
            lights.push(light);
        }
        let mut solid_angles = 0.0;
        for index in 0..1024 {
            let sampler = Sampler::new(0, 0, 0, index);
            let sample = lights
                .sample(Vec3::ZERO, sampler.one(0), sampler.two(1))
                .unwrap();
            let at = sample.direction * sample.distance;
            let met = known.iter().position(|light| {
                let off = (at - light.sphere.center).length() - light.sphere.radius;
                off.abs() < 1e-9
            });
            let density = lights.density(Vec3::ZERO, met.unwrap());
            assert!((sample.density / density - 1.0).abs() < 1e-12);
            solid_angles += 1.0 / sample.density / 1024.0;
        }
        // The mean of 1 / density is the solid angle of all lights.
        let expected: f64 = known.iter().map(|light| light.power_at(Vec3::ZERO)).sum();
        assert!(
            (solid_angles / expected - 1.0).abs() < 0.02,
            "{solid_angles} {expected}"
        );
    }

    #[test]
    fn no_light_is_sampled_from_within() {
        let mut lights = Lights::default();
        lights.push(light(0.0, 5.0));
        assert!(lights.sample(Vec3::ZERO, 0.5, [0.5; 2]).is_none());
        assert_eq!(lights.density(Vec3::ZERO, 0), 0.0);
    }
}
