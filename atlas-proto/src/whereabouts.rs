//! Where a server serves: in its own domain, or, as long as nobody manages that, as a guest of one above it.
//!
//! ```text
//!              nobody manages it for PATIENCE                nobody manages that for PATIENCE
//!   own domain -------------------------------> domain above -------------------------------> the next one ..
//!       ^                                         |   ^                                         |
//!       +---- managed for a sixth of PATIENCE ----+   +-------- managed for a sixth of it ------+
//! ```
//!
//! Domains are *levels*: the server's own is level 0, the one above it level 1. A server looks for managers at its own level
//! always, and at those above only while nobody manages any nearer one; it serves at one level at a time. The driver tells which
//! levels are managed, does the dialling, and moves the server where the machine says.
//!
//! Why a manager that comes and goes moves nobody to and fro: a server goes farther only when nobody has managed the level where
//! it serves for the whole patience, and that level was managed when it came there, or left for it. So **between two moves away
//! lies a patience at least**. Between them it only comes nearer.
//!
//! Called as the other machines: after each input look at [`Whereabouts::looks_at`] and [`Whereabouts::serves_at`], and arm a timer
//! for [`Whereabouts::poll_timeout`].

use std::time::Duration;

use crate::time::Time;

/// The machine. Its module says how it is called.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    patience: Duration,
    /// How many levels there are above the server's own.
    above: usize,
    /// Those that are looked at, the nearest first; at least one.
    levels: Vec<Level>,
    serves_at: usize,
}

/// What is known of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// Somebody manages it, since then.
    Managed(Time),
    /// Nobody does, as far as the server hears.
    Silent(Time),
}

impl Whereabouts {
    /// A server that begins, has heard of nobody, and has so many levels above its own.
    #[must_use]
    pub fn new(now: Time, patience: Duration, above: usize) -> Self {
        Self {
            patience,
            above,
            levels: vec![Level::Silent(now)],
            serves_at: 0,
        }
    }

    /// There are so many levels above from now on, and they may be others: for a server that serves in its own domain. One that
    /// does not is as one that is left by its host.
    pub fn handle_above(&mut self, now: Time, above: usize) {
        self.above = above;
        self.levels.truncate(1);
        self.serves_at = 0;
        self.settle(now);
    }

    /// Somebody manages a level that is looked at, or nobody does any more. Said again it changes nothing.
    pub fn handle_managed(&mut self, now: Time, level: usize, managed: bool) {
        if let Some(known) = self.levels.get_mut(level)
            && known.is_managed() != managed
        {
            *known = if managed {
                Level::Managed(now)
            } else {
                Level::Silent(now)
            };
            self.settle(now);
        }
    }

    /// It is time for something.
    pub fn handle_timeout(&mut self, now: Time) {
        self.settle(now);
    }

    /// When [`Whereabouts::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let nearer = self.levels.iter().take(self.serves_at);
        let back = nearer.filter_map(|level| match level {
            Level::Managed(since) => Some(*since + self.settled_after()),
            Level::Silent(_) => None,
        });
        back.chain(self.farther_at()).min()
    }

    /// Managers are looked for at all levels up to this one, and no others.
    #[must_use]
    pub fn looks_at(&self) -> usize {
        self.levels.len() - 1
    }

    /// The level at which the server serves.
    #[must_use]
    pub fn serves_at(&self) -> usize {
        self.serves_at
    }

    /// What follows from the present state.
    fn settle(&mut self, now: Time) {
        if let Some(nearest) = self.goes_to(now) {
            self.serves_at = nearest;
        }
        if self.serves().is_managed() {
            self.levels.truncate(self.serves_at + 1);
        } else if self.farther_at().is_some_and(|at| at <= now) {
            self.levels.push(Level::Silent(now));
        }
    }

    /// The level to go to, if that is another one.
    fn goes_to(&self, now: Time) -> Option<usize> {
        let (nearer, rest) = self.levels.split_at(self.serves_at);
        let leaves_somebody = self.serves().is_managed();
        let back = nearer.iter().position(|level| match level {
            Level::Managed(since) => !leaves_somebody || *since + self.settled_after() <= now,
            Level::Silent(_) => false,
        });
        // What is farther is looked at only after the whole patience.
        let away = || rest.iter().position(|level| level.is_managed());
        back.or_else(|| away().map(|steps| self.serves_at + steps))
    }

    /// When the next level is looked at, too.
    fn farther_at(&self) -> Option<Time> {
        let is_last = self.levels.len() > self.above;
        let is_left = !self.levels.iter().any(Level::is_managed);
        match self.levels.last() {
            Some(Level::Silent(since)) if is_left && !is_last => Some(*since + self.patience),
            Some(Level::Silent(_) | Level::Managed(_)) | None => None,
        }
    }

    fn serves(&self) -> Level {
        self.levels[self.serves_at]
    }

    /// A host is left for who has been there for so long: a manager that ends while it begins is none to go to.
    fn settled_after(&self) -> Duration {
        self.patience / 6
    }
}

impl Level {
    fn is_managed(&self) -> bool {
        matches!(self, Self::Managed(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const SETTLED: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    /// A server that has gone to the domain above, at second 60, with so many levels above.
    fn guest(above: usize) -> Whereabouts {
        let mut this = Whereabouts::new(Time::ZERO, PATIENCE, above);
        this.handle_timeout(at(60));
        this.handle_managed(at(60), 1, true);
        assert_eq!((this.serves_at(), this.looks_at()), (1, 1));
        this
    }

    #[test]
    fn a_server_without_a_manager_looks_above_after_its_patience() {
        let mut this = Whereabouts::new(Time::ZERO, PATIENCE, 1);
        assert_eq!(this.poll_timeout(), Some(at(60)));
        this.handle_timeout(at(59));
        assert_eq!((this.serves_at(), this.looks_at()), (0, 0));
        this.handle_timeout(at(60));
        // There is nobody to serve yet, nor any other level.
        assert_eq!((this.serves_at(), this.looks_at()), (0, 1));
        assert_eq!(this.poll_timeout(), None);
        this.handle_managed(at(61), 1, true);
        assert_eq!(this.serves_at(), 1);
    }

    #[test]
    fn silence_counts_from_when_the_manager_was_heard_last() {
        let mut this = Whereabouts::new(Time::ZERO, PATIENCE, 1);
        this.handle_managed(at(1), 0, true);
        assert_eq!(this.poll_timeout(), None);
        this.handle_managed(at(500), 0, false);
        this.handle_managed(at(530), 0, false);
        assert_eq!(this.poll_timeout(), Some(at(560)));
        this.handle_managed(at(559), 0, true);
        this.handle_managed(at(560), 0, false);
        this.handle_timeout(at(619));
        assert_eq!(this.looks_at(), 0);
        this.handle_timeout(at(620));
        assert_eq!(this.looks_at(), 1);
    }

    #[test]
    fn a_manager_that_comes_back_in_time_keeps_its_server() {
        let mut this = Whereabouts::new(Time::ZERO, PATIENCE, 1);
        this.handle_timeout(at(60));
        this.handle_managed(at(61), 0, true);
        assert_eq!((this.serves_at(), this.looks_at()), (0, 0));
        // What is said of a level that is not looked at any more counts for nothing.
        this.handle_managed(at(62), 1, true);
        assert_eq!(this.serves_at(), 0);
    }

    #[test]
    fn a_guest_goes_home_when_its_manager_has_been_there_for_a_while() {
        let mut this = guest(1);
        this.handle_managed(at(100), 0, true);
        assert_eq!((this.serves_at(), this.poll_timeout()), (1, Some(at(110))));
        // It comes and goes: a guest stays.
        this.handle_managed(at(109), 0, false);
        this.handle_timeout(at(110));
        this.handle_managed(at(115), 0, true);
        this.handle_timeout(at(124));
        assert_eq!(this.serves_at(), 1);
        this.handle_timeout(at(125));
        assert_eq!((this.serves_at(), this.looks_at()), (0, 0));
    }

    #[test]
    fn a_guest_that_is_left_by_its_host_goes_home_at_once() {
        let mut this = guest(1);
        this.handle_managed(at(100), 1, false);
        assert_eq!(this.serves_at(), 1);
        this.handle_managed(at(101), 0, true);
        assert_eq!((this.serves_at(), this.looks_at()), (0, 0));
    }

    #[test]
    fn a_guest_goes_farther_when_its_host_is_away_too_and_comes_back_step_by_step() {
        let mut this = guest(2);
        this.handle_managed(at(100), 1, false);
        assert_eq!(this.poll_timeout(), Some(at(160)));
        this.handle_timeout(at(160));
        this.handle_managed(at(161), 2, true);
        assert_eq!((this.serves_at(), this.looks_at()), (2, 2));
        this.handle_managed(at(200), 1, true);
        this.handle_timeout(at(210));
        assert_eq!((this.serves_at(), this.looks_at()), (1, 1));
        this.handle_managed(at(211), 0, true);
        this.handle_timeout(at(221));
        assert_eq!(this.serves_at(), 0);
    }

    #[test]
    fn of_several_that_are_there_the_nearest_is_served() {
        let mut this = guest(2);
        this.handle_managed(at(100), 1, false);
        this.handle_timeout(at(160));
        this.handle_managed(at(161), 1, true);
        assert_eq!((this.serves_at(), this.looks_at()), (1, 1));
    }

    #[test]
    fn without_a_domain_above_it_stays() {
        let mut this = Whereabouts::new(Time::ZERO, PATIENCE, 0);
        this.handle_timeout(at(600));
        assert_eq!((this.serves_at(), this.looks_at()), (0, 0));
        assert_eq!(this.poll_timeout(), None);
        // It hears of one, and its patience is over long since.
        this.handle_above(at(700), 1);
        assert_eq!(this.looks_at(), 1);
        this.handle_managed(at(700), 1, true);
        this.handle_above(at(701), 0);
        assert_eq!((this.serves_at(), this.looks_at()), (0, 0));
    }

    proptest! {
        /// Whatever comes and goes, and whenever.
        #[test]
        fn moves_away_lie_a_patience_apart_and_a_host_is_left_for_who_stays(
            news in proptest::collection::vec((0..25_u64, 0..4_usize, any::<bool>()), 1..400),
        ) {
            let mut walk = Walk::new();
            for (wait, level, managed) in news {
                walk.wait(Duration::from_secs(wait));
                walk.hear(level, managed);
            }
            // When its manager is there and stays, it is at home.
            walk.hear(0, true);
            walk.wait(SETTLED);
            prop_assert_eq!(walk.this.serves_at(), 0);
        }
    }

    /// A server whose moves are looked at.
    struct Walk {
        this: Whereabouts,
        now: Time,
        away: Option<Time>,
    }

    impl Walk {
        fn new() -> Self {
            let this = Whereabouts::new(Time::ZERO, PATIENCE, 3);
            let (now, away) = (Time::ZERO, None);
            Self { this, now, away }
        }

        fn wait(&mut self, time: Duration) {
            let end = self.now + time;
            while let Some(due) = self.this.poll_timeout().filter(|due| *due <= end) {
                assert!(due > self.now, "it is due again at once");
                self.now = due;
                self.step(false, Whereabouts::handle_timeout);
            }
            self.now = end;
        }

        fn hear(&mut self, level: usize, managed: bool) {
            let is_left = level == self.this.serves_at() && !managed;
            self.step(is_left, |this, now| {
                this.handle_managed(now, level, managed)
            });
        }

        fn step(&mut self, is_left: bool, input: impl FnOnce(&mut Whereabouts, Time)) {
            let before = self.this.clone();
            input(&mut self.this, self.now);
            let (from, to) = (before.serves_at(), self.this.serves_at());
            assert!(self.this.looks_at() >= to);
            if to > from {
                let apart = self.away.is_none_or(|away| self.now >= away + PATIENCE);
                assert!(apart, "away at {:?} and at {}", self.away, self.now);
                assert!(!before.serves().is_managed(), "its host was there");
                self.away = Some(self.now);
            } else if to < from && before.serves().is_managed() && !is_left {
                let Level::Managed(since) = before.levels[to] else {
                    panic!("nobody is there to go back to");
                };
                assert!(self.now >= since + SETTLED, "it does not wait");
            }
        }
    }
}
