//! Counters of one runtime: what was promoted, stolen, suspended and woken.
//!
//! Only slow paths count; a join that nobody takes part in is not counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// One worker's counters, written by it alone.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) promotions: Counter,
    pub(crate) steals: Counter,
    pub(crate) suspensions: Counter,
    pub(crate) preemptions: Counter,
    pub(crate) strands: Counter,
    pub(crate) sleeps: Counter,
    pub(crate) wakes: Counter,
}

/// A number with one writer and many readers.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0
            .store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the workers of a runtime have done so far, summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Latent records and frames' children that were made public.
    pub promotions: u64,
    /// Closures taken from another worker.
    pub steals: u64,
    /// Times that a strand waited for a child on another worker or machine.
    pub suspensions: u64,
    /// Times that a strand made way for an older one.
    pub preemptions: u64,
    /// Stacks that were made; at most so many strands were alive at a time.
    pub strands: u64,
    /// Times that a worker went to sleep.
    pub sleeps: u64,
    /// Times that a worker woke another one for new work.
    pub wakes: u64,
    /// Children whose results were remembered.
    pub children_found: u64,
    /// Finished children that the host was told of.
    pub children_recorded: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, counters: &Counters) {
        self.promotions += counters.promotions.value();
        self.steals += counters.steals.value();
        self.suspensions += counters.suspensions.value();
        self.preemptions += counters.preemptions.value();
        self.strands += counters.strands.value();
        self.sleeps += counters.sleeps.value();
        self.wakes += counters.wakes.value();
    }
}
