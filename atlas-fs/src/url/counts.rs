//! [`Counts`]: how often what was asked for was there, and what came from where.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sums since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    requests: AtomicU64,
    origin_bytes: AtomicU64,
}

/// Sums since the start of a [`Files`](super::Files).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Reads that found all on the disk.
    pub hits: u64,
    /// Reads that waited for an origin.
    pub misses: u64,
    /// Whether a URL was still as it was, and what it was.
    pub questions: u64,
    /// Bytes of files from origins.
    pub origin_bytes: u64,
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

    pub(crate) fn fetched(&self, bytes: usize) {
        self.origin_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            questions: self.requests.load(Ordering::Relaxed),
            origin_bytes: self.origin_bytes.load(Ordering::Relaxed),
        }
    }
}
