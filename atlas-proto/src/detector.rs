//! How long a neighbour may be silent before it is taken for dead: learnt from its silences.
//!
//! No fixed time serves. What is quick on a quiet machine parts neighbours that are alive on a loaded one, where a
//! process now and then gets no processor for a second. So the silences of a neighbour that has promised to speak are
//! measured, and it is given up when one is so long as to be out of the question: the accrual detector of
//! Hayashibara et al. (2004), which turns arrival intervals into a growing doubt. As there, the doubt is that of a normal
//! distribution with the mean and deviation seen, and being given up at [`DEVIATIONS`] of them can be turned into a time,
//! for which a timer is set. Whatever the distribution, no more than 1 silence in 145 is longer (Cantelli).
//!
//! Packets come in bursts, and the silences within them say nothing. So time is divided into turns, and the longest
//! silence of each counts: what is remembered of a bad moment fades with the time, not with the packets since then.

use std::time::Duration;

use crate::time::Time;

/// What is known of the silences of one neighbour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detector {
    turn_ends: Time,
    /// In this turn.
    longest: Duration,
    /// Of the longest silences of all turns, in seconds; later turns weigh more.
    mean: f64,
    variance: f64,
}

impl Detector {
    /// Of a neighbour that has promised to speak every `pace`.
    pub(crate) fn new(now: Time, pace: Duration) -> Self {
        Self {
            turn_ends: now + TURN,
            longest: Duration::ZERO,
            mean: pace.as_secs_f64(),
            variance: 0.0,
        }
    }

    /// The neighbour has spoken, after so long a silence.
    pub(crate) fn heard(&mut self, now: Time, silence: Duration) {
        self.longest = self.longest.max(silence);
        if now < self.turn_ends {
            return;
        }
        // Long silences are a turn of their own: beyond the most that anybody is waited for they say no more.
        let longest = self.longest.min(PATIENCE_MAX).as_secs_f64();
        let off = longest - self.mean;
        self.mean += WEIGHT * off;
        self.variance = (1.0 - WEIGHT) * (self.variance + WEIGHT * off * off);
        self.begin_turn(now);
    }

    /// The time before was not listened to.
    pub(crate) fn begin_turn(&mut self, now: Time) {
        self.turn_ends = now + TURN;
        self.longest = Duration::ZERO;
    }

    /// A silence of this length is out of the question.
    pub(crate) fn patience(&self, least: Duration) -> Duration {
        let seconds = self.mean + DEVIATIONS * self.variance.sqrt();
        let learnt = Duration::try_from_secs_f64(seconds).unwrap_or(PATIENCE_MAX);
        learnt.clamp(least.min(PATIENCE_MAX), PATIENCE_MAX)
    }
}

/// Nobody is waited for longer, however irregular it was.
pub(crate) const PATIENCE_MAX: Duration = Duration::from_secs(8);
/// Normal silences would do with half of it. Those of loaded machines are not normal: with 8, one that stumbles for up to
/// 1.5 s in every tenth turn would be given up four times in an hour; with 12, once in seven.
const DEVIATIONS: f64 = 12.0;
/// What is learnt of a turn has lost half of its weight after 44 of them, 22 s.
const WEIGHT: f64 = 1.0 / 64.0;
/// As long as the pace of who speaks at every turn.
const TURN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const PACE: Duration = Duration::from_millis(500);
    const LEAST: Duration = Duration::from_millis(1750);

    /// Neighbours that speak after the silences that `draw` gives, for an hour: how often they would have been given up, and for
    /// how long they are waited for at the end.
    fn listen(mut draw: impl FnMut(&mut Rng) -> Duration) -> (u32, Duration) {
        let mut rng = Rng::new(7);
        let mut now = Time::ZERO;
        let mut detector = Detector::new(now, PACE);
        let mut lost = 0;
        while now < Time::ZERO + Duration::from_secs(3600) {
            let silence = draw(&mut rng);
            lost += u32::from(silence >= detector.patience(LEAST));
            now = now + silence;
            detector.heard(now, silence);
        }
        (lost, detector.patience(LEAST))
    }

    fn millis(millis: usize) -> Duration {
        Duration::from_millis(millis as u64)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a draw of a million is fine enough"
    )]
    fn exponential(rng: &mut Rng, mean: Duration) -> Duration {
        mean.mul_f64(-((rng.below(1_000_000) + 1) as f64 / 1e6).ln())
    }

    #[test]
    fn one_that_keeps_its_pace_is_missed_at_once() {
        let (lost, patience) = listen(|rng| millis(490 + rng.below(20)));
        assert_eq!((lost, patience), (0, LEAST));
    }

    #[test]
    fn silences_within_bursts_teach_nothing() {
        let mut packet = 0;
        let (lost, patience) = listen(|_| {
            packet += 1;
            millis(if packet % 100 == 0 { 500 } else { 1 })
        });
        assert_eq!((lost, patience), (0, LEAST));
    }

    /// Packets that come at random, and a ping if none came: as the heartbeats of a machine that has others to serve.
    #[test]
    fn one_that_speaks_at_random_is_not_given_up() {
        for mean in [50, 250, 500] {
            let (lost, patience) = listen(|rng| exponential(rng, millis(mean)));
            let most = LEAST.max(millis(mean) * 16);
            assert!(lost <= 2, "{lost} times in an hour, mean {mean} ms");
            assert!(patience <= most, "{patience:?}");
        }
    }

    /// A loaded machine: every tenth turn the process gets no processor for a while.
    #[test]
    fn one_that_often_stumbles_is_waited_for() {
        let (lost, patience) = listen(|rng| {
            let stumbles = rng.below(10) == 0;
            millis(
                500 + if stumbles {
                    rng.below(1500)
                } else {
                    rng.below(50)
                },
            )
        });
        assert!(lost <= 2, "{lost} times in an hour");
        assert!(patience > LEAST && patience < PATIENCE_MAX, "{patience:?}");
    }

    /// One stumble of a second makes patient for the next seconds, and is forgotten after a minute.
    #[test]
    fn a_stumble_is_remembered_for_a_while() {
        let (mut detector, mut now) = (Detector::new(Time::ZERO, PACE), Time::ZERO);
        let mut hear = |detector: &mut Detector, silence: Duration| {
            now = now + silence;
            detector.heard(now, silence);
        };
        hear(&mut detector, millis(1400));
        let after = detector.patience(LEAST);
        assert!(after > LEAST, "{after:?}");
        for _ in 0..120 {
            hear(&mut detector, PACE);
        }
        assert_eq!(detector.patience(LEAST), LEAST);
    }

    #[test]
    fn patience_has_an_end() {
        let mut turn = 0_usize;
        let (_, patience) = listen(|_| {
            turn += 1;
            millis(if turn.is_multiple_of(2) { 500 } else { 60_000 })
        });
        assert_eq!(patience, PATIENCE_MAX);
        let fresh = Detector::new(Time::ZERO, PACE);
        assert_eq!(fresh.patience(Duration::from_secs(100)), PATIENCE_MAX);
    }
}
