//! What every policy's nodes stand on: the clock, the links, the engines, the counts.
//!
//! Nodes act only through [`Stage::send`], [`Stage::command`] and [`Stage::arm`]; what comes of it reaches them
//! later, as calls from the world. An engine is advanced before anything else happens to its server, so nodes
//! find it at the present time.

use std::sync::Arc;
use std::time::Duration;

use atlas_proto::domain::Domain;
use atlas_proto::engine::{EngineCommand, EngineEvent};
use atlas_proto::ids::{GlobalJobId, NodeId};
use atlas_proto::job::JobSpec;
use atlas_proto::path::Path;
use atlas_proto::time::Time;
use bytes::Bytes;

use super::flights::{Flight, FlightId, Flights};
use super::tally::Tally;
use crate::engine::{Trees, VirtualEngine};
use crate::network::{Hop, Network, Transit};
use crate::queue::Queue;
use crate::scenario::Scenario;
use crate::topology::{Role, ServerIndex, Topology};
use crate::trace::Trace;
use crate::workload::Tree;

/// What nodes say to each other.
pub trait Parcel: Clone {
    /// All of it on the wire, headers included.
    fn bytes(&self) -> u64;
    /// The name that it is counted under.
    fn kind(&self) -> &'static str;
}

/// The world without its nodes.
#[derive(Debug)]
pub struct Stage<M> {
    /// Who is where.
    pub topology: Arc<Topology>,
    /// What is counted.
    pub tally: Tally,
    /// The job's tree, if there is a job.
    pub tree: Option<Arc<Tree>>,
    pub(super) trace: Option<Trace>,
    pub(super) queue: Queue<Happening>,
    pub(super) now: Time,
    flights: Flights<M>,
    /// Of the last message.
    serial: u64,
    network: Network,
    engines: Vec<VirtualEngine>,
    speeds: Vec<f64>,
    workers: u32,
    trees: Arc<Trees>,
    /// By engines that are gone.
    executed_before: Duration,
}

/// An event in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// A message is at a gateway.
    Gateway(FlightId),
    /// A message is at its receiver.
    Arrival(FlightId),
    /// What is planned for a node, under this number.
    Planned(NodeId, u32),
    /// The links are as good as new.
    Heal,
}

impl<M: Parcel> Stage<M> {
    pub(super) fn new(scenario: &Scenario, mut trace: Option<Trace>) -> Self {
        let topology = Topology::new(scenario.servers, scenario.levels);
        let topology = Arc::new(topology.with_standbys(&scenario.standbys));
        if let Some(trace) = &mut trace {
            trace.start(&topology);
        }
        let tree = scenario
            .workload
            .as_ref()
            .map(|config| Arc::new(Tree::new(config)));
        let trees: Trees = tree
            .iter()
            .map(|tree| (ARTIFACT, Arc::clone(tree)))
            .collect();
        let trees = Arc::new(trees);
        let speeds = scenario.server_speeds();
        let engine = |&speed: &f64| VirtualEngine::new(Arc::clone(&trees), scenario.workers, speed);
        let mut queue = Queue::new(topology.nodes() + topology.servers().len());
        if let Some(at) = scenario.heal_at {
            queue.push(Time::ZERO + at, Happening::Heal);
        }
        Self {
            tally: Tally::new(&topology),
            tree,
            trace,
            queue,
            now: Time::ZERO,
            flights: Flights::new(),
            serial: 0,
            network: Network::new(
                Arc::clone(&topology),
                scenario.network.clone(),
                scenario.seed ^ NETWORK_SALT,
            ),
            engines: speeds.iter().map(engine).collect(),
            speeds,
            workers: scenario.workers,
            trees,
            executed_before: Duration::ZERO,
            topology,
        }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Sends a message.
    pub fn send(&mut self, from: NodeId, to: NodeId, message: M) {
        let (bytes, kind) = (message.bytes(), message.kind());
        self.tally.sent(kind, bytes);
        self.tally.handled(self.now, &self.topology, from);
        self.serial += 1;
        let serial = self.serial;
        if let Some(trace) = &mut self.trace {
            trace.sent(self.now, from, kind, serial);
        }
        let transit = Transit::new(from, to, bytes);
        let flight = self.flights.insert(Flight {
            transit,
            serial,
            message,
        });
        self.forward(flight);
    }

    /// Has a node's `alarm` called at a time, in place of any time set before.
    pub fn arm(&mut self, node: NodeId, at: Option<Time>) {
        self.queue
            .arm(node_index(node), at.map(|at| at.max(self.now)));
    }

    /// Has `planned` called at a time, for something that happens to a node, with a number that says what.
    pub fn plan(&mut self, at: Time, node: NodeId, number: u32) {
        self.queue
            .push(at.max(self.now), Happening::Planned(node, number));
    }

    /// The machine is gone: all that its engines hold is lost.
    pub fn clear_engine(&mut self, server: ServerIndex) {
        let index = server.0 as usize;
        let fresh = VirtualEngine::new(Arc::clone(&self.trees), self.workers, self.speeds[index]);
        let old = std::mem::replace(&mut self.engines[index], fresh);
        self.executed_before += old.executed_work();
        self.busy_workers(self.topology.server(server), 0);
    }

    /// The machine is so many times as slow from now on.
    pub fn slow_down(&mut self, server: ServerIndex, times: u32) {
        self.engines[server.0 as usize].slow_down(self.now, times);
    }

    /// The work that was done by all engines there ever were, at speed 1.
    #[must_use]
    pub fn executed_work(&self) -> Duration {
        self.engines
            .iter()
            .map(VirtualEngine::executed_work)
            .sum::<Duration>()
            + self.executed_before
    }

    /// Commands the engines of a server. What they answer comes as events, after the present call.
    pub fn command(&mut self, server: ServerIndex, command: EngineCommand) {
        if matches!(command, EngineCommand::Accept { .. }) {
            self.tally.gave_work(self.now, server);
        }
        self.engines[server.0 as usize].handle(self.now, command);
    }

    /// Tells how many workers of a server are busy, where that is not its engines' to tell.
    pub fn busy_workers(&mut self, node: NodeId, busy: u32) {
        if let Some(trace) = &mut self.trace {
            trace.busy_workers(self.now, node, busy);
        }
    }

    /// The engines of a server.
    #[must_use]
    pub fn engine(&self, server: ServerIndex) -> &VirtualEngine {
        &self.engines[server.0 as usize]
    }

    /// How fast a server is.
    #[must_use]
    pub fn speed(&self, server: ServerIndex) -> f64 {
        self.speeds[server.0 as usize]
    }

    /// What the way between two nodes costs.
    #[must_use]
    pub fn path(&self, one: NodeId, other: NodeId) -> Path {
        self.network.path(one, other)
    }

    /// How many levels two nodes have to climb to meet: zero within one domain.
    #[must_use]
    pub fn level_between(&self, one: NodeId, other: NodeId) -> usize {
        let (one, other) = (self.topology.domain_of(one), self.topology.domain_of(other));
        let depth = self.topology.place(one).depth;
        (depth - self.topology.common_depth(one, other)) as usize
    }

    /// The messages under way.
    #[must_use]
    pub fn flights(&self) -> &Flights<M> {
        &self.flights
    }

    /// From now on the links lose nothing.
    pub(super) fn heal(&mut self) {
        self.tally.healed_after = Some(self.tally.events);
        self.network.heal();
    }

    /// Brings a message on by one hop.
    pub(super) fn forward(&mut self, flight: FlightId) {
        let transit = *self.flights.transit_mut(flight);
        match self.network.forward(self.now, transit) {
            Hop::Gateway(transit, at) => {
                *self.flights.transit_mut(flight) = transit;
                self.queue.push(at, Happening::Gateway(flight));
            }
            Hop::Receiver(at, again) => {
                self.queue.push(at, Happening::Arrival(flight));
                if let Some(again) = again {
                    let copy = self.flights.copy(flight);
                    self.queue.push(again, Happening::Arrival(copy));
                }
            }
            Hop::Lost => {
                self.flights.remove(flight);
            }
        }
    }

    /// Takes a message that has arrived.
    pub(super) fn take(&mut self, flight: FlightId) -> Flight<M> {
        let flight = self.flights.remove(flight);
        let transit = flight.transit;
        self.tally.handled(self.now, &self.topology, transit.to);
        if let Some(trace) = &mut self.trace {
            trace.received(self.now, transit.to, flight.message.kind(), flight.serial);
        }
        flight
    }

    /// Runs the engines of a server up to the present.
    pub(super) fn advance(&mut self, server: ServerIndex) {
        self.engines[server.0 as usize].advance(self.now);
    }

    pub(super) fn poll_engine(&mut self, server: ServerIndex) -> Option<EngineEvent> {
        let event = self.engines[server.0 as usize].poll_event()?;
        if let (Some(trace), EngineEvent::Load { load, .. }) = (&mut self.trace, &event) {
            trace.load(self.now, self.topology.server(server), load);
        }
        Some(event)
    }

    /// Sees to it that the engines of a server are advanced when there may be news.
    pub(super) fn arm_engine(&mut self, server: ServerIndex) {
        let at = self.engines[server.0 as usize].next_wake();
        let alarm = self.topology.nodes() + server.0 as usize;
        self.queue.arm(alarm, at.map(|at| at.max(self.now)));
    }

    /// Whose alarm that was.
    pub(super) fn alarm_of(&self, alarm: usize) -> AlarmOf {
        match alarm.checked_sub(self.topology.nodes()) {
            Some(server) => AlarmOf::Engine(ServerIndex(
                u32::try_from(server).expect("a server of this world"),
            )),
            None => AlarmOf::Node(NodeId(alarm as u64)),
        }
    }

    /// The server that a node is, if it is one.
    #[must_use]
    pub fn server_at(&self, node: NodeId) -> Option<ServerIndex> {
        match self.topology.role(node) {
            Some(Role::Server(server)) => Some(server),
            Some(Role::Manager(_)) | None => None,
        }
    }
}

/// Who set an alarm.
#[derive(Clone, Copy, Debug)]
pub(super) enum AlarmOf {
    Node(NodeId),
    Engine(ServerIndex),
}

fn node_index(node: NodeId) -> usize {
    usize::try_from(node.0).expect("a node of this world")
}

/// What every world's job is to its engines.
pub fn job_spec() -> Arc<JobSpec> {
    Arc::new(JobSpec {
        id: JOB_ID,
        origin: "world".parse::<Domain>().expect("a domain's name"),
        engine: String::from("virtual"),
        artifact: ARTIFACT,
        options: Bytes::new(),
    })
}

/// The one job of a world, and its program.
const JOB_ID: GlobalJobId = GlobalJobId(0x5eed);
const ARTIFACT: [u8; 32] = [7; 32];
/// What the links draw does not follow what the nodes draw.
const NETWORK_SALT: u64 = 0xd6e8_feb8_6659_fd93;
