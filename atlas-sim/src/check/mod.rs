//! What must always hold in a world of Atlas, looked at from outside.
//!
//! [`Checks`] observes a world through read-only accessors: the node that was touched after every event, all of
//! them now and then. [`run`] drives a scenario to its end and a little further, and stops at the first
//! violation. Nothing here is known to the machines that are checked.
//!
//! A world is checked in two phases: what must never happen is looked for from the start, under all faults; that
//! the job ends, and that nobody starves, is asked once the faults are over.

mod borders;
mod bounds;
mod hunger;
mod leases;
mod run;
mod shrink;
mod standbys;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::time::Time;
use serde::{Deserialize, Serialize};

use crate::atlas::{Atlas, AtlasPacket};
use crate::scenario::Scenario;
use crate::world::{Observer, Stage};
use borders::Borders;
use hunger::Hunger;
use leases::Leases;
pub use run::{Passed, run};
pub use shrink::shrink;
use standbys::Standbys;
use view::View;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Invariant {
    /// The job's result is that of a sequential run, and is delivered once.
    Result,
    /// Every closure is somewhere, and leases form a forest.
    Leases,
    /// Once the faults are over, the job ends within the scenario's steps.
    Progress,
    /// Once the faults are over, nobody starves beside surplus.
    Hunger,
    /// No client is named, and no alias leaves its domain.
    Anonymity,
    /// No closure is where it is refused.
    Inflow,
    /// State is proportional to children and jobs, and none is left after the job.
    State,
    /// Of a domain's two managers one acts at a time, with all that was told to be safe, and no child goes back to an earlier term.
    Standby,
    /// A machine stopped at an assertion of its own.
    Panic,
}

/// How a world went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What does not hold.
    pub invariant: Invariant,
    /// When that was seen.
    pub at: Time,
    /// Where, and how.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}: {}", self.invariant, self.at, self.detail)
    }
}

/// All checkers of one world.
#[derive(Debug)]
pub struct Checks {
    leases: Leases,
    borders: Borders,
    hunger: Hunger,
    standbys: Standbys,
    /// From then on nobody may starve.
    calm_at: Option<Time>,
    events: u64,
    /// The number of the event at which all nodes are looked at again.
    sweep_at: u64,
    /// When the hungry are looked for again, however little has happened.
    hunger_at: Time,
    violation: Option<Violation>,
}

impl Checks {
    /// Checkers of a world that is about to begin.
    #[must_use]
    pub fn new(scenario: &Scenario, nodes: &Atlas, stage: &Stage<AtlasPacket>) -> Self {
        Self {
            leases: Leases::default(),
            borders: Borders::new(scenario, nodes, &stage.topology),
            hunger: Hunger::default(),
            standbys: Standbys::new(&stage.topology),
            calm_at: scenario.heal_at.map(|at| Time::ZERO + at + CALM_AFTER),
            events: 0,
            sweep_at: 0,
            hunger_at: Time::ZERO,
            violation: None,
        }
    }

    /// The first thing that did not hold.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    fn look(&mut self, view: View<'_>, touched: Option<NodeId>) -> Result<(), (Invariant, String)> {
        let as_invariant = |invariant| move |detail| (invariant, detail);
        self.events += 1;
        if let Some(node) = touched {
            self.borders
                .check_inflow(view, node)
                .map_err(as_invariant(Invariant::Inflow))?;
            bounds::check_node(view, node).map_err(as_invariant(Invariant::State))?;
            if self.is_turn_of(view.held_at(node)) {
                self.leases
                    .check_node(view, node)
                    .map_err(as_invariant(Invariant::Leases))?;
            }
        }
        self.borders
            .check_secrecy(view)
            .map_err(as_invariant(Invariant::Anonymity))?;
        self.standbys
            .check(view, touched)
            .map_err(as_invariant(Invariant::Standby))?;
        check_result(view).map_err(as_invariant(Invariant::Result))?;
        let now = view.stage.now();
        let sweeps = self.events >= self.sweep_at;
        if sweeps {
            let held = view.all().map(|(node, _)| view.held_at(node));
            self.sweep_at = self.events + EVENTS_PER_SWEEP + held.sum::<u64>();
            Leases::sweep(view).map_err(as_invariant(Invariant::Leases))?;
        }
        let calm = self.calm_at.is_some_and(|at| at <= now);
        if calm && (sweeps || now >= self.hunger_at) {
            self.hunger_at = now + HUNGER_SWEEP;
            self.hunger
                .sweep(view)
                .map_err(as_invariant(Invariant::Hunger))?;
        }
        Ok(())
    }
}

impl Checks {
    /// A node that holds much is looked at more seldom, so that a look costs no more than the events between.
    fn is_turn_of(&self, held: u64) -> bool {
        self.events.is_multiple_of(1 + held / HELD_FEW)
    }
}

impl Observer<Atlas> for Checks {
    fn after_event(&mut self, touched: Option<NodeId>, nodes: &Atlas, stage: &Stage<AtlasPacket>) {
        if self.violation.is_some() {
            return;
        }
        if let Err((invariant, detail)) = self.look(View { nodes, stage }, touched) {
            let at = stage.now();
            self.violation = Some(Violation {
                invariant,
                at,
                detail,
            });
        }
    }
}

fn check_result(view: View<'_>) -> Result<(), String> {
    use crate::world::Nodes as _;
    let (Some(tree), Some(outcome)) = (view.stage.tree.as_ref(), view.nodes.outcome()) else {
        return Ok(());
    };
    let deliveries = view.nodes.deliveries();
    if deliveries != 1 {
        return Err(format!("the result was delivered {deliveries} times"));
    }
    let (expected, found) = (tree.sequential().result, outcome.value());
    if found == Some(expected) {
        Ok(())
    } else {
        Err(format!("the result is {found:?} in place of {expected}"))
    }
}

/// Sessions that faults have ended are made anew: a membership is given up after 8.5 s, and joining again is tried
/// every 8 s at least.
const CALM_AFTER: Duration = Duration::from_secs(30);
/// A look at a node that holds little costs no more than an event.
const HELD_FEW: u64 = 32;
/// Where nodes hold much and little happens, sweeps are tens of seconds apart: hunger would end and begin unseen.
const HUNGER_SWEEP: Duration = Duration::from_secs(1);
/// A look at everything costs as much as some ten events, and more with what nodes hold.
const EVENTS_PER_SWEEP: u64 = 32;
