//! Stories of closures that kill the engines that run them.
#[allow(
    dead_code,
    reason = "other stories use the rest of the stage, each test program has its own copy"
)]
mod stage;

use std::time::Duration;

use atlas_engine::Failure;
use atlas_proto::ids::NodeId;
use atlas_proto::job::Outcome;
use stage::Stage;

const LONG: Duration = Duration::from_secs(1000);

fn two_servers() -> (Stage, NodeId, NodeId) {
    let mut stage = Stage::new();
    let manager = stage.manager("example.edu", None);
    let (a, b) = (stage.server(manager, 1), stage.server(manager, 1));
    stage.submit(manager);
    stage.run_until("the root running", |s| s.given(a) + s.given(b) == 1);
    if stage.given(a) == 1 {
        (stage, a, b)
    } else {
        (stage, b, a)
    }
}

/// Processes take longer to start than messages to arrive.
fn crash(stage: &mut Stage, node: NodeId) {
    stage.run_for(Duration::from_millis(5));
    stage.crash(node);
}

fn message(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Panic(bytes) => match Failure::from_bytes(bytes) {
            Failure::Panicked { message, .. } => message,
            other => panic!("{other:?}"),
        },
        Outcome::Value(_) | Outcome::Blob { .. } => panic!("{outcome:?}"),
    }
}

/// How the only job ended.
fn end_of_job(stage: &mut Stage) -> String {
    stage.run_until("the job's end", |s| !s.finished.is_empty());
    message(&stage.finished[0].1.outcome)
}

/// Whatever happens between: it may be run by its lender, or by a thief again.
#[test]
fn a_closure_that_kills_three_engines_fails() {
    let (mut stage, lender, borrower) = two_servers();
    for _ in 0..3 {
        if stage.ready(lender) == 0 {
            assert!(stage.outcomes(lender).is_empty());
            stage.spawn(lender, 1, 1, LONG);
        }
        stage.run_until("the closure lent", |s| s.given(borrower) == 1);
        crash(&mut stage, borrower);
        stage.run_until("the closure back", |s| {
            s.ready(lender) + s.given(borrower) + s.outcomes(lender).len() == 1
        });
    }
    let outcomes = stage.outcomes(lender);
    let said = message(&outcomes[0]);
    let expected =
        "task 1 with 9 bytes of arguments, or what it calls, has ended 3 processes: it was killed";
    assert_eq!(said, expected);
    assert_eq!(stage.given(lender), 1, "the root runs on");
}

#[test]
fn a_job_that_kills_its_engine_each_time_fails_after_three_on_two_servers() {
    let (mut stage, first, second) = two_servers();
    let mut ran_at = Vec::new();
    for _ in 0..3 {
        stage.run_until("the root running", |s| {
            s.given(first) + s.given(second) == 1
        });
        let at = if stage.given(first) == 1 {
            first
        } else {
            second
        };
        ran_at.push(at);
        crash(&mut stage, at);
    }
    assert!(
        ran_at[0] != ran_at[1],
        "the second chance is another server's"
    );
    let said = end_of_job(&mut stage);
    assert!(
        said.contains("has ended 3 processes: it was killed"),
        "{said}"
    );
}

/// It dies apart, then with its parent, then apart again: no closure was in three engines that died, but what kills them is found,
/// and named.
#[test]
fn a_descendant_that_kills_engines_is_found_wherever_it_runs() {
    let (mut stage, first, second) = two_servers();
    stage.spawn(first, 1, 7, LONG);
    stage.run_until("the closure lent", |s| s.given(second) == 1);
    stage.lose(move |from, _, m| {
        // Nobody steals it again before its parent has run it.
        from == second && matches!(m, atlas_proto::message::Message::RequestSteal { .. })
    });
    crash(&mut stage, second);
    stage.run_until("the closure back", |s| s.ready(first) == 1);
    crash(&mut stage, first);
    stage.lose(|_, _, _| false);
    stage.run_until("the root running", |s| {
        s.given(first) + s.given(second) == 1
    });
    let (root, other) = if stage.given(first) == 1 {
        (first, second)
    } else {
        (second, first)
    };
    stage.spawn(root, 1, 7, LONG);
    stage.run_until("the closure lent", |s| s.given(other) == 1);
    crash(&mut stage, other);
    stage.run_until("the failure", |s| !s.outcomes(root).is_empty());
    let said = message(&stage.outcomes(root)[0]);
    assert!(said.contains("has ended 3 processes"), "{said}");
}

/// Deaths that are far apart are the machines' fault.
#[test]
fn who_finishes_is_cleared_and_old_deaths_do_not_spread() {
    let (mut stage, lender, borrower) = two_servers();
    for value in 0..4 {
        stage.spawn(lender, 1, 1, LONG);
        stage.run_until("the closure lent", |s| s.given(borrower) == 1);
        crash(&mut stage, borrower);
        stage.run_until("the closure lent again", |s| s.given(borrower) == 1);
        stage.run_for(Duration::from_secs(100));
        stage.finish(borrower, value);
        stage.run_until("the result", |s| {
            s.results(lender).len() > usize::from(value)
        });
    }
    assert_eq!(stage.results(lender), [0, 1, 2, 3]);
}
