//! Stories of borrowers that are alive and late: what they have is begun a second time, and the first result wins.

#[allow(
    dead_code,
    reason = "other stories use the rest of the stage, each test program has its own copy"
)]
mod stage;

use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::message::Message;
use stage::Stage;

const SECOND: Duration = Duration::from_secs(1);
/// What closures are known to take.
const WORK: Duration = SECOND;

/// The server that runs the root of a job, and two that have each returned enough results for it to know how long one takes.
struct Three {
    stage: Stage,
    lender: NodeId,
    late: NodeId,
    other: NodeId,
}

fn three() -> Three {
    let (stage, [lender, late, other]) = Stage::with_root_running();
    let mut three = Three {
        stage,
        lender,
        late,
        other,
    };
    for value in 0..8 {
        three.lend(1);
        let has = if three.stage.given(late) > 0 {
            late
        } else {
            other
        };
        three.stage.run_for(WORK);
        three.finish(has, value);
    }
    three
}

impl Three {
    /// So many closures are lent, each to one of the others.
    fn lend(&mut self, closures: u32) {
        let (late, other) = (self.late, self.other);
        self.stage.spawn(self.lender, closures, 1, WORK);
        let all = closures as usize;
        self.stage
            .run_until("all lent", |s| s.given(late) + s.given(other) == all);
    }

    fn finish(&mut self, node: NodeId, value: u8) {
        let before = self.stage.results(self.lender).len();
        let lender = self.lender;
        self.stage.finish(node, value);
        self.stage
            .run_until("the result", |s| s.results(lender).len() > before);
    }

    /// Both others have a closure; one of them returns it, the other is late with its own until the first has it, too.
    fn with_rival() -> Self {
        let mut this = three();
        this.lend(2);
        this.stage.run_for(WORK);
        this.finish(this.other, 8);
        let (late, other) = (this.late, this.other);
        this.stage.run_until("the rival", |s| s.given(other) == 1);
        assert_eq!(this.stage.given(late), 1);
        this
    }

    fn rivals(&self) -> (u64, u64) {
        let stats = self.stage.server_ref(self.lender).stats();
        (stats.rivals_lent, stats.rivals_won)
    }

    fn aborts_to(&self, node: NodeId) -> usize {
        let is_abort = |m: &Message| matches!(m, Message::AbortLeases { .. });
        self.stage.count(self.lender, node, is_abort)
    }
}

#[test]
fn what_is_late_is_lent_to_who_has_nothing_else_to_do_and_the_rival_wins() {
    let mut three = Three::with_rival();
    three.finish(three.other, 9);
    assert_eq!(three.rivals(), (1, 1));
    three.stage.run_for(SECOND);
    assert_eq!(three.aborts_to(three.late), 1);
    assert_eq!(three.stage.given(three.late), 0);
    assert!(three.stage.server_ref(three.late).ledger().is_empty());
    assert_eq!(three.stage.results(three.lender).len(), 10);
}

#[test]
fn who_was_late_may_be_first_all_the_same() {
    let mut three = Three::with_rival();
    three.finish(three.late, 9);
    assert_eq!(three.rivals(), (1, 0));
    three.stage.run_for(SECOND);
    assert_eq!(three.aborts_to(three.other), 1);
    assert_eq!(three.stage.given(three.other), 0);
    assert_eq!(three.stage.results(three.lender).len(), 10);
}

#[test]
fn both_results_on_their_way_count_once() {
    let mut three = Three::with_rival();
    three.stage.finish(three.late, 9);
    three.stage.finish(three.other, 9);
    three.stage.run_for(SECOND);
    assert_eq!(three.stage.results(three.lender).len(), 10);
    assert_eq!(three.stage.server_ref(three.lender).stats().results_late, 1);
}

/// Who has become a member after the end was told hears of it from the lender alone: the rival as well.
#[test]
fn regression_a_rival_hears_from_the_lender_that_the_job_is_over() {
    let mut three = Three::with_rival();
    let before = (three.aborts_to(three.late), three.aborts_to(three.other));
    three.stage.finish(three.lender, 9);
    three.stage.run_until("the end", |s| !s.finished.is_empty());
    three.stage.run_for(SECOND);
    let after = (three.aborts_to(three.late), three.aborts_to(three.other));
    assert_eq!(after, (before.0 + 1, before.1 + 1));
}

/// The rival takes the place of who was lost: nothing is begun a third time.
#[test]
fn who_is_lost_has_a_rival_already() {
    let mut three = Three::with_rival();
    three.stage.kill(three.late);
    three.stage.run_for(SECOND * 5);
    assert_eq!(three.stage.ready(three.lender), 0);
    three.finish(three.other, 9);
    assert_eq!(three.stage.results(three.lender).len(), 10);
}

#[test]
fn a_rival_that_is_lost_leaves_the_first() {
    let mut three = Three::with_rival();
    three.stage.kill(three.other);
    three.stage.run_for(SECOND * 5);
    assert_eq!(three.stage.given(three.late), 1);
    three.finish(three.late, 9);
    assert_eq!(three.stage.results(three.lender).len(), 10);
}

/// The lender's own worker is idle when the root waits.
#[test]
fn idle_workers_of_the_lender_run_what_is_late_elsewhere() {
    let mut three = three();
    three.lend(1);
    let has = if three.stage.given(three.late) > 0 {
        three.late
    } else {
        three.other
    };
    three.stage.wait_at_root(three.lender);
    let lender = three.lender;
    three.stage.run_until("the rival", |s| s.given(lender) == 2);
    three.stage.finish_last(lender, 9);
    assert_eq!(three.stage.results(lender).len(), 9);
    assert_eq!(three.rivals(), (1, 1));
    three.stage.run_for(SECOND);
    assert_eq!(three.aborts_to(has), 1);
}

#[test]
fn who_returns_results_is_not_late_with_the_others_that_it_has() {
    let mut three = three();
    three.lend(2);
    for value in 8..30 {
        three.stage.run_for(WORK);
        three.finish(three.other, value);
        three.stage.spawn(three.lender, 1, 1, WORK);
        three.stage.run_for(SECOND / 10);
    }
    // What the other one has is late, but there was always something else to do.
    assert_eq!(three.rivals(), (0, 0));
}

/// Of so many that are late only some are begun again. Little was seen of the job: the first is begun when one has been silent for 12
/// s, the next after 24, and another after 48, since nobody hangs, by what can be seen.
#[test]
fn no_more_than_a_part_of_the_work_is_spent_on_rivals() {
    let (mut stage, [lender, others @ ..]) = Stage::with_root_running::<9>();
    for value in 0..8 {
        stage.spawn(lender, 1, 1, WORK);
        stage.run_for(WORK);
        let has = others.into_iter().filter(|&node| stage.given(node) == 1);
        let has: Vec<NodeId> = has.collect();
        stage.finish(has[0], value);
        stage.run_for(SECOND / 10);
    }
    stage.spawn(lender, 4, 1, WORK);
    stage.run_for(SECOND * 60);
    let stats = stage.server_ref(lender).stats();
    assert_eq!((stats.rivals_lent, stats.rivals_wasted), (3, 3));
}
