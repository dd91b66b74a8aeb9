//! One checked world, from its start until nothing of its job should be left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use atlas_proto::time::Time;

use super::view::View;
use super::{Checks, Invariant, Violation, bounds};
use crate::atlas::Atlas;
use crate::scenario::Scenario;
use crate::world::{Nodes as _, Observer as _, World};

/// What a world took in which all held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How many events.
    pub events: u64,
    /// How long, in its own time.
    pub virtual_time: Duration,
}

/// Runs a scenario of Atlas with all checkers.
///
/// # Errors
///
/// The first thing that did not hold.
pub fn run(scenario: &Scenario) -> Result<Passed, Violation> {
    let run = || run_to_end(&mut World::new(scenario, None, Atlas::new), scenario);
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Violation {
            invariant: Invariant::Panic,
            at: Time::ZERO,
            detail: String::from(text.unwrap_or("a panic without words")),
        })
    })
}

/// Runs a world that may have been tampered with.
pub(super) fn run_to_end(
    world: &mut World<Atlas>,
    scenario: &Scenario,
) -> Result<Passed, Violation> {
    let mut checks = Checks::new(scenario, world.nodes(), world.stage());
    while world.goes_on() {
        step(world, &mut checks)?;
    }
    let fail = |world: &World<Atlas>, invariant, detail| Violation {
        invariant,
        at: world.stage().now(),
        detail,
    };
    if scenario.workload.is_some() && world.nodes().outcome().is_none() {
        let detail = String::from("the job does not end");
        return Err(fail(world, Invariant::Progress, detail));
    }
    let faults_end = Time::ZERO + scenario.heal_at.unwrap_or_default();
    let end = world.stage().now().max(faults_end) + AFTERMATH;
    while world.stage().now() < end {
        step(world, &mut checks)?;
    }
    let view = View {
        nodes: world.nodes(),
        stage: world.stage(),
    };
    bounds::check_nothing_left(view).map_err(|detail| fail(world, Invariant::State, detail))?;
    Ok(Passed {
        events: world.stage().tally.events,
        virtual_time: world.stage().now().since(Time::ZERO),
    })
}

fn step(world: &mut World<Atlas>, checks: &mut Checks) -> Result<(), Violation> {
    let touched = world.step();
    checks.after_event(touched, world.nodes(), world.stage());
    checks
        .violation()
        .map_or(Ok(()), |violation| Err(violation.clone()))
}

/// The end of a job reaches everybody in this time: sessions that were cut are given up, or heal, before.
const AFTERMATH: Duration = Duration::from_secs(60);
