//! One direction of one link: busy until, and how fast.

use std::time::Duration;

use atlas_proto::time::Time;

/// A wire carries one message after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    bytes_per_s: u64,
    free: Time,
}

impl Wire {
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self {
            bytes_per_s: bytes_per_s.max(1),
            free: Time::ZERO,
        }
    }

    /// A whole message is there at `at`; when has the wire taken its last bit?
    pub(super) fn carry(&mut self, at: Time, bytes: u64) -> Time {
        self.free = at.max(self.free) + self.duration(bytes);
        self.free
    }

    /// The last bit of a message is there at `at`, the others came before it at the wire's own pace.
    pub(super) fn carry_through(&mut self, at: Time, bytes: u64) -> Time {
        let duration = self.duration(bytes);
        self.free = (at - duration).max(self.free) + duration;
        self.free
    }

    fn duration(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
