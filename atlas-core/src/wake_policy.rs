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
//! Many short regions in a row are worth a wake-up too: each half a millisecond of
//! them, one is tried.
//!
//! The prediction rises at once and falls by an eighth, so a join whose regions
//! vary is treated as long.

use std::time::{Duration, Instant};

/// One worker's rule and what it has learned.
pub(crate) struct WakePolicy {
    sites: [Site; SITES],
    region: Option<Region>,
    /// How long regions have lasted without help since the last wake-up.
    unhelped: Duration,
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
    /// Somebody was woken for it.
    woke: bool,
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
            unhelped: Duration::ZERO,
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
                    region.woke = true;
                    return Wake::Now;
                }
            }
            _ => {
                self.region = Some(Region {
                    key,
                    node,
                    began: now(),
                    polls: 0,
                    woke: false,
                });
            }
        }
        if predicted.is_some_and(|lasts| lasts < WORTH) && self.unhelped < UNHELPED_MAX {
            return Wake::NotYet;
        }
        self.unhelped = Duration::ZERO;
        if let Some(region) = &mut self.region {
            region.woke = true;
        }
        Wake::Now
    }

    /// The owner has come back to the marked record `node`.
    pub(crate) fn came_back(&mut self, node: usize, now: impl FnOnce() -> Instant) {
        let Some(region) = self.region.take_if(|region| region.node == node) else {
            return;
        };
        let wake = if region.woke {
            WAKE_COST
        } else {
            Duration::ZERO
        };
        // What the region would have lasted: a wake-up must not seem to be worth
        // it for the time that it has taken itself.
        let lasted = (now() - region.began).saturating_sub(wake);
        if !region.woke {
            self.unhelped += lasted;
        }
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
/// Short regions that follow each other closely are worth a helper together: it
/// stays awake from one to the next. To try it now and then costs a hundredth.
const UNHELPED_MAX: Duration = Duration::from_micros(500);
/// What a wake-up costs the waker.
const WAKE_COST: Duration = Duration::from_micros(7);
/// A region that has lasted this long in spite of its prediction is, too.
const PATIENCE: Duration = Duration::from_micros(20);

#[cfg(test)]
mod tests {
    use super::*;

    const JOIN: usize = 0x1000;
    const NODE: usize = 0x7000;

    /// A policy with a clock of its own.
    struct Clocked {
        policy: WakePolicy,
        now: Instant,
    }

    impl Clocked {
        fn new() -> Self {
            Self {
                policy: WakePolicy::new(),
                now: Instant::now(),
            }
        }

        fn pass(&mut self, micros: u64) {
            self.now += Duration::from_micros(micros);
        }

        fn decide(&mut self, key: usize) -> Wake {
            self.policy.decide(NODE, key, || self.now)
        }

        /// A whole region of the join `key`; the decision at its begin.
        fn region(&mut self, key: usize, micros: u64) -> Wake {
            let decision = self.decide(key);
            if decision == Wake::Now {
                self.now += WAKE_COST;
            }
            self.pass(micros);
            self.policy.came_back(NODE, || self.now);
            decision
        }
    }

    #[test]
    fn unknown_region_is_worth_a_wake() {
        let mut clocked = Clocked::new();
        assert_eq!(clocked.decide(JOIN), Wake::Now);
    }

    #[test]
    fn short_region_is_not_worth_a_wake_once_it_is_known() {
        let mut clocked = Clocked::new();
        assert_eq!(clocked.region(JOIN, 5), Wake::Now);
        assert_eq!(clocked.region(JOIN, 5), Wake::NotYet);
        // Nothing is known of another join.
        assert_eq!(clocked.region(JOIN + 16, 5), Wake::Now);
    }

    #[test]
    fn long_region_is_worth_a_wake_each_time() {
        let mut clocked = Clocked::new();
        for _ in 0..4 {
            assert_eq!(clocked.region(JOIN, 1_000), Wake::Now);
        }
    }

    #[test]
    fn prediction_rises_at_once() {
        let mut clocked = Clocked::new();
        for _ in 0..100 {
            clocked.region(JOIN, 1);
        }
        assert_eq!(clocked.region(JOIN, 1_000), Wake::NotYet);
        assert_eq!(clocked.region(JOIN, 1), Wake::Now);
    }

    #[test]
    fn prediction_falls_by_an_eighth_each_time() {
        let mut clocked = Clocked::new();
        clocked.region(JOIN, 100);
        let mut regions = 0;
        while clocked.region(JOIN, 0) == Wake::Now {
            regions += 1;
        }
        // 100 us * (7/8)^n < 25 us first for n = 11.
        assert_eq!(regions, 11);
    }

    #[test]
    fn patience_ends_with_a_region_that_outlasts_its_prediction() {
        let mut clocked = Clocked::new();
        clocked.region(JOIN, 1);
        assert_eq!(clocked.decide(JOIN), Wake::NotYet);
        clocked.pass(15);
        assert_eq!(clocked.decide(JOIN), Wake::NotYet);
        clocked.pass(15);
        // The clock is read at polls that are powers of two.
        let decisions = [(); 4].map(|()| clocked.decide(JOIN));
        assert!(decisions.contains(&Wake::Now), "{decisions:?}");
    }

    #[test]
    fn clock_is_read_at_few_of_many_polls() {
        let mut policy = WakePolicy::new();
        let (now, mut reads) = (Instant::now(), 0);
        for _ in 0..1_000 {
            policy.decide(NODE, JOIN, || {
                reads += 1;
                now
            });
        }
        assert!(reads <= 11, "{reads}");
    }

    #[test]
    fn return_to_another_record_teaches_nothing() {
        let mut clocked = Clocked::new();
        clocked.decide(JOIN);
        clocked.policy.came_back(NODE + 64, || clocked.now);
        assert_eq!(clocked.policy.predicted(JOIN), None);
    }

    #[test]
    fn cost_of_the_wake_up_itself_does_not_make_a_region_long() {
        let mut clocked = Clocked::new();
        assert_eq!(clocked.region(JOIN, 20), Wake::Now);
        assert_eq!(clocked.region(JOIN, 20), Wake::NotYet);
    }

    #[test]
    fn many_short_regions_are_worth_a_wake_now_and_then() {
        let mut clocked = Clocked::new();
        let wakes = (0..1_000).filter(|_| clocked.region(JOIN, 10) == Wake::Now);
        // The first is unknown; then one for each 500 us.
        assert_eq!(wakes.count(), 1 + 999 / 51);
    }

    #[test]
    fn joins_that_share_a_slot_forget_each_other() {
        let mut clocked = Clocked::new();
        let other = JOIN + 16 * SITES;
        assert_eq!(slot(JOIN), slot(other));
        clocked.region(JOIN, 1);
        assert_eq!(clocked.region(other, 1), Wake::Now);
        assert_eq!(clocked.region(JOIN, 1), Wake::Now);
    }
}
