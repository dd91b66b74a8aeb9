//! A world: nodes of one policy on a stage, from the start of a scenario to its end.
//!
//! ```text
//!   queue ─▶ World ─▶ Nodes (a policy: deliver, alarm, engine event)
//!     ▲                 │ send, command, arm
//!     └───── Stage ◀────┘
//! ```
//!
//! The world takes one event after the other out of the queue. Before anything happens to a server, its
//! engines are run up to the present, and its nodes hear what they tell; after it, they hear what came of it.

mod flights;
mod stage;
mod tally;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use atlas_proto::engine::EngineEvent;
use atlas_proto::ids::NodeId;
use atlas_proto::job::Finished;
use atlas_proto::time::Time;

pub use flights::{Flight, FlightId, Flights};
use stage::{AlarmOf, Happening};
pub use stage::{Parcel, Stage, job_spec};
pub use tally::{ManagerTraffic, Tally, Traffic};

use crate::atlas::Atlas;
use crate::baseline::{Central, Thieves};
use crate::queue::Next;
use crate::report::Report;
use crate::scenario::{Policy, Scenario};
use crate::topology::ServerIndex;
use crate::trace::Trace;
use crate::workload::result_of;

/// All nodes of a world, under one policy.
pub trait Nodes {
    /// What they say to each other.
    type Message: Parcel;

    /// The world begins.
    fn start(&mut self, stage: &mut Stage<Self::Message>);
    /// A message arrives.
    fn deliver(
        &mut self,
        stage: &mut Stage<Self::Message>,
        from: NodeId,
        to: NodeId,
        message: Self::Message,
    );
    /// The time has come that a node has set by [`Stage::arm`].
    fn alarm(&mut self, stage: &mut Stage<Self::Message>, node: NodeId);
    /// The engines of a server tell something.
    fn engine_event(
        &mut self,
        stage: &mut Stage<Self::Message>,
        server: ServerIndex,
        event: EngineEvent,
    );
    /// The time has come that was planned by [`Stage::plan`].
    fn planned(&mut self, _stage: &mut Stage<Self::Message>, _number: u32) {}
    /// All that comes of an event at a node has happened: the moment to [`Stage::arm`] its alarm.
    fn settled(&mut self, _stage: &mut Stage<Self::Message>, _node: NodeId) {}
    /// The world ends: the last moment to count something.
    fn end(&mut self, _stage: &mut Stage<Self::Message>) {}
    /// When the job was submitted, or will be.
    fn submitted(&self) -> Time {
        Time::ZERO
    }
    /// How the job ended; none before.
    fn outcome(&self) -> Option<&JobOutcome>;
    /// What the nodes themselves counted, by name.
    fn counts(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }
    /// The work that all servers could have done from the submission of the job until a time, at speed 1, of those that were there;
    /// none if all are there always.
    fn available(&self, _stage: &Stage<Self::Message>, _until: Time) -> Option<Duration> {
        None
    }
    /// Work done by other means than the engines of the stage, at speed 1.
    fn executed_elsewhere(&self) -> Duration {
        Duration::ZERO
    }
}

/// How the job of a world ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobOutcome {
    /// When its result was there.
    pub ended: Time,
    /// The result.
    pub finished: Finished,
}

/// Looks at a world after every event, to check what must always hold.
pub trait Observer<N: Nodes> {
    /// An event has just been handled, which happened to one node or to none.
    fn after_event(&mut self, touched: Option<NodeId>, nodes: &N, stage: &Stage<N::Message>);
}

/// Nodes on their stage.
#[derive(Debug)]
pub struct World<N: Nodes> {
    scenario: Scenario,
    nodes: N,
    stage: Stage<N::Message>,
    /// Events since the clock moved.
    standing: u64,
}

impl<N: Nodes> World<N> {
    /// A world at its start. `nodes` makes the nodes of a stage.
    pub fn new(
        scenario: &Scenario,
        trace: Option<Trace>,
        nodes: impl FnOnce(&Scenario, &Stage<N::Message>) -> N,
    ) -> Self {
        let stage = Stage::new(scenario, trace);
        let nodes = nodes(scenario, &stage);
        let mut world = Self {
            scenario: scenario.clone(),
            nodes,
            stage,
            standing: 0,
        };
        world.nodes.start(&mut world.stage);
        for server in world.stage.topology.servers() {
            let node = world.stage.topology.server(server);
            world.at_node(node, |_, _| {});
        }
        world
    }

    /// Runs to the end of the job, or to the horizon. `progress` is called now and then with the time.
    pub fn run(&mut self, progress: &mut dyn FnMut(Time)) -> Report {
        while self.goes_on() {
            self.step();
            if self.stage.tally.events.is_multiple_of(EVENTS_PER_PROGRESS) {
                progress(self.stage.now);
            }
        }
        self.end()
    }

    /// As [`World::run`], with an observer.
    pub fn run_observed(&mut self, observer: &mut dyn Observer<N>) -> Report {
        while self.goes_on() {
            let touched = self.step();
            observer.after_event(touched, &self.nodes, &self.stage);
        }
        self.end()
    }

    /// The job has not ended, something is still to happen before the horizon, and steps are left.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        let steps = self.stage.tally.events_after_heal().unwrap_or(0);
        let steps_left = self
            .scenario
            .steps_after_heal_max
            .is_none_or(|max| steps < max);
        steps_left && self.nodes.outcome().is_none() && !self.is_over()
    }

    /// Nothing happens any more before the horizon.
    fn is_over(&self) -> bool {
        let horizon = Time::ZERO + self.scenario.horizon;
        self.stage.queue.next_time().is_none_or(|at| at > horizon)
    }

    /// Handles the next event, and says which node it happened to.
    ///
    /// # Panics
    ///
    /// If time stands still: events follow one another, and none moves the clock.
    pub fn step(&mut self) -> Option<NodeId> {
        let (at, next) = self.stage.queue.pop()?;
        self.standing = if at > self.stage.now {
            0
        } else {
            self.standing + 1
        };
        assert!(self.standing < STANDING_MAX, "time stands still at {at}");
        self.stage.now = at;
        self.stage.tally.events += 1;
        match next {
            Next::Event(Happening::Gateway(flight)) => {
                self.stage.forward(flight);
                None
            }
            Next::Event(Happening::Arrival(flight)) => {
                let flight = self.stage.take(flight);
                let (from, to) = (flight.transit.from, flight.transit.to);
                self.at_node(to, |nodes, stage| {
                    nodes.deliver(stage, from, to, flight.message)
                });
                Some(to)
            }
            Next::Event(Happening::Planned(node, number)) => {
                self.at_node(node, |nodes, stage| nodes.planned(stage, number));
                Some(node)
            }
            Next::Event(Happening::Heal) => {
                self.stage.heal();
                None
            }
            Next::Alarm(alarm) => match self.stage.alarm_of(alarm) {
                AlarmOf::Node(node) => {
                    self.at_node(node, |nodes, stage| nodes.alarm(stage, node));
                    Some(node)
                }
                AlarmOf::Engine(server) => {
                    let node = self.stage.topology.server(server);
                    self.at_node(node, |_, _| {});
                    Some(node)
                }
            },
        }
    }

    /// Ends the trace, if there is one.
    ///
    /// # Errors
    ///
    /// The first one of writing it.
    pub fn end_trace(&mut self) -> io::Result<()> {
        self.stage
            .trace
            .take()
            .map_or(Ok(()), |trace| trace.end(self.stage.now))
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &N {
        &self.nodes
    }

    /// All but the nodes.
    #[must_use]
    pub fn stage(&self) -> &Stage<N::Message> {
        &self.stage
    }

    /// For tests that break a world on purpose.
    #[cfg(test)]
    pub(crate) fn parts_mut(&mut self) -> (&mut N, &mut Stage<N::Message>) {
        (&mut self.nodes, &mut self.stage)
    }

    /// Lets something happen to a node whose engines, if it has any, are at the present.
    fn at_node(&mut self, node: NodeId, happen: impl FnOnce(&mut N, &mut Stage<N::Message>)) {
        let server = self.stage.server_at(node);
        if let Some(server) = server {
            self.stage.advance(server);
            self.hear(server);
        }
        happen(&mut self.nodes, &mut self.stage);
        if let Some(server) = server {
            self.hear(server);
            self.stage.arm_engine(server);
        }
        self.nodes.settled(&mut self.stage, node);
    }

    fn hear(&mut self, server: ServerIndex) {
        while let Some(event) = self.stage.poll_engine(server) {
            self.nodes.engine_event(&mut self.stage, server, event);
        }
    }

    fn end(&mut self) -> Report {
        // The last event may be long before the horizon.
        if self.nodes.outcome().is_none() && self.is_over() {
            self.stage.now = Time::ZERO + self.scenario.horizon;
        }
        for server in self.stage.topology.servers() {
            self.stage.advance(server);
        }
        self.nodes.end(&mut self.stage);
        Report::new(&self.scenario, &self.nodes, &self.stage)
    }
}

/// Runs a scenario under its policy.
///
/// # Errors
///
/// Those of writing the trace.
pub fn simulate(
    scenario: &Scenario,
    trace: Option<Trace>,
    progress: &mut dyn FnMut(Time),
) -> io::Result<Report> {
    match scenario.policy {
        Policy::Atlas => run_to_end(World::new(scenario, trace, Atlas::new), progress),
        Policy::Random => run_to_end(World::new(scenario, trace, Thieves::random), progress),
        Policy::Crs => run_to_end(
            World::new(scenario, trace, Thieves::cluster_aware),
            progress,
        ),
        Policy::Central => run_to_end(World::new(scenario, trace, Central::new), progress),
    }
}

fn run_to_end<N: Nodes>(mut world: World<N>, progress: &mut dyn FnMut(Time)) -> io::Result<Report> {
    let report = world.run(progress);
    world.end_trace()?;
    Ok(report)
}

impl JobOutcome {
    /// The number that is the result of a tree; none if the job panicked.
    #[must_use]
    pub fn value(&self) -> Option<u64> {
        result_of(&self.finished.outcome)
    }
}

/// What the baselines count for addresses, checksums and the like, and what is added to a packet's own bytes.
pub const HEADER_BYTES: u64 = 32;
/// More events than any world has at one time.
const STANDING_MAX: u64 = 10_000_000;
/// Often enough to draw a moving line, and too seldom to be measured.
const EVENTS_PER_PROGRESS: u64 = 1 << 16;
