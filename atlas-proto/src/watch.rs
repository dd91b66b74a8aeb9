//! Watching a neighbour: when it is to be spoken to, and when it is given up.
//!
//! Between a child and its manager lies a watch, at each end a half of it. As long as nothing binds the two it is loose:
//! each speaks at every second turn of [`KEEP_ALIVE`], and who has missed three of its turns is lost. While leases bind them it
//! is *close*: a loss holds up a job. Then the child, which leads, speaks every [`PACE`] at least and says that it is bound
//! ([`Message::KeepPace`]), and the manager gives it up by the [`Detector`]'s word. What else is said counts as a sign of
//! life, so that a busy pair says no more than before. Who has heard nothing for longer than the pace asks to be answered,
//! more and more often: one packet that is lost, or a "not bound any more" that is, parts nobody.
//!
//! A child is bound by any lease, also with its siblings: they hear of its loss from the manager, which knows nothing of
//! those leases. Siblings have no watch of their own.
//!
//! Who has overslept must not take its own silence for that of all others (Dadgar, Phillips and Currey, 2018): [`Vigil`].
//!
//! [`KEEP_ALIVE`]: crate::limits::KEEP_ALIVE
//! [`Message::KeepPace`]: crate::message::Message::KeepPace

use std::time::Duration;

use crate::detector::{Detector, PATIENCE_MAX};
use crate::time::Time;
use crate::uplink::{LOST_AFTER, SUSPECT_AFTER};

/// Which end of the pair this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The child, which keeps the pace.
    Leads,
    /// The manager, which answers.
    Follows,
}

/// One end of a pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    side: Side,
    detector: Detector,
    /// Leases bind this end to the other, by what is known here.
    mine: bool,
    /// The other end has said that it is bound.
    theirs: bool,
    /// This end has said that it is bound.
    told: bool,
    /// The other end was heard, or could not be, because this node slept.
    heard: Time,
    /// The watch has been close since then.
    close_since: Time,
    asked: Time,
}

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) bound: bool,
    pub(crate) answer: bool,
}

impl Watch {
    pub(crate) fn new(now: Time, side: Side) -> Self {
        let pace = match side {
            Side::Leads => ANSWER_PACE,
            Side::Follows => PACE,
        };
        Self {
            side,
            detector: Detector::new(now, pace),
            mine: false,
            theirs: false,
            told: false,
            heard: now,
            close_since: now,
            asked: Time::ZERO,
        }
    }

    pub(crate) fn is_close(&self) -> bool {
        match self.side {
            Side::Leads => self.mine,
            Side::Follows => self.mine || self.theirs,
        }
    }

    /// By what is known here, leases bind this end to the other.
    pub(crate) fn is_bound(&self) -> bool {
        self.mine
    }

    /// Leases bind this end to the other from now on, or do not.
    pub(crate) fn bind(&mut self, now: Time, mine: bool) {
        self.change(now, |watch| watch.mine = mine);
    }

    /// The other end has been heard.
    pub(crate) fn note_heard(&mut self, now: Time) {
        if self.is_close() {
            self.detector.heard(now, now.since(self.silent_since()));
        }
        self.heard = now;
    }

    /// The other end says whether it is bound. What is to be answered, if it asks.
    pub(crate) fn note_pace(&mut self, now: Time, pace: Pace) -> Option<Pace> {
        self.change(now, |watch| watch.theirs = pace.bound);
        pace.answer.then(|| self.say(false))
    }

    /// What is to be said now, if this end said something last at that time.
    pub(crate) fn speak(&mut self, now: Time, last_sent: Time) -> Option<Pace> {
        if self.speak_at(last_sent).is_none_or(|at| at > now) {
            return None;
        }
        let asks = self.is_close() && self.ask_at() <= now;
        if asks {
            self.asked = now;
        }
        Some(self.say(asks))
    }

    /// When [`Watch::speak`] has something to say.
    pub(crate) fn speak_at(&self, last_sent: Time) -> Option<Time> {
        let leads = self.side == Side::Leads;
        let keep = (leads && (self.mine || self.told)).then(|| {
            if self.mine && !self.told {
                Time::ZERO
            } else {
                last_sent + PACE
            }
        });
        let ask = self.is_close().then(|| self.ask_at());
        keep.into_iter().chain(ask).min()
    }

    /// When the other end is lost, if nothing is heard of it.
    pub(crate) fn lost_at(&self, round_trip: Duration) -> Time {
        let loose = self.heard + LOST_AFTER;
        if self.is_close() {
            loose.min(self.silent_since() + self.patience(round_trip))
        } else {
            loose
        }
    }

    /// From then on the other end gets no new work, if nothing is heard of it.
    pub(crate) fn suspect_at(&self, round_trip: Duration) -> Time {
        let loose = self.heard + SUSPECT_AFTER;
        if self.is_close() {
            loose.min(self.silent_since() + self.patience(round_trip) * 2 / 3)
        } else {
            loose
        }
    }

    /// For so long this node has heard nobody, by no fault of theirs.
    pub(crate) fn excuse(&mut self, now: Time, slept: Duration) {
        self.heard = (self.heard + slept).min(now);
        self.close_since = (self.close_since + slept).min(now);
    }

    fn say(&mut self, answer: bool) -> Pace {
        self.told = self.mine;
        let bound = self.mine;
        Pace { bound, answer }
    }

    fn change(&mut self, now: Time, change: impl FnOnce(&mut Self)) {
        let before = self.is_close();
        change(self);
        if self.is_close() && !before {
            self.close_since = now;
            self.detector.begin_turn(now);
        }
    }

    fn silent_since(&self) -> Time {
        self.heard.max(self.close_since)
    }

    /// An end that leads asks for an answer at every second turn; one that follows, when the other has missed its turn.
    fn ask_at(&self) -> Time {
        let after = match self.side {
            Side::Leads => ANSWER_PACE,
            Side::Follows => PACE + PACE / 2,
        };
        (self.silent_since() + after).max(self.asked + PACE / 2)
    }

    /// However regular the other end was, it may miss some of its turns, and questions to it may be lost.
    fn patience(&self, round_trip: Duration) -> Duration {
        let least = match self.side {
            Side::Leads => ANSWER_PACE * 3,
            Side::Follows => PACE * 7 / 2,
        };
        let learnt = self.detector.patience(least);
        learnt.saturating_add(round_trip * 2).min(PATIENCE_MAX)
    }
}

/// A node's watch over itself: it is to look up at fixed times at least, so that it knows when it could not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Vigil {
    looked: Time,
}

impl Vigil {
    /// The node looks up, and was to do so within [`LOOK_EVERY`] after the last time. Gives for how long it has overslept.
    pub(crate) fn look(&mut self, now: Time, kept: bool) -> Option<Duration> {
        let gap = now.since(std::mem::replace(&mut self.looked, now));
        let overslept = gap.saturating_sub(LOOK_EVERY);
        (kept && overslept > OVERSLEPT_MIN).then_some(overslept)
    }

    pub(crate) fn looked(&self) -> Time {
        self.looked
    }

    /// When it is to look up, if it keeps vigil.
    pub(crate) fn due(&self) -> Time {
        self.looked + LOOK_EVERY
    }
}

/// Who leads a close watch speaks this often at least.
pub(crate) const PACE: Duration = Duration::from_millis(500);
/// And wants to be answered this often: losing a manager costs more than losing a child, so that it is done later.
const ANSWER_PACE: Duration = Duration::from_secs(1);
/// Short beside all that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Timers are late by less.
const OVERSLEPT_MIN: Duration = Duration::from_millis(50);
