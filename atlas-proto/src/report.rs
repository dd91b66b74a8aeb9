//! When a child tells its manager that its load has changed.
//!
//! A change is told if it could change what the manager does: between none and some, or by a factor. It is
//! told at once, but not more often than the way allows to make use of; then it is told late. That there is more or
//! less surplus than before is told later than that there is any, or that somebody is hungry.
//!
//! How often is a bucket of tokens: a few reports may follow each other closely, as when a task leaves and its server
//! runs dry; in the long run there are some a second. Closures that move fill the bucket: so tasks that leave and come
//! back one after the other do not wait, and a manager hears often only from those between whom as much work moves. (A
//! hint alone does not fill it: from a steal that is refused nothing follows but the next hint.)
//!
//! A report may be lost, and whatever else is sent meanwhile does not say what was in it. So the load is told anew
//! when nothing was told of it for [`SPEAK_EVERY`], changed or not. On an idle link that is the keep-alive.

use std::time::Duration;

use crate::message::Load;
use crate::path::Path;
use crate::time::Time;
use crate::uplink::SPEAK_EVERY;

/// What was told last, and when.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    told: Load,
    told_at: Option<Time>,
    /// When the bucket is full again.
    full_at: Time,
    due: Option<Time>,
}

impl Reporter {
    /// The present load; what is given back is to be sent now.
    pub(crate) fn update(&mut self, now: Time, path: Path, load: Load) -> Option<Load> {
        self.due = None;
        if self.repeat_at().is_some_and(|at| at <= now) {
            return Some(self.tell(now, load));
        }
        let news = News::of(&self.told, &load);
        let round_trip = path.round_trip();
        let open = |gap: Duration| self.told_at.map_or(now, |at| at + gap);
        let at = match news {
            News::None => return None,
            News::Amount => open(round_trip.max(AMOUNT_GAP_MIN)),
            News::Urgent => open(round_trip).max(self.full_at - GAP * (BURST_MAX - 1)),
        };
        if at > now {
            self.due = Some(at);
            None
        } else {
            Some(self.tell(now, load))
        }
    }

    /// The present load, to be sent in any case.
    pub(crate) fn tell(&mut self, now: Time, load: Load) -> Load {
        self.told_at = Some(now);
        self.full_at = self.full_at.max(now) + GAP;
        self.due = None;
        self.told = Load {
            version: self.told.version.wrapping_add(1),
            ..load
        };
        self.told
    }

    /// The manager has answered hunger with so many closures, or with hints: it takes this child for as much less
    /// hungry.
    pub(crate) fn note_fed(&mut self, closures: usize) {
        let closures = u32::try_from(closures).unwrap_or(u32::MAX);
        self.told.hungry = self.told.hungry.saturating_sub(closures);
    }

    /// Whether [`Reporter::update`] would look at the work in the surplus; if not, it need not be computed, and
    /// nothing is told.
    pub(crate) fn asks_for_work(&mut self, now: Time, load: &Load) -> bool {
        let open = self.told_at.is_none_or(|at| at + AMOUNT_GAP_MIN <= now);
        let same_work = Load {
            surplus_work: self.told.surplus_work,
            ..*load
        };
        if open || News::of(&self.told, &same_work) == News::Urgent {
            return true;
        }
        let amount = News::of(&self.told, &same_work) == News::Amount;
        self.due = self
            .told_at
            .filter(|_| amount)
            .map(|at| at + AMOUNT_GAP_MIN);
        false
    }

    /// The manager has sent a sibling here, and takes this child for one closure poorer.
    pub(crate) fn note_visited(&mut self) {
        self.told.surplus = self.told.surplus.saturating_sub(1);
    }

    /// Closures have moved, and with them the load.
    pub(crate) fn note_moved(&mut self) {
        self.full_at = Time::ZERO;
    }

    /// When a change that is held back is due, or the load is to be told anew.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        [self.due, self.repeat_at()].into_iter().flatten().min()
    }

    fn repeat_at(&self) -> Option<Time> {
        self.told_at.map(|at| at + SPEAK_EVERY)
    }
}

/// How much a change matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    None,
    /// There is more or less of what there was.
    Amount,
    /// Somebody could be fed, or is not hungry any more.
    Urgent,
}

impl News {
    fn of(told: &Load, load: &Load) -> Self {
        let appeared = told.surplus == 0 && load.surplus > 0;
        let hunger = differs(told.hungry.into(), load.hungry.into());
        if told.workers != load.workers || appeared || hunger {
            return Self::Urgent;
        }
        let closures = differs(told.surplus.into(), load.surplus.into());
        let work = differs(told.surplus_work.as_nanos(), load.surplus_work.as_nanos());
        if closures || work {
            Self::Amount
        } else {
            Self::None
        }
    }
}

/// From none to some, from some to none, or by half.
fn differs(told: u128, now: u128) -> bool {
    (told == 0) != (now == 0) || now > told * 2 || now * 2 < told
}

/// A local manager hears of one server 50 times a second, if nothing moves.
const GAP: Duration = Duration::from_millis(20);
/// So many reports may follow each other closely.
const BURST_MAX: u32 = 4;
/// An amount that is out of date by so much misleads nobody for long: every answer to a steal tells the present one.
const AMOUNT_GAP_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn hungry(hungry: u32) -> Load {
        Load {
            workers: 4,
            hungry,
            ..Load::default()
        }
    }

    #[test]
    fn a_change_is_told_at_once_and_the_next_when_it_could_have_been_used() {
        let mut reporter = Reporter::default();
        let told = reporter
            .update(Time::ZERO, Path::ASSUMED, hungry(0))
            .expect("workers are news");
        assert_eq!(told.version, 1);
        assert_eq!(reporter.update(Time::ZERO, Path::ASSUMED, hungry(1)), None);
        let due = reporter.poll_timeout().expect("it is held back");
        assert_eq!(due, Time::ZERO + Path::ASSUMED.round_trip());
        let told = reporter
            .update(due, Path::ASSUMED, hungry(1))
            .expect("it is due");
        assert_eq!((told.version, told.hungry), (2, 1));
    }

    /// How many reports are made in a second of ceaseless change.
    fn reports_in_a_second(mut after_each: impl FnMut(&mut Reporter)) -> usize {
        let mut reporter = Reporter::default();
        let times = (0..1_000).map(|ms| Time::ZERO + Duration::from_millis(ms));
        times
            .enumerate()
            .filter(|&(turn, now)| {
                let load = hungry(u32::from(turn % 2 == 0));
                let told = reporter.update(now, Path::ASSUMED, load).is_some();
                if told {
                    after_each(&mut reporter);
                }
                told
            })
            .count()
    }

    #[test]
    fn ceaseless_change_is_told_in_bursts_and_then_seldom() {
        let reports = reports_in_a_second(|_| {});
        assert!((50..=54).contains(&reports), "{reports}");
    }

    #[test]
    fn reports_after_which_closures_move_are_followed_by_the_next_at_once() {
        let reports = reports_in_a_second(Reporter::note_moved);
        assert!(reports > 900, "{reports}");
    }

    #[test]
    fn regression_visits_in_vain_are_not_followed_by_the_next_at_once() {
        let reports = reports_in_a_second(|reporter| {
            reporter.note_visited();
            reporter.note_fed(usize::MAX);
        });
        assert!(reports <= 54, "{reports}");
    }

    #[test]
    fn a_change_that_was_undone_in_time_is_not_told() {
        let mut reporter = Reporter::default();
        reporter
            .update(Time::ZERO, Path::ASSUMED, hungry(0))
            .expect("workers are news");
        reporter.update(Time::ZERO, Path::ASSUMED, hungry(1));
        reporter.update(Time::ZERO, Path::ASSUMED, hungry(0));
        assert_eq!(reporter.poll_timeout(), Some(Time::ZERO + SPEAK_EVERY));
    }

    #[test]
    fn a_report_is_made_anew_though_nothing_has_changed() {
        let mut reporter = Reporter::default();
        reporter
            .update(Time::ZERO, Path::ASSUMED, hungry(0))
            .expect("workers are news");
        let due = Time::ZERO + SPEAK_EVERY;
        let before = due - Duration::from_nanos(1);
        assert_eq!(reporter.update(before, Path::ASSUMED, hungry(0)), None);
        assert_eq!(reporter.poll_timeout(), Some(due));
        let told = reporter.update(due, Path::ASSUMED, hungry(0));
        assert_eq!(told.map(|load| load.version), Some(2));
        assert_eq!(reporter.poll_timeout(), Some(due + SPEAK_EVERY));
    }

    #[test]
    fn small_changes_are_no_news() {
        let told = Load {
            surplus: 10,
            surplus_work: Duration::from_secs(10),
            ..hungry(10)
        };
        assert_eq!(
            News::None,
            News::of(
                &told,
                &Load {
                    surplus: 14,
                    surplus_work: Duration::from_secs(6),
                    ..hungry(7)
                }
            )
        );
        assert_eq!(
            News::of(
                &told,
                &Load {
                    surplus: 21,
                    ..told
                }
            ),
            News::Amount
        );
        assert_eq!(News::of(&told, &Load { hungry: 0, ..told }), News::Urgent);
    }
}
