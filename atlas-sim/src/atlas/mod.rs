//! The nodes of Atlas: the very machines of `atlas-proto`, on the stage of a world.
//!
//! This is a driver as any other: it hands each machine what happens to it with the time, drains what the
//! machine says, and arms its timer. It decides nothing. Faults come from the scenario: servers die, start
//! again, leave, retreat and resume at the times that it states.

mod clocks;
mod managers;
mod packet;
mod servers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use atlas_proto::engine::EngineEvent;
use atlas_proto::ids::{JobAlias, NodeId};
use atlas_proto::message::Message;
use atlas_proto::policy::Policy;
use atlas_proto::rng::Rng;
use atlas_proto::stats::Stats;
use atlas_proto::time::Time;
use atlas_proto::{Manager, ManagerEvent, Server};

use clocks::Clocks;
use managers::Managers;
pub use packet::AtlasPacket;
use servers::{Servers, sum};

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
            servers: Servers::new(scenario),
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

    /// The manager of a domain, if it is there.
    #[must_use]
    pub fn manager(&self, domain: DomainIndex) -> Option<&Manager> {
        self.managers.get(domain)
    }

    /// A server, if it is there.
    #[must_use]
    pub fn server(&self, index: ServerIndex) -> Option<&Server> {
        self.servers.get(index)
    }

    /// The domain at whose manager the job is submitted.
    #[must_use]
    pub fn submitted_at(&self) -> DomainIndex {
        self.submit.0
    }

    /// The job comes to its manager, for the first time or from its store.
    fn submit_job(&mut self, stage: Play<'_>) {
        let domain = self.submit.0;
        let now = self.local(stage, stage.topology.manager(domain));
        let Some(tree) = stage.tree.clone().filter(|_| self.outcome.is_none()) else {
            return;
        };
        // If it is not there, it will be.
        if let Some(job) = self.managers.submit(now, domain, &tree) {
            self.job = Some(job);
        }
        self.drain_manager(stage, domain);
    }

    fn befall_manager(&mut self, stage: Play<'_>, domain: DomainIndex, kind: FaultKind) {
        let node = stage.topology.manager(domain);
        if kind == FaultKind::KillManager {
            return self.managers.remove(domain);
        }
        let now = self.local(stage, node);
        if !self.managers.start(now, domain) {
            return;
        }
        if let (Some(parent), Some(manager)) =
            (stage.topology.parent(node), self.managers.at(domain))
        {
            manager.handle_path(now, parent, stage.path(node, parent));
        }
        if domain == self.submit.0 && stage.now() >= self.submit.1 {
            self.submit_job(stage);
        }
        self.drain_manager(stage, domain);
    }

    /// What the clock of a node shows now.
    fn local(&self, stage: &Stage<AtlasPacket>, node: NodeId) -> Time {
        self.clocks.shown(node, stage.now())
    }

    fn drain_manager(&mut self, stage: Play<'_>, domain: DomainIndex) {
        let Some(manager) = self.managers.at(domain) else {
            return;
        };
        let node = stage.topology.manager(domain);
        let mut kept = Vec::new();
        while let Some(transmit) = manager.poll_transmit() {
            packet::send(stage, node, transmit, self.wire);
        }
        while let Some(event) = manager.poll_event() {
            match event {
                ManagerEvent::JobFinished { job, finished } => {
                    self.deliveries += 1;
                    if self.job == Some(job) && self.outcome.is_none() {
                        self.outcome = Some(JobOutcome {
                            ended: stage.now(),
                            finished,
                        });
                    }
                }
                ManagerEvent::CheckpointRecorded { entries, .. } => kept.extend(entries),
            }
        }
        self.managers.keep(domain, kept);
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

    fn deliver_to_manager(
        &mut self,
        stage: Play<'_>,
        from: NodeId,
        domain: DomainIndex,
        message: AtlasPacket,
    ) {
        let node = stage.topology.manager(domain);
        let now = self.local(stage, node);
        let Some(manager) = self.managers.at(domain) else {
            return;
        };
        if matches!(message.0.message, Message::JoinDomain { .. }) {
            manager.handle_path(now, from, stage.path(node, from));
        }
        manager.handle_packet(now, from, message.0);
        self.drain_manager(stage, domain);
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
        let Some(server) = self.servers.at(index) else {
            return;
        };
        // A driver measures the way to a peer when the two are connected.
        if let Message::HintPeers { peers } = &message.0.message {
            peers
                .iter()
                .for_each(|hint| server.handle_path(now, hint.peer, stage.path(node, hint.peer)));
        } else if matches!(
            message.0.message,
            Message::RequestSteal { .. } | Message::WelcomeChild { .. }
        ) {
            server.handle_path(now, from, stage.path(node, from));
        }
        server.handle_packet(now, from, message.0);
        self.drain_server(stage, index);
    }
}

impl Nodes for Atlas {
    type Message = AtlasPacket;

    fn start(&mut self, stage: Play<'_>) {
        for domain in stage.topology.domains() {
            let node = stage.topology.manager(domain);
            let now = self.local(stage, node);
            if let (Some(parent), Some(manager)) =
                (stage.topology.parent(node), self.managers.at(domain))
            {
                manager.handle_path(now, parent, stage.path(node, parent));
            }
            self.drain_manager(stage, domain);
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
            Some(Role::Manager(domain)) => self.deliver_to_manager(stage, from, domain, message),
            Some(Role::Server(server)) => self.deliver_to_server(stage, from, server, message),
            None => {}
        }
    }

    fn alarm(&mut self, stage: Play<'_>, node: NodeId) {
        let now = self.local(stage, node);
        match stage.topology.role(node) {
            Some(Role::Manager(domain)) => {
                if let Some(manager) = self.managers.at(domain) {
                    manager.handle_timeout(now);
                }
                self.drain_manager(stage, domain);
            }
            Some(Role::Server(index)) => {
                if let Some(server) = self.servers.at(index) {
                    server.handle_timeout(now);
                }
                self.drain_server(stage, index);
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
            return self.befall_manager(stage, DomainIndex(fault.server), fault.kind);
        }
        let now = self.local(stage, stage.topology.server(ServerIndex(fault.server)));
        self.servers.befall(stage, now, fault);
        self.drain_server(stage, ServerIndex(fault.server));
    }

    fn settled(&mut self, stage: Play<'_>, node: NodeId) {
        let at = match stage.topology.role(node) {
            Some(Role::Manager(domain)) => {
                self.managers.get(domain).and_then(Manager::poll_timeout)
            }
            Some(Role::Server(server)) => self
                .servers
                .at(server)
                .and_then(|server| server.poll_timeout()),
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

fn named(stats: Stats) -> [(&'static str, u64); 16] {
    [
        ("steals asked", stats.steals_asked),
        ("steals refused", stats.steals_refused),
        ("closures lent", stats.closures_lent),
        ("closures borrowed", stats.closures_borrowed),
        ("results late", stats.results_late),
        ("closures requeued", stats.closures_requeued),
        ("rivals lent", stats.rivals_lent),
        ("rivals won", stats.rivals_won),
        ("rivals wasted", stats.rivals_wasted),
        ("ms on wasted rivals", stats.rivals_wasted_ms),
        ("peers lost", stats.peers_lost),
        ("results recorded", stats.results_recorded),
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
