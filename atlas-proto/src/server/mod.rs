//! The server machine: one machine that computes, as a child of one domain.
//!
//! **Calling contract.** After each input (`handle_*`, [`Server::retreat`], [`Server::resume`],
//! [`Server::leave`]) drain [`Server::poll_transmit`] and [`Server::poll_engine`], then arm a timer for
//! [`Server::poll_timeout`] and call [`Server::handle_timeout`] when it is due. Time never goes back.
//!
//! What it decides: whom to ask for work and when (`thief`), what to give to whom (`victim`), what becomes of
//! leases (`leases`), of closures whose engine has died (`crashes`) or cannot be begun (`backoff`) and of those that are run again (`recompute`), which engine gets
//! how many workers and which closures (`work`). It must never know what is in a
//! closure, nor where a job came from.

mod backoff;
mod crashes;
mod leases;
mod orphans;
mod recompute;
mod rivals;
mod thief;
mod victim;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::engine::{EngineCommand, EngineEvent};
use crate::ids::{EngineRequest, Epoch, JobAlias, NodeId, RequestId};
use crate::ledger::Ledger;
use crate::limits::{Bound, ENDED_JOBS_MAX, FORGOTTEN_MAX, JOBS_MAX, LENDINGS_MAX, SESSIONS_MAX};
use crate::message::{ChildInfo, EndStealReason, Load, Message, Packet};
use crate::path::Path;
use crate::report::Reporter;
use crate::results::ResultQueues;
use crate::rng::Rng;
use crate::sessions::{Sessions, Transmit};
use crate::sorted::SortedMap;
use crate::stats::Stats;
use crate::time::Time;
use crate::uplink::{Answer, Uplink};

use backoff::Backoff;
use orphans::Orphans;
use recompute::Recomputing;
use rivals::Late;
use thief::Hints;
use victim::Lending;
use work::{EndedJobs, ServerJob, Turns};

/// What a server is.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Its own name.
    pub node: NodeId,
    /// The manager of its domain.
    pub manager: NodeId,
    /// Its workers, at least one.
    pub workers: u32,
    /// Larger than that of any earlier life of this node: the time of its start will do.
    pub incarnation: u64,
}

/// The machine. Its module says how it is called.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    rng: Rng,
    phase: Phase,
    uplink: Uplink,
    pub(crate) sessions: Sessions,
    reporter: Reporter,
    ledger: Ledger,
    jobs: SortedMap<JobAlias, ServerJob>,
    recomputing: Recomputing,
    orphans: Orphans,
    turns: Turns,
    ended: EndedJobs,
    pub(crate) results: ResultQueues,
    hints: Hints,
    late: Late,
    backoff: Backoff,
    steal: Option<Steal>,
    /// Questions to engines, by their number.
    lending: BTreeMap<EngineRequest, Lending>,
    /// The last membership of each sibling that is known to be over.
    forgotten: BTreeMap<NodeId, Epoch>,
    /// The last number given to a steal or to a question to an engine.
    last_request: u64,
    commands: VecDeque<EngineCommand>,
    stats: Stats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// The owner has the machine; the membership goes on.
    Retreated,
    Leaving,
}

/// The one steal that is outstanding.
#[derive(Clone, Copy, Debug)]
struct Steal {
    victim: NodeId,
    request: RequestId,
}

impl Server {
    /// A server that begins to join its domain.
    #[must_use]
    pub fn new(config: ServerConfig, seed: u64, now: Time) -> Self {
        let info = ChildInfo::Server {
            workers: config.workers,
        };
        let uplink = Uplink::new(now, config.manager, info, config.incarnation);
        Self {
            rng: Rng::new(seed),
            phase: Phase::Serving,
            uplink,
            sessions: Sessions::default(),
            reporter: Reporter::default(),
            ledger: Ledger::default(),
            jobs: SortedMap::default(),
            recomputing: Recomputing::default(),
            orphans: Orphans::default(),
            turns: Turns::default(),
            ended: EndedJobs::default(),
            results: ResultQueues::default(),
            hints: Hints::default(),
            late: Late::default(),
            backoff: Backoff::default(),
            steal: None,
            lending: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            last_request: 0,
            commands: VecDeque::new(),
            stats: Stats::default(),
            config,
        }
    }

    /// A packet has come from `from`, whom the driver has authenticated.
    pub fn handle_packet(&mut self, now: Time, from: NodeId, packet: Packet) {
        self.sessions.look(now);
        if from == self.uplink.manager() {
            self.handle_manager_packet(now, packet);
        } else if self.admits(now, from, &packet) {
            self.deliver(now, from, packet);
        } else {
            self.stats.note_stale(&packet.message);
        }
        self.settle(now);
    }

    /// The driver has measured the way to a neighbour.
    pub fn handle_path(&mut self, _now: Time, peer: NodeId, path: Path) {
        self.sessions.set_path(peer, path);
    }

    /// The driver has reached the manager, at first or after it was not reached. What was due meanwhile is due now.
    pub fn handle_reached(&mut self, now: Time) {
        self.sessions.look(now);
        self.uplink.greet(now, &mut self.sessions);
        self.handle_timeout(now);
    }

    /// An engine of this machine has something to say.
    pub fn handle_engine(&mut self, now: Time, event: EngineEvent) {
        self.sessions.look(now);
        self.dispatch_engine(now, event);
        self.settle(now);
    }

    /// It is time for something.
    pub fn handle_timeout(&mut self, now: Time) {
        self.sessions.look(now);
        if self.uplink.is_lost(now, &self.sessions) {
            self.start_over(now);
        }
        self.uplink
            .handle_timeout(now, &mut self.sessions, &mut self.rng);
        self.sessions.handle_timeout(now);
        self.backoff.handle_timeout(now);
        self.end_late_lendings(now);
        self.handle_late_checkpoints(now);
        self.abort(now, self.ledger.orphans_over(now));
        self.settle(now);
    }

    /// The owner wants the machine: everything goes back, nothing is taken in.
    pub fn retreat(&mut self, now: Time) {
        if self.phase == Phase::Serving {
            self.phase = Phase::Retreated;
            self.give_all_back(now);
            self.settle(now);
        }
    }

    /// The owner is gone again.
    pub fn resume(&mut self, now: Time) {
        if self.phase == Phase::Retreated {
            self.phase = Phase::Serving;
            self.settle(now);
        }
    }

    /// Gives everything back and leaves the domain; [`Server::has_left`] says when that is done.
    pub fn leave(&mut self, now: Time) {
        if self.phase != Phase::Leaving {
            self.phase = Phase::Leaving;
            self.give_all_back(now);
            self.sessions
                .send(now, self.uplink.manager(), Message::LeaveDomain);
            self.settle(now);
        }
    }

    /// The manager knows that this server has left, or has none to tell.
    #[must_use]
    pub fn has_left(&self) -> bool {
        let told = self
            .sessions
            .link(self.uplink.manager())
            .is_none_or(crate::link::Link::is_flushed);
        self.phase == Phase::Leaving && (self.uplink.is_left() || told)
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.sessions.poll_transmit()
    }

    /// The next command for an engine.
    pub fn poll_engine(&mut self) -> Option<EngineCommand> {
        self.commands.pop_front()
    }

    /// When [`Server::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let member = self.uplink.epoch().is_some();
        let timers = [
            self.sessions.poll_timeout(),
            self.uplink.poll_timeout(&self.sessions),
            self.results.poll_timeout(),
            self.turns.poll_timeout(),
            self.lendings_timeout(),
            self.recomputing.poll_timeout(),
            self.backoff.poll_timeout(),
            self.ledger.orphans_until(),
            self.reporter.poll_timeout().filter(|_| member),
        ];
        timers.into_iter().flatten().min()
    }

    /// What this node holds and has lent.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// It was told that the job is over, and takes no closure of it any more.
    #[must_use]
    pub fn has_ended(&self, job: JobAlias) -> bool {
        self.ended.contains(job)
    }

    /// What has been counted.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The membership, while there is one.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.uplink.epoch()
    }

    /// The epoch of the session with `peer`, as `peer` counts it, while there is one.
    #[must_use]
    pub fn session(&self, peer: NodeId) -> Option<Epoch> {
        self.sessions.link(peer).map(crate::link::Link::theirs)
    }

    /// What others make this node hold, each beside its bound.
    #[must_use]
    pub fn bounds(&self) -> Vec<Bound> {
        let mut bounds = self.sessions.bounds();
        bounds.extend(self.ledger.bounds());
        bounds.extend(self.results.bounds());
        bounds.extend(self.orphans.bounds());
        bounds.extend([
            Bound::new("jobs", self.jobs.len(), JOBS_MAX),
            Bound::new("ended jobs", self.ended.len(), ENDED_JOBS_MAX),
            Bound::new("lendings", self.lending.len(), LENDINGS_MAX),
            Bound::new("forgotten siblings", self.forgotten.len(), FORGOTTEN_MAX),
        ]);
        bounds
    }

    /// The load as it would have been reported after the last input.
    #[must_use]
    pub fn load(&self) -> Load {
        self.load_at(self.sessions.looked())
    }

    fn load_at(&self, now: Time) -> Load {
        let load = self.load_but_work(now);
        let surplus_work = if load.surplus == 0 {
            Duration::ZERO
        } else {
            self.ready_work(now)
                .saturating_add(self.late_surplus(now).1)
        };
        Load {
            surplus_work,
            ..load
        }
    }

    fn load_but_work(&self, now: Time) -> Load {
        if self.phase != Phase::Serving {
            return Load::default();
        }
        let (idle, ready) = (self.idle_workers(), self.ready_closures());
        let hungry = if self.is_served() || self.backoff.is_on() {
            0
        } else {
            let soon = idle == 0 && ready == 0 && self.works_ahead();
            idle.saturating_sub(ready) + u32::from(soon)
        };
        let workers = self.config.workers;
        let surplus = ready.saturating_sub(idle) + self.late_surplus(now).0;
        Load {
            workers,
            hungry,
            surplus,
            ..Load::default()
        }
    }

    fn handle_manager_packet(&mut self, now: Time, packet: Packet) {
        match self.uplink.handle_answer(now, &packet, &mut self.sessions) {
            Some(Answer::Begun) => {
                // Versions count the reports of one membership.
                self.reporter = Reporter::default();
                self.report_anyway(now);
            }
            Some(Answer::Over) => self.start_over(now),
            Some(Answer::Nothing) => {}
            None => self.deliver(now, self.uplink.manager(), packet),
        }
    }

    /// A sibling may speak if it knows this membership and its own is not known to be over.
    fn admits(&mut self, now: Time, from: NodeId, packet: &Packet) -> bool {
        let Some(mine) = self.uplink.epoch() else {
            return false;
        };
        let over = self
            .forgotten
            .get(&from)
            .is_some_and(|&epoch| packet.from <= epoch);
        if packet.to != mine || packet.from == Epoch::NONE || over {
            return false;
        }
        match self.sessions.link(from).map(crate::link::Link::theirs) {
            Some(known) if known >= packet.from => known == packet.from,
            Some(_) => {
                self.lose_peer(now, from);
                self.sessions.open(now, from, mine, packet.from);
                true
            }
            None if self.sessions.len() >= SESSIONS_MAX => false,
            None => {
                self.sessions.open(now, from, mine, packet.from);
                true
            }
        }
    }

    fn deliver(&mut self, now: Time, from: NodeId, packet: Packet) {
        let session = packet.from;
        let delivered = self.sessions.receive(now, from, packet, &mut self.stats);
        for message in delivered {
            // What one message says may end the session of those after it.
            if self.session(from) == Some(session) {
                self.dispatch(now, from, message);
            } else {
                self.stats.note_stale(&message);
            }
        }
    }

    fn dispatch(&mut self, now: Time, from: NodeId, message: Message) {
        let from_manager = from == self.uplink.manager();
        match message {
            Message::RequestSteal { request, terms } => {
                self.handle_request_steal(now, from, request, &terms)
            }
            Message::EndSteal { request, .. } => self.handle_end_steal(from, request),
            Message::GrantClosures {
                request,
                more,
                load,
                job,
                closures,
            } => {
                self.note_answer(from, request, more, load.surplus);
                if from_manager {
                    self.reporter.note_fed(closures.len());
                }
                if !closures.is_empty() {
                    self.reporter.note_moved();
                }
                self.handle_grant(now, from, job, closures);
            }
            Message::ReturnClosures { leases, reason } => {
                self.handle_return_closures(now, from, &leases, reason);
            }
            Message::ReturnResults { results } => self.handle_return_results(now, from, results),
            Message::AbortLeases { leases } => {
                self.abort(now, self.ledger.borrowed_under(from, &leases));
            }
            Message::SuspectLeases {
                leases,
                suspicion,
                returned,
            } => self.ledger.suspect_all(from, &leases, suspicion, returned),
            Message::HintPeers { peers } if from_manager => self.handle_hint_peers(peers),
            Message::ForgetPeer { peer, epoch } if from_manager => {
                self.handle_forget_peer(now, peer, epoch)
            }
            Message::EndJob { job, .. } if from_manager => {
                self.abort_lent(now, job);
                self.end_job(job);
                self.end_lendings(now, job, EndStealReason::NoSurplus);
            }
            Message::GrantCheckpoint {
                job,
                entries,
                until,
                more,
            } if from_manager => self.handle_grant_checkpoint(now, job, entries, until, more),
            Message::NameOrphans {
                job,
                holder,
                orphans,
            } if from_manager => self.handle_name_orphans(now, job, holder, orphans),
            // Nothing that a server is told by this peer: a later version's, or a hostile one's.
            Message::HintPeers { .. }
            | Message::ForgetPeer { .. }
            | Message::EndJob { .. }
            | Message::JoinDomain { .. }
            | Message::WelcomeChild { .. }
            | Message::RefuseChild { .. }
            | Message::ExpelChild
            | Message::LeaveDomain
            | Message::KeepAlive
            | Message::KeepPace { .. }
            | Message::ReportLoad(_)
            | Message::RecordResults { .. }
            | Message::RequestCheckpoint { .. }
            | Message::GrantCheckpoint { .. }
            | Message::NameOrphans { .. } => {}
        }
    }

    /// Does what follows from the present state: after every input.
    fn settle(&mut self, now: Time) {
        while let Some(peer) = self.sessions.poll_overflow() {
            if peer == self.uplink.manager() {
                self.start_over(now);
            } else {
                self.lose_peer(now, peer);
            }
        }
        if self.phase == Phase::Serving {
            self.share_workers(now);
            self.feed_engines();
            self.seek_orphans(now);
            self.look_for_late(now);
            self.run_late_here(now);
        } else {
            self.turns = Turns::default();
        }
        self.results.flush(now, &mut self.sessions);
        let manager = self.uplink.manager();
        self.sessions.bind(now, manager, !self.ledger.is_empty());
        if self.phase == Phase::Serving && self.uplink.epoch().is_some() {
            self.seek(now);
        }
        self.report(now);
    }

    fn report(&mut self, now: Time) {
        let manager = self.uplink.manager();
        if self.uplink.epoch().is_none() {
            return;
        }
        let load = self.load_but_work(now);
        if !self.reporter.asks_for_work(now, &load) {
            return;
        }
        let path = self.sessions.path(manager);
        if let Some(load) = self.reporter.update(now, path, self.load_at(now)) {
            self.sessions.send(now, manager, Message::ReportLoad(load));
        }
    }

    /// The load to go with an answer: to the manager it is a report.
    fn load_for(&mut self, now: Time, peer: NodeId) -> Load {
        let load = self.load_at(now);
        if peer == self.uplink.manager() {
            self.reporter.tell(now, load)
        } else {
            load
        }
    }

    fn report_anyway(&mut self, now: Time) {
        let load = self.reporter.tell(now, self.load_at(now));
        self.sessions
            .send(now, self.uplink.manager(), Message::ReportLoad(load));
    }

    fn next_request(&mut self) -> u64 {
        self.last_request += 1;
        self.last_request
    }
}
