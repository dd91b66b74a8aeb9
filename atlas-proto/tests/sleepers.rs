//! Stories of tasks of which nothing is seen while they run: they sleep, or compute without a join.

#[allow(
    dead_code,
    reason = "other stories use the rest of the stage, each test program has its own copy"
)]
mod stage;

use std::time::Duration;

use stage::Stage;

const SECOND: Duration = Duration::from_secs(1);

/// Two closures of a parent that has done a tenth of a millisecond's work and sleeps: its own worker sleeps in the first, and the
/// second waits. What was measured of the parent was taken for all that there is, so that nobody was given the second.
#[test]
fn regression_second_closure_of_a_sleeping_parent_is_lent() {
    let (mut stage, [busy, hungry]) = Stage::with_root_running();
    stage.measure(busy, 0, Duration::from_micros(100), 0);
    stage.make_ready(busy, 1, 1, Duration::ZERO);
    let began = stage.now;
    stage.run_until("the hungry one working", |s| s.given(hungry) == 1);
    let waited = stage.now.since(began);
    assert!(waited < SECOND * 4, "{waited:?}");
    stage.finish(hungry, 7);
    stage.run_until("its result", |s| s.results(busy) == [7]);
    assert_eq!(stage.given(busy), 1, "the parent sleeps on");
}
