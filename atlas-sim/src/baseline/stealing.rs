//! Random stealing, and cluster-aware random stealing: one machine, which differ in whom a thief asks.
//!
//! - *Random* (Cilk-NOW: Blumofe and Lisiecki, 1997): a thief asks a server chosen at random among all.
//! - *Cluster-aware random stealing*, CRS (Satin: van Nieuwpoort, Kielmann, Bal, 2001): a thief asks at random
//!   in its own cluster, one request after the other, and meanwhile has one request to a server of another
//!   cluster under way. What that brings is queued, if the thief has found work in the meantime.
//!
//! In both, a server asks as long as a worker is idle, tries again at once when it is refused, is given the
//! victim's oldest closure, one at a time, and sends a result straight to the lender. (What a domain with
//! nothing to steal would answer is in `dormant`.)

use std::collections::BTreeMap;
use std::time::Duration;

use atlas_proto::engine::{Above, EngineCommand, EngineEvent, EngineLoad, Lent};
use atlas_proto::ids::{EngineLease, EngineRequest, JobAlias, NodeId, Ticket};
use atlas_proto::job::{Closure, Finished};
use atlas_proto::rng::Rng;
use atlas_proto::time::Time;

use super::dormant::{Dormant, requests_within};
use super::message::{Line, StealMessage};
use super::scope::{Scope, choose};
use crate::scenario::Scenario;
use crate::topology::ServerIndex;
use crate::workload::kind_at;
use crate::world::{JobOutcome, Nodes, Parcel as _, Stage, job_spec};

/// The servers of a world, all thieves and victims. Managers take no part.
#[derive(Debug)]
pub struct Thieves {
    /// Whom a thief asks, one request under way for each.
    scopes: &'static [Scope],
    servers: Vec<Thief>,
    /// By domain.
    dormant: Vec<Dormant>,
    rng: Rng,
    workers: u32,
    outcome: Option<JobOutcome>,
}

/// One server.
#[derive(Debug, Default)]
struct Thief {
    idle: u32,
    /// It has something to steal, as its engine told last.
    rich: bool,
    /// By scope: a request is under way.
    asking: [bool; SCOPES_MAX],
    /// Closures of others, and whom their results go to. The root has nobody.
    borrowed: BTreeMap<Ticket, Option<(NodeId, EngineLease)>>,
    tickets: u64,
    /// Who is waiting for the answer of the engine, oldest first. It answers within the same moment.
    requests: BTreeMap<EngineRequest, (NodeId, Line)>,
    requests_made: u64,
}

type Play<'a> = &'a mut Stage<StealMessage>;

impl Thieves {
    /// Thieves that ask anybody.
    #[must_use]
    pub fn random(scenario: &Scenario, stage: &Stage<StealMessage>) -> Self {
        Self::new(&[Scope::World], scenario, stage)
    }

    /// Thieves that ask in their own domain, and one outside of it.
    #[must_use]
    pub fn cluster_aware(scenario: &Scenario, stage: &Stage<StealMessage>) -> Self {
        Self::new(&[Scope::OwnDomain, Scope::OtherDomains], scenario, stage)
    }

    fn new(scopes: &'static [Scope], scenario: &Scenario, stage: &Stage<StealMessage>) -> Self {
        Self {
            scopes,
            servers: stage.topology.servers().map(|_| Thief::default()).collect(),
            dormant: stage
                .topology
                .domains()
                .map(|_| Dormant::default())
                .collect(),
            rng: Rng::new(scenario.seed),
            workers: scenario.workers,
            outcome: None,
        }
    }

    /// Sends all requests that a server may have under way now.
    fn ask(&mut self, stage: Play<'_>, server: ServerIndex) {
        for (number, &scope) in self.scopes.iter().enumerate() {
            let thief = &mut self.servers[server.0 as usize];
            if thief.idle == 0 || thief.asking[number] {
                continue;
            }
            let Some(victim) = choose(&stage.topology, &mut self.rng, server, scope) else {
                continue;
            };
            let home = stage.topology.home(server);
            let dormant = &mut self.dormant[home.0 as usize];
            if scope == Scope::OwnDomain && dormant.is_dry() {
                dormant.put_down(stage.now(), server);
                continue;
            }
            thief.asking[number] = true;
            let line = Line(u8::try_from(number).expect("fewer scopes than 256"));
            let (from, to) = (stage.topology.server(server), stage.topology.server(victim));
            stage.send(from, to, StealMessage::Request { line });
        }
    }

    /// What a server's engine has to do has changed.
    fn heed_load(&mut self, stage: Play<'_>, server: ServerIndex, load: &EngineLoad) {
        let dormant = &mut self.dormant[stage.topology.home(server).0 as usize];
        let thief = &mut self.servers[server.0 as usize];
        thief.idle = load.idle;
        let rich = load.ready > 0;
        if std::mem::replace(&mut thief.rich, rich) != rich {
            for (dormant, since) in dormant.set_rich(rich) {
                let round_trip = count_in_vain(stage, dormant, since);
                let soon = self
                    .rng
                    .below(usize::try_from(round_trip.as_nanos() / 2).unwrap_or(0));
                let at = stage.now() + Duration::from_nanos(soon as u64);
                stage.arm(stage.topology.server(dormant), Some(at));
            }
        }
        if load.idle > 0 {
            self.ask(stage, server);
        } else if let Some(since) = dormant.give_up(server) {
            count_in_vain(stage, server, since);
        }
    }

    fn accept(
        &mut self,
        stage: Play<'_>,
        server: ServerIndex,
        lender: Option<(NodeId, EngineLease)>,
        closure: Closure,
    ) {
        let thief = &mut self.servers[server.0 as usize];
        thief.tickets += 1;
        let ticket = Ticket(thief.tickets);
        thief.borrowed.insert(ticket, lender);
        stage.command(
            server,
            EngineCommand::Accept {
                job: JOB,
                ticket,
                closure,
            },
        );
    }

    fn handle_request(&mut self, stage: Play<'_>, server: ServerIndex, from: NodeId, line: Line) {
        if stage.engine(server).ready() == 0 {
            return stage.send(
                stage.topology.server(server),
                from,
                StealMessage::Refusal { line },
            );
        }
        let thief = &mut self.servers[server.0 as usize];
        thief.requests_made += 1;
        let request = EngineRequest(thief.requests_made);
        thief.requests.insert(request, (from, line));
        stage.command(
            server,
            EngineCommand::Lend {
                job: JOB,
                request,
                closures_max: 1,
            },
        );
    }

    fn answer(
        &mut self,
        stage: Play<'_>,
        server: ServerIndex,
        request: EngineRequest,
        closures: Vec<Lent>,
    ) {
        let asked = self.servers[server.0 as usize].requests.remove(&request);
        let Some((thief, line)) = asked else {
            return;
        };
        let node = stage.topology.server(server);
        let answer = closures
            .into_iter()
            .next()
            .map_or(StealMessage::Refusal { line }, |lent| StealMessage::Grant {
                line,
                lease: lent.lease,
                closure: lent.closure,
            });
        stage.send(node, thief, answer);
    }

    fn deliver_result(
        &mut self,
        stage: Play<'_>,
        server: ServerIndex,
        ticket: Ticket,
        finished: Finished,
    ) {
        match self.servers[server.0 as usize].borrowed.remove(&ticket) {
            Some(Some((lender, lease))) => {
                let node = stage.topology.server(server);
                stage.send(node, lender, StealMessage::Result { lease, finished });
            }
            Some(None) => {
                self.outcome = Some(JobOutcome {
                    ended: stage.now(),
                    finished,
                })
            }
            None => {}
        }
    }
}

impl Nodes for Thieves {
    type Message = StealMessage;

    fn start(&mut self, stage: Play<'_>) {
        let Some(tree) = stage.tree.clone() else {
            return;
        };
        for server in stage.topology.servers() {
            stage.command(
                server,
                EngineCommand::Start {
                    job: JOB,
                    spec: job_spec(),
                },
            );
            stage.command(
                server,
                EngineCommand::SetWorkers {
                    job: JOB,
                    workers: self.workers,
                },
            );
        }
        let root = tree.root();
        let closure = Closure {
            kind: kind_at(root.depth),
            args: root.encode(tree.config().args_bytes),
            expected: Duration::ZERO,
            shared: Vec::new(),
            above: Above::NONE,
        };
        self.accept(stage, ServerIndex(0), None, closure);
    }

    fn deliver(&mut self, stage: Play<'_>, from: NodeId, to: NodeId, message: StealMessage) {
        let Some(server) = stage.server_at(to) else {
            return;
        };
        match message {
            StealMessage::Request { line } => self.handle_request(stage, server, from, line),
            StealMessage::Refusal { line } => {
                self.servers[server.0 as usize].asking[usize::from(line.0)] = false;
                self.ask(stage, server);
            }
            StealMessage::Grant {
                line,
                lease,
                closure,
            } => {
                self.servers[server.0 as usize].asking[usize::from(line.0)] = false;
                let level = stage.level_between(from, to);
                stage.tally.stole(level, 1);
                self.accept(stage, server, Some((from, lease)), closure);
            }
            StealMessage::Result { lease, finished } => {
                stage.command(
                    server,
                    EngineCommand::ReturnResult {
                        job: JOB,
                        lease,
                        finished,
                    },
                );
            }
        }
    }

    fn alarm(&mut self, stage: Play<'_>, node: NodeId) {
        if let Some(server) = stage.server_at(node) {
            self.ask(stage, server);
        }
    }

    fn engine_event(&mut self, stage: Play<'_>, server: ServerIndex, event: EngineEvent) {
        match event {
            EngineEvent::Load { load, .. } => self.heed_load(stage, server, &load),
            EngineEvent::Lent {
                request, closures, ..
            } => self.answer(stage, server, request, closures),
            EngineEvent::Finished {
                ticket, finished, ..
            } => self.deliver_result(stage, server, ticket, finished),
            EngineEvent::Unwanted { .. }
            | EngineEvent::Measured { .. }
            | EngineEvent::Recorded { .. }
            | EngineEvent::Tasks { .. }
            | EngineEvent::Crashed { .. } => {}
        }
    }

    fn end(&mut self, stage: Play<'_>) {
        for dormant in &mut self.dormant {
            for (thief, since) in dormant.end() {
                count_in_vain(stage, thief, since);
            }
        }
    }

    fn outcome(&self) -> Option<&JobOutcome> {
        self.outcome.as_ref()
    }
}

/// Counts what a thief has asked in its domain since a time, in vain. Returns how long each request takes.
fn count_in_vain(stage: Play<'_>, thief: ServerIndex, since: Time) -> Duration {
    let (request, refusal) = (
        StealMessage::Request { line: Line(0) },
        StealMessage::Refusal { line: Line(0) },
    );
    let node = stage.topology.server(thief);
    let way = stage.path(node, node);
    let round_trip = way.transfer(request.bytes()) + way.transfer(refusal.bytes());
    let requests = requests_within(stage.now().since(since), round_trip);
    for message in [request, refusal] {
        stage
            .tally
            .sent_many(message.kind(), requests, message.bytes());
    }
    round_trip
}

const SCOPES_MAX: usize = 2;
const JOB: JobAlias = JobAlias(1);
