//! How long a worker without work searches before it sleeps: a pure rule, with
//! the time handed in.
//!
//! To sleep and to be woken costs about 50 us together, so a search of that
//! length costs at most twice the best choice, whatever comes (the ski-rental
//! argument). But where work has come back soon several times in a row, a longer
//! search saves its latency each time: then the worker searches for as long as
//! the recent gaps suggest, within a bound. One gap beyond the bound, and it is
//! back to the short search. Adaptive halt polling in hypervisors follows the same
//! thought (Linux, `haltpoll`).
//!
//! Where work comes from a host, it comes from afar, and whoever is woken for it may
//! find all processors taken and wait for a tick of the kernel, some milliseconds.
//! So a worker that has lost its patience *lingers* there, as long as work has come
//! back within that time: it sleeps, for all others and for the host, but keeps its
//! processor as long as nobody else wants it. The bound is longer than a round trip and a tick: with a
//! shorter one, a worker that was woken late once would be late for good, since each
//! gap would be beyond the bound then.

use std::time::{Duration, Instant};

/// One worker's patience, as a value: each event gives the next one.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    idle_since: Option<Instant>,
    /// How often in a row work came within [`LONG`].
    short_gaps: u32,
    /// How often in a row work came within [`LINGER`].
    medium_gaps: u32,
}

impl Patience {
    pub(crate) const NEW: Self = Self {
        idle_since: None,
        short_gaps: 0,
        medium_gaps: 0,
    };

    /// The worker begins to search. A search that follows a sleep without work
    /// in between belongs to the same gap.
    pub(crate) fn idle_since(self, now: Instant) -> Self {
        Self {
            idle_since: self.idle_since.or(Some(now)),
            ..self
        }
    }

    /// True from the start of a search until work is found.
    pub(crate) fn is_idle(self) -> bool {
        self.idle_since.is_some()
    }

    /// The gap is over.
    pub(crate) fn found_work(self, now: Instant) -> Self {
        let gap = self.idle_since.map(|since| now - since);
        let count = |gaps: u32, bound| match gap {
            Some(gap) if gap <= bound => gaps.saturating_add(1),
            Some(_) | None => 0,
        };
        Self {
            idle_since: None,
            short_gaps: count(self.short_gaps, LONG),
            medium_gaps: count(self.medium_gaps, LINGER),
        }
    }

    /// True if the worker should rather sleep.
    pub(crate) fn is_over(self, now: Instant) -> bool {
        let window = if self.short_gaps >= SHORT_GAPS {
            LONG
        } else {
            SHORT
        };
        self.idle_since.is_none_or(|since| now - since > window)
    }

    /// True if a worker that sleeps should keep its processor for now, since a host is likely to have work soon.
    pub(crate) fn lingers(self, now: Instant) -> bool {
        let waits = |since| now - since <= LINGER;
        self.medium_gaps >= SHORT_GAPS && self.idle_since.is_some_and(waits)
    }
}

/// What a sleep and a wake-up cost together.
const SHORT: Duration = Duration::from_micros(50);
/// The longest search. A worker that is idle for good pays it once.
const LONG: Duration = Duration::from_micros(500);
/// A round trip in a building, and a tick of most kernels.
const LINGER: Duration = Duration::from_millis(5);
/// So many short gaps in a row are a habit.
const SHORT_GAPS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// Patience after so many gaps of this length, at the start of the next gap.
    fn after(gaps: u32, gap: Duration, start: Instant) -> Patience {
        (0..gaps)
            .fold(Patience::NEW, |patience, _| {
                patience.idle_since(start).found_work(start + gap)
            })
            .idle_since(start)
    }

    #[test]
    fn without_history_the_search_is_short() {
        let start = Instant::now();
        let patience = Patience::NEW.idle_since(start);
        assert!(!patience.is_over(start + SHORT));
        assert!(patience.is_over(start + SHORT + Duration::from_micros(1)));
    }

    #[test]
    fn work_that_keeps_coming_back_soon_is_waited_for() {
        let start = Instant::now();
        let gap = Duration::from_micros(300);
        assert!(after(SHORT_GAPS - 1, gap, start).is_over(start + gap));
        assert!(!after(SHORT_GAPS, gap, start).is_over(start + gap));
    }

    #[test]
    fn one_long_gap_ends_the_habit() {
        let start = Instant::now();
        let long = LONG + Duration::from_micros(1);
        let patience = after(SHORT_GAPS, SHORT, start).found_work(start + long);
        assert!(patience.idle_since(start).is_over(start + SHORT * 2));
    }

    /// A worker of an engine that was woken late once was late for good: a round trip and a tick are longer than any search.
    #[test]
    fn regression_a_worker_that_is_woken_late_lingers_the_next_time() {
        let start = Instant::now();
        let trip = Duration::from_micros(600);
        let late = trip + Duration::from_millis(4);
        assert!(!after(SHORT_GAPS - 1, late, start).lingers(start + trip));
        let patience = after(SHORT_GAPS, late, start);
        assert!(patience.is_over(start + trip));
        assert!(patience.lingers(start + trip));
        assert!(!patience.lingers(start + LINGER + Duration::from_nanos(1)));
        let once_longer = patience.found_work(start + LINGER * 2);
        assert!(!once_longer.idle_since(start).lingers(start));
    }

    #[test]
    fn a_sleep_does_not_begin_a_new_gap() {
        let start = Instant::now();
        let patience = Patience::NEW.idle_since(start);
        let again = patience.idle_since(start + LONG * 2);
        assert!(again.is_over(start + LONG * 2));
        assert_eq!(again.found_work(start + LONG * 2).short_gaps, 0);
    }
}
