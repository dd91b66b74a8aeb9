//! Rivals: which closures are late, and how much work is spent on doing them twice.
//!
//! A borrower that is alive may be late all the same: its machine is busy with other things, its engine hangs, its disk is
//! full. What it has is lent a second time, if nothing else is to be done, and the first result wins: what MapReduce calls backup
//! tasks (Dean and Ghemawat, 2004). Late is who has returned nothing for [`LATE_FACTOR`] times what a closure of the kind takes, by
//! what was measured of enough of them. As long as results come from somebody, the others that it has wait for their turn.
//!
//! An expected time says little of one closure: where trees are uneven, some are large. So only so much is spent on rivals that are
//! not first, or not yet: of the work that a node has seen of a job, a twentieth at most, or one closure if that is more. A rival
//! that is late itself shows that the closure is large: it is stopped, and there is no other.

use std::time::Duration;

/// What was spent on rivals of one job.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    rivals: u32,
    spent: Duration,
}

impl Budget {
    /// A rival of this expected work may be begun, if the job has taken so much so far.
    pub(crate) fn allows(&self, expected: Duration, work: Duration) -> bool {
        self.rivals == 0 || self.spent.saturating_add(expected) <= work / SHARE
    }

    /// A rival was begun.
    pub(crate) fn spend(&mut self, expected: Duration) {
        self.rivals = self.rivals.saturating_add(1);
        self.spent = self.spent.saturating_add(expected);
    }

    /// The rival was first: its work was of use.
    pub(crate) fn refund(&mut self, expected: Duration) {
        self.spent = self.spent.saturating_sub(expected);
    }
}

/// A closure of so much expected work is late after this time, on a way that takes `round_trip`, if the longest of its sort took
/// `longest`.
pub(crate) fn patience(expected: Duration, longest: Duration, round_trip: Duration) -> Duration {
    let usual = expected.saturating_mul(LATE_FACTOR);
    let unusual = longest.saturating_mul(LONGEST_FACTOR);
    let most = usual.max(unusual).max(LATE_MIN);
    most.saturating_add(round_trip * 2)
}

/// Of an exponential life one in twenty is longer.
const LATE_FACTOR: u32 = 3;
/// Where trees are uneven, some take many times what is expected: one that takes twice what the longest did is out of the ordinary.
const LONGEST_FACTOR: u32 = 2;
/// Whatever was measured, a machine may stumble for so long.
pub(crate) const LATE_MIN: Duration = Duration::from_secs(2);
/// One part in so many of a job's work is spent on rivals.
const SHARE: u32 = 20;
/// What is measured of fewer closures is chance.
pub(crate) const HISTORY_MIN: u32 = 4;
/// So many late closures are looked for at a time: those that are hungry meanwhile take them one by one.
pub(crate) const LATE_MAX: usize = 64;
/// Late closures are looked for no more often, since all are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_twentieth_of_the_work_is_spent_or_one_closure() {
        let mut budget = Budget::default();
        assert!(budget.allows(S * 50, S), "the first, whatever it takes");
        budget.spend(S * 2);
        assert!(!budget.allows(S, S * 59));
        assert!(budget.allows(S, S * 60));
        for _ in 0..3 {
            assert!(budget.allows(S, S * 100));
            budget.spend(S);
        }
        assert!(!budget.allows(S, S * 100));
        budget.refund(S);
        assert!(budget.allows(S, S * 100), "one of them was of use");
    }

    #[test]
    fn nobody_is_late_sooner_than_a_machine_may_stumble() {
        let none = Duration::ZERO;
        assert_eq!(patience(none, none, none), LATE_MIN);
        assert_eq!(patience(S * 5, S, S), S * 17);
        assert_eq!(patience(S * 5, S * 10, S), S * 22);
    }
}
