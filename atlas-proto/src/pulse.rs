//! Whether an engine is still there, although its process is: one that gives no sign of life is given up.
//!
//! A process can hang while its socket stays open: something has stopped it, or it waits for a disk that does not answer. Its server is
//! well, so nobody else misses what it has. So an engine that has been silent for a while is asked for a sign of life, and whatever it
//! says is one.
//!
//! It is given up after [`QUESTIONS`] questions in a row, not after a time alone. Where the machine has slept, or this process got no
//! processor, the engine had none either: however long that was, it is one question without an answer. What a closure computes, and
//! for how long, has no part in it: other threads of the engine answer.

use std::time::Duration;

use crate::time::Time;

/// What is known of an engine's signs of life.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    interval: Duration,
    /// When the engine is asked, or asked again; none if it never is.
    due: Option<Time>,
    /// Questions since it has said anything.
    unanswered: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// It is not time for anything.
    Wait,
    /// Ask the engine for a sign of life.
    Ask,
    /// It does not live any more.
    GiveUp,
}

impl Pulse {
    /// Of an engine that has just said something, and may be silent for about `patience`; for ever, if none.
    #[must_use]
    pub fn new(now: Time, patience: Option<Duration>) -> Self {
        let interval = patience.map(|patience| (patience / (QUESTIONS + 1)).max(INTERVAL_MIN));
        Self {
            interval: interval.unwrap_or_default(),
            due: interval.map(|interval| now + interval),
            unanswered: 0,
        }
    }

    /// The engine has said something.
    pub fn heard(&mut self, now: Time) {
        self.unanswered = 0;
        self.due = self.due.map(|_| now + self.interval);
    }

    /// When [`Pulse::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// It may be time to ask.
    pub fn handle_timeout(&mut self, now: Time) -> Beat {
        if self.due.is_none_or(|due| now < due) {
            return Beat::Wait;
        }
        if self.unanswered == QUESTIONS {
            return Beat::GiveUp;
        }
        self.unanswered += 1;
        // From now on: what was slept through is no silence.
        self.due = Some(now + self.interval);
        Beat::Ask
    }
}

/// So many in a row without an answer are the end of an engine.
pub const QUESTIONS: u32 = 5;
/// However little patience is asked for, a busy machine has this much time for an answer.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn one_that_is_silent_is_asked_and_given_up_in_time() {
        let mut pulse = Pulse::new(at(0), PATIENCE);
        let mut asked = 0;
        let over = loop {
            let due = pulse.poll_timeout().unwrap();
            assert_eq!(
                pulse.handle_timeout(due - Duration::from_nanos(1)),
                Beat::Wait
            );
            match pulse.handle_timeout(due) {
                Beat::Wait => panic!("it is time"),
                Beat::Ask => asked += 1,
                Beat::GiveUp => break due,
            }
        };
        assert_eq!((asked, over), (QUESTIONS, at(60)));
    }

    #[test]
    fn whatever_it_says_is_a_sign_of_life() {
        let mut pulse = Pulse::new(at(0), PATIENCE);
        for round in 0..100 {
            for _ in 0..QUESTIONS {
                assert_eq!(
                    pulse.handle_timeout(pulse.poll_timeout().unwrap()),
                    Beat::Ask,
                    "{round}"
                );
            }
            pulse.heard(pulse.poll_timeout().unwrap());
        }
    }

    #[test]
    fn a_sleep_of_the_machine_is_one_question_however_long() {
        let mut pulse = Pulse::new(at(0), PATIENCE);
        for night in 1..=u64::from(QUESTIONS) {
            assert_eq!(pulse.handle_timeout(at(night * 36_000)), Beat::Ask);
            assert_eq!(pulse.handle_timeout(at(night * 36_000 + 9)), Beat::Wait);
        }
        pulse.heard(at(400_000));
        assert_eq!(pulse.handle_timeout(at(500_000)), Beat::Ask);
    }

    #[test]
    fn a_server_without_patience_still_gives_time_for_an_answer() {
        let mut pulse = Pulse::new(at(0), Some(Duration::ZERO));
        assert_eq!(pulse.handle_timeout(at(0)), Beat::Wait);
        assert_eq!(pulse.poll_timeout(), Some(at(0) + INTERVAL_MIN));
    }

    #[test]
    fn a_server_with_patience_for_ever_never_asks() {
        let mut pulse = Pulse::new(at(0), None);
        pulse.heard(at(1));
        assert_eq!(pulse.poll_timeout(), None);
        assert_eq!(pulse.handle_timeout(at(1_000_000)), Beat::Wait);
    }
}
