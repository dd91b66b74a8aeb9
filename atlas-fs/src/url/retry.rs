//! [`Retry`]: when a request is made again, and when it is given up. **Pure**: times and jitter are arguments.

use std::time::Duration;

/// How often and for how long something is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Attempts in a row that bring nothing.
    pub(crate) attempts_max: u32,
    /// From the first attempt, or the last that brought something, to the last.
    pub(crate) give_up_after: Duration,
    /// Before the second attempt, on average; each further one waits twice as long.
    pub(crate) first_pause: Duration,
}

/// Attempts at one thing. A failure is handed in, and a pause comes out, or nothing: then it has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    patience: Patience,
    attempts: u32,
    /// On the caller's clock.
    since: Duration,
}

impl Retry {
    /// The first attempt begins now.
    pub(crate) fn new(patience: Patience, now: Duration) -> Self {
        Self {
            patience,
            attempts: 1,
            since: now,
        }
    }

    /// Some bytes came that need not be asked for again: patience begins anew.
    pub(crate) fn handle_progress(&mut self, now: Duration) {
        self.attempts = 1;
        self.since = now;
    }

    /// An attempt has failed in a way that might pass. `asked` is the origin's `Retry-After`; `jitter`, between 0 and 1, keeps those who
    /// failed together from coming back together.
    pub(crate) fn handle_failure(
        &mut self,
        now: Duration,
        asked: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        if self.attempts >= self.patience.attempts_max {
            return None;
        }
        let doubled = self.patience.first_pause * 2u32.saturating_pow(self.attempts - 1);
        let pause = doubled.min(PAUSE_MAX).mul_f64(0.5 + jitter.clamp(0.0, 1.0));
        let pause = pause.max(asked.unwrap_or_default());
        self.attempts += 1;
        let spent = now.saturating_sub(self.since);
        (spent + pause < self.patience.give_up_after).then_some(pause)
    }
}

const PAUSE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Patience = Patience {
        attempts_max: 5,
        give_up_after: Duration::from_secs(60),
        first_pause: Duration::from_millis(200),
    };

    proptest! {
        #[test]
        fn it_ends_within_the_stated_time_and_number(
            jitters in prop::collection::vec(0.0f64..1.0, 20),
            takes_ms in prop::collection::vec(0u64..30_000, 20),
            asked_s in prop::option::of(0u64..100),
        ) {
            let mut now = Duration::ZERO;
            let mut retry = Retry::new(PATIENCE, now);
            let mut attempts = 0;
            for (jitter, takes) in jitters.into_iter().zip(takes_ms) {
                attempts += 1;
                now += Duration::from_millis(takes);
                let asked = asked_s.map(Duration::from_secs);
                let Some(pause) = retry.handle_failure(now, asked, jitter) else { break };
                prop_assert!(now + pause < PATIENCE.give_up_after);
                prop_assert!(asked.is_none_or(|asked| pause >= asked));
                now += pause;
            }
            prop_assert!(attempts <= PATIENCE.attempts_max);
        }
    }

    #[test]
    fn what_brings_bytes_goes_on() {
        let mut retry = Retry::new(PATIENCE, Duration::ZERO);
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            now += Duration::from_secs(20);
            retry.handle_progress(now);
            assert!(retry.handle_failure(now, None, 0.5).is_some());
        }
        for _ in 0..3 {
            assert!(retry.handle_failure(now, None, 0.5).is_some());
        }
        assert_eq!(retry.handle_failure(now, None, 0.5), None);
    }
}
