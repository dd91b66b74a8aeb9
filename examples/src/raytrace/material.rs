//! Materials: how a surface scatters light, and how it shines.
//!
//! A material answers two questions that a light path asks: where does the path go on
//! ([`Material::scatter`]), and what does this surface pass on from a given
//! direction ([`Material::evaluate`], for light that is sampled). Both agree: `scatter`'s weight
//! is `evaluate`'s value over `scatter`'s density.
//!
//! `towards_viewer` always points away from the surface, against the path.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::microfacets::{Microfacets, schlick};
use super::ray::Hit;
use super::sampler::cosine_hemisphere;
use super::texture::{TextureId, Textured};
use super::vector::{Frame, Vec3};

/// The place of a material in its scene's list.
pub type MaterialId = u32;

/// What a surface is made of. A scene file calls its textures by the names of files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Material<TextureName = TextureId> {
    /// Chalk, plaster: scatters alike in all directions.
    Diffuse {
        /// Share of light that is scattered, per colour, within 0 and 1.
        color: Vec3,
        /// A second colour, in the other fields of a chequered pattern.
        #[serde(default)]
        checker: Option<Checker>,
        /// Colours that these are multiplied by, from place to place.
        #[serde(default)]
        texture: Option<Textured<TextureName>>,
    },
    /// A polished or rough metal (GGX microfacets).
    Metal {
        /// Share of light that is mirrored when seen straight on.
        color: Vec3,
        /// 0 is a mirror, 1 nearly matt.
        roughness: f64,
    },
    /// Glass, water: mirrors some light and refracts the rest.
    Dielectric {
        /// Index of refraction, relative to what surrounds the shape.
        ior: f64,
        /// Share of light that passes each surface.
        #[serde(default = "white")]
        color: Vec3,
    },
    /// A light. It scatters nothing.
    Emissive {
        /// What it emits in every direction, from its outside.
        radiance: Vec3,
    },
}

/// The other fields of a chequered surface.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checker {
    /// Their colour.
    pub color: Vec3,
    /// Length of a field's edge.
    pub size: f64,
}

/// Where a path goes on.
#[derive(Clone, Copy, Debug)]
pub struct Scatter {
    /// The new direction, away from the surface.
    pub direction: Vec3,
    /// What the light that comes from there is multiplied by.
    pub weight: Vec3,
    /// Density of the direction by solid angle; `None` if it is the only one, as in a mirror.
    pub density: Option<f64>,
}

impl<TextureName> Material<TextureName> {
    /// The texture, if the material wears one.
    #[must_use]
    pub fn texture(&self) -> Option<&Textured<TextureName>> {
        match self {
            Self::Diffuse { texture, .. } => texture.as_ref(),
            Self::Metal { .. } | Self::Dielectric { .. } | Self::Emissive { .. } => None,
        }
    }

    /// The same material, with its texture called by another name.
    pub fn rename_texture<Other>(
        self,
        name: impl FnOnce(&TextureName) -> Other,
    ) -> Material<Other> {
        match self {
            Self::Diffuse {
                color,
                checker,
                texture,
            } => Material::Diffuse {
                color,
                checker,
                texture: texture.map(|worn| {
                    let other = name(&worn.texture);
                    worn.renamed(other)
                }),
            },
            Self::Metal { color, roughness } => Material::Metal { color, roughness },
            Self::Dielectric { ior, color } => Material::Dielectric { ior, color },
            Self::Emissive { radiance } => Material::Emissive { radiance },
        }
    }
}

impl Material {
    /// What the surface emits from its outside.
    #[must_use]
    pub fn radiance(&self) -> Vec3 {
        match self {
            Self::Emissive { radiance } => *radiance,
            Self::Diffuse { .. } | Self::Metal { .. } | Self::Dielectric { .. } => Vec3::ZERO,
        }
    }

    /// What the surface emits towards a viewer of this hit.
    #[must_use]
    pub fn emitted(&self, hit: &Hit) -> Vec3 {
        if hit.outside {
            self.radiance()
        } else {
            Vec3::ZERO
        }
    }

    /// True if light from a direction that was chosen elsewhere can be passed on
    /// at all: not so in mirrors and glass.
    #[must_use]
    pub fn spreads(&self) -> bool {
        match self {
            Self::Diffuse { .. } => true,
            Self::Metal { roughness, .. } => *roughness >= MIRROR_ROUGHNESS,
            Self::Dielectric { .. } | Self::Emissive { .. } => false,
        }
    }

    /// Chooses where the path goes on, from a random point of the unit square and a
    /// random number. `None` ends the path: its light is absorbed.
    #[must_use]
    pub fn scatter(
        &self,
        hit: &Hit,
        towards_viewer: Vec3,
        point: [f64; 2],
        choice: f64,
    ) -> Option<Scatter> {
        let scatter = match self {
            Self::Diffuse { .. } => {
                let local = cosine_hemisphere(point);
                Scatter {
                    direction: Frame::around(hit.normal).to_world(local),
                    weight: self.diffuse_color(hit),
                    density: Some(local.z / PI),
                }
            }
            Self::Metal { color, roughness } if *roughness >= MIRROR_ROUGHNESS => {
                Microfacets::new(*color, *roughness).scatter(hit, towards_viewer, point)?
            }
            Self::Metal { color, .. } => {
                let cosine = towards_viewer.dot(hit.normal);
                Scatter {
                    direction: (-towards_viewer).reflect(hit.normal),
                    weight: schlick(*color, cosine),
                    density: None,
                }
            }
            Self::Dielectric { ior, color } => {
                return Some(refract(*ior, *color, hit, towards_viewer, choice));
            }
            Self::Emissive { .. } => return None,
        };
        // A smooth mesh's shading normal may send light through the true surface.
        (scatter.direction.dot(hit.face_normal) > 0.0).then_some(scatter)
    }

    /// The share of light from unit direction `towards_light` that is passed to the viewer,
    /// times the cosine at the surface; and the density with which
    /// [`Material::scatter`] would have chosen that direction.
    #[must_use]
    pub fn evaluate(&self, hit: &Hit, towards_viewer: Vec3, towards_light: Vec3) -> (Vec3, f64) {
        let cosine = towards_light.dot(hit.normal);
        if cosine <= 0.0 || towards_light.dot(hit.face_normal) <= 0.0 || !self.spreads() {
            return (Vec3::ZERO, 0.0);
        }
        match self {
            Self::Diffuse { .. } => {
                let density = cosine / PI;
                (self.diffuse_color(hit) * density, density)
            }
            Self::Metal { color, roughness } => {
                Microfacets::new(*color, *roughness).evaluate(hit, towards_viewer, towards_light)
            }
            Self::Dielectric { .. } | Self::Emissive { .. } => (Vec3::ZERO, 0.0),
        }
    }

    fn diffuse_color(&self, hit: &Hit) -> Vec3 {
        let painted = match self {
            Self::Diffuse {
                color,
                checker: Some(checker),
                ..
            } => {
                let field = |offset: f64| (offset / checker.size + GRID_SHIFT).floor();
                let sum = field(hit.point.x) + field(hit.point.y) + field(hit.point.z);
                if (sum / 2.0).fract() == 0.0 {
                    *color
                } else {
                    checker.color
                }
            }
            Self::Diffuse { color, .. } => *color,
            Self::Metal { .. } | Self::Dielectric { .. } | Self::Emissive { .. } => Vec3::ZERO,
        };
        painted * hit.tint
    }
}

/// Mirrors or refracts, by chance, in proportion to Fresnel's equations.
fn refract(ior: f64, color: Vec3, hit: &Hit, towards_viewer: Vec3, choice: f64) -> Scatter {
    let ratio = if hit.outside { 1.0 / ior } else { ior };
    let cosine = towards_viewer.dot(hit.normal).min(1.0);
    let sine_squared = ratio * ratio * (1.0 - cosine * cosine);
    let scatter = |direction, weight| Scatter {
        direction,
        weight,
        density: None,
    };
    let mirrored = scatter((-towards_viewer).reflect(hit.normal), Vec3::ONE);
    if sine_squared >= 1.0 {
        return mirrored;
    }
    let cosine_within = (1.0 - sine_squared).sqrt();
    let parallel = (cosine - ratio * cosine_within) / (cosine + ratio * cosine_within);
    let across = (ratio * cosine - cosine_within) / (ratio * cosine + cosine_within);
    if choice < (parallel * parallel + across * across) / 2.0 {
        return mirrored;
    }
    let bent = towards_viewer * -ratio + hit.normal * (ratio * cosine - cosine_within);
    scatter(bent.normalized(), color)
}

fn white() -> Vec3 {
    Vec3::ONE
}

/// Metals smoother than this are perfect mirrors: their highlight of a light is
/// narrower than a pixel, and its density would overflow.
const MIRROR_ROUGHNESS: f64 = 0.03;

/// Shift of a chequered pattern, in fields, so that a surface that lies in a
/// coordinate plane is not on an edge of the pattern, where rounding decides.
const GRID_SHIFT: f64 = 1e-4;

#[cfg(test)]
mod tests {
    use super::super::ray::Ray;
    use super::super::sampler::Sampler;
    use super::*;

    const UP: Vec3 = Vec3::new(0.0, 0.0, 1.0);

    fn hit_from(towards_viewer: Vec3) -> Hit {
        let ray = Ray {
            origin: towards_viewer,
            direction: -towards_viewer,
        };
        Hit::new(&ray, 1.0, [UP, UP], 0)
    }

    #[test]
    fn scatter_weight_is_value_over_density() {
        let materials = [
            Material::Diffuse {
                color: Vec3::new(0.2, 0.5, 0.8),
                checker: None,
                texture: None,
            },
            Material::Metal {
                color: Vec3::new(0.9, 0.6, 0.3),
                roughness: 0.5,
            },
        ];
        let viewer = Vec3::new(0.6, -0.2, 0.5).normalized();
        let hit = hit_from(viewer);
        for material in materials {
            for sample in 0..100 {
                let point = Sampler::new(1, 0, 0, sample).two(0);
                let Some(scatter) = material.scatter(&hit, viewer, point, 0.5) else {
                    continue;
                };
                let (value, density) = material.evaluate(&hit, viewer, scatter.direction);
                let expected = scatter.density.unwrap();
                assert!((density / expected - 1.0).abs() < 1e-9);
                assert!((value / density - scatter.weight).length() < 1e-9);
            }
        }
    }

    #[test]
    fn mirror_sends_light_to_the_mirrored_side() {
        let mirror = Material::Metal {
            color: Vec3::ONE,
            roughness: 0.0,
        };
        let viewer = Vec3::new(0.6, 0.0, 0.8);
        let scatter = mirror
            .scatter(&hit_from(viewer), viewer, [0.3, 0.7], 0.1)
            .unwrap();
        assert!((scatter.direction - Vec3::new(-0.6, 0.0, 0.8)).length() < 1e-12);
        assert_eq!((scatter.weight, scatter.density), (Vec3::ONE, None));
        assert!(!mirror.spreads());
    }

    #[test]
    fn glass_bends_by_snells_law_and_mirrors_all_beyond_the_critical_angle() {
        let glass = Material::Dielectric {
            ior: 1.5,
            color: Vec3::ONE,
        };
        let viewer = Vec3::new(0.6, 0.0, 0.8);
        let bent = glass
            .scatter(&hit_from(viewer), viewer, [0.5; 2], 0.99)
            .unwrap();
        assert!((bent.direction.x + 0.6 / 1.5).abs() < 1e-12);
        assert!(bent.direction.z < 0.0);
        let from_within = Vec3::new(0.8, 0.0, -0.6);
        let mirrored = glass
            .scatter(&hit_from(from_within), from_within, [0.5; 2], 0.99)
            .unwrap();
        assert!((mirrored.direction - Vec3::new(-0.8, 0.0, -0.6)).length() < 1e-12);
    }

    #[test]
    fn light_shines_outwards_only() {
        let light = Material::Emissive {
            radiance: Vec3::ONE,
        };
        assert_eq!(light.emitted(&hit_from(UP)), Vec3::ONE);
        assert_eq!(light.emitted(&hit_from(-UP)), Vec3::ZERO);
    }
}
