//! Rivals: which closures are late, and how much work is spent on doing them twice.
//!
//! A borrower that is alive may be late all the same: its machine is busy with other things, its engine hangs, its disk is
//! full. What it has is lent a second time, if nothing else is to be done, and the first result wins: what MapReduce calls backup
//! tasks (Dean and Ghemawat, 2004). Late is who has returned nothing for [`LATE_FACTOR`] times what a closure of the kind takes, by
//! what was measured of enough of them. As long as it returns results or lends others what it makes, it is at work, and the others
//! that it has wait for their turn.
//!
//! An expected time says little of one closure: where trees are uneven, some are large. So of the work that a node has seen of a job,
//! a fortieth at most is spent on rivals that were not first ([`Budget`]). What they were expected to take is not what they take. So
//! each is charged its time while it runs, for as many workers as may have a part of it by then, and stopped when that is too much;
//! if the first result comes meanwhile, it tells how much work there was at most. One that is late itself shows that the closure
//! is large: it is stopped, and there is no other.
//!
//! Where the budget does not reach, an engine that hangs would hold its job up until its server gives it up ([`crate::pulse`]). So one rival at a time may be begun all the
//! same, of a borrower that was silent for [`BEYOND_FACTOR`] times as long as others are waited for (more, where some closures of the
//! sort took much longer than others: what is late may be anything then), and for twice as long again after
//! each of these that was in vain: of those there are a few in the longest of jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ledger::EntryId;
use crate::time::Time;

/// What is spent on rivals of one job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget {
    running: BTreeMap<EntryId, Running>,
    /// On those that are over and were not first.
    spent: Duration,
    /// Of those that were begun beyond the budget, so many were in vain since one was first.
    in_vain: u32,
}

/// A rival that runs.
#[derive(Clone, Copy, Debug)]
struct Running {
    since: Time,
    /// That may have a part of it.
    workers: u32,
    /// The budget did not reach for it.
    beyond: bool,
}

impl Budget {
    /// For how long the borrower of a closure of this expected work must be silent for a rival to be begun, if others are waited for
    /// `usual`, the job has taken so much work so far, and the longest of the sort took `longest`.
    pub(crate) fn patience(
        &self,
        now: Time,
        (expected, work): (Duration, Duration),
        (usual, longest): (Duration, Duration),
    ) -> Option<Duration> {
        if self.allows(now, expected, work) {
            return Some(usual);
        }
        let doublings = self.in_vain.min(DOUBLINGS_MAX);
        // One that a machine has stumbled over does not make a sort uneven.
        let even = expected.saturating_mul(LATE_FACTOR).max(LATE_MIN);
        let factor = if longest <= even {
            BEYOND_FACTOR
        } else {
            BEYOND_UNEVEN_FACTOR
        };
        let longer = usual.saturating_mul(factor << doublings);
        self.running.is_empty().then_some(longer)
    }

    /// A rival of an entry is begun, by who has so many workers, when the work was done in this time. The budget is that of
    /// [`Budget::patience`].
    pub(crate) fn begin(
        &mut self,
        now: Time,
        id: EntryId,
        (expected, work): (Duration, Duration),
        (workers, age): (u32, Duration),
    ) {
        let parallel = work.as_millis() / age.as_millis().max(1);
        let parallel = u32::try_from(parallel).unwrap_or(u32::MAX);
        let running = Running {
            since: now,
            workers: workers.max(1).saturating_mul(SPREAD).max(parallel),
            beyond: !self.allows(now, expected, work),
        };
        self.running.insert(id, running);
    }

    /// The rival of an entry was first: its work was of use.
    pub(crate) fn end_first(&mut self, id: EntryId) {
        if self.running.remove(&id).is_some() {
            self.in_vain = 0;
        }
    }

    /// The rival of an entry is over without a result. It has taken `whole` at most, if that is known. Gives what is charged.
    pub(crate) fn end_second(
        &mut self,
        now: Time,
        id: EntryId,
        whole: Option<Duration>,
    ) -> Option<Duration> {
        let running = self.running.remove(&id)?;
        let charge = running.charge(now).min(whole.unwrap_or(Duration::MAX));
        self.in_vain = self.in_vain.saturating_add(u32::from(running.beyond));
        self.spent = self.spent.saturating_add(charge);
        Some(charge)
    }

    /// The running rivals that the budget does not reach for any more.
    pub(crate) fn too_dear(&self, now: Time, work: Duration) -> Vec<EntryId> {
        if self.running.is_empty() || self.spent_by(now) <= work / SHARE {
            return Vec::new();
        }
        let within = self.running.iter().filter(|(_, running)| !running.beyond);
        within.map(|(&id, _)| id).collect()
    }

    /// The entries that have a rival, by what is known here.
    pub(crate) fn running(&self) -> impl Iterator<Item = EntryId> {
        self.running.keys().copied()
    }

    fn allows(&self, now: Time, expected: Duration, work: Duration) -> bool {
        let needs = expected.saturating_mul(SPREAD);
        self.spent_by(now).saturating_add(needs) <= work / SHARE
    }

    /// What has been spent, what runs within the budget included.
    fn spent_by(&self, now: Time) -> Duration {
        let within = self.running.values().filter(|running| !running.beyond);
        let charges = within.map(|running| running.charge(now));
        charges.fold(self.spent, Duration::saturating_add)
    }
}

impl Running {
    fn charge(&self, now: Time) -> Duration {
        now.since(self.since).saturating_mul(self.workers)
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

/// A rival that was begun on a machine with nothing else to do, and takes longer than this, is in vain: the closure is large, and nobody
/// was late.
pub(crate) fn course(expected: Duration, round_trip: Duration) -> Duration {
    patience(expected, Duration::ZERO, round_trip)
}

/// Of an exponential life one in twenty is longer.
const LATE_FACTOR: u32 = 3;
/// Where trees are uneven, some take many times what is expected: one that takes twice what the longest did is out of the ordinary.
const LONGEST_FACTOR: u32 = 2;
/// Whatever was measured, a machine may stumble for so long.
pub(crate) const LATE_MIN: Duration = Duration::from_secs(2);
/// One part in so many of the work that a node has seen of a job is spent on rivals that were not first. Each node
/// has a budget of its own, and lenders see the same work as their borrowers.
const SHARE: u32 = 40;
/// There is nothing else to do when a rival is begun: what it makes is stolen by others that are hungry, whom its lender does not know.
/// So many workers are charged for each that it was lent to, or as many as the job has kept busy so far.
const SPREAD: u32 = 8;
/// Who is silent for so many times as long as others are waited for is given up as one that hangs.
const BEYOND_FACTOR: u32 = 4;
/// Where trees are uneven, any closure may be so large that it takes all workers for long to do it again: there it is more.
const BEYOND_UNEVEN_FACTOR: u32 = 32;
/// Keeps the shift within its type; a job that lasts for so long is not held up by rivals.
const DOUBLINGS_MAX: u32 = 20;
/// What is measured of fewer closures is chance.
pub(crate) const HISTORY_MIN: u32 = 4;
/// So many late closures are looked for at a time: those that are hungry meanwhile take them one by one.
pub(crate) const LATE_MAX: usize = 64;
/// Late closures are looked for no more often, since all are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// One worker, in a job that has kept few busy.
    const LONG_AGO: (u32, Duration) = (1, Duration::from_secs(1 << 20));
    /// Others are waited for so long, and none took longer.
    const EVEN: (Duration, Duration) = (SECOND, Duration::ZERO);

    fn at(seconds: u32) -> Time {
        Time::ZERO + SECOND * seconds
    }

    #[test]
    fn slow_closures_are_waited_for_by_their_history() {
        let trip = Duration::from_millis(10);
        assert_eq!(patience(SECOND, SECOND, trip), SECOND * 3 + trip * 2);
        assert_eq!(patience(SECOND, SECOND * 9, trip), SECOND * 18 + trip * 2);
        assert_eq!(patience(trip, trip, Duration::ZERO), LATE_MIN);
    }

    #[test]
    fn what_a_rival_took_is_charged_and_not_what_it_was_expected_to() {
        let mut budget = Budget::default();
        let means = (SECOND / 10, SECOND * 400);
        assert_eq!(budget.patience(at(0), means, EVEN), Some(SECOND));
        budget.begin(at(0), EntryId(1), means, LONG_AGO);
        // Expected to take a tenth of a second, it has used up what there is: 8 of 10 s.
        assert_eq!(budget.patience(at(1), (SECOND, means.1), EVEN), None);
        assert_eq!(budget.too_dear(at(1), means.1), []);
        assert_eq!(budget.too_dear(at(2), means.1), [EntryId(1)]);
        // The whole closure had less in it.
        let whole = Some(SECOND * 3);
        assert_eq!(budget.end_second(at(2), EntryId(1), whole), whole);
        assert_eq!(budget.patience(at(2), means, EVEN), Some(SECOND));
        assert_eq!(budget.end_second(at(2), EntryId(1), whole), None, "once");
    }

    #[test]
    fn what_was_of_use_is_not_charged() {
        let mut budget = Budget::default();
        for id in 0..50 {
            budget.begin(at(0), EntryId(id), (SECOND, SECOND * 100), LONG_AGO);
            budget.end_first(EntryId(id));
        }
        assert_eq!(budget.spent_by(at(9)), Duration::ZERO);
    }

    /// The first rival needs evidence beyond the usual where little work was seen, and each that is in vain makes the next need twice
    /// as much.
    #[test]
    fn beyond_the_budget_one_at_a_time_is_begun_on_stronger_and_stronger_evidence() {
        let mut budget = Budget::default();
        let means = (SECOND, SECOND * 2);
        let patience =
            |budget: &Budget, now| budget.patience(now, means, EVEN).map(|it| it.as_secs());
        assert_eq!(patience(&budget, at(0)), Some(4));
        budget.begin(at(0), EntryId(1), means, LONG_AGO);
        assert_eq!(patience(&budget, at(1)), None);
        assert_eq!(budget.too_dear(at(9), means.1), [], "it may run its course");
        budget.end_second(at(1), EntryId(1), None);
        assert_eq!(patience(&budget, at(1)), Some(8));
        budget.begin(at(1), EntryId(2), means, LONG_AGO);
        budget.end_second(at(2), EntryId(2), None);
        assert_eq!(patience(&budget, at(2)), Some(16));
        budget.begin(at(2), EntryId(3), means, LONG_AGO);
        budget.end_first(EntryId(3));
        assert_eq!(patience(&budget, at(3)), Some(4));
        let uneven = (SECOND, SECOND * 9);
        assert_eq!(budget.patience(at(3), means, uneven), Some(SECOND * 32));
    }

    /// A machine that stumbled over one of many short closures made all the others wait eight times as long for their rivals.
    #[test]
    fn regression_a_stumble_is_not_taken_for_an_uneven_tree() {
        let budget = Budget::default();
        let short = (SECOND / 5, SECOND * 12);
        let waits = |longest| (patience(short.0, longest, Duration::ZERO), longest);
        let stumbled = budget.patience(at(0), short, waits(SECOND));
        assert_eq!(stumbled, Some(LATE_MIN * BEYOND_FACTOR));
        let uneven = budget.patience(at(0), short, waits(SECOND * 3));
        assert_eq!(uneven, Some(SECOND * 6 * BEYOND_UNEVEN_FACTOR));
    }

    /// Something that happens to a job.
    #[derive(Clone, Debug)]
    enum Step {
        /// Some work is done in a fraction of a look.
        Work(u8, u8),
        /// Something is late, and was expected to take so much.
        Late(u8),
        /// Of the running rivals one ends; first or not, or its machine is lost.
        End(u8, bool, bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (any::<u8>(), any::<u8>()).prop_map(|(time, work)| Step::Work(time, work)),
            2 => any::<u8>().prop_map(Step::Late),
            1 => (any::<u8>(), any::<bool>(), any::<bool>())
                .prop_map(|(which, first, lost)| Step::End(which, first, lost)),
        ]
    }

    /// What really happens, beside what the budget knows: rivals run on as many workers as they can get.
    #[derive(Default)]
    struct World {
        now: Time,
        budget: Budget,
        work: Duration,
        wasted: Duration,
        /// What each running rival has taken.
        taken: BTreeMap<EntryId, Duration>,
        begun: u64,
        beyond: u32,
        running_max: u32,
        workers_max: u32,
    }

    impl World {
        fn pass(&mut self, time: u8, work: u8) {
            let passed = LOOK_EVERY * u32::from(time) / 255;
            self.now = self.now + passed;
            self.work += Duration::from_millis(u64::from(work) * 8);
            for taken in self.taken.values_mut() {
                *taken += passed * WORKERS * SPREAD * u32::from(work) / 255;
            }
            for id in self.budget.too_dear(self.now, self.work) {
                self.end(id, false, true);
            }
        }

        fn is_late(&mut self, expected: u8) {
            let means = (Duration::from_millis(u64::from(expected) * 4), self.work);
            let Some(patience) = self
                .budget
                .patience(self.now, means, (LATE_MIN, Duration::ZERO))
            else {
                return;
            };
            // It is silent since the beginning of the world, so that everything is evidence.
            if self.now < Time::ZERO + patience {
                return;
            }
            self.begun += 1;
            let id = EntryId(self.begun);
            let age = self.now.since(Time::ZERO);
            self.budget.begin(self.now, id, means, (WORKERS, age));
            let runs = self.budget.running[&id].workers;
            self.workers_max = self.workers_max.max(runs);
            self.beyond += u32::from(self.budget.running[&id].beyond);
            self.taken.insert(id, Duration::ZERO);
            let running = u32::try_from(self.taken.len()).unwrap_or(u32::MAX);
            self.running_max = self.running_max.max(running);
        }

        fn end(&mut self, id: EntryId, first: bool, lost: bool) {
            let Some(taken) = self.taken.remove(&id) else {
                return;
            };
            if first {
                return self.budget.end_first(id);
            }
            self.wasted += taken;
            // The whole closure has a little more in it than the rival had done.
            let whole = (!lost).then_some(taken + LOOK_EVERY / 10);
            self.budget.end_second(self.now, id, whole);
        }
    }

    const WORKERS: u32 = 2;

    proptest! {
        /// Whatever happens, no more than the share is wasted: beyond it are one look's time of what runs, and what was begun on strong
        /// evidence.
        #[test]
        fn no_history_spends_more_than_the_share(steps in proptest::collection::vec(step(), 0..400)) {
            let mut world = World::default();
            let mut beyond_taken = Duration::ZERO;
            for step in steps {
                match step {
                    Step::Work(time, work) => world.pass(time, work),
                    Step::Late(expected) => world.is_late(expected),
                    Step::End(which, first, lost) => {
                        let running: Vec<EntryId> = world.taken.keys().copied().collect();
                        if let Some(&id) = running.get(usize::from(which) % running.len().max(1)) {
                            let beyond = world.budget.running[&id].beyond;
                            beyond_taken += world.taken[&id] * u32::from(beyond && !first);
                            world.end(id, first, lost);
                        }
                    }
                }
                let within = world.budget.running.iter().filter(|(_, running)| !running.beyond);
                let runs: Duration = within.map(|(id, _)| world.taken[id]).sum();
                let look = LOOK_EVERY * world.workers_max * world.running_max;
                let spent = world.wasted + runs;
                prop_assert!(
                    spent <= world.work / SHARE + look + beyond_taken,
                    "{spent:?} of {:?}, beyond {beyond_taken:?}", world.work
                );
                prop_assert!(world.budget.running.values().filter(|running| running.beyond).count() <= 1);
            }
        }

        /// Those that are begun beyond the budget are a few, however long all is silent.
        #[test]
        fn what_is_begun_beyond_the_share_is_rare(spans in proptest::collection::vec(1_u32..600, 1..60)) {
            let mut budget = Budget::default();
            let (mut now, mut begun) = (Time::ZERO, 0_u32);
            for span in spans {
                now = now + SECOND * span;
                let patience = budget.patience(now, (SECOND, Duration::ZERO), (LATE_MIN, SECOND));
                if patience.is_some_and(|patience| Time::ZERO + patience <= now) {
                    begun += 1;
                    let means = (SECOND, Duration::ZERO);
                    budget.begin(now, EntryId(begun.into()), means, LONG_AGO);
                    budget.end_second(now, EntryId(begun.into()), None);
                }
            }
            let waits = now.since(Time::ZERO).as_secs() / LATE_MIN.as_secs() / u64::from(BEYOND_FACTOR);
            prop_assert!(u64::from(begun) <= 1 + u64::from(waits.max(1).ilog2()), "{begun} in {now:?}");
        }
    }
}
