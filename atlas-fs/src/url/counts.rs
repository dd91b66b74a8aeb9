//! [`Counts`]: how often what was asked for was there, and what came from where.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sums since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    requests: AtomicU64,
    origin_bytes: AtomicU64,
    above_bytes: AtomicU64,
    stored_bytes: AtomicU64,
}

/// Who gives bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Giver {
    Origin,
    /// The next cache above.
    Above,
    /// This store, which had them already.
    Store,
}

/// Sums since the start of a [`Files`](super::Files).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Reads that found all on the disk.
    pub hits: u64,
    /// Reads that waited for an origin, or the next cache above.
    pub misses: u64,
    /// Requests to origins.
    pub questions: u64,
    /// Bytes of files from origins.
    pub origin_bytes: u64,
    /// Bytes of files from the next cache above.
    pub above_bytes: u64,
    /// Bytes of files that those below were given, and that were there before they were asked for.
    pub stored_bytes: u64,
}

// Sums for people: no other memory is read by them.
impl Counts {
    pub(crate) fn read(&self, misses: bool) {
        let sum = if misses { &self.misses } else { &self.hits };
        sum.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fetched(&self, giver: Giver, bytes: usize) {
        let sum = match giver {
            Giver::Origin => &self.origin_bytes,
            Giver::Above => &self.above_bytes,
            Giver::Store => &self.stored_bytes,
        };
        sum.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> Figures {
        let load = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        Figures {
            hits: load(&self.hits),
            misses: load(&self.misses),
            questions: load(&self.requests),
            origin_bytes: load(&self.origin_bytes),
            above_bytes: load(&self.above_bytes),
            stored_bytes: load(&self.stored_bytes),
        }
    }
}
