//! Results that are worth keeping, until the server is told of them.
//!
//! A worker that has such a result goes on at once: a message for each, with the wake-ups that follow from it in three processes,
//! cost more of the machine than all else that checkpoints do. So results wait for each other ([`INTERVAL`]), as long as
//! what is lost with them, should the process die, is little ([`WORK_MAX`]).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atlas_core::Recorded;

/// What waits.
pub(super) struct Records(Mutex<Waiting>);

struct Waiting {
    entries: Vec<Recorded>,
    /// What went into them.
    work: Duration,
    told: Instant,
}

impl Records {
    pub(super) fn new() -> Self {
        let told = Instant::now();
        Self(Mutex::new(Waiting {
            entries: Vec::new(),
            work: Duration::ZERO,
            told,
        }))
    }

    /// Adds a result. True if with it, and not before, too much waits: somebody must [take](Self::take) it.
    pub(super) fn push(&self, entry: Recorded) -> bool {
        let mut waiting = self.lock();
        let before = waiting.work;
        waiting.work = before.saturating_add(entry.work);
        waiting.entries.push(entry);
        before < WORK_MAX && waiting.work >= WORK_MAX
    }

    /// Takes what has waited for long enough by now.
    pub(super) fn take_due(&self, now: Instant) -> Vec<Recorded> {
        let mut waiting = self.lock();
        let waited = now.saturating_duration_since(waiting.told);
        if waited >= INTERVAL || waiting.work >= WORK_MAX {
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
        (self.work, self.told) = (Duration::ZERO, now);
        std::mem::take(&mut self.entries)
    }
}

/// For so long results wait for each other while the engine is busy.
const INTERVAL: Duration = Duration::from_millis(100);
/// Results of so much work do not wait.
const WORK_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use atlas_core::Key;

    use super::*;

    fn entry(ms: u64) -> Recorded {
        Recorded {
            key: Key([0; 32]),
            result: Vec::new(),
            work: Duration::from_millis(ms),
        }
    }

    #[test]
    fn small_results_wait_for_each_other() {
        let (records, start) = (Records::new(), Instant::now());
        assert!(!records.push(entry(1)));
        assert!(!records.push(entry(2)));
        assert!(records.take_due(start + INTERVAL / 2).is_empty());
        let now = start + INTERVAL * 2;
        assert_eq!(records.take_due(now).len(), 2);
        // The next ones wait from then on.
        assert!(!records.push(entry(1)));
        assert!(records.take_due(now + INTERVAL / 2).is_empty());
        assert_eq!(records.take(now).len(), 1);
    }

    #[test]
    fn much_work_does_not_wait_and_is_told_of_once() {
        let (records, start) = (Records::new(), Instant::now());
        assert!(!records.push(entry(60)));
        assert!(records.push(entry(60)));
        assert!(!records.push(entry(500)));
        assert_eq!(records.take_due(start).len(), 3);
        assert!(records.push(entry(500)));
    }
}
