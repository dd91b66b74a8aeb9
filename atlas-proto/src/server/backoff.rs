//! A server that cannot begin engines, as with a disk that is full or a folder that is read-only.
//!
//! It is idle, and so the first to ask for work: each job of its domain would come to it, and fail here in no time, while others
//! could run it. So it gives back what it cannot begin, as if it had never had it, and asks for nothing for a while, which is
//! twice as long after each failure in a row. One engine that begins ends that. Who has begun elsewhere is not concerned:
//! engines that run go on.

use std::time::Duration;

use crate::time::Time;

/// For how long this server asks for nothing.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// In a row.
    failures: u32,
    until: Option<Time>,
}

impl Backoff {
    /// An engine could not be begun.
    pub(super) fn note_failure(&mut self, now: Time) {
        let wait = SHORTEST.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX));
        self.until = Some(now + wait.min(LONGEST));
        self.failures = self.failures.saturating_add(1);
    }

    /// One has begun.
    pub(super) fn note_begun(&mut self) {
        *self = Self::default();
    }

    /// It is not to begin anything now.
    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.until.take_if(|until| *until <= now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.until
    }
}

/// Long enough for anybody else who is idle.
const SHORTEST: Duration = Duration::from_secs(1);
/// Whoever has made room waits for no longer, and who is told that a job cannot begin on the only server for no more than a few of these.
const LONGEST: Duration = Duration::from_secs(8);
/// Keeps the shift within its type.
const DOUBLINGS_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew_when_an_engine_has_begun() {
        let mut backoff = Backoff::default();
        let now = Time::ZERO;
        let mut waits = || {
            backoff.note_failure(now);
            let until = backoff.poll_timeout().unwrap();
            backoff.handle_timeout(until - Duration::from_nanos(1));
            assert!(backoff.is_on());
            backoff.handle_timeout(until);
            assert!(!backoff.is_on());
            until.since(now).as_secs()
        };
        let first: Vec<u64> = (0..8).map(|_| waits()).collect();
        assert_eq!(first, [1, 2, 4, 8, 8, 8, 8, 8]);
        backoff.note_begun();
        backoff.note_failure(now);
        assert_eq!(backoff.poll_timeout(), Some(now + SHORTEST));
    }
}
