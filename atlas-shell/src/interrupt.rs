//! What Ctrl-C means while a job is followed. Pure: signals and the time are handed in.
//!
//! ```text
//!             Ctrl-C                Ctrl-C                 Ctrl-C
//! following ---------> asked ------------------> killing ---------> left
//!                        |  nothing for a while
//!                        +---------------------> left
//! ```

use std::time::{Duration, Instant};

/// What has been pressed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupt(Phase);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Following,
    /// Until then the next Ctrl-C kills the job; for ever, if none.
    Asked(Option<Instant>),
    Killing,
    Left,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Say what will happen, and how to kill the job.
    Ask,
    /// Kill the job, and wait for its end.
    Kill,
    /// Leave the job to itself.
    Detach,
    /// Leave without knowing whether the job was killed.
    Leave,
}

impl Interrupt {
    /// For a job that cannot go on without the shell: the first Ctrl-C kills it.
    #[must_use]
    pub fn without_detaching() -> Self {
        Self(Phase::Asked(None))
    }

    /// Ctrl-C was pressed.
    pub fn handle_signal(&mut self, now: Instant) -> Reaction {
        let (next, reaction) = match self.0 {
            Phase::Following => (Phase::Asked(Some(now + PATIENCE)), Reaction::Ask),
            Phase::Asked(_) => (Phase::Killing, Reaction::Kill),
            Phase::Killing | Phase::Left => (Phase::Left, Reaction::Leave),
        };
        self.0 = next;
        reaction
    }

    /// It is so late.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Reaction> {
        let due = self.poll_timeout().is_some_and(|at| at <= now);
        due.then(|| {
            self.0 = Phase::Left;
            Reaction::Detach
        })
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.0 {
            Phase::Asked(until) => until,
            Phase::Following | Phase::Killing | Phase::Left => None,
        }
    }
}

/// Enough to read one line and to decide.
pub const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_detaches_after_a_while() {
        let mut interrupt = Interrupt::default();
        let now = Instant::now();
        assert_eq!(interrupt.poll_timeout(), None);
        assert_eq!(interrupt.handle_timeout(now), None);
        assert_eq!(interrupt.handle_signal(now), Reaction::Ask);
        let due = interrupt.poll_timeout().unwrap();
        assert_eq!(due, now + PATIENCE);
        assert_eq!(
            interrupt.handle_timeout(due - Duration::from_millis(1)),
            None
        );
        assert_eq!(interrupt.handle_timeout(due), Some(Reaction::Detach));
        assert_eq!(interrupt.poll_timeout(), None);
        assert_eq!(interrupt.handle_timeout(due), None);
    }

    #[test]
    fn twice_kills_and_waits_for_the_end_however_long_that_takes() {
        let mut interrupt = Interrupt::default();
        let now = Instant::now();
        interrupt.handle_signal(now);
        assert_eq!(interrupt.handle_signal(now + PATIENCE / 2), Reaction::Kill);
        assert_eq!(interrupt.poll_timeout(), None);
        assert_eq!(interrupt.handle_timeout(now + 9 * PATIENCE), None);
        assert_eq!(interrupt.handle_signal(now + 9 * PATIENCE), Reaction::Leave);
    }

    #[test]
    fn what_cannot_be_left_is_killed_at_once() {
        let mut interrupt = Interrupt::without_detaching();
        assert_eq!(interrupt.poll_timeout(), None);
        assert_eq!(interrupt.handle_signal(Instant::now()), Reaction::Kill);
    }
}
