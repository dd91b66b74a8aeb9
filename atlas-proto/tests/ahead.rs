//! Asking ahead of need, told as stories: a server whose workers are all busy asks for the next closures before the last of its
//! own is done, if waiting for them would count beside what closures take.

#[allow(
    dead_code,
    reason = "other stories use the rest of the stage, each test program has its own copy"
)]
mod stage;

use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::message::{Message, StealTerms};

use stage::Stage;

const SMALL: Duration = Duration::from_millis(5);
const LARGE: Duration = Duration::from_secs(1000);
const SOON: Duration = Duration::from_secs(1);

/// The terms of all steals that one has asked the other for, in order.
fn steals(stage: &Stage, thief: NodeId, victim: NodeId) -> Vec<StealTerms> {
    let between = stage
        .log
        .iter()
        .filter(|(from, to, _)| (*from, *to) == (thief, victim));
    let terms = between.filter_map(|(_, _, message)| {
        let Message::RequestSteal { terms, .. } = message else {
            return None;
        };
        Some(terms.clone())
    });
    terms.collect()
}

/// Two servers of one worker: one has had closures of this work, and the other has taken some, has seen what one takes, and is at
/// its last one. Then the first has many more. Also gives for how many steals were asked until then.
fn thief_at_its_last_closure(work: Duration) -> (Stage, [NodeId; 2], usize) {
    let (mut stage, [busy, thief]) = Stage::with_root_running();
    stage.spawn(busy, 10, 1, work);
    stage.run_until("the other one working", |s| s.given(thief) > 0);
    stage.measure(thief, 1, work, 1);
    // As long as it knew nothing it took them for small.
    stage.run_for(SOON);
    while stage.given(thief) > 1 {
        stage.finish(thief, 1);
    }
    stage.run_for(SOON);
    assert_eq!(stage.given(thief), 1);
    let asked = steals(&stage, thief, busy).len();
    stage.make_ready(busy, MANY, 1, work);
    (stage, [busy, thief], asked)
}

#[test]
fn the_next_closures_are_asked_for_while_the_last_one_runs() {
    let (mut stage, [busy, thief], asked) = thief_at_its_last_closure(SMALL);
    stage.run_until("the next ones beside the last", |s| s.given(thief) > 1);
    let steals = steals(&stage, thief, busy);
    assert!(steals.len() > asked);
    assert!(steals[asked..].iter().all(|terms| !terms.idle));
}

#[test]
fn large_closures_are_asked_for_when_there_is_nothing_else_to_run() {
    let (mut stage, [busy, thief], asked) = thief_at_its_last_closure(LARGE);
    stage.run_for(SOON);
    assert_eq!(steals(&stage, thief, busy).len(), asked);
    assert_eq!(stage.given(thief), 1);
    stage.finish(thief, 1);
    stage.run_until("the next one", |s| s.given(thief) > 0);
    let steals = steals(&stage, thief, busy);
    assert!(steals.len() > asked);
    assert!(steals[asked..].iter().all(|terms| terms.idle));
}

const MANY: u32 = 100;
