//! Results that are worth keeping, until the server is told of them.
//!
//! A worker that has such a result goes on at once: a message, with the wake-ups that follow from it in three processes,
//! costs a third of a millisecond of the machine's time, more than all else that checkpoints do. So results wait for each other
//! ([`INTERVAL`]), unless one alone stands for so much work that a message for it is cheap ([`WORK_MIN`]). Even that waits a
//! little ([`SETTLING`]): it would be in the way of the result of all, if that follows at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atlas_core::Recorded;

/// What waits.
pub(super) struct Records(Mutex<Waiting>);

struct Waiting {
    entries: Vec<Recorded>,
    /// When the first of those came that do not wait for others.
    urgent: Option<Instant>,
    told: Instant,
}

impl Records {
    pub(super) fn new() -> Self {
        let told = Instant::now();
        Self(Mutex::new(Waiting {
            entries: Vec::new(),
            urgent: None,
            told,
        }))
    }

    /// Adds a result, with which so much work would be lost.
    pub(super) fn push(&self, entry: Recorded, uncovered: Duration) {
        let mut waiting = self.lock();
        waiting.entries.push(entry);
        if uncovered >= WORK_MIN {
            waiting.urgent.get_or_insert_with(Instant::now);
        }
    }

    /// Takes what has waited for long enough by now.
    pub(super) fn take_due(&self, now: Instant) -> Vec<Recorded> {
        let mut waiting = self.lock();
        let is_old = |since: Instant, time| now.saturating_duration_since(since) >= time;
        let is_due = waiting.urgent.is_some_and(|came| is_old(came, SETTLING));
        if is_due || is_old(waiting.told, INTERVAL) {
            waiting.take(now)
        } else {
            Vec::new()
        }
    }

    /// Takes all.
    pub(super) fn take(&self, now: Instant) -> Vec<Recorded> {
        self.lock().take(now)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // What a thread that panicked has left is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self, now: Instant) -> Vec<Recorded> {
        (self.urgent, self.told) = (None, now);
        std::mem::take(&mut self.entries)
    }
}

/// For so long results wait for each other while the engine is busy: what dies with it is so much of each worker's time.
const INTERVAL: Duration = Duration::from_millis(250);
/// A result with which so much work would be lost does not wait.
const WORK_MIN: Duration = Duration::from_millis(100);
/// What is computed from it is there by then, if it is only put together.
const SETTLING: Duration = Duration::from_millis(15);

#[cfg(test)]
mod tests {
    use atlas_core::Key;

    use super::*;

    fn push(records: &Records, uncovered: Duration) {
        let entry = Recorded {
            key: Key([0; 32]),
            result: Vec::new(),
            work: WORK_MIN,
            above: Vec::new(),
        };
        records.push(entry, uncovered);
    }

    #[test]
    fn small_results_wait_for_each_other() {
        let (records, start) = (Records::new(), Instant::now());
        (0..1000).for_each(|_| push(&records, WORK_MIN / 2));
        assert!(records.take_due(start + INTERVAL / 2).is_empty());
        let now = start + INTERVAL * 2;
        assert_eq!(records.take_due(now).len(), 1000);
        // The next ones wait from then on.
        push(&records, WORK_MIN / 2);
        assert!(records.take_due(now + INTERVAL / 2).is_empty());
        assert_eq!(records.take(now).len(), 1);
    }

    #[test]
    fn large_ones_do_not_wait_for_others() {
        let (records, start) = (Records::new(), Instant::now());
        push(&records, Duration::ZERO);
        assert!(records.take_due(start).is_empty());
        push(&records, WORK_MIN);
        assert!(records.take_due(start).is_empty());
        let now = Instant::now() + SETTLING;
        assert_eq!(records.take_due(now).len(), 2);
        push(&records, Duration::ZERO);
        assert!(records.take_due(now + SETTLING).is_empty());
    }
}
