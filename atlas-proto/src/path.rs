//! What a way between two nodes costs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::LATENCY_MAX;

/// The one-way latency and the bandwidth between two nodes, as the driver measures them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// One way.
    pub latency: Duration,
    /// Never zero.
    pub bytes_per_s: u64,
}

impl Path {
    /// What is assumed of a neighbour until the driver has measured: a local network.
    pub const ASSUMED: Self = Self {
        latency: Duration::from_micros(500),
        bytes_per_s: 100_000_000,
    };

    /// The path as it is reckoned with: within [`LATENCY_MAX`], and of some bandwidth.
    pub(crate) fn bounded(self) -> Self {
        Self {
            latency: self.latency.min(LATENCY_MAX),
            bytes_per_s: self.bytes_per_s.max(1),
        }
    }

    /// The way over both, one after the other: latencies add, the slower one counts.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            latency: self.latency.saturating_add(next.latency),
            bytes_per_s: self.bytes_per_s.min(next.bytes_per_s),
        }
    }

    /// How long the wire is busy with so many bytes.
    #[must_use]
    pub fn wire_time(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How long a message of so many bytes is under way.
    #[must_use]
    pub fn transfer(self, bytes: u64) -> Duration {
        self.latency.saturating_add(self.wire_time(bytes))
    }

    /// There and back, without bytes.
    #[must_use]
    pub fn round_trip(self) -> Duration {
        self.latency.saturating_mul(2)
    }
}
