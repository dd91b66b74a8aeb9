//! Results that are worth keeping, until the server is told of them.
//!
//! A worker that has such a result goes on at once: a message, with the wake-ups that follow from it in three processes,
//! costs a third of a millisecond of the machine's time, more than all else that checkpoints do. So results wait for each other
//! ([`INTERVAL`]), unless one alone stands for so much work that a message for it is cheap ([`WORK_MIN`]).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atlas_core::Recorded;

/// What waits.
pub(super) struct Records(Mutex<Waiting>);

struct Waiting {
    entries: Vec<Recorded>,
    /// One of them does not wait.
    is_urgent: bool,
    told: Instant,
}

impl Records {
    pub(super) fn new() -> Self {
        let told = Instant::now();
        Self(Mutex::new(Waiting {
            entries: Vec::new(),
            is_urgent: false,
            told,
        }))
    }

    /// Adds a result, with which so much work would be lost. True if somebody must [take](Self::take) it, and all that waits, and
    /// was not told so before.
    pub(super) fn push(&self, entry: Recorded, uncovered: Duration) -> bool {
        let mut waiting = self.lock();
        waiting.entries.push(entry);
        let is_urgent = uncovered >= WORK_MIN;
        is_urgent && !std::mem::replace(&mut waiting.is_urgent, true)
    }

    /// Takes what has waited for long enough by now.
    pub(super) fn take_due(&self, now: Instant) -> Vec<Recorded> {
        let mut waiting = self.lock();
        let waited = now.saturating_duration_since(waiting.told);
        if waited >= INTERVAL || waiting.is_urgent {
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
        (self.is_urgent, self.told) = (false, now);
        std::mem::take(&mut self.entries)
    }
}

/// For so long results wait for each other while the engine is busy: what dies with it is so much of each worker's time.
const INTERVAL: Duration = Duration::from_millis(250);
/// A result with which so much work would be lost does not wait.
const WORK_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use atlas_core::Key;

    use super::*;

    fn push(records: &Records, uncovered: Duration) -> bool {
        let entry = Recorded {
            key: Key([0; 32]),
            result: Vec::new(),
            work: WORK_MIN,
        };
        records.push(entry, uncovered)
    }

    #[test]
    fn small_results_wait_for_each_other() {
        let (records, start) = (Records::new(), Instant::now());
        (0..1000).for_each(|_| assert!(!push(&records, WORK_MIN / 2)));
        assert!(records.take_due(start + INTERVAL / 2).is_empty());
        let now = start + INTERVAL * 2;
        assert_eq!(records.take_due(now).len(), 1000);
        // The next ones wait from then on.
        assert!(!push(&records, WORK_MIN / 2));
        assert!(records.take_due(now + INTERVAL / 2).is_empty());
        assert_eq!(records.take(now).len(), 1);
    }

    #[test]
    fn large_ones_do_not_wait_and_are_told_of_once() {
        let (records, start) = (Records::new(), Instant::now());
        assert!(!push(&records, Duration::ZERO));
        assert!(push(&records, WORK_MIN));
        assert!(!push(&records, WORK_MIN * 2));
        assert_eq!(records.take_due(start).len(), 3);
        assert!(records.take_due(start).is_empty());
        assert!(push(&records, WORK_MIN));
    }
}
