//! The protocol told as stories: each is a claim about what happens between managers and servers, and reads as
//! a part of the specification.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "also outside of the test functions themselves, a failure here is the test's; a story looks for one message"
)]

#[allow(
    dead_code,
    reason = "other stories use the rest of the stage, each test program has its own copy"
)]
mod stage;

use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::job::{Outcome, SharedName};
use atlas_proto::message::{EndStealReason, Message, RefuseChildReason, ReturnReason};
use atlas_proto::policy::Policy;

use stage::{Stage, patterns};

const LONG: Duration = Duration::from_secs(1000);
const SOON: Duration = Duration::from_secs(1);

fn is_request(message: &Message) -> bool {
    matches!(message, Message::RequestSteal { .. })
}

fn is_grant(message: &Message) -> bool {
    matches!(message, Message::GrantClosures { .. })
}

fn is_end(message: &Message) -> bool {
    matches!(message, Message::EndSteal { .. })
}

fn is_result(message: &Message) -> bool {
    matches!(message, Message::ReturnResults { .. })
}

fn is_abort(message: &Message) -> bool {
    matches!(message, Message::AbortLeases { .. })
}

/// One domain with two servers of one worker; the first runs the root of a job.
fn two_servers() -> (Stage, NodeId, NodeId, NodeId) {
    let mut stage = Stage::new();
    let manager = stage.manager("example.edu", None);
    let first = stage.server(manager, 1);
    let second = stage.server(manager, 1);
    let (busy, idle) = submit(&mut stage, manager, first, second);
    (stage, manager, busy, idle)
}

/// A job comes to a domain of two servers: first the one that runs its root, then the other.
fn submit(stage: &mut Stage, manager: NodeId, a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    stage.submit(manager);
    stage.run_until("the root running", |s| s.given(a) + s.given(b) == 1);
    if stage.given(a) == 1 { (a, b) } else { (b, a) }
}

/// The borrower is done with its closure, and the lender's engine gets this result and no other.
fn finish_for(stage: &mut Stage, borrower: NodeId, lender: NodeId, value: u8) {
    stage.finish(borrower, value);
    stage.run_until("the result at the lender", |s| {
        !s.results(lender).is_empty()
    });
    assert_eq!(stage.results(lender), [value]);
}

/// `cs` with one server that runs the root, and its cousin `bio` with one idle server.
struct Cousins {
    stage: Stage,
    top: NodeId,
    cs: NodeId,
    bio: NodeId,
    busy: NodeId,
    idle: NodeId,
}

fn cousins(cs: Policy, bio: Policy) -> Cousins {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager_with("cs.example.edu", Some(top), cs);
    let bio = stage.manager_with("bio.example.edu", Some(top), bio);
    let busy = stage.server(cs, 1);
    stage.submit(cs);
    stage.run_until("the root running", |s| s.given(busy) == 1);
    let idle = stage.server(bio, 1);
    stage.run_for(SOON);
    Cousins {
        stage,
        top,
        cs,
        bio,
        busy,
        idle,
    }
}

fn open() -> Policy {
    Policy::default()
}

/// A hungry server asks nobody until there is something to be had; then its manager tells it where, and it
/// steals directly.
#[test]
fn a_hungry_server_is_told_of_its_sibling_and_steals_directly() {
    let (mut stage, manager, busy, idle) = two_servers();
    stage.run_for(SOON);
    assert_eq!(stage.count(idle, busy, is_request), 0);
    stage.spawn(busy, 3, 1, LONG);
    stage.run_until("the idle one working", |s| s.given(idle) > 0);
    assert_eq!(
        stage.count(manager, idle, |m| matches!(m, Message::HintPeers { .. })),
        1
    );
    assert_eq!(stage.count(idle, busy, is_request), 1);
    assert_eq!(
        stage.count(manager, busy, is_request),
        0,
        "the manager is not in between"
    );
    finish_for(&mut stage, idle, busy, 42);
}

#[test]
fn a_job_ends_with_the_result_of_its_root() {
    let (mut stage, _, busy, idle) = two_servers();
    stage.finish(busy, 9);
    stage.run_until("the job's end", |s| !s.finished.is_empty());
    let bytes = stage.finished[0].1.outcome.bytes().unwrap().clone();
    assert_eq!(bytes[..], [9]);
    stage.run_for(SOON);
    for server in [busy, idle] {
        assert!(stage.server_ref(server).ledger().is_empty());
        assert_eq!(stage.given(server), 0);
    }
}

/// Each knows the other as rich when both run out at once: their requests cross, both are refused, and neither
/// waits for ever.
#[test]
fn a_thiefs_steal_crosses_its_victims() {
    let mut stage = Stage::new();
    let manager = stage.manager("example.edu", None);
    let (a, b) = (stage.server(manager, 2), stage.server(manager, 2));
    let (first, second) = submit(&mut stage, manager, a, b);
    stage.spawn(first, 8, 1, LONG);
    stage.run_until("the second working", |s| s.given(second) > 0);
    stage.spawn(second, 8, 2, LONG);
    stage.run_for(SOON);
    stage.run_dry(first);
    stage.run_until("the first having work again", |s| {
        s.ready(first) + s.given(first) > 1
    });
    stage.run_for(SOON);
    stage.log.clear();
    stage.run_dry(first);
    stage.run_dry(second);
    stage.run_for(SOON);
    assert_eq!(stage.count(first, second, is_request), 1);
    assert_eq!(stage.count(second, first, is_request), 1);
    assert_eq!(stage.count(first, second, is_end), 1);
    assert_eq!(stage.count(second, first, is_end), 1);
    stage.spawn(first, 8, 1, LONG);
    stage.run_until("the second working again", |s| s.given(second) > 0);
}

#[test]
fn surplus_that_appears_after_everybody_slept_wakes_the_hungry() {
    let (mut stage, _, busy, idle) = two_servers();
    stage.run_for(Duration::from_secs(600));
    let chatter = stage.log.iter().filter(|(_, _, m)| !is_upkeep(m)).count();
    stage.run_for(Duration::from_secs(600));
    let after = stage.log.iter().filter(|(_, _, m)| !is_upkeep(m)).count();
    assert_eq!(chatter, after, "nothing is said while nothing happens");
    stage.spawn(busy, 2, 1, LONG);
    let awake = stage.now + Duration::from_millis(50);
    stage.run_until("the sleeper working", |s| s.given(idle) == 1);
    assert!(stage.now < awake);
}

fn is_upkeep(message: &Message) -> bool {
    matches!(
        message,
        Message::KeepAlive | Message::KeepPace { .. } | Message::ReportLoad(_)
    )
}

#[test]
fn a_hungry_domain_is_fed_by_its_cousin() {
    let Cousins {
        mut stage,
        top,
        cs,
        bio,
        busy,
        idle,
    } = cousins(open(), open());
    stage.spawn(busy, 4, 1, LONG);
    stage.run_until("the cousin working", |s| s.given(idle) >= 1);
    assert_eq!(stage.count(top, cs, is_request), 1);
    assert_eq!(stage.count(cs, busy, is_request), 1);
    for (from, to) in [(busy, cs), (cs, top), (top, bio), (bio, idle)] {
        assert_eq!(stage.count(from, to, is_grant), 1, "{from} lends to {to}");
    }
    finish_for(&mut stage, idle, busy, 42);
    for (from, to) in [(idle, bio), (bio, top), (top, cs), (cs, busy)] {
        assert_eq!(
            stage.count(from, to, is_result),
            1,
            "{from} returns to {to}"
        );
    }
}

/// At each boundary a job goes by another name.
#[test]
fn a_borrower_sees_its_manager_alone() {
    let Cousins {
        mut stage,
        top,
        cs,
        bio,
        busy,
        idle,
    } = cousins(open(), open());
    stage.spawn(busy, 4, 1, LONG);
    stage.run_until("the cousin working", |s| s.given(idle) >= 1);
    let alias = |from: NodeId, to: NodeId| {
        let mut on_link = stage.log.iter().filter(|(f, t, _)| (*f, *t) == (from, to));
        on_link.find_map(|(_, _, m)| match m {
            Message::GrantClosures { job, .. } => Some(job.alias),
            _ => None,
        })
    };
    let inside = alias(busy, cs).unwrap();
    let up = alias(cs, top).unwrap();
    let down = alias(top, bio).unwrap();
    let there = alias(bio, idle).unwrap();
    assert!(
        inside != up && up != down && down != there,
        "{inside} {up} {down} {there}"
    );
    assert!(
        stage
            .log
            .iter()
            .all(|(from, to, _)| *to != idle || *from == bio)
    );
}

/// Small closures stay: a move that costs half as much as the work is no help.
#[test]
fn what_does_not_repay_the_way_stays_in_its_domain() {
    let Cousins {
        mut stage,
        top,
        cs,
        busy,
        idle,
        ..
    } = cousins(open(), open());
    stage.spawn(busy, 4, 1, Duration::from_millis(10));
    stage.run_for(SOON * 10);
    assert_eq!(stage.given(idle), 0);
    assert_eq!(stage.count(top, cs, is_request), 0);
}

#[test]
fn a_domain_gets_no_work_that_its_inflow_refuses() {
    let bio = Policy::new(patterns(&["physics.example.edu"]), patterns(&["*"])).unwrap();
    let Cousins {
        mut stage,
        top,
        cs,
        bio,
        busy,
        idle,
    } = cousins(open(), bio);
    stage.spawn(busy, 4, 1, LONG);
    stage.run_for(SOON * 10);
    assert_eq!(stage.given(idle), 0);
    assert_eq!(
        stage.count(top, bio, is_grant),
        0,
        "refused work does not move"
    );
    let refused = |m: &Message| {
        matches!(
            m,
            Message::EndSteal {
                reason: EndStealReason::Policy,
                ..
            }
        )
    };
    assert_eq!(stage.count(cs, top, refused), 1, "and nobody asks twice");
}

#[test]
fn a_domains_work_stays_where_its_outflow_keeps_it() {
    let cs = Policy::new(patterns(&["*"]), patterns(&["physics.example.edu"])).unwrap();
    let Cousins {
        mut stage,
        busy,
        idle,
        cs,
        ..
    } = cousins(cs, open());
    stage.spawn(busy, 4, 1, LONG);
    stage.run_for(SOON * 10);
    assert_eq!(stage.given(idle), 0);
    assert_eq!(stage.count(cs, busy, is_request), 0);
}

/// Losing any first copy of a message only delays.
/// A root that no server of its own domain can take would wait for ever; nothing is known of its work.
#[test]
fn a_domain_without_servers_has_its_jobs_done_by_its_cousin() {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager("cs.example.edu", Some(top));
    let bio = stage.manager("bio.example.edu", Some(top));
    let idle = stage.server(bio, 1);
    stage.run_for(SOON);
    let job = stage.submit(cs);
    stage.run_until("the cousin running the root", |s| s.given(idle) == 1);
    for (from, to) in [(cs, top), (top, bio), (bio, idle)] {
        assert_eq!(stage.count(from, to, is_grant), 1, "{from} lends to {to}");
    }
    stage.finish(idle, 7);
    stage.run_until("the job's end", |s| !s.finished.is_empty());
    let (ended, finished) = &stage.finished[0];
    assert_eq!(
        (*ended, &finished.outcome),
        (job, &Outcome::Value(vec![7].into()))
    );
}

/// The machines carry its name, whoever is between, and nothing else of it.
#[test]
fn a_large_result_goes_by_its_name_over_all_borders() {
    let Cousins {
        mut stage,
        top,
        cs,
        bio,
        busy,
        idle,
    } = cousins(open(), open());
    stage.spawn(busy, 4, 1, LONG);
    stage.run_until("the cousin working", |s| s.given(idle) > 0);
    let blob = Outcome::Blob {
        name: SharedName([7; 32]),
        bytes: 1 << 30,
    };
    stage.finish_with(idle, blob.clone());
    stage.run_until("the result at the lender", |s| !s.outcomes(busy).is_empty());
    assert_eq!(stage.outcomes(busy), [blob]);
    for (from, to) in [(idle, bio), (bio, top), (top, cs), (cs, busy)] {
        assert_eq!(stage.count(from, to, is_result), 1, "{from} to {to}");
    }
}

#[test]
fn a_root_that_waits_is_found_by_who_becomes_hungry_later_and_further_away() {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager("cs.example.edu", Some(top));
    let lab = stage.manager("lab.cs.example.edu", Some(cs));
    let bio = stage.manager("bio.example.edu", Some(top));
    stage.submit(lab);
    stage.run_for(LONG);
    let idle = stage.server(bio, 1);
    stage.run_until("the late one running the root", |s| s.given(idle) == 1);
}

#[test]
fn a_root_goes_down_to_a_sub_domain_that_has_the_servers() {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager("cs.example.edu", Some(top));
    let lab = stage.manager("lab.cs.example.edu", Some(cs));
    stage.submit(cs);
    stage.run_for(SOON);
    let below = stage.server(lab, 1);
    stage.run_until("the sub-domain running the root", |s| s.given(below) == 1);
}

#[test]
fn a_root_stays_in_a_domain_whose_outflow_keeps_it() {
    let kept = Policy::new(patterns(&["*"]), Vec::new()).unwrap();
    let elsewhere = Policy::new(patterns(&["*"]), patterns(&["chem.example.edu"])).unwrap();
    for outflow in [kept, elsewhere] {
        let mut stage = Stage::new();
        let top = stage.manager("example.edu", None);
        let cs = stage.manager_with("cs.example.edu", Some(top), outflow);
        let bio = stage.manager("bio.example.edu", Some(top));
        let idle = stage.server(bio, 1);
        stage.submit(cs);
        stage.run_for(LONG);
        assert_eq!(stage.given(idle), 0);
        assert_eq!(stage.count(cs, top, is_grant), 0);
        let own = stage.server(cs, 1);
        stage.run_until("its own server running the root", |s| s.given(own) == 1);
    }
}

#[test]
fn a_root_does_not_go_where_the_inflow_refuses_it() {
    let closed = Policy::new(Vec::new(), patterns(&["*"])).unwrap();
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager("cs.example.edu", Some(top));
    let bio = stage.manager_with("bio.example.edu", Some(top), closed);
    let refusing = stage.server(bio, 1);
    stage.submit(cs);
    stage.run_for(LONG);
    assert_eq!(stage.given(refusing), 0);
    assert_eq!(stage.count(cs, top, is_grant), 0);
    let chem = stage.manager("chem.example.edu", Some(top));
    let willing = stage.server(chem, 1);
    stage.run_until("the willing one running the root", |s| {
        s.given(willing) == 1
    });
}

#[test]
fn a_lost_grant_is_sent_again() {
    let (mut stage, _, busy, idle) = two_servers();
    let mut lost = 0;
    stage.lose(move |_, _, m| {
        lost += usize::from(is_grant(m));
        is_grant(m) && lost == 1
    });
    stage.spawn(busy, 2, 1, LONG);
    stage.run_until("the idle one working", |s| s.given(idle) == 1);
    assert_eq!(stage.count(busy, idle, is_grant), 1);
    assert_eq!(stage.given(idle), 1);
}

#[test]
fn a_lost_result_is_sent_again() {
    let (mut stage, _, busy, idle) = two_servers();
    stage.spawn(busy, 2, 1, LONG);
    stage.run_until("the idle one working", |s| s.given(idle) == 1);
    let mut lost = 0;
    stage.lose(move |_, _, m| {
        lost += usize::from(is_result(m));
        is_result(m) && lost == 1
    });
    finish_for(&mut stage, idle, busy, 42);
}

#[test]
fn a_grant_and_a_result_that_arrive_twice_count_once() {
    let (mut stage, _, busy, idle) = two_servers();
    stage.double(|_, _, m| is_grant(m) || is_result(m));
    stage.spawn(busy, 1, 1, LONG);
    stage.run_until("the idle one working", |s| s.given(idle) == 1);
    stage.run_for(SOON);
    assert_eq!(stage.count(busy, idle, is_grant), 2, "two copies arrive");
    assert_eq!(stage.given(idle), 1, "one closure is run");
    stage.finish(idle, 42);
    stage.run_for(SOON);
    assert_eq!(stage.count(idle, busy, is_result), 2);
    assert_eq!(stage.results(busy), [42]);
    // What comes twice is no late result: its packet is dropped before it is looked at.
    for node in [busy, idle] {
        let stats = stage.server_ref(node).stats();
        assert_eq!((stats.packets_doubled, stats.results_late), (1, 0));
    }
}

#[test]
fn thief_loss_requeues_the_subcomputation() {
    let (mut stage, manager, busy, idle) = two_servers();
    stage.spawn(busy, 1, 1, LONG);
    stage.run_until("the idle one working", |s| s.given(idle) == 1);
    assert_eq!(stage.ready(busy), 0);
    stage.kill(idle);
    stage.run_until("the closure back", |s| s.ready(busy) == 1);
    assert_eq!(
        stage.count(manager, busy, |m| matches!(m, Message::ForgetPeer { .. })),
        1
    );
    assert_eq!(stage.manager_ref(manager).children().count(), 1);
}

/// The manager keeps what crosses it: it gives a lost borrower's closures to another without asking the lender.
#[test]
fn a_domain_that_is_lost_is_replaced_by_another() {
    let Cousins {
        mut stage,
        top,
        bio,
        busy,
        idle,
        ..
    } = cousins(open(), open());
    stage.spawn(busy, 1, 1, LONG);
    stage.run_until("the cousin working", |s| s.given(idle) >= 1);
    let physics = stage.manager("physics.example.edu", Some(top));
    let heir = stage.server(physics, 1);
    stage.run_for(SOON);
    stage.kill(bio);
    stage.kill(idle);
    stage.run_until("the heir working", |s| s.given(heir) == 1);
    finish_for(&mut stage, heir, busy, 7);
}

/// A middle server has borrowed one closure and lent on half of what came of it. It leaves: what it borrowed is
/// ready again at its lender, and what it lent on is stopped.
#[test]
fn a_server_leaves_with_half_its_work_lent_on() {
    let mut stage = Stage::new();
    let manager = stage.manager("example.edu", None);
    let (a, b) = (stage.server(manager, 1), stage.server(manager, 1));
    let (root, middle) = submit(&mut stage, manager, a, b);
    stage.spawn(root, 1, 1, LONG);
    stage.run_until("the middle working", |s| s.given(middle) == 1);
    let last = stage.server(manager, 1);
    stage.spawn(middle, 2, 2, LONG);
    stage.run_until("the last working", |s| s.given(last) == 1);
    stage.with_server(middle, |server, now| server.leave(now));
    stage.run_until("the closure back", |s| {
        s.ready(root) == 1 || s.given(last) == 1 && s.count(middle, last, is_abort) == 1
    });
    stage.run_for(SOON);
    assert!(stage.server_ref(middle).has_left());
    assert_eq!(stage.count(middle, last, is_abort), 1);
    let retreat = |m: &Message| {
        matches!(
            m,
            Message::ReturnClosures {
                reason: ReturnReason::Retreat,
                ..
            }
        )
    };
    assert_eq!(stage.count(middle, root, retreat), 1);
    assert_eq!(stage.manager_ref(manager).children().count(), 2);
    // The last one, idle again, has taken the closure anew.
    assert_eq!((stage.ready(root), stage.given(last)), (0, 1));
    finish_for(&mut stage, last, root, 5);
}

#[test]
fn a_retreated_server_takes_nothing_until_its_owner_is_gone() {
    let (mut stage, _, busy, idle) = two_servers();
    stage.with_server(idle, |server, now| server.retreat(now));
    stage.run_for(SOON);
    stage.spawn(busy, 4, 1, LONG);
    stage.run_for(SOON * 30);
    assert_eq!(stage.given(idle), 0);
    stage.with_server(idle, |server, now| server.resume(now));
    stage.run_until("it working again", |s| s.given(idle) > 0);
}

/// A server that was silent for too long and is alive after all learns that it must join anew, and what it did
/// meanwhile is not counted.
#[test]
fn a_server_given_up_too_early_joins_anew() {
    let (mut stage, manager, busy, idle) = two_servers();
    stage.spawn(busy, 1, 1, LONG);
    stage.run_until("the idle one working", |s| s.given(idle) == 1);
    let epoch = stage.server_ref(idle).epoch();
    stage.lose(move |from, to, _| from == idle || to == idle);
    stage.run_until("the closure back", |s| s.ready(busy) == 1);
    stage.lose(|_, _, _| false);
    stage.run_until("it working again", |s| {
        s.given(idle) == 1 && s.server_ref(idle).epoch() > epoch
    });
    assert_eq!(stage.manager_ref(manager).children().count(), 2);
    finish_for(&mut stage, idle, busy, 3);
}

#[test]
fn an_idle_world_says_one_thing_a_second_and_server() {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let cs = stage.manager("cs.example.edu", Some(top));
    let servers: Vec<NodeId> = (0..5).map(|_| stage.server(cs, 4)).collect();
    stage.run_for(SOON * 10);
    stage.log.clear();
    let seconds = 100;
    stage.run_for(SOON * seconds);
    let per_server = stage.log.len() as f64 / servers.len() as f64 / f64::from(seconds);
    assert!(stage.log.iter().all(|(_, _, m)| is_upkeep(m)));
    // One for each server, and one for the link between the managers.
    assert!(
        per_server <= 1.0 + 1.0 / servers.len() as f64,
        "{per_server}"
    );
}

#[test]
fn a_domain_that_is_not_below_its_parents_is_refused() {
    let mut stage = Stage::new();
    let top = stage.manager("example.edu", None);
    let other = stage.manager("other.org", Some(top));
    stage.run_for(SOON * 20);
    let refused = |m: &Message| {
        matches!(
            m,
            Message::RefuseChild {
                reason: RefuseChildReason::NotBelow,
                ..
            }
        )
    };
    let count = stage.count(top, other, refused);
    assert!((2..=4).contains(&count), "asked again, but seldom: {count}");
    assert_eq!(stage.manager_ref(top).children().count(), 0);
}

/// Tasks that leave one after the other do not wait for their turn to be told of.
#[test]
fn regression_tasks_that_leave_in_a_row_do_not_wait() {
    let (mut stage, _, busy, idle) = two_servers();
    for round in 0..20_u8 {
        let begun = stage.now;
        stage.spawn(busy, 1, 1, Duration::from_millis(5));
        stage.run_until("the idle one working", |s| s.given(idle) > 0);
        let waited = stage.now.since(begun);
        assert!(
            round == 0 || waited < Duration::from_millis(1),
            "{waited:?}"
        );
        stage.run_for(Duration::from_millis(5));
        stage.finish(idle, round);
        stage.run_until("the result", |s| s.results(busy).len() > usize::from(round));
    }
}

/// A server whose engine has nothing left is idle before the engine says so: it is not refused as one that asks ahead of
/// need.
#[test]
fn regression_a_server_that_has_run_dry_is_idle_before_its_engine_says_so() {
    let (mut stage, _, busy, idle) = two_servers();
    for round in 0..3_u8 {
        let refused = stage.count(busy, idle, is_end);
        stage.spawn(busy, 1, 1, Duration::from_millis(5));
        stage.run_until("the idle one working", |s| s.given(idle) > 0);
        assert_eq!(stage.count(busy, idle, is_end), refused);
        stage.run_for(Duration::from_millis(5));
        stage.finish_untold(idle, round);
        stage.run_until("the result", |s| s.results(busy).len() > usize::from(round));
    }
}
