//! The manager machine: one domain's coordinator, and its children's way to the rest of the world.
//!
//! **Calling contract.** After each input (`handle_*`, [`Manager::submit`], [`Manager::kill`]) drain
//! [`Manager::poll_transmit`] and [`Manager::poll_event`], then arm a timer for [`Manager::poll_timeout`] and
//! call [`Manager::handle_timeout`] when it is due. Time never goes back.
//!
//! What it decides: who is a child (`children`), who gets work from whom (`balance`, `steals`), what becomes of leases
//! that cross it (`leases`), of jobs that nobody here can run (`waiting`), under which alias a job is known where
//! (`jobs`). It must never know what is in a closure, and nothing of its children's children but the sums that they report.

mod balance;
mod checkpoints;
mod children;
mod jobs;
mod leases;
mod orphans;
mod rivals;
mod steals;
mod waiting;

use std::collections::{BTreeMap, VecDeque};

use crate::checkpoint::Checkpoints;
use crate::domain::Domain;
use crate::engine::Recorded;
use crate::ids::{Epoch, GlobalJobId, JobAlias, NodeId, RequestId};
use crate::job::{Closure, Finished, JobSpec};
use crate::ledger::{EntryId, Ledger, Source};
use crate::limits::{ASKS_PER_CHILD_MAX, Bound, CHILDREN_MAX, JOBS_MAX, NONCES_MAX};
use crate::link::Link;
use crate::message::{ChildInfo, Load, Message, Packet};
use crate::path::Path;
use crate::policy::Policy;
use crate::report::Reporter;
use crate::results::ResultQueues;
use crate::rng::Rng;
use crate::sessions::{Sessions, Transmit};
use crate::stats::Stats;
use crate::time::Time;
use crate::uplink::{Answer, Uplink};

pub use jobs::{JobOrigin, SubmitError};

use checkpoints::Upward;
use children::Child;
use jobs::Jobs;
use orphans::Orphans;
use rivals::Rivals;
use steals::{Ask, Relay};

/// What a manager is.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    /// Its own name.
    pub node: NodeId,
    /// Its domain.
    pub domain: Domain,
    /// The manager of the enclosing domain, if it is known already.
    pub parent: Option<NodeId>,
    /// Whose work may come, where ours may go.
    pub policy: Policy,
    /// Larger than that of any earlier life of this node: the time of its start will do.
    pub incarnation: u64,
}

impl ManagerConfig {
    fn info(&self) -> ChildInfo {
        ChildInfo::Manager {
            domain: self.domain.clone(),
            inflow: self.policy.inflow().to_vec(),
        }
    }
}

/// What a manager tells its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerEvent {
    /// A job that was submitted here is done.
    JobFinished {
        /// Which.
        job: JobAlias,
        /// How it ended.
        finished: Finished,
    },
    /// Results of a job that was submitted here, so that the next life of this manager can begin the job with them
    /// ([`Manager::submit_again`]).
    CheckpointRecorded {
        /// Which.
        job: JobAlias,
        /// What is new.
        entries: Vec<Recorded>,
    },
    /// Closures of a job that was submitted elsewhere have come for the first time. What is kept of it is to be given back before anything
    /// else is told ([`Manager::restore_checkpoint`]): whoever runs them may ask for it next.
    ForeignJobBegun {
        /// What it is called from now on.
        job: JobAlias,
        /// What it was kept under.
        id: GlobalJobId,
    },
    /// Results that were recorded in this domain of a job that was submitted elsewhere. They are to be kept until it ends, or as long as
    /// somebody may come back with it.
    ForeignCheckpointRecorded {
        /// What to keep them under.
        id: GlobalJobId,
        /// What is new.
        entries: Vec<Recorded>,
    },
    /// A job that was submitted elsewhere has ended: nothing of it is to be kept any more. Only of those of which something was.
    ForeignJobEnded {
        /// What it was kept under.
        id: GlobalJobId,
    },
}

/// The machine. Its module says how it is called.
#[derive(Debug)]
pub struct Manager {
    config: ManagerConfig,
    rng: Rng,
    uplink: Option<Uplink>,
    pub(crate) sessions: Sessions,
    reporter: Reporter,
    children: BTreeMap<NodeId, Child>,
    /// The last attempt to join of each node that ever was a child: late copies of earlier ones are ignored.
    nonces: BTreeMap<NodeId, u64>,
    last_epoch: u64,
    ledger: Ledger,
    jobs: Jobs,
    checkpoints: Checkpoints,
    upward: Upward,
    orphans: Orphans,
    pub(crate) results: ResultQueues,
    /// Steals that this manager has asked its children for.
    asks: BTreeMap<RequestId, Ask>,
    rivals: Rivals,
    /// Steals that its parent has asked for, by this manager's number.
    relays: BTreeMap<RequestId, Relay>,
    last_request: u64,
    /// Counts reports of surplus, so that what is newer than a hint is known.
    surplus_stamp: u64,
    events: VecDeque<ManagerEvent>,
    stats: Stats,
}

impl Manager {
    /// A manager that begins to join its parent, if it has one, and waits for children.
    #[must_use]
    pub fn new(config: ManagerConfig, seed: u64, now: Time) -> Self {
        let uplink = config
            .parent
            .map(|parent| Uplink::new(now, parent, config.info(), config.incarnation));
        Self {
            rng: Rng::new(seed),
            uplink,
            sessions: Sessions::default(),
            reporter: Reporter::default(),
            children: BTreeMap::new(),
            nonces: BTreeMap::new(),
            last_epoch: config.incarnation << EPOCH_BITS,
            ledger: Ledger::default(),
            jobs: Jobs::default(),
            checkpoints: Checkpoints::default(),
            upward: Upward::default(),
            orphans: Orphans::default(),
            results: ResultQueues::default(),
            asks: BTreeMap::new(),
            rivals: Rivals::default(),
            relays: BTreeMap::new(),
            last_request: 0,
            surplus_stamp: 0,
            events: VecDeque::new(),
            stats: Stats::default(),
            config,
        }
    }

    /// A packet has come from `from`, whom the driver has authenticated.
    pub fn handle_packet(&mut self, now: Time, from: NodeId, packet: Packet) {
        self.sessions.look(now);
        if self.parent() == Some(from) {
            self.handle_parent_packet(now, from, packet);
        } else if let Message::JoinDomain { nonce, child } = packet.message {
            self.handle_join(now, from, nonce, child);
        } else if self
            .children
            .get(&from)
            .is_some_and(|child| child.epoch == packet.from)
        {
            self.deliver(now, from, packet);
        } else if packet.from != Epoch::NONE && !packet.message.is_sessionless() {
            self.stats.note_stale(&packet.message);
            // What makes or ends a session is not answered: two nodes could go on expelling each other.
            self.sessions
                .send_sessionless(from, packet.from, Message::ExpelChild);
        }
        self.settle(now);
    }

    /// The driver has measured the way to a neighbour.
    pub fn handle_path(&mut self, _now: Time, peer: NodeId, path: Path) {
        self.sessions.set_path(peer, path);
    }

    /// The driver has reached the manager of the enclosing domain: it is this node, from now on if it was another.
    pub fn handle_parent(&mut self, now: Time, parent: NodeId) {
        if self.config.parent == Some(parent) {
            return;
        }
        if self.config.parent.is_some() {
            self.lose_parent(now);
            // Should the other come back, this is a later attempt.
            self.config.incarnation += 1;
        }
        self.config.parent = Some(parent);
        let info = self.config.info();
        self.uplink = Some(Uplink::new(now, parent, info, self.config.incarnation));
        self.handle_timeout(now);
    }

    /// It is time for something.
    pub fn handle_timeout(&mut self, now: Time) {
        self.sessions.look(now);
        if self
            .uplink
            .as_ref()
            .is_some_and(|uplink| uplink.is_lost(now, &self.sessions))
        {
            self.lose_parent(now);
        }
        if let Some(uplink) = &mut self.uplink {
            uplink.handle_timeout(now, &mut self.sessions, &mut self.rng);
            let parent = uplink.manager();
            if self.sessions.is_bound(parent) {
                let bound = self.ledger.binds(parent);
                self.sessions.bind(now, parent, bound);
            }
        }
        self.sessions.handle_timeout(now);
        self.abort(now, self.ledger.orphans_over(now));
        self.look_upward(now);
        self.watch_children(now);
        self.end_rivals_in_vain(now);
        self.settle(now);
    }

    /// Takes a job in: its root closure goes to a server of this domain, or of another if this one has none that may run it.
    ///
    /// # Errors
    ///
    /// If the manager holds as much as it can, or the job is too large to be sent to a server.
    pub fn submit(
        &mut self,
        now: Time,
        spec: JobSpec,
        root: Closure,
    ) -> Result<JobAlias, SubmitError> {
        let (job, _) = self.take_root(spec, root)?;
        self.settle(now);
        Ok(job)
    }

    fn take_root(
        &mut self,
        spec: JobSpec,
        root: Closure,
    ) -> Result<(JobAlias, EntryId), SubmitError> {
        SubmitError::check(&spec, &root)?;
        if !self.ledger.has_room(1, root.size()) {
            return Err(SubmitError::NoRoom);
        }
        let job = self.jobs.submit(
            JobSpec {
                origin: self.config.domain.clone(),
                ..spec
            },
            &mut self.rng,
        )?;
        Ok((job, self.ledger.insert(job, Source::Root, root)))
    }

    /// Ends a job that was submitted here, whatever has become of it.
    pub fn kill(&mut self, now: Time, job: JobAlias) {
        if self.jobs.is_own(job) {
            self.end_job(now, job, false);
            self.settle(now);
        }
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.sessions.poll_transmit()
    }

    /// The next thing to tell the driver.
    pub fn poll_event(&mut self) -> Option<ManagerEvent> {
        self.events.pop_front()
    }

    /// When [`Manager::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let uplink = self
            .uplink
            .as_ref()
            .and_then(|uplink| uplink.poll_timeout(&self.sessions));
        let member = self
            .uplink
            .as_ref()
            .is_some_and(|uplink| uplink.epoch().is_some());
        let timers = [
            self.sessions.poll_timeout(),
            uplink,
            self.results.poll_timeout(),
            self.gathering_timeout(),
            self.ledger.orphans_until(),
            self.upward.poll_timeout(),
            self.reporter.poll_timeout().filter(|_| member),
            self.children_timeout(),
        ];
        timers.into_iter().flatten().min()
    }

    /// What this node holds and has lent.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What has been counted.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What others make this node hold, each beside its bound.
    #[must_use]
    pub fn bounds(&self) -> Vec<Bound> {
        let mut bounds = self.sessions.bounds();
        bounds.extend(self.ledger.bounds());
        bounds.extend(self.checkpoints.bounds());
        bounds.extend(self.upward.bounds());
        bounds.extend(self.orphans.bounds());
        bounds.extend(self.results.bounds());
        bounds.extend([
            Bound::new("jobs", self.jobs.len(), JOBS_MAX),
            Bound::new("children", self.children.len(), CHILDREN_MAX),
            Bound::new("nonces", self.nonces.len(), NONCES_MAX),
            // Each waits for one at least.
            Bound::new("relays", self.relays.len(), self.asks.len()),
        ]);
        for (node, child) in &self.children {
            let asks = self.asks.values().filter(|ask| ask.victim == *node).count();
            debug_assert_eq!(asks, child.asked, "the steals asked of {node} are counted");
            bounds.push(Bound::new("asks", asks, ASKS_PER_CHILD_MAX));
            bounds.push(Bound::new(
                "refusals",
                child.refused_by.len(),
                self.children.len(),
            ));
        }
        bounds
    }

    /// Its domain.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.config.domain
    }

    /// How many jobs it knows.
    #[must_use]
    pub fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// Its present children, with what they reported last.
    pub fn children(&self) -> impl Iterator<Item = (NodeId, &Load)> {
        self.children
            .iter()
            .map(|(&node, child)| (node, &child.load))
    }

    /// The domain that a child manages; none for a server.
    #[must_use]
    pub fn domain_of(&self, child: NodeId) -> Option<&Domain> {
        self.children.get(&child)?.domain()
    }

    /// The epoch of the session with `peer`, as `peer` counts it, while there is one.
    #[must_use]
    pub fn session(&self, peer: NodeId) -> Option<Epoch> {
        self.sessions.link(peer).map(Link::theirs)
    }

    fn handle_parent_packet(&mut self, now: Time, parent: NodeId, packet: Packet) {
        let Some(uplink) = &mut self.uplink else {
            return;
        };
        match uplink.handle_answer(now, &packet, &mut self.sessions) {
            Some(Answer::Begun) => {
                // Versions count the reports of one membership.
                self.reporter = Reporter::default();
                self.report_anyway(now, parent);
            }
            Some(Answer::Over) => self.lose_parent(now),
            Some(Answer::Nothing) => {}
            None => self.deliver(now, parent, packet),
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
        let from_parent = self.parent() == Some(from);
        match message {
            Message::ReportLoad(load) if !from_parent => {
                self.handle_report_load(from, load);
                self.answer_turn(now, from);
            }
            Message::LeaveDomain if !from_parent => self.part_from_child(now, from),
            Message::RequestSteal { request, terms } if from_parent => {
                self.handle_request_steal(now, from, request, &terms);
            }
            Message::EndSteal {
                request,
                reason,
                load,
            } => {
                self.handle_report_load(from, load);
                self.handle_end_steal(now, from, request, reason);
            }
            Message::GrantClosures {
                request,
                more,
                load,
                job,
                closures,
            } => {
                self.note_grant(from, load, closures.len());
                self.handle_grant(now, from, request, job, closures);
                self.close_answered(now, from, request.filter(|_| !more));
            }
            Message::ReturnClosures { leases, reason } => {
                self.handle_return_closures(now, from, &leases, reason)
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
            Message::EndJob { job, lost } => self.handle_end_job(now, from, job, lost),
            message @ (Message::RecordResults { .. }
            | Message::RequestCheckpoint { .. }
            | Message::GrantCheckpoint { .. }) => self.dispatch_checkpoint(now, from, message),
            Message::NameOrphans { job, orphans, .. } => {
                self.handle_name_orphans(now, from, job, orphans);
            }
            // Nothing that a manager is told by this peer: a later version's, or a hostile one's.
            Message::ReportLoad(_)
            | Message::LeaveDomain
            | Message::RequestSteal { .. }
            | Message::JoinDomain { .. }
            | Message::WelcomeChild { .. }
            | Message::RefuseChild { .. }
            | Message::ExpelChild
            | Message::KeepAlive
            | Message::KeepPace { .. }
            | Message::HintPeers { .. }
            | Message::ForgetPeer { .. } => {}
        }
    }

    /// The last answer to a steal has come, if it was one.
    fn close_answered(&mut self, now: Time, from: NodeId, request: Option<RequestId>) {
        if let Some(request) = request {
            self.close_ask(now, from, request);
        }
    }

    /// What comes with closures: the load of a child, or what the parent takes this node for.
    fn note_grant(&mut self, from: NodeId, load: Load, closures: usize) {
        if self.parent() != Some(from) {
            return self.handle_report_load(from, load);
        }
        self.reporter.note_fed(closures);
        if closures > 0 {
            self.reporter.note_moved();
        }
    }

    /// Does what follows from the present state: after every input.
    fn settle(&mut self, now: Time) {
        while let Some(peer) = self.sessions.poll_overflow() {
            if self.parent() == Some(peer) {
                self.lose_parent(now);
            } else {
                self.lose_child(now, peer);
            }
        }
        self.balance(now);
        self.send_gathered(now);
        self.results.flush(now, &mut self.sessions);
        self.report(now);
    }

    fn report(&mut self, now: Time) {
        let Some(uplink) = self
            .uplink
            .as_ref()
            .filter(|uplink| uplink.epoch().is_some())
        else {
            return;
        };
        let parent = uplink.manager();
        let path = self.sessions.path(parent);
        if let Some(load) = self.reporter.update(now, path, self.load()) {
            self.sessions.send(now, parent, Message::ReportLoad(load));
        }
    }

    /// The load to go with an answer: to the parent it is a report.
    fn load_for(&mut self, now: Time, peer: NodeId) -> Load {
        if self.parent() == Some(peer) {
            self.reporter.tell(now, self.load())
        } else {
            Load::default()
        }
    }

    fn report_anyway(&mut self, now: Time, parent: NodeId) {
        let load = self.reporter.tell(now, self.load());
        self.sessions.send(now, parent, Message::ReportLoad(load));
    }

    fn parent(&self) -> Option<NodeId> {
        self.config.parent
    }

    fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }
}

/// A life of a manager sees fewer memberships than this before its epochs reach those of a later one, if lives
/// are numbered by the second of their start.
const EPOCH_BITS: u32 = 24;
