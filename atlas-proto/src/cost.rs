//! How much work a closure is expected to hold, and what makes its move worth while.
//!
//! Work is measured by kind: task and depth. For closures whose life ends at an unknown point the
//! estimate is the *total time on test*: all work seen inside closures of the kind, finished or not, over the number
//! that finished. It is the maximum-likelihood mean of an exponential life with censoring (Epstein
//! and Sobel, 1953). The small ones, which finish first, do not drag the estimate down. Of a kind of which none has
//! finished, only a lower bound is known: it is expected to hold [`UNFINISHED`] times what was seen. The estimate that
//! came with a borrowed closure counts as one more that finished.
//!
//! A kind never seen is expected to hold half of what the next shallower one of its task does; if there is none, half
//! of the largest shallower kind of any task. What descends from that may be far less. But only what ran apart from
//! its parent is seen at all, and where one worker runs a whole job nothing does until it moves: an estimate that is too
//! high is mended by the first that comes back, one that is too low never.
//!
//! Moving costs the wire's time for each byte, which nobody else can use meanwhile: a closure must hold
//! [`WORTH`] times that. Latency costs no processor: the workers that the closures go to are hungry, and others' work
//! goes on; it only delays what moves. So each worker that is fed, and each of the victim's own, must have
//! [`WORTH_LATENCY`] times the latency of work when all is shared: then the delay is small beside the time that the
//! closures would have waited where they were.

use std::time::Duration;

use crate::engine::Measured;
use crate::job::{Closure, ClosureKind};
use crate::limits::KINDS_MAX;
use crate::message::StealTerms;
use crate::path::Path;
use crate::sorted::SortedMap;

/// Work must be this many times what moving it costs.
pub const WORTH: u32 = 100;

/// A kind of closure that runs without an end is expected to hold this many times what was seen of it.
///
/// The upper levels of a young job's tree are of this sort; taken at their lower bound, they would not be shared until
/// their domain has worked on them for long. In the simulated worlds, 10 to 30 serve equally well.
pub const UNFINISHED: u32 = 10;

/// A worker that is fed from afar must get this many times the latency of the way in work.
///
/// In the simulated world of 1,000 servers, 2 to 5 serve equally well; 30 and 100 leave domains idle at the
/// end of a job whose neighbours have seconds of work, and make small jobs no faster (`docs/scheduling.md`).
pub const WORTH_LATENCY: u32 = 3;

/// A root that waits for a worker, and of which nothing is known, is taken to hold so much work.
///
/// Jobs of one closure each would otherwise take turns at the few workers of their domain, whoever else is idle. It is for
/// longer than any way in the world repays, and not for as long as to hide the work of others beside it.
pub(crate) const ROOT_WORK: Duration = Duration::from_secs(10);

/// What was measured of one job's closures.
#[derive(Clone, Debug, Default)]
pub(crate) struct CostModel {
    kinds: SortedMap<ClosureKind, Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    work: Duration,
    finished: u32,
    told: Duration,
    /// What follows from the others: it is asked for much more often than they change.
    mean: Duration,
}

impl CostModel {
    /// Learns what an engine measured.
    pub(crate) fn learn(&mut self, sample: Measured) {
        if let Some(seen) = self.seen(sample.kind) {
            seen.work = seen.work.saturating_add(sample.work);
            seen.finished = seen.finished.saturating_add(sample.finished);
            seen.estimate();
        }
    }

    /// Learns what a lender expects. Of a root nobody but its engine knows anything: what is told of it is [`ROOT_WORK`],
    /// from which nothing follows for what will descend from it.
    pub(crate) fn hear(&mut self, closure: &Closure) {
        if closure.expected > Duration::ZERO
            && closure.kind.depth > 0
            && let Some(seen) = self.seen(closure.kind)
        {
            seen.told = closure.expected;
            seen.estimate();
        }
    }

    /// The work expected in a closure and all that descends from it; zero if nothing is known, but for a root that nobody
    /// has begun.
    pub(crate) fn expected(&self, kind: ClosureKind) -> Duration {
        if kind.depth == 0 && self.kinds.len() == 0 {
            return ROOT_WORK;
        }
        if let Some(seen) = self.kinds.get(&kind) {
            return seen.mean;
        }
        let of_task = self.kinds.before(&kind);
        let shallower = match of_task.filter(|(known, _)| known.task == kind.task) {
            Some((_, seen)) => Some(seen.mean),
            None => self.largest_above(kind.depth),
        };
        shallower.map_or(Duration::ZERO, |mean| mean / 2)
    }

    /// The work expected in a closure by what was seen of its kind, if that is enough.
    pub(crate) fn known(&self, kind: ClosureKind, finished_min: u32) -> Option<Duration> {
        let seen = self.kinds.get(&kind)?;
        (seen.finished >= finished_min).then_some(seen.mean)
    }

    /// The work that was seen, without counting any twice.
    pub(crate) fn seen_at_least(&self) -> Duration {
        let works = self.kinds.values().map(|seen| seen.work);
        works.max().unwrap_or_default()
    }

    fn largest_above(&self, depth: u32) -> Option<Duration> {
        let above = self.kinds.iter().filter(|(known, _)| known.depth < depth);
        above.map(|(_, seen)| seen.mean).max()
    }

    /// The work of the smallest kind of closure; none if nothing is known.
    pub(crate) fn smallest(&self) -> Option<Duration> {
        let known = self.kinds.values().filter(|seen| seen.finished > 0);
        known.map(|seen| seen.mean).min()
    }

    fn seen(&mut self, kind: ClosureKind) -> Option<&mut Seen> {
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&kind) {
            return None;
        }
        Some(self.kinds.get_or_insert_with(kind, Seen::default))
    }
}

impl Seen {
    fn estimate(&mut self) {
        let bound = if self.finished == 0 { UNFINISHED } else { 1 };
        let seen = self.work.saturating_mul(bound).saturating_add(self.told);
        self.mean = seen / self.finished.saturating_add(1);
    }
}

/// The least work that is worth moving over `path` for each worker that it feeds.
#[must_use]
pub fn work_min(path: Path) -> Duration {
    path.latency.saturating_mul(WORTH_LATENCY)
}

/// How many of `hungry` workers at the other end of `path` are worth feeding, if they share `work` with the
/// `workers` that have it.
#[must_use]
pub fn worth_feeding(path: Path, work: Duration, workers: u32, hungry: u32) -> u32 {
    let each = work_min(path).as_nanos();
    if each == 0 {
        return hungry;
    }
    let fed = u32::try_from(work.as_nanos() / each).unwrap_or(u32::MAX);
    fed.saturating_sub(workers).min(hungry)
}

/// The least work that a closure must hold for each KiB of it, over `path`.
#[must_use]
pub fn work_min_per_kib(path: Path) -> Duration {
    path.wire_time(1024).saturating_mul(WORTH)
}

/// The closure repays its own bytes, or nothing is known of it and it stays in its domain.
pub(crate) fn repays(terms: &StealTerms, bytes: usize, expected: Duration) -> bool {
    let bytes = u128::try_from(bytes).unwrap_or(u128::MAX);
    if expected.is_zero() && terms.destination.is_none() {
        return true;
    }
    terms.work_min_per_kib.as_nanos().saturating_mul(bytes) / 1024 <= expected.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Above;
    use crate::ids::TaskId;

    const S: Duration = Duration::from_secs(1);

    fn kind(depth: u32) -> ClosureKind {
        ClosureKind {
            task: TaskId(1),
            depth,
        }
    }

    fn model(samples: &[(u32, Duration, u32)]) -> CostModel {
        let mut model = CostModel::default();
        for &(depth, work, finished) in samples {
            model.learn(Measured {
                kind: kind(depth),
                work,
                finished,
            });
        }
        model
    }

    #[test]
    fn what_has_run_without_an_end_is_expected_to_run_for_longer() {
        assert_eq!(
            model(&[(3, S * 8, 0)]).expected(kind(3)),
            S * 8 * UNFINISHED
        );
    }

    #[test]
    fn unfinished_work_counts_so_that_the_small_ones_do_not_mislead() {
        // Nine of a second each have finished; one has run for 91 and goes on.
        assert_eq!(model(&[(3, S * 100, 9)]).expected(kind(3)), S * 10);
    }

    #[test]
    fn a_kind_never_seen_holds_half_of_the_next_shallower() {
        let model = model(&[(2, S * 16, 1), (9, S, 0)]);
        assert_eq!(model.expected(kind(5)), S * 4);
        assert_eq!(model.expected(kind(1)), Duration::ZERO);
    }

    /// All that one worker runs, its parents run themselves: of its kinds nothing is seen but the root.
    #[test]
    fn a_task_never_seen_holds_half_of_the_largest_that_is_shallower() {
        let mut model = model(&[(0, S * 2, 0), (1, S * 6, 2), (9, S * 1000, 0)]);
        let other = ClosureKind {
            task: TaskId(0),
            depth: 3,
        };
        assert_eq!(model.expected(other), S * 10, "half of the root");
        let at_the_root = ClosureKind { depth: 0, ..other };
        assert_eq!(model.expected(at_the_root), Duration::ZERO);
        // One that was lent is back.
        model.learn(Measured {
            kind: other,
            work: S,
            finished: 1,
        });
        let deeper = ClosureKind { depth: 4, ..other };
        assert_eq!(
            (model.expected(other), model.expected(deeper)),
            (S / 2, S / 4)
        );
    }

    #[test]
    fn a_root_that_nobody_has_begun_may_move_and_what_descends_from_it_not_yet() {
        let mut fresh = CostModel::default();
        fresh.hear(&Closure {
            kind: kind(0),
            args: bytes::Bytes::new(),
            expected: fresh.expected(kind(0)),
            shared: Vec::new(),
            above: Above::NONE,
        });
        assert_eq!(fresh.expected(kind(0)), ROOT_WORK);
        assert_eq!(fresh.expected(kind(1)), Duration::ZERO);
        assert_eq!(model(&[(1, S, 1)]).expected(kind(0)), Duration::ZERO);
    }

    #[test]
    fn what_the_lender_expects_counts_until_something_is_seen() {
        let mut model = CostModel::default();
        let args = bytes::Bytes::new();
        model.hear(&Closure {
            kind: kind(4),
            args,
            expected: S * 30,
            shared: Vec::new(),
            above: Above::NONE,
        });
        assert_eq!(model.expected(kind(4)), S * 30);
        model.learn(Measured {
            kind: kind(4),
            work: S * 270,
            finished: 99,
        });
        assert_eq!(model.expected(kind(4)), S * 3);
    }

    #[test]
    fn only_so_many_are_fed_that_each_has_work_for_the_way() {
        let wan = Path {
            latency: Duration::from_millis(100),
            bytes_per_s: 12_500_000,
        };
        let each = work_min(wan);
        assert_eq!(worth_feeding(wan, each * 30, 10, 90), 20);
        assert_eq!(worth_feeding(wan, each * 30, 10, 5), 5);
        assert_eq!(worth_feeding(wan, each * 9, 10, 90), 0);
        assert_eq!(
            worth_feeding(
                Path {
                    latency: Duration::ZERO,
                    ..wan
                },
                Duration::ZERO,
                10,
                90
            ),
            90
        );
    }

    #[test]
    fn moving_over_a_slow_way_needs_more_work() {
        let wan = Path {
            latency: Duration::from_millis(50),
            bytes_per_s: 12_500_000,
        };
        assert_eq!(work_min(wan), S * 3 / 20);
        // A KiB occupies 100 Mbit/s for 82 us.
        assert_eq!(work_min_per_kib(wan).as_micros(), 8192);
    }
}
