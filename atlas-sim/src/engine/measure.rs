//! What an engine measures for its server: the work inside closures of each kind, and how many finished.
//!
//! A node's work counts once for itself and once for each ancestor that this engine runs too: those from the
//! accepted closure down. So `work / finished` is the mean work of a kind's closures, also where closures of
//! one kind lie inside each other, and where an engine runs subtrees of different depths. The result of a lent
//! closure counts where it was lent from as well: as one finished closure with the work that was reported.
//!
//! Adding is a few instructions for each node; the sums over ancestors are taken when they are reported.

use std::time::Duration;

use atlas_proto::engine::Measured;
use atlas_proto::time::Time;

use super::clock::Work;
use crate::workload::{bucket_start, depth_bucket, kind_of_bucket};

/// What was measured and not yet reported.
#[derive(Debug, Default)]
pub(super) struct Measures {
    /// Work by the depth where it was done.
    inside: DepthSums,
    /// The same work by the depth just above the closure that was accepted: it counts no further up.
    outside: DepthSums,
    /// By bucket.
    finished: Vec<u32>,
    /// A closure that was accepted has finished since the last report.
    urgent: bool,
    reported_at: Time,
}

impl Measures {
    /// Work was done at a depth.
    #[inline]
    pub(super) fn worked(&mut self, depth: u32, work: Work) {
        self.inside.add(depth, work);
    }

    /// So much of it was done below an accepted closure of this depth.
    pub(super) fn worked_below(&mut self, accepted_depth: u32, work: Work) {
        if let Some(above) = accepted_depth.checked_sub(1) {
            self.outside.add(above, work);
        }
    }

    /// A closure finished.
    #[inline]
    pub(super) fn finished(&mut self, depth: u32) {
        let bucket = depth_bucket(depth) as usize;
        if bucket >= self.finished.len() {
            self.finished.resize(bucket + 1, 0);
        }
        self.finished[bucket] += 1;
    }

    /// Do not wait for the interval: what was measured belongs to a closure that is over.
    pub(super) fn hurry(&mut self) {
        self.urgent = true;
    }

    /// Whether it is time to report.
    pub(super) fn due(&self, now: Time) -> bool {
        self.urgent || now.since(self.reported_at) >= REPORT_INTERVAL
    }

    /// What is to report, by kind; nothing of it is reported again.
    pub(super) fn take(&mut self, now: Time) -> Vec<Measured> {
        self.urgent = false;
        self.reported_at = now;
        let buckets = self.inside.buckets().max(self.finished.len());
        let mut samples = Vec::new();
        let (mut inside_deeper, mut outside_deeper) = (0, 0);
        for bucket in (0..buckets).rev() {
            let inside = self.inside.take(bucket, &mut inside_deeper);
            let outside = self.outside.take(bucket, &mut outside_deeper);
            let work = Duration::from_nanos(inside.saturating_sub(outside));
            let finished = self.finished.get_mut(bucket).map_or(0, std::mem::take);
            if finished > 0 || !work.is_zero() {
                samples.push(Measured {
                    kind: kind_of_bucket(as_bucket(bucket)),
                    work,
                    finished,
                });
            }
        }
        samples.reverse();
        samples
    }
}

/// Work by depth, from which follows what each bucket's depths have at and below them.
#[derive(Debug, Default)]
struct DepthSums(Vec<DepthSum>);

/// Of one bucket.
#[derive(Clone, Copy, Debug, Default)]
struct DepthSum {
    /// The work at its depths.
    at: u64,
    /// The same, each time as often as the bucket has depths down to where it was done.
    spread: u64,
}

impl DepthSums {
    #[inline]
    fn add(&mut self, depth: u32, work: Work) {
        let bucket = depth_bucket(depth);
        let place = bucket as usize;
        if place >= self.0.len() {
            self.0.resize(place + 1, DepthSum::default());
        }
        let depths = u64::from(depth) + 1 - bucket_start(bucket);
        let sum = &mut self.0[place];
        sum.at += work;
        sum.spread = sum.spread.saturating_add(work.saturating_mul(depths));
    }

    fn buckets(&self) -> usize {
        self.0.len()
    }

    /// The work at and below each depth of the bucket, together. `deeper` is the work below the bucket, and
    /// then that below the bucket before it.
    fn take(&mut self, bucket: usize, deeper: &mut u64) -> u64 {
        let below = *deeper;
        let Some(sum) = self.0.get_mut(bucket).map(std::mem::take) else {
            return 0;
        };
        *deeper += sum.at;
        let depths = bucket_start(as_bucket(bucket + 1)) - bucket_start(as_bucket(bucket));
        below.saturating_mul(depths).saturating_add(sum.spread)
    }
}

fn as_bucket(place: usize) -> u32 {
    u32::try_from(place).expect("buckets are at most 512")
}

/// Often enough for estimates to follow a job's phases, seldom enough to cost nothing.
const REPORT_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_for_all_ancestors_from_the_accepted_closure_down() {
        let mut measures = Measures::default();
        measures.worked(5, 100);
        measures.worked(3, 10);
        measures.worked_below(2, 110);
        measures.finished(5);
        let samples = measures.take(Time::ZERO);
        let found: Vec<_> = samples
            .iter()
            .map(|s| (s.kind.depth, s.work.as_nanos(), s.finished))
            .collect();
        assert_eq!(found, [(2, 110, 0), (3, 110, 0), (4, 100, 0), (5, 100, 1)]);
        assert_eq!(measures.take(Time::ZERO), []);
    }

    #[test]
    fn closures_of_one_kind_inside_each_other_count_each() {
        // A chain of nodes at all depths, each with work 1: the node at depth d has (DEPTHS - d) in it.
        const DEPTHS: u32 = 5000;
        let mut measures = Measures::default();
        for (accepted, from) in [(0, 0), (777, 777)] {
            (from..DEPTHS).for_each(|depth| {
                measures.worked(depth, 1);
                measures.finished(depth);
            });
            measures.worked_below(accepted, u64::from(DEPTHS - from));
        }
        for sample in measures.take(Time::ZERO) {
            let (from, to) = (
                bucket_start(sample.kind.depth),
                bucket_start(sample.kind.depth + 1),
            );
            let depths = (from..to.min(u64::from(DEPTHS)))
                .map(|depth| (u64::from(DEPTHS) - depth, depth >= 777));
            let work: u64 = depths
                .clone()
                .map(|(below, twice)| if twice { 2 * below } else { below })
                .sum();
            let finished: u32 = depths.map(|(_, twice)| if twice { 2 } else { 1 }).sum();
            assert_eq!(
                (sample.work.as_nanos(), sample.finished),
                (u128::from(work), finished)
            );
        }
    }
}
