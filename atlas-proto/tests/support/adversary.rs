//! One machine among peers, an engine and an owner that do anything.
//!
//! The peers know some of the rules: they mostly keep to their sessions, so that what they say is heard, and name
//! leases, steals and jobs that exist. What they say about them is arbitrary. There are two copies of the
//! machine, which are told the same.
//!
//! After each input these claims are checked: the two say the same, byte for byte; all that is said can be encoded; it is
//! not much; every bound holds; whoever lent or borrowed something has a session; engines are commanded while
//! they run.

use std::collections::BTreeSet;
use std::time::Duration;

use atlas_engine::Key;
use atlas_proto::engine::{Crash, CrashKind, EngineCommand, EngineEvent, Lent};
use atlas_proto::ids::{
    EngineLease, EngineRequest, Epoch, JobAlias, LeaseId, NodeId, RequestId, Ticket,
};
use atlas_proto::job::Closure;
use atlas_proto::ledger::{Source, State};
use atlas_proto::limits::WINDOW;
use atlas_proto::message::{
    ChildInfo, JobHeader, LeaseResult, LeasedClosure, Load, Message, OrphanName, Packet, PeerHint,
    RefuseChildReason,
};
use atlas_proto::policy::Policy;
use atlas_proto::stats::Stats;
use atlas_proto::suspicion::Suspicion;
use atlas_proto::time::Time;
use atlas_proto::{Manager, ManagerConfig, ManagerEvent, Server, ServerConfig, Transmit, codec};

use super::choices::Choices;
use super::known::{Known, Learn, Pick, PickOf};
use super::machine::{Input, Machine, Output};

/// What a world is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    Server,
    /// A manager without a parent.
    Root,
    /// A manager with one.
    Manager,
}

impl Subject {
    pub(crate) const ALL: [Self; 3] = [Self::Server, Self::Root, Self::Manager];
}

/// Plays all that the bytes say; beside the messages made of them, peers say those of `phrases`.
pub(crate) fn play(subject: Subject, bytes: &[u8], phrases: &[Message]) -> World {
    let mut choices = Choices::new(bytes);
    let mut world = World::new(subject, &mut choices);
    if !choices.once_in(4) {
        world.introduce();
    }
    while !choices.are_made() {
        world.step(&mut choices, phrases);
    }
    world
}

/// One who talks to the machine.
struct Peer {
    node: NodeId,
    epoch: Epoch,
    nonce: u64,
    /// In the present session: sequenced messages said and heard.
    said: u32,
    heard: u32,
}

pub(crate) struct World {
    subject: Subject,
    twins: [Machine; 2],
    now: Time,
    peers: Vec<Peer>,
    started: BTreeSet<JobAlias>,
    last_epoch: u64,
    last_version: u32,
    known: Known,
}

/// What the result of a closure is kept under.
fn key_of(closure: &Closure) -> Key {
    closure.key()
}

const SELF: NodeId = NodeId(1);
/// The manager of a server, the parent of a manager.
const ABOVE: NodeId = NodeId(2);
const OTHERS: [NodeId; 4] = [NodeId(3), NodeId(4), NodeId(5), NodeId(6)];
const STRANGER: NodeId = NodeId(7);
impl World {
    fn new(subject: Subject, choices: &mut Choices) -> Self {
        let seed = choices.byte().into();
        let workers = choices.one_of(&[1, 4, 64]);
        let policy = Policy::new(choices.patterns(), choices.patterns());
        let policy = policy.expect("the lists are short");
        let machine = || match subject {
            Subject::Server => Machine::Server(Server::new(
                ServerConfig {
                    node: SELF,
                    manager: ABOVE,
                    workers,
                    incarnation: 1,
                },
                seed,
                Time::ZERO,
            )),
            Subject::Root | Subject::Manager => Machine::Manager(Manager::new(
                ManagerConfig {
                    node: SELF,
                    domain: "cs.example.edu".parse().expect("a domain"),
                    parent: matches!(subject, Subject::Manager).then_some(ABOVE),
                    policy: policy.clone(),
                    incarnation: 1,
                },
                seed,
                Time::ZERO,
            )),
        };
        let nodes = [ABOVE].into_iter().chain(OTHERS).chain([STRANGER]);
        let peer = |node: NodeId| Peer {
            node,
            epoch: Epoch(node.0),
            nonce: 1,
            said: 0,
            heard: 0,
        };
        Self {
            subject,
            twins: [machine(), machine()],
            now: Time::ZERO,
            peers: nodes.map(peer).collect(),
            started: BTreeSet::new(),
            last_epoch: 100,
            last_version: 0,
            known: Known::default(),
        }
    }

    /// What happens in any world at first, so that there is something to disturb.
    fn introduce(&mut self) {
        self.apply(&Input::Timeout);
        self.welcome();
        if !matches!(self.subject, Subject::Server) {
            for (at, node) in OTHERS.into_iter().enumerate() {
                let child = match at {
                    0 => ChildInfo::Manager {
                        domain: "lab.cs.example.edu".parse().expect("a domain"),
                        inflow: vec!["example.edu".parse().expect("a pattern")],
                    },
                    _ => ChildInfo::Server { workers: 4 },
                };
                self.say(node, Message::JoinDomain { nonce: 1, child });
                let load = Load {
                    version: 1,
                    workers: 4,
                    hungry: u32::from(at % 2 == 0) * 4,
                    surplus: u32::from(at % 2 == 1) * 40,
                    surplus_work: Duration::from_secs(4000),
                    reach: Duration::ZERO,
                };
                self.say(node, Message::ReportLoad(load));
            }
        }
    }

    /// Whoever is above takes the machine in.
    fn welcome(&mut self) {
        self.last_epoch += 1;
        let epoch = Epoch(self.last_epoch);
        let above = self.peer(ABOVE);
        above.epoch = epoch;
        let nonce = above.nonce;
        self.say(ABOVE, Message::WelcomeChild { nonce, epoch });
    }

    fn step(&mut self, choices: &mut Choices, phrases: &[Message]) {
        let waits = [0, 0, 0, 1, 1, 20, 60, 500];
        let long = [1000, 2100, 4600, 9000];
        let wait = match choices.once_in(40) {
            true => choices.one_of(&long),
            false => choices.one_of(&waits),
        };
        self.now = self.now + Duration::from_millis(wait);
        if self.twins[0].session(ABOVE).is_none() && choices.once_in(3) {
            return self.welcome();
        }
        let input = match choices.below(16) {
            0 | 1 => Input::Timeout,
            2 => Input::Path(self.any_node(choices), choices.path()),
            3 => self.administer(choices),
            4..=6 if matches!(self.subject, Subject::Server) => {
                Input::Engine(self.engine_event(choices))
            }
            _ => self.packet(choices, phrases),
        };
        self.apply(&input);
        if self.twins[0]
            .poll_timeout()
            .is_some_and(|at| at <= self.now)
        {
            self.apply(&Input::Timeout);
        }
    }

    fn administer(&mut self, choices: &mut Choices) -> Input {
        match (self.subject, choices.below(4)) {
            (Subject::Server, 0) if choices.once_in(4) => Input::Retreat,
            (Subject::Server, 3) if choices.once_in(8) => Input::Leave,
            (Subject::Server, _) => Input::Resume,
            (Subject::Root | Subject::Manager, 0) if choices.once_in(3) => {
                Input::Kill(JobAlias(self.known.jobs.pick(choices)))
            }
            (Subject::Root | Subject::Manager, _) => {
                Input::Submit((*choices.spec()).clone(), choices.own_closure())
            }
        }
    }

    fn packet(&mut self, choices: &mut Choices, phrases: &[Message]) -> Input {
        let from = self.any_node(choices);
        let message = match choices.below(4) {
            0 if !phrases.is_empty() => choices.one_of(phrases),
            _ => self.message(from, choices),
        };
        let mut packet = self.in_session(from, message);
        match choices.below(12) {
            0 => {
                packet.seq = packet.seq.wrapping_add(choices.count());
                packet.ack = choices.count();
            }
            1 => {
                packet.from = Epoch(choices.number());
                packet.to = Epoch(choices.number());
                packet.seq = choices.count();
            }
            _ => {}
        }
        Input::Packet(from, packet)
    }

    fn any_node(&self, choices: &mut Choices) -> NodeId {
        match choices.below(12) {
            0 => STRANGER,
            1..=4 => ABOVE,
            other => OTHERS[other % OTHERS.len()],
        }
    }

    /// As a peer sends it who keeps to its session.
    fn in_session(&mut self, from: NodeId, message: Message) -> Packet {
        let session = self.twins[0].session(from);
        let membership = self.twins[0].epoch();
        let is_server = matches!(self.subject, Subject::Server);
        let peer = self.peer(from);
        let theirs = session.unwrap_or(peer.epoch);
        let to = match membership {
            Some(mine) if is_server => mine,
            _ => theirs,
        };
        let mut seq = 0;
        if message.is_sequenced() {
            peer.said += 1;
            seq = peer.said;
        }
        Packet {
            from: theirs,
            to,
            seq,
            ack: peer.heard,
            message,
        }
    }

    fn say(&mut self, from: NodeId, message: Message) {
        let packet = self.in_session(from, message);
        self.apply(&Input::Packet(from, packet));
    }

    fn message(&mut self, from: NodeId, choices: &mut Choices) -> Message {
        match choices.below(28) {
            0 => {
                let nonce = self.peer(from).nonce + u64::from(choices.byte() % 2);
                self.peer(from).nonce = nonce;
                Message::JoinDomain {
                    nonce,
                    child: child_info(choices),
                }
            }
            1 => Message::WelcomeChild {
                nonce: choices.number(),
                epoch: Epoch(choices.number()),
            },
            2 => Message::RefuseChild {
                nonce: choices.number(),
                reason: choices.one_of(&[RefuseChildReason::Full, RefuseChildReason::NotBelow]),
            },
            3 if choices.once_in(8) => Message::ExpelChild,
            4 if choices.once_in(8) => Message::LeaveDomain,
            5 if choices.once_in(2) => Message::KeepAlive,
            5 => Message::KeepPace {
                bound: choices.once_in(2),
                answer: choices.once_in(2),
            },
            3 | 4 | 6..=8 => {
                self.last_version = self.last_version.wrapping_add(1);
                let version = match choices.once_in(8) {
                    true => choices.count(),
                    false => self.last_version,
                };
                Message::ReportLoad(Load {
                    version,
                    ..choices.load()
                })
            }
            9 => self.hints(choices),
            10 if choices.once_in(3) => Message::ForgetPeer {
                peer: self.any_node(choices),
                epoch: Epoch(choices.number()),
            },
            10..=12 => Message::RequestSteal {
                request: RequestId(choices.number()),
                terms: choices.terms(),
            },
            13 => Message::EndSteal {
                request: RequestId(self.known.requests.pick(choices)),
                reason: choices.end_reason(),
                load: choices.load(),
            },
            14..=17 => self.grant(choices),
            23 if choices.once_in(4) => Message::EndJob {
                job: JobAlias(self.known.jobs.pick(choices)),
                lost: choices.once_in(2),
            },
            18 | 24..=26 if choices.once_in(2) => self.message_of_faults(from, choices),
            18 => Message::ReturnClosures {
                leases: self.leases(from, choices),
                reason: {
                    let request = RequestId(self.known.requests.pick(choices));
                    choices.return_reason(request)
                },
            },
            19 | 20 => self.results(from, choices),
            _ => Message::AbortLeases {
                leases: self.leases(from, choices),
            },
        }
    }

    fn results(&self, from: NodeId, choices: &mut Choices) -> Message {
        let leases = self.leases(from, choices);
        let result = |lease| LeaseResult {
            lease,
            finished: choices.finished(false),
        };
        Message::ReturnResults {
            results: leases.into_iter().map(result).collect(),
        }
    }

    /// What is said of losses.
    fn message_of_faults(&mut self, from: NodeId, choices: &mut Choices) -> Message {
        match choices.below(5) {
            4 => Message::NameOrphans {
                job: JobAlias(self.known.jobs.pick(choices)),
                holder: choices
                    .once_in(4)
                    .then(|| self.hint(choices))
                    .map(|hint| (hint.peer, hint.epoch)),
                orphans: (0..choices.below(5))
                    .map(|_| OrphanName {
                        key: key_of(&choices.closure()),
                        hops: choices.count() % 4,
                    })
                    .collect(),
            },
            0 => Message::SuspectLeases {
                leases: self.leases(from, choices),
                suspicion: Suspicion {
                    engines: choices.count(),
                    kind: choices.closure().kind,
                    bytes: choices.number(),
                },
                returned: choices.once_in(2),
            },
            1 => Message::RecordResults {
                job: JobAlias(self.known.jobs.pick(choices)),
                entries: choices.recorded(false),
            },
            2 => Message::RequestCheckpoint {
                job: JobAlias(self.known.jobs.pick(choices)),
                after: choices.number(),
            },
            _ => Message::GrantCheckpoint {
                job: JobAlias(self.known.jobs.pick(choices)),
                entries: choices.recorded(false),
                until: choices.number(),
                more: choices.once_in(3),
            },
        }
    }

    fn hints(&mut self, choices: &mut Choices) -> Message {
        let count = choices.below(5);
        Message::HintPeers {
            peers: (0..count).map(|_| self.hint(choices)).collect(),
        }
    }

    fn hint(&mut self, choices: &mut Choices) -> PeerHint {
        let peer = match choices.once_in(8) {
            true => self.any_node(choices),
            false => choices.one_of(&OTHERS),
        };
        let epoch = match choices.once_in(8) {
            true => Epoch(choices.number()),
            false => self.twins[0].session(peer).unwrap_or(Epoch(peer.0)),
        };
        PeerHint {
            peer,
            epoch,
            surplus: choices.count(),
        }
    }

    fn grant(&mut self, choices: &mut Choices) -> Message {
        let request = match choices.below(3) {
            0 => None,
            _ => Some(RequestId(self.known.requests.pick(choices))),
        };
        let count = choices.below(7);
        let leased = |_| LeasedClosure {
            lease: LeaseId(choices.number()),
            closure: choices.closure(),
            again: choices.once_in(3),
            goes_on: choices.once_in(3),
            hops: choices.count() % 4,
        };
        let closures = (0..count).map(leased).collect();
        Message::GrantClosures {
            request,
            more: choices.once_in(4),
            load: choices.load(),
            job: JobHeader {
                alias: JobAlias(self.known.jobs.pick(choices)),
                spec: choices.spec(),
            },
            closures,
        }
    }

    fn leases(&self, from: NodeId, choices: &mut Choices) -> Vec<LeaseId> {
        let count = choices.below(6);
        (0..count)
            .map(|_| LeaseId(self.known.lease(from, choices)))
            .collect()
    }

    fn engine_event(&mut self, choices: &mut Choices) -> EngineEvent {
        let job = JobAlias(self.known.jobs.pick(choices));
        match choices.below(13) {
            12 => EngineEvent::Recorded {
                job,
                entries: choices.recorded(true),
            },
            0 if choices.once_in(2) => EngineEvent::Unwanted {
                job,
                lease: EngineLease(choices.number()),
            },
            1 if choices.once_in(8) => EngineEvent::Crashed {
                job,
                crash: Crash {
                    failure: vec![1; choices.below(3)].into(),
                    kind: [CrashKind::Died, CrashKind::NotBegun, CrashKind::Hopeless]
                        [choices.below(3)],
                },
            },
            0..=2 => {
                let count = choices.below(4);
                let samples = (0..count).map(|_| choices.measured()).collect();
                EngineEvent::Measured { job, samples }
            }
            3..=5 => {
                let (job, ticket) = self.known.tickets.pick(job, choices);
                EngineEvent::Finished {
                    job,
                    ticket: Ticket(ticket),
                    finished: choices.finished(true),
                }
            }
            6..=8 => EngineEvent::Load {
                job,
                load: choices.engine_load(),
            },
            _ => {
                let (job, request) = self.known.questions.pick(job, choices);
                let count = choices.below(9);
                let closure = |_| Lent {
                    lease: EngineLease(choices.number()),
                    closure: choices.own_closure(),
                    accepted: choices.once_in(3),
                };
                let closures = (0..count).map(closure).collect();
                EngineEvent::Lent {
                    job,
                    request: EngineRequest(request),
                    closures,
                }
            }
        }
    }

    fn apply(&mut self, input: &Input) {
        if let Input::Engine(EngineEvent::Crashed { job, .. }) = input {
            self.started.remove(job);
        }
        let now = self.now;
        let [first, second] = &mut self.twins;
        let outputs = first.apply(now, input);
        let again = second.apply(now, input);
        assert_eq!(
            outputs.iter().map(encoded).collect::<Vec<_>>(),
            again.iter().map(encoded).collect::<Vec<_>>(),
            "two machines that are told the same say the same"
        );
        assert_eq!(outputs, again);
        let sent = outputs
            .iter()
            .filter(|output| matches!(output, Output::Sent(_)));
        let sent = sent.count();
        assert!(sent <= SENT_MAX, "{sent} packets after {input:?}");
        for output in outputs {
            match output {
                Output::Sent(transmit) => self.hear(transmit),
                Output::Commanded(command) => self.obey(command),
                Output::Told(
                    ManagerEvent::JobFinished { .. }
                    | ManagerEvent::CheckpointRecorded { .. }
                    | ManagerEvent::ForeignJobBegun { .. }
                    | ManagerEvent::ForeignCheckpointRecorded { .. }
                    | ManagerEvent::ForeignJobEnded { .. },
                ) => {}
            }
        }
        self.check();
    }

    /// What holds at any time.
    fn check(&mut self) {
        let machine = &self.twins[0];
        for bound in machine.bounds() {
            assert!(bound.held <= bound.max, "{bound:?}");
        }
        for (id, entry) in machine.ledger().entries() {
            let has_session = |peer| machine.session(peer).is_some();
            match entry.source {
                Source::Peer { lender, .. } => assert!(has_session(lender), "{id:?} {entry:?}"),
                Source::Engine { .. } => {
                    assert!(
                        matches!(
                            entry.state,
                            State::Lent { .. } | State::Held | State::Running
                        ),
                        "{id:?} {entry:?}"
                    );
                }
                Source::Orphan { .. } => {
                    assert!(
                        matches!(entry.state, State::Lent { .. } | State::Running),
                        "{id:?} {entry:?}"
                    );
                }
                Source::Root => {}
            }
            if let State::Lent { borrower, .. } = entry.state {
                assert!(has_session(borrower), "{id:?} {entry:?}");
            }
        }
        for peer in &mut self.peers {
            if self.twins[0].session(peer.node).is_none() {
                (peer.said, peer.heard) = (0, 0);
            }
        }
    }

    fn hear(&mut self, transmit: Transmit) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == transmit.to) else {
            return;
        };
        peer.heard = peer.heard.max(transmit.packet.seq);
        let message = transmit.packet.message;
        if let Message::JoinDomain { nonce, .. } = message {
            peer.nonce = nonce;
        } else if let Message::WelcomeChild { epoch, .. } = message {
            (peer.epoch, peer.said, peer.heard) = (epoch, 0, 0);
        } else if let Message::RequestSteal { request, .. } = message {
            self.known.requests.learn(request.0);
        } else if let Message::GrantClosures { job, closures, .. } = message {
            self.known.jobs.learn(job.alias.0);
            for leased in closures {
                self.known.leases.learn((transmit.to, leased.lease.0));
            }
        }
    }

    fn obey(&mut self, command: EngineCommand) {
        let job = match command {
            EngineCommand::Start { job, .. } => {
                assert!(self.started.insert(job), "{job} is started once");
                self.known.jobs.learn(job.0);
                job
            }
            EngineCommand::Accept { job, ticket, .. } => {
                self.known.tickets.learn((job, ticket.0));
                job
            }
            EngineCommand::Lend { job, request, .. } => {
                self.known.questions.learn((job, request.0));
                job
            }
            EngineCommand::SetWorkers { job, .. }
            | EngineCommand::Abort { job, .. }
            | EngineCommand::ReturnResult { job, .. }
            | EngineCommand::Reclaim { job, .. }
            | EngineCommand::Remember { job, .. } => job,
            EngineCommand::Stop { job } => {
                assert!(self.started.remove(&job), "{job} is stopped once");
                return;
            }
        };
        assert!(self.started.contains(&job), "{job} is not started");
    }

    /// Nobody says anything any more: time goes on from timeout to timeout. Gives how long that took, and what
    /// the machine has counted in its life.
    pub(crate) fn fall_silent(&mut self, timeouts: usize) -> (Duration, Stats) {
        let before = self.now;
        for _ in 0..timeouts {
            let Some(due) = self.twins[0].poll_timeout() else {
                return (Duration::MAX, self.twins[0].stats());
            };
            self.now = self.now.max(due);
            self.apply(&Input::Timeout);
        }
        (self.now.since(before), self.twins[0].stats())
    }

    fn peer(&mut self, node: NodeId) -> &mut Peer {
        let peer = self.peers.iter_mut().find(|peer| peer.node == node);
        peer.expect("all who speak are peers")
    }
}

fn child_info(choices: &mut Choices) -> ChildInfo {
    match choices.below(2) {
        0 => ChildInfo::Server {
            workers: choices.count(),
        },
        _ => ChildInfo::Manager {
            domain: choices.domain(),
            inflow: choices.patterns(),
        },
    }
}

fn encoded(output: &Output) -> Option<(NodeId, Vec<u8>)> {
    let Output::Sent(transmit) = output else {
        return None;
    };
    let bytes = codec::encode(&transmit.packet);
    Some((
        transmit.to,
        bytes
            .expect("all that is said is within its limits")
            .to_vec(),
    ))
}

/// An acknowledgement may open the window of one peer; all of them may have to be told of something, and of a
/// few things.
const SENT_MAX: usize = WINDOW + 16 * (OTHERS.len() + 2);
