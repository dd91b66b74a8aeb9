//! The machine's clock of work: how much work a busy worker has done since the start.
//!
//! Nodes finish at points of this clock, so a change of the workers' speed moves none of them: it only changes
//! when the clock gets there. All arithmetic is in integers; the speed is a fraction of 2^32.

use std::time::Duration;

use atlas_proto::time::Time;

/// Nanoseconds of work at speed 1, counted as one busy worker does them.
pub(super) type Work = u64;

/// Maps time to work, and back.
#[derive(Clone, Debug)]
pub(super) struct WorkClock {
    /// Work per time of a worker that has a processor to itself, in parts of 2^32.
    speed: u64,
    /// So many times as slow as that.
    slowed: u32,
    /// Work per time now, when processors may be shared.
    rate: u64,
    /// Since when `rate` holds.
    since: Time,
    /// The work done until then.
    done: Work,
}

impl WorkClock {
    /// A clock that starts at the origin of time.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float saturates"
    )]
    pub(super) fn new(speed: f64) -> Self {
        let speed = ((speed * ONE as f64) as u64).max(1);
        Self {
            speed,
            slowed: 1,
            rate: speed,
            since: Time::ZERO,
            done: 0,
        }
    }

    /// The next time that processors are shared, each is so many times as slow.
    pub(super) fn slow_down(&mut self, times: u32) {
        self.slowed = times.max(1);
    }

    /// From now on `wanted` workers run on `processors`.
    pub(super) fn share(&mut self, now: Time, processors: u32, wanted: u64) {
        self.done = self.work_at(now);
        self.since = now;
        let crowd = wanted.max(u64::from(processors)).max(1);
        let speed = self.speed / u64::from(self.slowed);
        self.rate = scale(speed, u64::from(processors), crowd).max(1);
    }

    /// Where the clock stands at a time.
    pub(super) fn work_at(&self, now: Time) -> Work {
        self.done + scale(now.0.saturating_sub(self.since.0), self.rate, ONE)
    }

    /// The first time at which the clock stands there.
    pub(super) fn time_of(&self, work: Work) -> Time {
        let left = u128::from(work.saturating_sub(self.done)) * u128::from(ONE);
        let time = left.div_ceil(u128::from(self.rate));
        Time(
            self.since
                .0
                .saturating_add(u64::try_from(time).unwrap_or(u64::MAX)),
        )
    }

    /// How long a processor takes for some work.
    pub(super) fn processor_time(&self, work: Work) -> Duration {
        Duration::from_nanos(scale(work, ONE, self.speed))
    }
}

fn scale(value: u64, by: u64, of: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(by) / u128::from(of)).unwrap_or(u64::MAX)
}

const ONE: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_stands_at_a_work_when_it_says_so_and_not_before() {
        for speed in [1.0, 0.3, 2.7, 1e-4] {
            let mut clock = WorkClock::new(speed);
            clock.share(Time(12_345), 3, 7);
            for work in (clock.done + 1..10_000_000).step_by(99_991) {
                let time = clock.time_of(work);
                assert!(clock.work_at(time) >= work, "{speed} {work}");
                assert!(clock.work_at(Time(time.0 - 1)) < work, "{speed} {work}");
            }
        }
    }

    #[test]
    fn a_change_of_rate_keeps_the_work_done() {
        let mut clock = WorkClock::new(2.0);
        clock.share(Time(1000), 1, 4);
        assert_eq!(clock.work_at(Time(1000)), 2000);
        assert_eq!(clock.work_at(Time(2000)), 2500);
        assert_eq!(clock.processor_time(3000), Duration::from_nanos(1500));
    }
}
