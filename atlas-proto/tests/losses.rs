//! Stories of neighbours that fall silent: who is missed how soon, and who is not.
#[allow(
    dead_code,
    reason = "other stories use the rest of the stage, each test program has its own copy"
)]
mod stage;

use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::job::Outcome;
use atlas_proto::message::Message;
use atlas_proto::rng::Rng;
use stage::Stage;

const LONG: Duration = Duration::from_secs(1000);
const SECOND: Duration = Duration::from_secs(1);

/// A manager, the server that runs the root of a job, and one that has borrowed a closure of it and lends none.
struct Lent {
    stage: Stage,
    manager: NodeId,
    lender: NodeId,
    borrower: NodeId,
}

fn lent() -> Lent {
    let mut stage = Stage::new();
    let manager = stage.manager("example.edu", None);
    let (a, b) = (stage.server(manager, 1), stage.server(manager, 1));
    stage.submit(manager);
    stage.run_until("the root running", |s| s.given(a) + s.given(b) == 1);
    let (lender, borrower) = if stage.given(a) == 1 { (a, b) } else { (b, a) };
    stage.spawn(lender, 1, 1, LONG);
    stage.run_until("the closure lent", |s| s.given(borrower) == 1);
    Lent {
        stage,
        manager,
        lender,
        borrower,
    }
}

fn is_pace(message: &Message) -> bool {
    matches!(message, Message::KeepPace { .. })
}

#[test]
fn a_bound_server_that_dies_is_missed_soon() {
    for alive_ms in [0, 100, 1000, 60_250] {
        let mut lent = lent();
        lent.stage.run_for(Duration::from_millis(alive_ms));
        lent.stage.kill(lent.borrower);
        let died = lent.stage.now;
        let lender = lent.lender;
        lent.stage
            .run_until("the closure back", |s| s.ready(lender) == 1);
        let missed = lent.stage.now.since(died);
        assert!(missed < SECOND * 2, "{missed:?}, after {alive_ms} ms");
    }
}

#[test]
fn a_manager_that_dies_is_missed_soon_by_who_is_bound() {
    let mut lent = lent();
    lent.stage.run_for(SECOND * 30);
    lent.stage.kill(lent.manager);
    let died = lent.stage.now;
    for server in [lent.lender, lent.borrower] {
        lent.stage.run_until("the membership over", |s| {
            s.server_ref(server).epoch().is_none()
        });
    }
    let missed = lent.stage.now.since(died);
    assert!(missed <= SECOND * 3, "{missed:?}");
}

/// The manager has lent to a server that died before it could say that it is bound.
#[test]
fn who_dies_with_its_first_closure_is_missed_soon() {
    let mut stage = Stage::new();
    let manager = stage.manager("example.edu", None);
    let (a, b) = (stage.server(manager, 1), stage.server(manager, 1));
    stage.run_for(SECOND * 5);
    stage.lose(|_, _, message| matches!(message, Message::GrantClosures { .. }));
    stage.submit(manager);
    let first = stage.manager_ref(manager).ledger().entries().next();
    let first = first.map(|(_, entry)| entry.state);
    let (dead, alive) = match first {
        Some(atlas_proto::ledger::State::Lent { borrower, .. }) if borrower == a => (a, b),
        Some(_) | None => (b, a),
    };
    stage.kill(dead);
    stage.lose(|_, _, _| false);
    let died = stage.now;
    stage.run_until("the root running", |s| s.given(alive) == 1);
    let missed = stage.now.since(died);
    assert!(missed < SECOND * 2, "{missed:?}");
}

/// Quick is not hasty: a tenth of all packets is lost, for an hour.
#[test]
fn a_lossy_link_parts_nobody() {
    let mut lent = lent();
    let epoch = lent.stage.server_ref(lent.borrower).epoch();
    let mut rng = Rng::new(3);
    lent.stage.lose(move |_, _, _| rng.below(10) == 0);
    lent.stage.run_for(SECOND * 3600);
    assert_eq!(lent.stage.server_ref(lent.borrower).epoch(), epoch);
    assert_eq!(lent.stage.given(lent.borrower), 1);
}

/// A loaded machine: now and then one of the three processes gets no processor for a second.
#[test]
fn who_oversleeps_parts_nobody_and_is_not_parted_from() {
    let mut lent = lent();
    let epochs =
        |lent: &Lent| [lent.lender, lent.borrower].map(|node| lent.stage.server_ref(node).epoch());
    let before = epochs(&lent);
    let nodes = [lent.manager, lent.lender, lent.borrower];
    for (turn, &node) in (0..120).zip(nodes.iter().cycle()) {
        lent.stage
            .sleep(node, Duration::from_millis(600 + turn % 7 * 50));
        lent.stage
            .run_for(Duration::from_millis(2000 + turn % 11 * 90));
    }
    assert_eq!(epochs(&lent), before);
}

/// A manager that slept for long has heard nobody, and blames nobody.
#[test]
fn a_manager_that_wakes_up_takes_nobody_for_dead() {
    let mut lent = lent();
    lent.stage.run_for(SECOND * 10);
    // For less than the servers wait for it, and more than it would wait for them.
    lent.stage.sleep(lent.manager, SECOND * 19 / 10);
    lent.stage.run_for(SECOND * 30);
    assert_eq!(lent.stage.manager_ref(lent.manager).stats().peers_lost, 0);
    assert_eq!(lent.stage.given(lent.borrower), 1);
}

#[test]
fn nobody_keeps_the_pace_when_nothing_binds_any_more() {
    let mut lent = lent();
    lent.stage.run_for(SECOND * 10);
    let paces = |lent: &Lent| lent.stage.log.iter().filter(|(_, _, m)| is_pace(m)).count();
    let before = paces(&lent);
    assert!(
        (30..100).contains(&before),
        "{before} in ten seconds, of two servers"
    );
    lent.stage.finish(lent.borrower, 1);
    lent.stage.run_for(SECOND);
    lent.stage.finish(lent.lender, 1);
    lent.stage.run_for(SECOND * 5);
    lent.stage.log.clear();
    lent.stage.run_for(SECOND * 100);
    assert_eq!(paces(&lent), 0);
}

/// It has done what it had, and comes to say so when another has its work: the manager hears of it in a session that is over.
#[test]
fn results_of_a_server_that_was_given_up_are_dropped_and_counted() {
    let mut stage = Stage::new();
    let manager = stage.manager("example.edu", None);
    let (a, b) = (stage.server(manager, 1), stage.server(manager, 1));
    stage.submit(manager);
    stage.run_until("the root running", |s| s.given(a) + s.given(b) == 1);
    let (first, second) = if stage.given(a) == 1 { (a, b) } else { (b, a) };
    stage.run_for(SECOND);

    stage.lose(move |from, _, _| from == first);
    stage.finish(first, 1);
    stage.run_until("it is given up", |s| {
        s.manager_ref(manager).session(first).is_none()
    });
    let believes = stage.server_ref(first).epoch().is_some();
    assert!(believes, "it has not heard of that");
    // Anything else that it says would tell it so as well.
    stage.lose(move |from, _, message| {
        from == first && !matches!(message, Message::ReturnResults { .. })
    });
    stage.run_until("the result came", |s| {
        s.manager_ref(manager).stats().results_stale > 0
    });
    stage.lose(|_, _, _| false);
    stage.run_until("the root running again", |s| s.given(second) == 1);
    assert!(stage.finished.is_empty());
    stage.finish(second, 2);
    stage.run_for(SECOND * 5);
    let [(_, finished)] = &stage.finished[..] else {
        panic!("the job ends once: {:?}", stage.finished);
    };
    assert_eq!(finished.outcome, Outcome::Value([2].as_slice().into()));
    let stats = stage.manager_ref(manager).stats();
    assert_eq!((stats.results_stale, stats.results_late), (1, 0));
}
