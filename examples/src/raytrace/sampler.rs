//! The random numbers of one pixel sample, and the shapes they are bent to.
//!
//! Numbers are a pure function of (seed, x, y, sample, dimension): there is no
//! state to share between tasks, and any machine can compute any pixel.
//!
//! Points of one dimension pair are, over the samples of a pixel, the first two
//! Sobol dimensions, shuffled and scrambled by hashes (Burley, *Practical
//! Hash-based Owen Scrambling*, JCGT 9(4), 2020). They fill the square more evenly
//! than independent numbers do, so that a picture needs a fraction of the samples.
//!
//! Bending a square to a disk wants `sin` and `cos`; here they are polynomials,
//! so that each platform finds the same bits (see the module `raytrace`).

use super::vector::Vec3;

/// The random numbers of one sample of one pixel.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    pixel: u32,
    sample: u32,
}

impl Sampler {
    /// The numbers of sample `sample` of the pixel at column `x`, row `y`.
    #[must_use]
    pub fn new(seed: u64, x: u32, y: u32, sample: u32) -> Self {
        let (low, high) = (seed & 0xffff_ffff, seed >> 32);
        let pixel = [low, high, u64::from(x), u64::from(y)]
            .into_iter()
            .fold(0x9e37_79b9, |hash, word| combine(hash, low_bits(word)));
        Self { pixel, sample }
    }

    /// A number in `[0, 1)`.
    #[must_use]
    pub fn one(&self, dimension: u32) -> f64 {
        self.two(dimension)[0]
    }

    /// A point of the half-open unit square.
    #[must_use]
    pub fn two(&self, dimension: u32) -> [f64; 2] {
        let seed = combine(self.pixel, dimension);
        let index = owen(self.sample.reverse_bits(), mix(seed)).reverse_bits();
        let first = owen(index, mix(seed ^ 0x3c6e_f372));
        let second = owen(sobol_reversed(index), mix(seed ^ 0xdaa6_6d2b));
        [unit(first.reverse_bits()), unit(second.reverse_bits())]
    }
}

/// A point of the unit disk, uniform by area for a uniform `point` of the unit
/// square; neighbours stay neighbours (Shirley and Chiu, *A Low Distortion Map
/// Between Disk and Square*, JGT 2(3), 1997).
#[must_use]
pub fn disk(point: [f64; 2]) -> [f64; 2] {
    let [a, b] = [2.0 * point[0] - 1.0, 2.0 * point[1] - 1.0];
    if a == 0.0 && b == 0.0 {
        return [0.0, 0.0];
    }
    let quarter = std::f64::consts::FRAC_PI_4;
    if a.abs() > b.abs() {
        let (sine, cosine) = sin_cos(quarter * (b / a));
        [a * cosine, a * sine]
    } else {
        let (sine, cosine) = sin_cos(quarter * (a / b));
        [b * sine, b * cosine]
    }
}

/// A direction of the half sphere around +z, with density `z / pi`.
#[must_use]
pub fn cosine_hemisphere(point: [f64; 2]) -> Vec3 {
    let [x, y] = disk(point);
    Vec3::new(x, y, (1.0 - x * x - y * y).max(0.0).sqrt())
}

/// A direction around +z, uniform by solid angle over the cone whose cosine of
/// the half angle is `1 - one_minus_cosine`.
#[must_use]
pub fn cone(point: [f64; 2], one_minus_cosine: f64) -> Vec3 {
    let [x, y] = disk(point);
    let drop = (x * x + y * y) * one_minus_cosine;
    let scale = (one_minus_cosine * (2.0 - drop)).max(0.0).sqrt();
    Vec3::new(x * scale, y * scale, 1.0 - drop)
}

/// A number in `(-1, 1)`, dense at 0 and thin at the ends: the tent filter.
#[must_use]
pub fn tent(number: f64) -> f64 {
    if number < 0.5 {
        (2.0 * number).sqrt() - 1.0
    } else {
        1.0 - (2.0 - 2.0 * number).sqrt()
    }
}

/// A number in `[0, 1)` for the pixel, from `bits`' hash; used to dither.
#[must_use]
pub fn hash_unit(x: u32, y: u32, channel: u32) -> f64 {
    unit(mix(combine(combine(combine(0, x), y), channel)))
}

/// Sine and cosine of an angle within a quarter of pi of zero, to 1e-12.
fn sin_cos(angle: f64) -> (f64, f64) {
    let square = angle * angle;
    let sine = SINE.iter().rev().fold(0.0, |sum, term| sum * square + term);
    let cosine = COSINE
        .iter()
        .rev()
        .fold(0.0, |sum, term| sum * square + term);
    (sine * angle, cosine)
}

/// One step of Owen's nested scrambling, on a number with its bits reversed: each
/// bit is flipped by a hash of `seed` and of the bits below it (the constants are Burley's, section 4).
fn owen(reversed: u32, seed: u32) -> u32 {
    let mut bits = reversed.wrapping_add(seed);
    bits ^= bits.wrapping_mul(0x6c50_b47c);
    bits ^= bits.wrapping_mul(0xb82f_1e52);
    bits ^= bits.wrapping_mul(0xc7af_e638);
    bits ^ bits.wrapping_mul(0x8d22_f6e6)
}

/// The second Sobol coordinate of `index` with its bits reversed.
///
/// Its matrix is Pascal's triangle modulo 2, which takes a polynomial `p(z)` over
/// the field of two elements to `p(z + 1)`: five halvings do it, not 32 columns.
fn sobol_reversed(index: u32) -> u32 {
    let mut bits = index;
    bits ^= bits >> 16;
    bits ^= (bits & 0xff00_ff00) >> 8;
    bits ^= (bits & 0xf0f0_f0f0) >> 4;
    bits ^= (bits & 0xcccc_cccc) >> 2;
    bits ^ ((bits & 0xaaaa_aaaa) >> 1)
}

fn combine(hash: u32, word: u32) -> u32 {
    mix(hash
        ^ mix(word.wrapping_add(0x9e37_79b9))
            .wrapping_mul(0x85eb_ca6b)
            .rotate_left(13))
}

/// A hash of 32 bits to 32 bits, each output bit depending on each input bit
/// (Wellons, "Prospecting for Hash Functions", 2018: `lowbias32`).
fn mix(word: u32) -> u32 {
    let mut bits = word;
    bits ^= bits >> 16;
    bits = bits.wrapping_mul(0x7feb_352d);
    bits ^= bits >> 15;
    bits = bits.wrapping_mul(0x846c_a68b);
    bits ^ (bits >> 16)
}

fn unit(bits: u32) -> f64 {
    f64::from(bits) * (1.0 / 4_294_967_296.0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
fn low_bits(word: u64) -> u32 {
    word as u32
}

const SINE: [f64; 7] = [
    1.0,
    -1.0 / 6.0,
    1.0 / 120.0,
    -1.0 / 5_040.0,
    1.0 / 362_880.0,
    -1.0 / 39_916_800.0,
    1.0 / 6_227_020_800.0,
];

const COSINE: [f64; 8] = [
    1.0,
    -1.0 / 2.0,
    1.0 / 24.0,
    -1.0 / 720.0,
    1.0 / 40_320.0,
    -1.0 / 3_628_800.0,
    1.0 / 479_001_600.0,
    -1.0 / 87_178_291_200.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sobol_by_halving_equals_sobol_by_columns() {
        for index in [0_u32, 1, 2, 3, 7, 12, 255, 0xdead_beef, u32::MAX] {
            let (mut rest, mut column, mut sum) = (index, 1_u32 << 31, 0);
            while rest != 0 {
                sum ^= if rest & 1 == 1 { column } else { 0 };
                rest >>= 1;
                column ^= column >> 1;
            }
            assert_eq!(sobol_reversed(index).reverse_bits(), sum, "{index}");
        }
    }

    #[test]
    fn sixteen_samples_fill_each_elementary_cell_once() {
        for dimension in 0..8 {
            for [columns, rows] in [[16, 1], [8, 2], [4, 4], [2, 8], [1, 16]] {
                let mut cells: Vec<_> = (0..16)
                    .map(|sample| Sampler::new(7, 3, 5, sample).two(dimension))
                    .map(|[x, y]| {
                        let cell = |part: f64, parts: i32| part * f64::from(parts);
                        format!(
                            "{:.0} {:.0}",
                            cell(x, columns).floor(),
                            cell(y, rows).floor()
                        )
                    })
                    .collect();
                cells.sort_unstable();
                cells.dedup();
                assert_eq!(cells.len(), 16, "{columns} by {rows}");
            }
        }
    }

    #[test]
    fn polynomials_agree_with_std() {
        for step in -100..=100 {
            let angle = f64::from(step) / 100.0 * std::f64::consts::FRAC_PI_4;
            let (sine, cosine) = sin_cos(angle);
            assert!((sine - angle.sin()).abs() < 1e-12);
            assert!((cosine - angle.cos()).abs() < 1e-12);
        }
    }

    #[test]
    fn pixels_seeds_and_samples_draw_different_numbers() {
        let base = Sampler::new(0, 1, 2, 3).two(0);
        for other in [
            Sampler::new(1, 1, 2, 3),
            Sampler::new(1 << 32, 1, 2, 3),
            Sampler::new(0, 2, 1, 3),
            Sampler::new(0, 1, 2, 4),
        ] {
            assert_ne!(base, other.two(0));
        }
        assert_ne!(base, Sampler::new(0, 1, 2, 3).two(1));
    }

    #[test]
    fn mapped_directions_have_unit_length() {
        for sample in 0..64 {
            let point = Sampler::new(0, 0, 0, sample).two(0);
            assert!((cosine_hemisphere(point).length() - 1.0).abs() < 1e-12);
            let direction = cone(point, 0.1);
            assert!((direction.length() - 1.0).abs() < 1e-12);
            assert!(direction.z >= 0.9);
        }
    }
}
