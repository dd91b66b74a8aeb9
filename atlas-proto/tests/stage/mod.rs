//! A stage for stories: managers, servers with scripted engines, and a wire that loses and doubles on demand.
//!
//! Time moves from event to event. What an engine does is told by the story; everything else follows from the machines.

#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot be told is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use atlas_engine::Recorded;
use atlas_proto::domain::DomainPattern;
use atlas_proto::engine::{
    Above, Crash, CrashKind, EngineCommand, EngineEvent, EngineLoad, Lent, Measured, ReadyRun,
    TaskPath,
};
use atlas_proto::ids::{EngineLease, GlobalJobId, JobAlias, NodeId, TaskId, Ticket};
use atlas_proto::job::{Closure, ClosureKind, Finished, JobSpec, Outcome};
use atlas_proto::message::{Message, Packet};
use atlas_proto::path::Path;
use atlas_proto::policy::Policy;
use atlas_proto::time::Time;
use atlas_proto::{Manager, ManagerConfig, ManagerEvent, Server, ServerConfig};
use bytes::Bytes;

pub(crate) const LAN: Path = Path {
    latency: Duration::from_micros(200),
    bytes_per_s: 125_000_000,
};
pub(crate) const WAN: Path = Path {
    latency: Duration::from_millis(50),
    bytes_per_s: 12_500_000,
};

type Filter = Box<dyn FnMut(NodeId, NodeId, &Message) -> bool>;

/// The whole world of a story.
pub(crate) struct Stage {
    pub(crate) now: Time,
    managers: BTreeMap<NodeId, Manager>,
    servers: BTreeMap<NodeId, Actor>,
    parents: BTreeMap<NodeId, NodeId>,
    in_flight: BTreeMap<(Time, u64), (NodeId, NodeId, Packet)>,
    sent: u64,
    last_node: u64,
    dead: BTreeSet<NodeId>,
    asleep: BTreeMap<NodeId, Time>,
    lose: Filter,
    double: Filter,
    /// All that arrived, in order.
    pub(crate) log: Vec<(NodeId, NodeId, Message)>,
    pub(crate) finished: Vec<(JobAlias, Finished)>,
    /// What managers have told their drivers to keep of their own jobs.
    pub(crate) kept: BTreeMap<JobAlias, Vec<Recorded>>,
    /// What is kept of jobs that were submitted elsewhere, by manager.
    pub(crate) foreign: BTreeMap<(NodeId, GlobalJobId), Vec<Recorded>>,
    configs: BTreeMap<NodeId, ManagerConfig>,
}

struct Actor {
    server: Server,
    workers: u32,
    engine: Engine,
}

/// An engine that does what the story says.
#[derive(Default)]
struct Engine {
    job: Option<JobAlias>,
    accepted: VecDeque<Ticket>,
    ready: VecDeque<Closure>,
    lent: BTreeMap<EngineLease, Closure>,
    results: Vec<Finished>,
    /// What it was told that others have recorded.
    remembered: Vec<Recorded>,
    /// So many of the accepted wait for others, and use no worker.
    waiting: usize,
    last_lease: u64,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self {
            now: Time::ZERO,
            managers: BTreeMap::new(),
            servers: BTreeMap::new(),
            parents: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
            last_node: 0,
            dead: BTreeSet::new(),
            asleep: BTreeMap::new(),
            lose: Box::new(|_, _, _| false),
            double: Box::new(|_, _, _| false),
            log: Vec::new(),
            finished: Vec::new(),
            kept: BTreeMap::new(),
            foreign: BTreeMap::new(),
            configs: BTreeMap::new(),
        }
    }

    /// A manager and so many servers of one worker each, the first of which runs the root of a job.
    pub(crate) fn with_root_running<const N: usize>() -> (Self, [NodeId; N]) {
        let mut stage = Self::new();
        let manager = stage.manager("example.edu", None);
        let mut servers = [(); N].map(|()| stage.server(manager, 1));
        stage.submit(manager);
        let running = |s: &Self| servers.iter().position(|&node| s.given(node) == 1);
        stage.run_until("the root running", |s| running(s).is_some());
        let first = running(&stage).unwrap();
        servers[..=first].rotate_right(1);
        (stage, servers)
    }

    pub(crate) fn manager(&mut self, domain: &str, parent: Option<NodeId>) -> NodeId {
        self.manager_with(domain, parent, Policy::default())
    }

    pub(crate) fn manager_with(
        &mut self,
        domain: &str,
        parent: Option<NodeId>,
        policy: Policy,
    ) -> NodeId {
        let node = self.next_node();
        let domain = domain.parse().unwrap();
        let config = ManagerConfig {
            node,
            domain,
            parent,
            policy,
            incarnation: 1,
        };
        self.configs.insert(node, config.clone());
        let mut manager = Manager::new(config, node.0, self.now);
        if let Some(parent) = parent {
            self.parents.insert(node, parent);
            manager.handle_path(self.now, parent, WAN);
            self.managers
                .get_mut(&parent)
                .unwrap()
                .handle_path(self.now, node, WAN);
        }
        self.managers.insert(node, manager);
        node
    }

    /// A manager that was killed is there again, with nothing but what is on its disk.
    pub(crate) fn restart(&mut self, node: NodeId) {
        assert!(self.dead.remove(&node), "it was killed");
        let config = self.configs.get_mut(&node).unwrap();
        config.incarnation += 1;
        let mut manager = Manager::new(config.clone(), node.0 ^ config.incarnation, self.now);
        if let Some(&parent) = self.parents.get(&node) {
            manager.handle_path(self.now, parent, WAN);
        }
        let children = self.parents.iter().filter(|(_, above)| **above == node);
        for (&child, _) in children {
            let is_manager = self.managers.contains_key(&child);
            let path = if is_manager { WAN } else { LAN };
            manager.handle_path(self.now, child, path);
        }
        self.managers.insert(node, manager);
        self.drain(node);
    }

    pub(crate) fn server(&mut self, manager: NodeId, workers: u32) -> NodeId {
        let node = self.next_node();
        let config = ServerConfig {
            node,
            manager,
            workers,
            incarnation: 1,
        };
        let mut server = Server::new(config, node.0, self.now);
        server.handle_path(self.now, manager, LAN);
        for (&peer, _) in self
            .parents
            .iter()
            .filter(|(_, parent)| **parent == manager)
        {
            server.handle_path(self.now, peer, LAN);
        }
        self.managers
            .get_mut(&manager)
            .unwrap()
            .handle_path(self.now, node, LAN);
        self.parents.insert(node, manager);
        self.servers.insert(
            node,
            Actor {
                server,
                workers,
                engine: Engine::default(),
            },
        );
        self.run_for(Duration::from_millis(20));
        node
    }

    /// Messages that the story loses.
    pub(crate) fn lose(&mut self, filter: impl FnMut(NodeId, NodeId, &Message) -> bool + 'static) {
        self.lose = Box::new(filter);
    }

    /// Messages that arrive twice, the second time later.
    pub(crate) fn double(
        &mut self,
        filter: impl FnMut(NodeId, NodeId, &Message) -> bool + 'static,
    ) {
        self.double = Box::new(filter);
    }

    /// The node stops without a word.
    pub(crate) fn kill(&mut self, node: NodeId) {
        self.dead.insert(node);
    }

    /// The node gets no processor for a while: what arrives waits, and its timers are late.
    pub(crate) fn sleep(&mut self, node: NodeId, span: Duration) {
        self.asleep.insert(node, self.now + span);
    }

    pub(crate) fn submit(&mut self, manager: NodeId) -> JobAlias {
        let spec = job_spec();
        let root = closure(0, Duration::ZERO);
        let job = self
            .managers
            .get_mut(&manager)
            .unwrap()
            .submit(self.now, spec, root)
            .unwrap();
        self.drain(manager);
        job
    }

    /// A job that an earlier life of the manager had.
    pub(crate) fn submit_again(&mut self, manager: NodeId, checkpoint: Vec<Recorded>) -> JobAlias {
        let (spec, root) = (job_spec(), closure(0, Duration::ZERO));
        let machine = self.managers.get_mut(&manager).unwrap();
        let job = machine.submit_again(self.now, spec, root, checkpoint);
        self.drain(manager);
        job.unwrap()
    }

    pub(crate) fn restore(&mut self, manager: NodeId, job: JobAlias, entries: Vec<Recorded>) {
        let machine = self.managers.get_mut(&manager).unwrap();
        machine.restore_checkpoint(job, entries);
        self.drain(manager);
    }

    /// The program that runs at `node` says of a task that it is not pure.
    pub(crate) fn tell_impure(&mut self, node: NodeId, task: TaskId) {
        let actor = self.servers.get_mut(&node).unwrap();
        let job = actor.engine.job.expect("the engine runs something");
        let path = String::from("a::b");
        let paths = vec![TaskPath {
            task,
            path,
            impure: true,
        }];
        actor
            .server
            .handle_engine(self.now, EngineEvent::Tasks { job, paths });
        self.drain(node);
    }

    /// What the engine of `node` runs makes `closures` ready, at `depth`; closures of that depth are known to
    /// hold `work` each.
    pub(crate) fn spawn(&mut self, node: NodeId, closures: u32, depth: u32, work: Duration) {
        self.measure(node, depth, work, 1);
        self.make_ready(node, closures, depth, work);
    }

    /// So much work was seen in closures of this depth in the engine of `node`, of which so many have finished.
    pub(crate) fn measure(&mut self, node: NodeId, depth: u32, work: Duration, finished: u32) {
        let actor = self.servers.get_mut(&node).unwrap();
        let job = actor.engine.job.expect("the engine runs something");
        let sample = Measured {
            kind: closure(depth, work).kind,
            work,
            finished,
        };
        let samples = vec![sample];
        let measured = EngineEvent::Measured { job, samples };
        actor.server.handle_engine(self.now, measured);
        self.drain(node);
    }

    /// What the engine of `node` runs makes `closures` ready, at `depth`.
    pub(crate) fn make_ready(&mut self, node: NodeId, closures: u32, depth: u32, work: Duration) {
        let made = closure(depth, work);
        let actor = self.servers.get_mut(&node).unwrap();
        let ready = (0..closures).map(|_| made.clone());
        actor.engine.ready.extend(ready);
        self.tell_load(node);
    }

    /// The oldest closure that the engine of `node` was given is done.
    pub(crate) fn finish(&mut self, node: NodeId, value: u8) {
        self.finish_untold(node, value);
        self.tell_load(node);
    }

    /// The newest closure that the engine of `node` was given is done.
    pub(crate) fn finish_last(&mut self, node: NodeId, value: u8) {
        let accepted = &mut self.servers.get_mut(&node).unwrap().engine.accepted;
        let last = accepted.pop_back().expect("the engine was given something");
        accepted.push_front(last);
        self.finish(node, value);
    }

    /// What the engine of `node` runs waits for what it has lent.
    pub(crate) fn wait_at_root(&mut self, node: NodeId) {
        let actor = self.servers.get_mut(&node).unwrap();
        actor.engine.waiting = actor.engine.accepted.len();
        self.tell_load(node);
    }

    /// The same, and the engine has not told its load yet.
    pub(crate) fn finish_untold(&mut self, node: NodeId, value: u8) {
        self.finish_with(node, Outcome::Value(Bytes::from(vec![value])));
    }

    /// The oldest closure that the engine of `node` was given has ended so.
    pub(crate) fn finish_with(&mut self, node: NodeId, outcome: Outcome) {
        let actor = self.servers.get_mut(&node).unwrap();
        let job = actor.engine.job.expect("the engine runs something");
        let ticket = actor
            .engine
            .accepted
            .pop_front()
            .expect("the engine was given something");
        let finished = Finished {
            outcome,
            work: Duration::from_secs(1),
        };
        actor.server.handle_engine(
            self.now,
            EngineEvent::Finished {
                job,
                ticket,
                finished,
            },
        );
        self.drain(node);
    }

    /// The engine of `node` has done all that it had, but for the closure that it was given first if that is
    /// the root of the job.
    pub(crate) fn run_dry(&mut self, node: NodeId) {
        let actor = self.servers.get_mut(&node).unwrap();
        actor.engine.ready.clear();
        self.tell_load(node);
        let root = |entry: &atlas_proto::ledger::Entry| entry.closure.kind.depth == 0;
        let keeps = usize::from(
            self.servers[&node]
                .server
                .ledger()
                .entries()
                .any(|(_, entry)| root(entry)),
        );
        while self.given(node) > keeps {
            let last = self
                .servers
                .get_mut(&node)
                .unwrap()
                .engine
                .accepted
                .pop_back();
            self.servers
                .get_mut(&node)
                .unwrap()
                .engine
                .accepted
                .push_front(last.unwrap());
            self.finish(node, 1);
        }
    }

    /// The engine of `node` dies with all that it has.
    pub(crate) fn crash(&mut self, node: NodeId) {
        let actor = self.servers.get_mut(&node).unwrap();
        let engine = std::mem::take(&mut actor.engine);
        let job = engine.job.expect("the engine runs something");
        let crash = Crash {
            failure: Bytes::from_static(b"it was killed"),
            kind: CrashKind::Died,
        };
        actor
            .server
            .handle_engine(self.now, EngineEvent::Crashed { job, crash });
        self.drain(node);
    }

    /// What became of the closures that the engine of `node` lent.
    pub(crate) fn outcomes(&self, node: NodeId) -> Vec<Outcome> {
        let results = self.servers[&node].engine.results.iter();
        results.map(|finished| finished.outcome.clone()).collect()
    }

    pub(crate) fn with_server(&mut self, node: NodeId, change: impl FnOnce(&mut Server, Time)) {
        change(&mut self.servers.get_mut(&node).unwrap().server, self.now);
        self.drain(node);
    }

    pub(crate) fn server_ref(&self, node: NodeId) -> &Server {
        &self.servers[&node].server
    }

    pub(crate) fn manager_ref(&self, node: NodeId) -> &Manager {
        &self.managers[&node]
    }

    /// How many closures the engine of `node` has been given and has not finished.
    pub(crate) fn given(&self, node: NodeId) -> usize {
        self.servers[&node].engine.accepted.len()
    }

    /// The engine of `node` has results that are worth keeping.
    pub(crate) fn record(&mut self, node: NodeId, entries: Vec<Recorded>) {
        let actor = self.servers.get_mut(&node).unwrap();
        let job = actor.engine.job.expect("the engine runs something");
        let recorded = EngineEvent::Recorded { job, entries };
        actor.server.handle_engine(self.now, recorded);
        self.drain(node);
    }

    /// What the engine of `node` was told that others have recorded.
    pub(crate) fn remembered(&self, node: NodeId) -> &[Recorded] {
        &self.servers[&node].engine.remembered
    }

    /// How many closures that it made the engine of `node` has.
    pub(crate) fn ready(&self, node: NodeId) -> usize {
        self.servers[&node].engine.ready.len()
    }

    /// The values that came back for closures that the engine of `node` lent.
    pub(crate) fn results(&self, node: NodeId) -> Vec<u8> {
        let results = self.servers[&node].engine.results.iter();
        results
            .map(|finished| finished.outcome.bytes().unwrap()[0])
            .collect()
    }

    /// How often a message that `matches` arrived at `to` from `from`.
    pub(crate) fn count(&self, from: NodeId, to: NodeId, matches: fn(&Message) -> bool) -> usize {
        self.log
            .iter()
            .filter(|(f, t, m)| (*f, *t) == (from, to) && matches(m))
            .count()
    }

    /// Lets the world go on for a while.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = until;
    }

    /// Lets the world go on until `done`, for a minute at most.
    pub(crate) fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let limit = self.now + Duration::from_secs(60);
        while !done(self) {
            assert!(self.step(limit), "a minute has passed without {what}");
        }
    }

    fn step(&mut self, until: Time) -> bool {
        let arrival = self.in_flight.keys().next().map(|(at, _)| *at);
        let managers = self
            .managers
            .iter()
            .map(|(&node, manager)| (node, manager.poll_timeout()));
        let servers = self
            .servers
            .iter()
            .map(|(&node, actor)| (node, actor.server.poll_timeout()));
        let timers = managers
            .chain(servers)
            .filter(|(node, _)| !self.dead.contains(node));
        let awake = |node| self.asleep.get(&node).copied().unwrap_or(Time::ZERO);
        let timer = timers.filter_map(|(node, at)| Some((at?.max(awake(node)), node)));
        let timer = timer.min();
        let next = arrival.into_iter().chain(timer.map(|(at, _)| at)).min();
        let Some(next) = next.filter(|at| *at <= until) else {
            return false;
        };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let (_, (from, to, packet)) = self.in_flight.pop_first().expect("it was just seen");
            self.arrive(from, to, packet);
        } else if let Some((_, node)) = timer {
            match self.managers.get_mut(&node) {
                Some(manager) => manager.handle_timeout(self.now),
                None => self
                    .servers
                    .get_mut(&node)
                    .unwrap()
                    .server
                    .handle_timeout(self.now),
            }
            self.drain(node);
        }
        true
    }

    fn arrive(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        if self.dead.contains(&to) {
            return;
        }
        if let Some(&wakes) = self.asleep.get(&to).filter(|wakes| **wakes >= self.now) {
            // Its timers come first.
            self.sent += 1;
            let at = wakes + Duration::from_nanos(1);
            self.in_flight.insert((at, self.sent), (from, to, packet));
            return;
        }
        self.log.push((from, to, packet.message.clone()));
        match self.managers.get_mut(&to) {
            Some(manager) => manager.handle_packet(self.now, from, packet),
            None => self
                .servers
                .get_mut(&to)
                .unwrap()
                .server
                .handle_packet(self.now, from, packet),
        }
        self.drain(to);
    }

    /// Carries what a machine puts out until it has no more.
    fn drain(&mut self, node: NodeId) {
        loop {
            let transmit = match self.managers.get_mut(&node) {
                Some(manager) => {
                    while let Some(event) = manager.poll_event() {
                        match event {
                            ManagerEvent::JobFinished { job, finished } => {
                                self.finished.push((job, finished));
                            }
                            ManagerEvent::CheckpointRecorded { job, entries } => {
                                self.kept.entry(job).or_default().extend(entries);
                            }
                            ManagerEvent::ForeignJobBegun { job, id } => {
                                let kept = self.foreign.get(&(node, id)).cloned();
                                manager.restore_checkpoint(job, kept.unwrap_or_default());
                            }
                            ManagerEvent::ForeignCheckpointRecorded { id, entries } => {
                                self.foreign.entry((node, id)).or_default().extend(entries);
                            }
                            ManagerEvent::ForeignJobEnded { id } => {
                                let kept = self.foreign.remove(&(node, id));
                                assert!(kept.is_some(), "something of it was kept");
                            }
                        }
                    }
                    manager.poll_transmit()
                }
                None => {
                    self.obey(node);
                    self.servers.get_mut(&node).unwrap().server.poll_transmit()
                }
            };
            let Some(transmit) = transmit else { return };
            self.carry(node, transmit.to, transmit.packet);
        }
    }

    fn carry(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        let between_managers = self.managers.contains_key(&from) && self.managers.contains_key(&to);
        let latency = if between_managers {
            WAN.latency
        } else {
            LAN.latency
        };
        if (self.lose)(from, to, &packet.message) {
            return;
        }
        if (self.double)(from, to, &packet.message) {
            self.sent += 1;
            let later = self.now + latency * 3;
            self.in_flight
                .insert((later, self.sent), (from, to, packet.clone()));
        }
        self.sent += 1;
        self.in_flight
            .insert((self.now + latency, self.sent), (from, to, packet));
    }

    /// The engine of `node` does what its server commands.
    fn obey(&mut self, node: NodeId) {
        while let Some(command) = self.servers.get_mut(&node).unwrap().server.poll_engine() {
            let actor = self.servers.get_mut(&node).unwrap();
            match command {
                EngineCommand::Start { job, .. } => actor.engine.job = Some(job),
                EngineCommand::Accept { ticket, .. } => actor.engine.accepted.push_back(ticket),
                EngineCommand::Abort { ticket, .. } => {
                    actor.engine.accepted.retain(|given| *given != ticket)
                }
                EngineCommand::Lend {
                    job,
                    request,
                    closures_max,
                } => {
                    let closures = actor.engine.lend(closures_max);
                    actor.server.handle_engine(
                        self.now,
                        EngineEvent::Lent {
                            job,
                            request,
                            closures,
                        },
                    );
                }
                EngineCommand::ReturnResult {
                    lease, finished, ..
                } => {
                    actor
                        .engine
                        .lent
                        .remove(&lease)
                        .expect("a result is returned once");
                    actor.engine.results.push(finished);
                }
                EngineCommand::Reclaim { lease, .. } => {
                    let closure = actor
                        .engine
                        .lent
                        .remove(&lease)
                        .expect("what was lent comes back once");
                    actor.engine.ready.push_front(closure);
                }
                EngineCommand::Stop { .. } => actor.engine = Engine::default(),
                EngineCommand::Remember { entries, .. } => actor.engine.remembered.extend(entries),
                EngineCommand::SetWorkers { .. } => {}
            }
            self.tell_load(node);
        }
    }

    fn tell_load(&mut self, node: NodeId) {
        let actor = self.servers.get_mut(&node).unwrap();
        let Some(job) = actor.engine.job else { return };
        let load = actor.engine.load(actor.workers);
        actor
            .server
            .handle_engine(self.now, EngineEvent::Load { job, load });
        self.drain(node);
    }

    fn next_node(&mut self) -> NodeId {
        self.last_node += 1;
        NodeId(self.last_node)
    }
}

impl Engine {
    fn load(&self, workers: u32) -> EngineLoad {
        let running = self.accepted.len().saturating_sub(self.waiting);
        let running = u32::try_from(running).unwrap().min(workers);
        let mut oldest: Vec<ReadyRun> = Vec::new();
        for closure in &self.ready {
            match oldest.last_mut() {
                Some(run) if run.kind == closure.kind => run.closures += 1,
                _ => oldest.push(ReadyRun {
                    kind: closure.kind,
                    closures: 1,
                }),
            }
        }
        EngineLoad {
            idle: workers - running,
            stopped: 0,
            ready: u32::try_from(self.ready.len()).unwrap(),
            oldest,
        }
    }

    fn lend(&mut self, closures_max: u32) -> Vec<Lent> {
        let count = self.ready.len().min(closures_max as usize);
        let mut closures = Vec::new();
        for closure in self.ready.drain(..count) {
            self.last_lease += 1;
            let lease = EngineLease(self.last_lease);
            self.lent.insert(lease, closure.clone());
            closures.push(Lent {
                lease,
                closure,
                accepted: false,
            });
        }
        closures
    }
}

/// The same for all jobs of a stage.
pub(crate) const JOB_ID: GlobalJobId = GlobalJobId(0x0b);

fn job_spec() -> JobSpec {
    JobSpec {
        id: JOB_ID,
        origin: "replaced.example".parse().unwrap(),
        engine: "native".to_owned(),
        artifact: [7; 32],
        options: Bytes::new(),
    }
}

pub(crate) fn closure(depth: u32, expected: Duration) -> Closure {
    let kind = ClosureKind {
        task: TaskId(1),
        depth,
    };
    Closure {
        kind,
        args: Bytes::from(format!("argument{depth}")),
        expected,
        shared: Vec::new(),
        above: Above::NONE,
    }
}

pub(crate) fn patterns(patterns: &[&str]) -> Vec<DomainPattern> {
    patterns
        .iter()
        .map(|pattern| pattern.parse().unwrap())
        .collect()
}
