//! What is known of a job beside its leases: results of finished closures, by the key of task and arguments.
//!
//! A closure whose borrower is lost is run again with this at hand, and finds in it what was finished before the loss. Nothing
//! depends on it: what is not found is computed. So what is kept is bounded.
//!
//! **What goes first** where there is no room. Each result names closures above it. When the result of one of these is there it is
//! *covered*: who begins to compute the upper one finds that, and asks no further. So what is covered goes first. It is not dropped at
//! once, since whoever is in the middle of the upper one, as an orphan or a rival, goes on with it and asks; but who was told nothing yet
//! has begun nothing, and is not told it. The names may be wrong, as two keys may begin alike: then a result is
//! forgotten too early, and computed.
//!
//! Of the rest: whoever has done much work below a closure has more of it to do, and who has done little is soon done: a
//! result is of use for a time in proportion to its work. So its worth is its work and what was the worth of the last that had
//! to go when it came; what is worth least goes (the algorithm `GreedyDual`: Young, 1994). By its work alone, old results of closures
//! that are long done would keep the table full, and of those that are under way nothing would stay but what is as large.
//!
//! Each entry has a stamp, later ones larger, so that whoever has been told of all up to a stamp need not be told again. What
//! must never be asked here: what a key stands for, and whether a result is right.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use atlas_engine::{Above, Recorded, ShortKey};
use indexmap::IndexMap;
use indexmap::map::Entry;

use crate::ids::JobAlias;
use crate::limits::{
    Bound, CHECKPOINT_BYTES_MAX, CHECKPOINT_ENTRIES_MAX, CHECKPOINTS_BYTES_MAX, RECORDS_BYTES_MAX,
    RECORDS_MAX,
};

/// The checkpoints of all jobs of a node.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    jobs: BTreeMap<JobAlias, Checkpoint>,
    /// The sizes of all entries.
    bytes: usize,
    last_stamp: u64,
}

/// What is kept of one job.
#[derive(Debug, Default)]
struct Checkpoint {
    /// The stamp of each. Of two whose keys begin alike one is kept.
    entries: IndexMap<ShortKey, u64>,
    /// By worth; of two that are worth the same, the older first. What is covered is worth nothing.
    by_worth: BTreeSet<(Option<Duration>, u64)>,
    by_stamp: BTreeMap<u64, Kept>,
    /// The stamps of those that are below a closure, by its name.
    by_above: IndexMap<ShortKey, BTreeSet<u64>>,
    bytes: usize,
    /// What the last was worth that had to go.
    floor: Duration,
}

#[derive(Debug)]
struct Kept {
    recorded: Recorded,
    /// None if it is covered.
    worth: Option<Duration>,
}

/// A part of a checkpoint that fits into one message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) entries: Vec<Recorded>,
    /// With it, all up to this stamp is told.
    pub(crate) until: u64,
}

/// How much of a checkpoint is told at a time, the dearest of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ration {
    /// So many results, whatever their sizes.
    pub(crate) any: usize,
    /// Up to so many, if they are small:
    pub(crate) most: usize,
    /// all together no larger than this.
    pub(crate) bytes: usize,
}

impl Ration {
    pub(crate) const ALL: Self = Self {
        any: usize::MAX,
        most: usize::MAX,
        bytes: usize::MAX,
    };
}

impl Checkpoints {
    /// Takes results in. Of two with one key that with more work stays: a result is there once, but what a long task says of itself
    /// from time to time ever gets better. Gives those that were new and worth their room.
    pub(crate) fn record(&mut self, job: JobAlias, entries: Vec<Recorded>) -> Vec<Recorded> {
        let checkpoint = self.jobs.entry(job).or_default();
        let mut added = Vec::with_capacity(entries.len());
        for recorded in entries {
            let key = recorded.key.short();
            match checkpoint.get(key).map(|kept| &kept.recorded) {
                Some(known) if known.work >= recorded.work => continue,
                Some(_) => self.bytes -= checkpoint.take(key).unwrap_or(0),
                None => {}
            }
            self.last_stamp += 1;
            self.bytes += recorded.size();
            checkpoint.cover_below(key);
            added.push(recorded.clone());
            checkpoint.insert(recorded, self.last_stamp);
            while checkpoint.is_over() || self.bytes > CHECKPOINTS_BYTES_MAX {
                let Some(bytes) = checkpoint.evict() else {
                    break;
                };
                self.bytes -= bytes;
            }
        }
        added.retain(|recorded| checkpoint.entries.contains_key(&recorded.key.short()));
        added
    }

    /// What came after a stamp, in parts for one message each: at least one part, if an empty one. Of more than the ration the
    /// dearest are told.
    pub(crate) fn since(&self, job: JobAlias, after: u64, ration: Ration) -> Vec<Part> {
        let mut parts = vec![Part {
            entries: Vec::new(),
            until: after,
        }];
        let Some(checkpoint) = self.jobs.get(&job) else {
            return parts;
        };
        let mut bytes = 0;
        for (stamp, recorded) in checkpoint.dearest_after(after, ration) {
            bytes += recorded.size();
            let last = parts.last_mut().expect("there is one at least");
            if last.entries.len() < RECORDS_MAX && bytes <= RECORDS_BYTES_MAX {
                last.entries.push(recorded.clone());
                last.until = stamp;
            } else {
                bytes = recorded.size();
                parts.push(Part {
                    entries: vec![recorded.clone()],
                    until: stamp,
                });
            }
        }
        parts
    }

    /// The job is over.
    pub(crate) fn forget(&mut self, job: JobAlias) {
        if let Some(checkpoint) = self.jobs.remove(&job) {
            self.bytes -= checkpoint.bytes;
        }
    }

    /// A result is kept, and that of no closure above it.
    pub(crate) fn is_uncovered(&self, job: JobAlias, key: ShortKey) -> bool {
        let checkpoint = self.jobs.get(&job);
        let kept = checkpoint.and_then(|checkpoint| checkpoint.get(key));
        kept.is_some_and(|kept| kept.worth.is_some())
    }

    /// How many results are kept of a job.
    pub(crate) fn len(&self, job: JobAlias) -> usize {
        self.jobs.get(&job).map_or(0, |job| job.entries.len())
    }

    /// What others make this node hold.
    pub(crate) fn bounds(&self) -> Vec<Bound> {
        let mut bounds = vec![Bound::new(
            "bytes of checkpoints",
            self.bytes,
            CHECKPOINTS_BYTES_MAX,
        )];
        for checkpoint in self.jobs.values() {
            let entries = checkpoint.entries.len();
            bounds.extend([
                Bound::new("results kept", entries, CHECKPOINT_ENTRIES_MAX),
                Bound::new(
                    "bytes of a checkpoint",
                    checkpoint.bytes,
                    CHECKPOINT_BYTES_MAX,
                ),
            ]);
        }
        bounds
    }
}

impl Checkpoint {
    fn insert(&mut self, recorded: Recorded, stamp: u64) {
        let key = recorded.key.short();
        let worth = match self.has_above(&recorded.above) {
            true => None,
            false => Some(self.floor.saturating_add(recorded.work)),
        };
        self.bytes += recorded.size();
        self.by_worth.insert((worth, stamp));
        for &above in recorded.above.keys() {
            self.by_above.entry(above).or_default().insert(stamp);
        }
        self.by_stamp.insert(stamp, Kept { recorded, worth });
        self.entries.insert(key, stamp);
    }

    /// The result of one of these is there.
    fn has_above(&self, above: &Above) -> bool {
        let mut above = above.keys().iter();
        above.any(|above| self.entries.contains_key(above))
    }

    /// The result of a closure is there now: what is below it is covered.
    fn cover_below(&mut self, above: ShortKey) {
        for &stamp in self.by_above.get(&above).into_iter().flatten() {
            if let Some(kept) = self.by_stamp.get_mut(&stamp)
                && kept.worth.is_some()
            {
                self.by_worth.remove(&(kept.worth, stamp));
                kept.worth = None;
                self.by_worth.insert((None, stamp));
            }
        }
    }

    fn get(&self, key: ShortKey) -> Option<&Kept> {
        let stamp = self.entries.get(&key)?;
        self.by_stamp.get(stamp)
    }

    /// What came after a stamp, of more than the ration the dearest, oldest first.
    fn dearest_after(&self, after: u64, ration: Ration) -> Vec<(u64, &Recorded)> {
        let later = self.by_stamp.range((Excluded(after), Unbounded));
        let wanted = |(_, kept): &(&u64, &Kept)| after > 0 || kept.worth.is_some();
        let later = later.filter(wanted);
        let mut later: Vec<(u64, &Kept)> = later.map(|(&stamp, kept)| (stamp, kept)).collect();
        if later.len() > ration.any {
            let dearest = |&(stamp, kept): &(u64, &Kept)| {
                (kept.worth.is_none(), Reverse(kept.recorded.work), stamp)
            };
            if later.len() > ration.most {
                later.select_nth_unstable_by_key(ration.most, dearest);
                later.truncate(ration.most);
            }
            later.sort_unstable_by_key(dearest);
            let mut bytes = 0;
            let within = |(number, (_, kept)): &(usize, &(u64, &Kept))| {
                bytes += kept.recorded.size();
                *number < ration.any || bytes <= ration.bytes
            };
            let told = later.iter().enumerate().take_while(within).count();
            later.truncate(told);
            later.sort_unstable_by_key(|(stamp, _)| *stamp);
        }
        let later = later.into_iter();
        later.map(|(stamp, kept)| (stamp, &kept.recorded)).collect()
    }

    fn is_over(&self) -> bool {
        self.entries.len() > CHECKPOINT_ENTRIES_MAX || self.bytes > CHECKPOINT_BYTES_MAX
    }

    /// What is worth least goes; gives its size.
    fn evict(&mut self) -> Option<usize> {
        let &(worth, stamp) = self.by_worth.first()?;
        if let Some(worth) = worth {
            self.floor = worth;
        }
        self.take(self.by_stamp.get(&stamp)?.recorded.key.short())
    }

    /// Takes an entry out; gives its size.
    fn take(&mut self, key: ShortKey) -> Option<usize> {
        let stamp = self.entries.swap_remove(&key)?;
        let kept = self.by_stamp.remove(&stamp)?;
        self.by_worth.remove(&(kept.worth, stamp));
        for &above in kept.recorded.above.keys() {
            if let Entry::Occupied(mut below) = self.by_above.entry(above) {
                below.get_mut().remove(&stamp);
                if below.get().is_empty() {
                    below.swap_remove();
                }
            }
        }
        let bytes = kept.recorded.size();
        self.bytes -= bytes;
        Some(bytes)
    }
}

/// The results in as many messages as they take, each within its limits. What no message can carry is left out.
pub(crate) fn in_messages(entries: Vec<Recorded>) -> Vec<Vec<Recorded>> {
    let mut messages: Vec<Vec<Recorded>> = Vec::new();
    let mut bytes = usize::MAX;
    for recorded in entries {
        if recorded.size() > RECORDS_BYTES_MAX
            || recorded.result.len() > crate::limits::CLOSURE_BYTES_MAX
        {
            continue;
        }
        bytes = bytes.saturating_add(recorded.size());
        match messages.last_mut() {
            Some(last) if last.len() < RECORDS_MAX && bytes <= RECORDS_BYTES_MAX => {
                last.push(recorded);
            }
            Some(_) | None => {
                bytes = recorded.size();
                messages.push(vec![recorded]);
            }
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use atlas_engine::Key;
    use proptest::prelude::{Strategy, prop_assert, proptest};

    use super::*;

    const JOB: JobAlias = JobAlias(1);

    fn recorded(number: u64, work_ms: u64, bytes: usize) -> Recorded {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Recorded {
            key: Key(key),
            result: vec![1; bytes].into(),
            work: Duration::from_millis(work_ms),
            above: Above::NONE,
        }
    }

    fn kept(checkpoints: &Checkpoints, after: u64) -> Vec<Recorded> {
        let parts = checkpoints.since(JOB, after, Ration::ALL).into_iter();
        parts.flat_map(|part| part.entries).collect()
    }

    #[test]
    fn of_one_key_what_has_more_work_in_it_stays() {
        let mut checkpoints = Checkpoints::default();
        let first = recorded(1, 5, 3);
        let kept_now = checkpoints.record(JOB, vec![first.clone()]);
        assert_eq!(kept_now, std::slice::from_ref(&first));
        for no_better in [recorded(1, 5, 7), recorded(1, 4, 7)] {
            assert_eq!(checkpoints.record(JOB, vec![no_better]), []);
        }
        assert_eq!(kept(&checkpoints, 0), [first]);
        // What a long task says of itself later is told to who knows the earlier one.
        let until = checkpoints.since(JOB, 0, Ration::ALL)[0].until;
        let later = recorded(1, 9, 7);
        assert_eq!(
            checkpoints.record(JOB, vec![later.clone()]),
            std::slice::from_ref(&later)
        );
        assert_eq!(kept(&checkpoints, until), std::slice::from_ref(&later));
        assert_eq!(kept(&checkpoints, 0), [later]);
        checkpoints.forget(JOB);
        assert_eq!(checkpoints.bytes, 0);
    }

    #[test]
    fn what_cost_least_work_is_forgotten_first() {
        let mut checkpoints = Checkpoints::default();
        let quarter = CHECKPOINT_BYTES_MAX / 16;
        for number in 0..24 {
            checkpoints.record(JOB, vec![recorded(number, number, quarter.min(2 << 20))]);
        }
        let left: Vec<u128> = kept(&checkpoints, 0)
            .iter()
            .map(|recorded| recorded.work.as_millis())
            .collect();
        let first = left[0];
        assert!(first > 0, "something had to go");
        assert_eq!(left, (first..24).collect::<Vec<_>>());
        // What is worth less than all that is there does not stay either, and is not said to.
        assert_eq!(checkpoints.record(JOB, vec![recorded(99, 0, quarter)]), []);
        assert!(checkpoints.bounds().iter().all(|b| b.held <= b.max));
    }

    /// By their work alone the first ones would stay for ever: of what is done later nothing would be kept that is not as large.
    #[test]
    fn regression_large_results_of_long_ago_make_room_for_small_new_ones() {
        let mut checkpoints = Checkpoints::default();
        let full = CHECKPOINT_ENTRIES_MAX as u64;
        checkpoints.record(JOB, (0..full).map(|n| recorded(n, 50, 1)).collect());
        for first in (full..).step_by(1000).take(60) {
            checkpoints.record(
                JOB,
                (first..first + 1000).map(|n| recorded(n, 1, 1)).collect(),
            );
        }
        let last = full + 59_000;
        let later = kept(&checkpoints, last).len();
        assert_eq!(later, 1000, "what came last is there");
        // What is worth fifty times as much stays for longer than what came with it.
        checkpoints.record(JOB, vec![recorded(u64::MAX, 50, 1)]);
        for first in (last + 1000..).step_by(1000).take(100) {
            checkpoints.record(
                JOB,
                (first..first + 1000).map(|n| recorded(n, 1, 1)).collect(),
            );
        }
        let dear = |entry: &Recorded| entry.key == recorded(u64::MAX, 50, 1).key;
        assert!(kept(&checkpoints, 0).iter().any(dear));
    }

    #[test]
    fn entries_are_bounded_in_number_and_all_jobs_together_in_bytes() {
        let mut checkpoints = Checkpoints::default();
        let many = (0..CHECKPOINT_ENTRIES_MAX as u64 + 100).map(|n| recorded(n, n, 1));
        checkpoints.record(JOB, many.collect());
        assert_eq!(checkpoints.len(JOB), CHECKPOINT_ENTRIES_MAX);
        for job in 2..40 {
            let large = (0..16).map(|n| recorded(n, n, 2 << 20)).collect();
            checkpoints.record(JobAlias(job), large);
        }
        assert!(checkpoints.bounds().iter().all(|b| b.held <= b.max));
        (1..40).for_each(|job| checkpoints.forget(JobAlias(job)));
        assert_eq!(checkpoints.bytes, 0);
    }

    #[test]
    fn who_knows_a_part_is_told_the_rest() {
        let mut checkpoints = Checkpoints::default();
        let large = |number| recorded(number, 1, 2 << 20);
        checkpoints.record(JOB, vec![large(1), large(2), large(3)]);
        let parts = checkpoints.since(JOB, 0, Ration::ALL);
        assert_eq!(parts.len(), 3, "each fits into a message alone");
        assert_eq!(kept(&checkpoints, parts[0].until), [large(2), large(3)]);
        let all = parts[2].until;
        let nothing = Part {
            entries: Vec::new(),
            until: all,
        };
        assert_eq!(checkpoints.since(JOB, all, Ration::ALL), [nothing]);
        checkpoints.record(JOB, vec![recorded(4, 1, 1)]);
        assert_eq!(kept(&checkpoints, all), [recorded(4, 1, 1)]);
    }

    #[test]
    fn of_more_than_the_ration_the_dearest_are_told_and_more_where_they_are_small() {
        let told = |bytes: usize| {
            let mut checkpoints = Checkpoints::default();
            checkpoints.record(JOB, (0..100).map(|n| recorded(n, n, bytes)).collect());
            let ration = Ration {
                any: 4,
                most: 20,
                bytes: 1000,
            };
            let parts = checkpoints.since(JOB, 0, ration).into_iter();
            let works = parts.flat_map(|part| part.entries);
            let works: Vec<u128> = works.map(|entry| entry.work.as_millis()).collect();
            assert!(works.is_sorted() && works.last() == Some(&99));
            works.len()
        };
        let size = recorded(0, 0, 68).size();
        assert_eq!((told(1), told(68), told(5000)), (20, 1000 / size, 4));
    }

    fn below(number: u64, above: &[u64], work_ms: u64, bytes: usize) -> Recorded {
        let above = above.iter().map(|&above| ShortKey(above)).collect();
        Recorded {
            above,
            ..recorded(number, work_ms, bytes)
        }
    }

    fn numbers(entries: &[Recorded]) -> Vec<u64> {
        entries.iter().map(|entry| entry.key.short().0).collect()
    }

    #[test]
    fn who_begins_is_not_told_what_is_below_a_known_result() {
        let mut checkpoints = Checkpoints::default();
        let first = vec![below(3, &[2, 1], 5, 1), below(4, &[9], 5, 1)];
        checkpoints.record(JOB, first);
        let seen = checkpoints.since(JOB, 0, Ration::ALL)[0].until;
        // The closure between is not recorded, and one comes late.
        let later = vec![recorded(1, 10, 1), below(5, &[1], 5, 1)];
        assert_eq!(numbers(&checkpoints.record(JOB, later)), [1, 5]);
        assert_eq!(numbers(&kept(&checkpoints, 0)), [4, 1]);
        // Who has begun earlier may be in the middle of the upper one.
        assert_eq!(numbers(&kept(&checkpoints, seen)), [1, 5]);
        let uncovered = |number| checkpoints.is_uncovered(JOB, ShortKey(number));
        let of_all = [1, 3, 4, 5, 7].map(uncovered);
        assert_eq!(of_all, [true, false, true, false, false]);
    }

    #[test]
    fn of_more_than_the_ration_what_is_below_a_known_result_is_told_last() {
        let mut checkpoints = Checkpoints::default();
        checkpoints.record(JOB, vec![recorded(1, 1, 1)]);
        let known = checkpoints.since(JOB, 0, Ration::ALL)[0].until;
        let dear = (10..14).map(|number| below(number, &[1], 100, 1));
        checkpoints.record(JOB, dear.collect());
        let cheap = (20..23).map(|number| below(number, &[2], 1, 1));
        checkpoints.record(JOB, cheap.collect());
        let ration = Ration {
            any: 4,
            most: 4,
            bytes: 1000,
        };
        let told = checkpoints.since(JOB, known, ration).remove(0).entries;
        assert_eq!(numbers(&told), [10, 20, 21, 22]);
    }

    #[test]
    fn what_is_below_a_known_result_makes_room_first() {
        let mut checkpoints = Checkpoints::default();
        let full = CHECKPOINT_ENTRIES_MAX as u64;
        let dear = (0..full / 2).map(|n| below(n, &[full * 2], 1000, 1));
        checkpoints.record(JOB, dear.collect());
        checkpoints.record(JOB, (full / 2..full).map(|n| recorded(n, 1, 1)).collect());
        checkpoints.record(JOB, vec![recorded(full * 2, 2000, 1)]);
        checkpoints.record(JOB, (full..full + 99).map(|n| recorded(n, 1, 1)).collect());
        let left = numbers(&kept(&checkpoints, 1));
        assert_eq!(left.len(), CHECKPOINT_ENTRIES_MAX);
        let cheap_left = left.iter().filter(|&&number| number >= full / 2).count() as u64;
        assert_eq!(cheap_left, full / 2 + 100, "none of these had to go");
    }

    /// A few closures in every order, so large that not all fit in.
    fn any_records() -> impl Strategy<Value = Vec<(u64, Vec<u64>, u64, usize)>> {
        let above = proptest::collection::vec(0..60_u64, 0..4);
        proptest::collection::vec((0..40_u64, above, 0..50_u64, 0..3_usize), 1..120)
    }

    proptest! {
        #[test]
        fn tables_stay_within_their_bounds_and_what_nothing_covers_goes_last(
            records in any_records(),
        ) {
            let large = vec![0; 2 << 20];
            let large = bytes::Bytes::from(large);
            let mut checkpoints = Checkpoints::default();
            let mut ever = BTreeSet::new();
            for (number, above, work_ms, parts) in records {
                let uncovered_before = uncovered(&checkpoints);
                let entry = Recorded {
                    result: large.slice(..parts << 20),
                    ..below(number, &above, work_ms, 0)
                };
                checkpoints.record(JOB, vec![entry]);
                ever.insert(number);
                check_indexes(&checkpoints);
                prop_assert!(checkpoints.bounds().iter().all(|bound| bound.held <= bound.max));
                let table = &checkpoints.jobs[&JOB];
                for kept in table.by_stamp.values().filter(|kept| kept.worth.is_none()) {
                    let mut above = kept.recorded.above.keys().iter();
                    prop_assert!(above.any(|above| ever.contains(&above.0)));
                }
                let is_covered_now = |entry: &&Recorded| entry.above.keys().contains(&ShortKey(number));
                let mut stay = uncovered_before.iter().filter(|entry| !is_covered_now(entry));
                let is_any_covered = table.by_stamp.values().any(|kept| kept.worth.is_none());
                let all_stay = stay.all(|entry| table.entries.contains_key(&entry.key.short()));
                prop_assert!(all_stay || !is_any_covered);
            }
        }
    }

    fn uncovered(checkpoints: &Checkpoints) -> Vec<Recorded> {
        let tables = checkpoints.jobs.values();
        let kept = tables.flat_map(|table| table.by_stamp.values());
        let kept = kept.filter(|kept| kept.worth.is_some());
        kept.map(|kept| kept.recorded.clone()).collect()
    }

    /// Each entry is in each index once, and nothing else is.
    fn check_indexes(checkpoints: &Checkpoints) {
        for table in checkpoints.jobs.values() {
            let kept = || table.by_stamp.iter();
            let entries = kept().map(|(&stamp, kept)| (kept.recorded.key.short(), stamp));
            assert_eq!(entries.collect::<IndexMap<_, _>>(), table.entries);
            let by_worth = kept().map(|(&stamp, kept)| (kept.worth, stamp));
            assert_eq!(by_worth.collect::<BTreeSet<_>>(), table.by_worth);
            let mut by_above: IndexMap<_, BTreeSet<_>> = IndexMap::new();
            for (&stamp, kept) in kept() {
                for &above in kept.recorded.above.keys() {
                    by_above.entry(above).or_default().insert(stamp);
                }
            }
            assert_eq!(by_above, table.by_above);
            let bytes: usize = kept().map(|(_, kept)| kept.recorded.size()).sum();
            assert_eq!(bytes, table.bytes);
        }
    }

    #[test]
    fn messages_are_as_full_as_they_may_be() {
        let half = RECORDS_BYTES_MAX / 2 - recorded(1, 1, 0).size();
        let entries: Vec<Recorded> = (0..5).map(|number| recorded(number, 1, half)).collect();
        let sizes: Vec<usize> = in_messages(entries).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2, 1]);
        assert_eq!(in_messages(Vec::new()), Vec::<Vec<Recorded>>::new());
        let beyond = recorded(1, 1, crate::limits::CLOSURE_BYTES_MAX + 1);
        assert_eq!(in_messages(vec![beyond]), Vec::<Vec<Recorded>>::new());
    }
}
