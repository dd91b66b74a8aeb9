//! [`Pace`]: whether an origin that keeps sending sends enough. **Pure.**

use std::time::Duration;

/// Counts bytes and the time spent waiting for them.
#[derive(Debug)]
pub(super) struct Pace {
    window: Duration,
    bytes_min: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// At least so many bytes a second, on average over each window.
    pub(super) fn new(window: Duration, bytes_per_second_min: u64) -> Self {
        let bytes_min =
            window.as_secs_f64() * u32::try_from(bytes_per_second_min).map_or(f64::MAX, f64::from);
        Self {
            window,
            // Saturates.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is positive, and a float saturates"
            )]
            bytes_min: bytes_min as u64,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// So many bytes came after so long. Gives whether that is too slow.
    pub(super) fn handle_bytes(&mut self, bytes: u64, waited: Duration) -> bool {
        self.bytes += bytes;
        self.waited += waited;
        if self.waited < self.window {
            return false;
        }
        let slow = self.bytes < self.bytes_min;
        (self.bytes, self.waited) = (0, Duration::ZERO);
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_a_second_is_nothing_and_a_pause_is_forgiven() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(10 * second, 1024);
        assert!((0..9).all(|_| !pace.handle_bytes(1, second)));
        assert!(pace.handle_bytes(1, second));
        assert!(!pace.handle_bytes(1 << 20, second));
        assert!((0..9).all(|_| !pace.handle_bytes(1, second)));
    }
}
