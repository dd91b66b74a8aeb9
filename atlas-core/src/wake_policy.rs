//! Whether waking a sleeper is worth it: a pure rule, with the time handed in.
//!
//! To wake a sleeping worker costs the waker some microseconds, and the woken one
//! runs tens of microseconds later. A parallel region that is over by then has
//! only lost. So the rule predicts how long a region lasts from how long the
//! regions that began at the same join have lasted: it wakes at once for those
//! that were long or are unknown, and for the short ones only when they have
//! gone on for longer than foreseen.
//!
//! A *region* is the life of the outermost latent record of a strand, seen from
//! the first time that its worker found the poll flag raised.
//!
//! The prediction rises at once and falls by an eighth, so a join whose regions
//! vary is treated as long.

use std::time::{Duration, Instant};

/// One worker's rule and what it has learned.
pub(crate) struct WakePolicy {
    sites: [Site; SITES],
    region: Option<Region>,
}

#[derive(Clone, Copy)]
struct Site {
    key: usize,
    lasts: Duration,
}

struct Region {
    key: usize,
    node: usize,
    began: Instant,
    polls: u32,
}

/// What to do about the sleepers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Promote and wake one.
    Now,
    /// Leave them, and ask again at the next join.
    NotYet,
}

impl WakePolicy {
    pub(crate) fn new() -> Self {
        let unknown = Site {
            key: 0,
            lasts: Duration::ZERO,
        };
        Self {
            sites: [unknown; SITES],
            region: None,
        }
    }

    /// Somebody would have to be woken for the region whose outermost record is
    /// `node` and began at the join `key`. `now` is asked only where it matters.
    pub(crate) fn decide(
        &mut self,
        node: usize,
        key: usize,
        now: impl FnOnce() -> Instant,
    ) -> Wake {
        let predicted = self.predicted(key);
        match &mut self.region {
            Some(region) if region.node == node => {
                region.polls += 1;
                // Not each poll reads the clock: those at powers of two do.
                if region.polls.is_power_of_two() && now() - region.began > PATIENCE {
                    return Wake::Now;
                }
            }
            _ => {
                self.region = Some(Region {
                    key,
                    node,
                    began: now(),
                    polls: 0,
                });
            }
        }
        match predicted {
            Some(lasts) if lasts < WORTH => Wake::NotYet,
            _ => Wake::Now,
        }
    }

    /// The owner has come back to the marked record `node`.
    pub(crate) fn came_back(&mut self, node: usize, now: impl FnOnce() -> Instant) {
        let Some(region) = self.region.take_if(|region| region.node == node) else {
            return;
        };
        let lasted = now() - region.began;
        let site = &mut self.sites[slot(region.key)];
        let known = site.key == region.key;
        site.lasts = match known {
            true if lasted < site.lasts => site.lasts - (site.lasts - lasted) / 8,
            _ => lasted,
        };
        site.key = region.key;
    }

    fn predicted(&self, key: usize) -> Option<Duration> {
        let site = &self.sites[slot(key)];
        (site.key == key).then_some(site.lasts)
    }
}

/// Where a join's history stands. Keys are addresses of statics.
fn slot(key: usize) -> usize {
    (key >> 4) % SITES
}

/// Enough for the joins that begin regions in one program; two that share a
/// slot forget each other's history and are then unknown.
const SITES: usize = 64;
/// A region predicted to last longer is worth a wake-up, which costs the waker
/// about 7 us and runs the sleeper 20 us later.
const WORTH: Duration = Duration::from_micros(25);
/// A region that has lasted this long in spite of its prediction is, too.
const PATIENCE: Duration = Duration::from_micros(20);
