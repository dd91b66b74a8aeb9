//! A camera with a thin lens: from a point of the picture to a ray.

use serde::{Deserialize, Serialize};

use super::ray::Ray;
use super::sampler::disk;
use super::vector::Vec3;

/// A camera at its place. It sees a picture of any aspect ratio; its field of
/// view is the picture's height.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    position: Vec3,
    forward: Vec3,
    right: Vec3,
    up: Vec3,
    half_height: f64,
    lens_radius: f64,
    focus_distance: f64,
}

/// How a person says where a camera is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CameraPose {
    /// Middle of the lens.
    pub position: Vec3,
    /// A point in the middle of the picture.
    pub look_at: Vec3,
    /// Roughly upwards; not along the line of sight.
    pub up: Vec3,
    /// Angle between the picture's lower and upper edge, within 0 and 180.
    pub vertical_fov_degrees: f64,
    /// Diameter of the lens; 0 makes all distances sharp.
    pub aperture: f64,
    /// Distance of the plane that is sharp, from the lens.
    pub focus_distance: f64,
}

impl Camera {
    /// The camera of this pose; `None` if the line of sight has no length, or
    /// is parallel to `up`.
    #[must_use]
    pub fn new(pose: &CameraPose) -> Option<Self> {
        let forward = (pose.look_at - pose.position).normalized();
        let right = forward.cross(pose.up).normalized();
        (forward.is_finite() && right.is_finite()).then(|| Self {
            position: pose.position,
            forward,
            right,
            up: right.cross(forward),
            half_height: (pose.vertical_fov_degrees / 2.0).to_radians().tan(),
            lens_radius: pose.aperture / 2.0,
            focus_distance: pose.focus_distance,
        })
    }

    /// The ray through a point of the picture and a point of the lens.
    ///
    /// `point` is measured in half heights of the picture from its middle, to the
    /// right and up; `lens` is a point of the unit square.
    #[must_use]
    pub fn ray(&self, point: [f64; 2], lens: [f64; 2]) -> Ray {
        let [x, y] = point.map(|offset| offset * self.half_height);
        let focus =
            self.position + (self.forward + self.right * x + self.up * y) * self.focus_distance;
        let [across, upward] = disk(lens).map(|offset| offset * self.lens_radius);
        let origin = self.position + self.right * across + self.up * upward;
        Ray {
            origin,
            direction: (focus - origin).normalized(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSE: CameraPose = CameraPose {
        position: Vec3::new(0.0, 0.0, 4.0),
        look_at: Vec3::ZERO,
        up: Vec3::new(0.0, 1.0, 0.0),
        vertical_fov_degrees: 90.0,
        aperture: 1.0,
        focus_distance: 4.0,
    };

    #[test]
    fn rays_of_one_point_meet_in_the_plane_of_focus() {
        let camera = Camera::new(&POSE).unwrap();
        for lens in [[0.5, 0.5], [0.0, 0.3], [0.9, 0.9]] {
            let ray = camera.ray([0.5, 1.0], lens);
            let met = ray.at(-ray.origin.z / ray.direction.z);
            assert!((met - Vec3::new(2.0, 4.0, 0.0)).length() < 1e-12, "{met:?}");
        }
    }

    #[test]
    fn camera_without_a_line_of_sight_is_refused() {
        let nowhere = CameraPose {
            look_at: POSE.position,
            ..POSE
        };
        let along_up = CameraPose {
            up: Vec3::new(0.0, 0.0, 2.0),
            ..POSE
        };
        assert_eq!(Camera::new(&nowhere), None);
        assert_eq!(Camera::new(&along_up), None);
    }
}
