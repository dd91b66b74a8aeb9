//! The nodes of Atlas: the very machines of `atlas-proto`, on the stage of a world.
//!
//! This is a driver as any other: it hands each machine what happens to it with the time, drains what the
//! machine says, and arms its timer. It decides nothing. Faults come from the scenario: servers die, start
//! again, leave, retreat and resume at the times that it states.

mod child;
mod clocks;
mod drive;
mod managers;
mod packet;
mod replica;
mod seat;
mod servers;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use atlas_proto::engine::EngineEvent;
use atlas_proto::ids::{JobAlias, NodeId};
use atlas_proto::message::Message;
use atlas_proto::policy::Policy;
use atlas_proto::rng::Rng;
use atlas_proto::standby::Term;
use atlas_proto::stats::Stats;
use atlas_proto::time::Time;
use atlas_proto::{Manager, Server};

pub use child::Hello;
use clocks::Clocks;
use managers::{Managers, Place};
pub use packet::AtlasPacket;
pub use replica::{ReplicaWord, StreamId};
use seat::Seat;
use servers::{Servers, sum};
pub use store::{Store, What, Write};

use crate::scenario::{Fault, FaultKind, Scenario, Submit};
use crate::topology::{DomainIndex, Role, ServerIndex};
use crate::world::{JobOutcome, Nodes, Stage};

/// All machines of a world.
#[derive(Debug)]
pub struct Atlas {
    managers: Managers,
    clocks: Clocks,
    servers: Servers,
    /// What befalls servers; to start is the first.
    faults: Vec<Fault>,
    /// The domain at whose manager the job is submitted, and when.
    submit: (DomainIndex, Time),
    job: Option<JobAlias>,
    outcome: Option<JobOutcome>,
    deliveries: u64,
    seed: u64,
    wire: bool,
}

type Play<'a> = &'a mut Stage<AtlasPacket>;

impl Atlas {
    /// A manager for each domain; servers come a little later, one by one.
    #[must_use]
    pub fn new(scenario: &Scenario, stage: &Stage<AtlasPacket>) -> Self {
        let topology = &stage.topology;
        let clocks = Clocks::new(topology.nodes(), scenario.skew, scenario.seed);
        let managers = Managers::new(scenario, topology, |node| clocks.shown(node, Time::ZERO));
        let exists = |fault: &Fault| {
            let domain = (fault.server as usize) < topology.domains().len();
            if fault.kind.is_of_manager() {
                domain
            } else {
                fault.server < scenario.servers
            }
        };
        let first_leaf = topology
            .domains()
            .find(|&domain| !topology.place(domain).servers.is_empty());
        let submit_to = match scenario.submit {
            Submit::Root => DomainIndex(0),
            Submit::Leaf => first_leaf.unwrap_or(DomainIndex(0)),
        };
        Self {
            managers,
            clocks,
            servers: Servers::new(scenario, topology),
            faults: scenario.faults.iter().copied().filter(exists).collect(),
            submit: (submit_to, Time::ZERO + scenario.warm_up),
            job: None,
            outcome: None,
            deliveries: 0,
            seed: scenario.seed,
            wire: scenario.wire,
        }
    }

    /// All managers that are there, by domain.
    pub fn managers(&self) -> impl Iterator<Item = (DomainIndex, &Manager)> {
        self.managers.iter()
    }

    /// All servers that are there, by number.
    pub fn servers(&self) -> impl Iterator<Item = (ServerIndex, &Server)> {
        self.servers.iter()
    }

    /// The job, as the manager calls it where it was submitted.
    #[must_use]
    pub fn job(&self) -> Option<JobAlias> {
        self.job
    }

    /// How many results managers have delivered to clients.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// A manager, if it is there.
    #[must_use]
    pub fn manager(&self, node: NodeId) -> Option<&Manager> {
        self.managers.get(node)
    }

    /// A server, if it is there.
    #[must_use]
    pub fn server(&self, index: ServerIndex) -> Option<&Server> {
        self.servers.get(index)
    }

    /// The term in which a manager of a domain with a standby acts now.
    #[must_use]
    pub fn acts_in(&self, stage: &Stage<AtlasPacket>, node: NodeId) -> Option<Term> {
        let now = self.local(stage, node);
        self.managers.get_place(node)?.acts_in(now)
    }

    /// A manager acts now.
    #[must_use]
    pub fn acts(&self, stage: &Stage<AtlasPacket>, node: NodeId) -> bool {
        let now = self.local(stage, node);
        let place = self.managers.get_place(node);
        place.is_some_and(|place| place.holds(now))
    }

    /// A manager has a standby with all that it has.
    #[must_use]
    pub fn has_standby(&self, node: NodeId) -> bool {
        let seat = self
            .managers
            .get_place(node)
            .and_then(|place| place.seat.as_ref());
        seat.is_some_and(Seat::has_standby)
    }

    /// The job's root is a manager's to run.
    #[must_use]
    pub fn has_root(&self, node: NodeId) -> bool {
        let place = self.managers.get_place(node);
        place.is_some_and(|place| place.job.is_some())
    }

    /// How many records of a domain are safe: those of whom anybody could have been told.
    #[must_use]
    pub fn safe_records(&self, domain: DomainIndex) -> usize {
        self.managers.safe_count(domain)
    }

    /// A record that is safe, and that a manager of its domain does not have.
    #[must_use]
    pub fn lost_record(&self, node: NodeId) -> Option<u64> {
        self.managers.lacks(node)
    }

    /// The term that a child of a domain with a standby has promised last, in all its lives, and the one in which it heeds somebody.
    #[must_use]
    pub fn promises(
        &self,
        stage: &Stage<AtlasPacket>,
        node: NodeId,
    ) -> Option<(Term, Option<Term>)> {
        let child = match stage.topology.role(node)? {
            Role::Server(server) => self.servers.get_child(server)?,
            Role::Manager(_) => self.managers.get_place(node)?.child.as_ref()?,
        };
        Some((child.promised(), child.heeds().map(|heeds| heeds.1)))
    }

    /// Counts the machines that there have been at a node.
    #[must_use]
    pub fn lives(&self, stage: &Stage<AtlasPacket>, node: NodeId) -> u64 {
        match stage.topology.role(node) {
            Some(Role::Server(server)) => self.servers.lives(server),
            Some(Role::Manager(_)) => self.managers.get_place(node).map_or(0, Place::lives),
            None => 0,
        }
    }

    /// The domain at whose manager the job is submitted.
    #[must_use]
    pub fn submitted_at(&self) -> DomainIndex {
        self.submit.0
    }

    /// What the clock of a node shows now.
    fn local(&self, stage: &Stage<AtlasPacket>, node: NodeId) -> Time {
        self.clocks.shown(node, stage.now())
    }

    fn drain_server(&mut self, stage: Play<'_>, index: ServerIndex) {
        let Some(server) = self.servers.at(index) else {
            return;
        };
        let node = stage.topology.server(index);
        while let Some(transmit) = server.poll_transmit() {
            packet::send(stage, node, transmit, self.wire);
        }
        while let Some(command) = server.poll_engine() {
            stage.command(index, command);
        }
        if server.has_left() {
            self.servers.remove(stage, index);
        }
    }

    /// A server of a domain with a standby speaks with both managers, and serves the one that it heeds.
    fn drain_child(&mut self, stage: Play<'_>, index: ServerIndex) {
        let node = stage.topology.server(index);
        let now = self.local(stage, node);
        let Some(child) = self.servers.child(index) else {
            return;
        };
        let heeds = child.heeds();
        while let Some((to, packet)) = child.poll_send() {
            stage.send(node, to, packet);
        }
        if let Some((manager, _)) = heeds {
            self.servers.serve(stage, now, index, manager);
            self.drain_server(stage, index);
        }
    }

    fn deliver_to_server(
        &mut self,
        stage: Play<'_>,
        from: NodeId,
        index: ServerIndex,
        message: AtlasPacket,
    ) {
        let node = stage.topology.server(index);
        let now = self.local(stage, node);
        let packet = match message {
            AtlasPacket::Node(packet) => packet,
            AtlasPacket::Standby(message) => {
                if let Some(child) = self.servers.child(index) {
                    child.handle_message(now, from, &message);
                }
                return self.drain_child(stage, index);
            }
            AtlasPacket::Hello(_) | AtlasPacket::Replica(_) => return,
        };
        let Some(server) = self.servers.at(index) else {
            return;
        };
        // A driver measures the way to a peer when the two are connected.
        if let Message::HintPeers { peers } = &packet.message {
            peers
                .iter()
                .for_each(|hint| server.handle_path(now, hint.peer, stage.path(node, hint.peer)));
        } else if matches!(
            packet.message,
            Message::RequestSteal { .. } | Message::WelcomeChild { .. }
        ) {
            server.handle_path(now, from, stage.path(node, from));
        }
        server.handle_packet(now, from, packet);
        self.drain_server(stage, index);
    }
}

impl Nodes for Atlas {
    type Message = AtlasPacket;

    fn start(&mut self, stage: Play<'_>) {
        for node in stage.topology.all_managers() {
            self.greet_parent(stage, node);
            self.carry_out(stage, node);
            self.settled(stage, node);
        }
        // Machines of a building are not switched on within one millisecond.
        let mut rng = Rng::new(self.seed ^ START_SALT);
        for server in stage.topology.servers() {
            let start = Fault {
                at: Duration::from_nanos(rng.below(START_WITHIN_NS) as u64),
                server: server.0,
                kind: FaultKind::Start,
            };
            self.faults.push(start);
        }
        for (number, fault) in (0..).zip(&self.faults) {
            let node = if fault.kind.is_of_manager() {
                stage.topology.manager(DomainIndex(fault.server))
            } else {
                stage.topology.server(ServerIndex(fault.server))
            };
            stage.plan(Time::ZERO + fault.at, node, number);
        }
        stage.plan(self.submit.1, stage.topology.manager(self.submit.0), SUBMIT);
    }

    fn deliver(&mut self, stage: Play<'_>, from: NodeId, to: NodeId, message: AtlasPacket) {
        match stage.topology.role(to) {
            Some(Role::Manager(_)) => self.deliver_to_manager(stage, from, to, message),
            Some(Role::Server(server)) => self.deliver_to_server(stage, from, server, message),
            None => {}
        }
    }

    fn alarm(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        match stage.topology.role(node) {
            Some(Role::Manager(_)) => self.manager_alarm(stage, node),
            Some(Role::Server(index)) => {
                if let Some(server) = self.servers.at(index) {
                    server.handle_timeout(now);
                }
                self.drain_server(stage, index);
                if let Some(child) = self.servers.child(index) {
                    child.handle_timeout(now);
                }
                self.drain_child(stage, index);
            }
            None => {}
        }
    }

    fn engine_event(&mut self, stage: Play<'_>, index: ServerIndex, event: EngineEvent) {
        let now = self.local(stage, stage.topology.server(index));
        if let Some(server) = self.servers.at(index) {
            server.handle_engine(now, event);
        }
        self.drain_server(stage, index);
    }

    fn planned(&mut self, stage: Play<'_>, number: u32) {
        if number == SUBMIT {
            return self.submit_job(stage);
        }
        let fault = self.faults[number as usize];
        if fault.kind.is_of_manager() {
            return self.befall_manager(stage, fault);
        }
        let now = self.local(stage, stage.topology.server(ServerIndex(fault.server)));
        self.servers.befall(stage, now, fault);
        self.drain_server(stage, ServerIndex(fault.server));
        self.drain_child(stage, ServerIndex(fault.server));
    }

    fn settled(&mut self, stage: Play<'_>, node: NodeId) {
        let at = match stage.topology.role(node) {
            Some(Role::Manager(_)) => {
                let now = self.local(stage, node);
                let place = self.managers.get_place(node);
                place.and_then(|place| place.poll_timeout(now))
            }
            Some(Role::Server(server)) => self.servers.poll_timeout(server),
            None => None,
        };
        stage.arm(node, at.map(|at| self.clocks.when(node, at)));
    }

    fn submitted(&self) -> Time {
        self.submit.1
    }

    fn outcome(&self) -> Option<&JobOutcome> {
        self.outcome.as_ref()
    }

    fn available(&self, stage: &Stage<AtlasPacket>, until: Time) -> Option<Duration> {
        let servers = stage.topology.servers().zip(self.servers.present(until));
        let work = |(server, present): (ServerIndex, Duration)| {
            present.mul_f64(stage.speed(server) * f64::from(self.servers.workers()))
        };
        Some(servers.map(work).sum())
    }

    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let servers = self.servers.iter().map(|(_, server)| *server.stats());
        let managers = self.managers.iter().map(|(_, manager)| *manager.stats());
        let mut counts = BTreeMap::new();
        for stats in servers
            .chain(managers)
            .chain([self.servers.past_stats(), self.managers.past_stats()])
        {
            for (name, count) in named(stats) {
                *counts.entry(name).or_default() += count;
            }
        }
        counts
    }
}

/// For tests that break a world on purpose.
#[cfg(test)]
impl Atlas {
    /// A manager has nothing on its disk any more.
    pub(crate) fn lose_store(&mut self, node: NodeId) {
        self.managers.place(node).store = Store::default();
    }

    /// A manager comes back as one that begins the domain.
    pub(crate) fn forget_standing(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        self.managers.remove(node);
        if let Some(seat) = &mut self.managers.place(node).seat {
            seat.forget();
        }
        self.managers.start(now, node);
    }

    /// A server does not remember what it has promised.
    pub(crate) fn forget_promise(&mut self, index: ServerIndex) {
        if let Some(child) = self.servers.child(index) {
            child.forget();
        }
    }
}

/// What a domain lets in and out.
pub(crate) fn policy_of(scenario: &Scenario, domain: DomainIndex) -> Policy {
    let border = scenario
        .borders
        .iter()
        .find(|border| border.domain == domain.0);
    border.map_or_else(Policy::default, |border| {
        Policy::new(border.inflow.clone(), border.outflow.clone())
            .expect("a scenario's policies are short")
    })
}

fn named(stats: Stats) -> [(&'static str, u64); 19] {
    [
        ("steals asked", stats.steals_asked),
        ("steals refused", stats.steals_refused),
        ("closures lent", stats.closures_lent),
        ("closures borrowed", stats.closures_borrowed),
        ("results late", stats.results_late),
        ("results stale", stats.results_stale),
        ("packets doubled", stats.packets_doubled),
        ("closures requeued", stats.closures_requeued),
        ("rivals lent", stats.rivals_lent),
        ("rivals won", stats.rivals_won),
        ("rivals wasted", stats.rivals_wasted),
        ("ms on wasted rivals", stats.rivals_wasted_ms),
        ("peers lost", stats.peers_lost),
        ("results recorded", stats.results_recorded),
        ("results restored", stats.results_restored),
        ("orphans", stats.orphans),
        ("orphans adopted", stats.orphans_adopted),
        ("orphans finished", stats.orphans_finished),
        ("checkpoints asked", stats.checkpoints_asked),
    ]
}

/// A machine's generator, different for each node and each of its lives.
fn machine_seed(seed: u64, node: NodeId, life: u64) -> u64 {
    Rng::new(seed ^ (node.0 << 20) ^ (life << 52)).next_u64()
}

/// The name of the client, which no message carries.
pub const CLIENT: &str = "client-b7e3.private.invalid";
const START_SALT: u64 = 0x6c62_272e_07bb_0142;
const START_WITHIN_NS: usize = 1_000_000_000;
/// The number of a plan that is no fault.
const SUBMIT: u32 = u32::MAX;
