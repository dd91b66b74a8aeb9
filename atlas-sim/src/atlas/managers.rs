//! The managers of a world, as they come and go, and what each keeps over its lives.
//!
//! Where a domain has no standby a manager is there as long as its process is. Where it has one, a manager is there as long as its
//! seat acts, and waits while that is not sure.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use atlas_proto::engine::Above;
use atlas_proto::ids::{JobAlias, NodeId};
use atlas_proto::job::{Closure, JobSpec};
use atlas_proto::message::Packet;
use atlas_proto::standby::Term;
use atlas_proto::stats::Stats;
use atlas_proto::time::Time;
use atlas_proto::{Manager, ManagerConfig};

use super::child::Child;
use super::seat::Seat;
use super::store::{JobState, Store, What, Write};
use super::{CLIENT, machine_seed, policy_of, sum};
use crate::scenario::{FaultKind, Scenario};
use crate::topology::{DomainIndex, Role, Topology};
use crate::workload::{Tree, kind_at};
use crate::world::job_spec;

/// All managers, there or not.
#[derive(Debug)]
pub(super) struct Managers {
    topology: Arc<Topology>,
    places: Vec<Place>,
    no_rivals: bool,
    seed: u64,
    /// Of lives that are over.
    past: Stats,
    /// Writes that there were.
    writes: u64,
    /// By domain: the writes that are safe.
    safe: Vec<BTreeSet<u64>>,
}

#[derive(Debug)]
pub(super) struct Place {
    config: ManagerConfig,
    /// Its machine, as long as it acts.
    pub(super) manager: Option<Manager>,
    /// How many machines there were.
    lives: u64,
    pub(super) store: Store,
    /// The job, as the machine calls it, until it has ended.
    pub(super) job: Option<JobAlias>,
    /// The machine was given the job.
    pub(super) took_job: bool,
    /// It will be asked for what its store has.
    dies: bool,
    /// How it stands, if it is one of two.
    pub(super) seat: Option<Seat>,
    /// Whom it heeds, if two manage the domain above.
    pub(super) child: Option<Child>,
    /// The one that it has told its machine of.
    pub(super) parent: Option<NodeId>,
    /// What has come while it was not sure to act.
    pub(super) held: VecDeque<(NodeId, Packet)>,
}

impl Managers {
    pub(super) fn new(
        scenario: &Scenario,
        topology: &Arc<Topology>,
        now: impl Fn(NodeId) -> Time,
    ) -> Self {
        let mut managers = Self {
            places: Vec::new(),
            no_rivals: scenario.no_rivals,
            seed: scenario.seed,
            past: Stats::default(),
            writes: 0,
            safe: vec![BTreeSet::new(); topology.domains().len()],
            topology: Arc::clone(topology),
        };
        let nodes = topology.all_managers();
        managers.places = nodes
            .map(|node| Place::new(scenario, topology, node))
            .collect();
        for node in topology.all_managers() {
            managers.start(now(node), node);
        }
        managers
    }

    /// Where a manager is, or would be.
    pub(super) fn place(&mut self, node: NodeId) -> &mut Place {
        let number = self.topology.manager_number(node);
        &mut self.places[number.expect("a manager of this world")]
    }

    pub(super) fn get_place(&self, node: NodeId) -> Option<&Place> {
        self.places.get(self.topology.manager_number(node)?)
    }

    /// The manager, if it is there.
    pub(super) fn get(&self, node: NodeId) -> Option<&Manager> {
        self.get_place(node)?.manager.as_ref()
    }

    /// Those that are there, by domain. Of two, one may not have noticed yet that its time is over.
    pub(super) fn iter(&self) -> impl Iterator<Item = (DomainIndex, &Manager)> {
        let there = self.topology.all_managers().zip(&self.places);
        there.filter_map(|(node, place)| {
            let Some(Role::Manager(domain)) = self.topology.role(node) else {
                return None;
            };
            Some((domain, place.manager.as_ref()?))
        })
    }

    /// What managers counted in lives that are over.
    pub(super) fn past_stats(&self) -> Stats {
        self.past
    }

    /// A manager's process is gone, but for what is on its disk.
    pub(super) fn remove(&mut self, node: NodeId) {
        self.end(node);
        if let Some(seat) = &mut self.place(node).seat {
            seat.stop();
        }
    }

    /// A manager's process comes back, unless it is there. True if it does.
    pub(super) fn start(&mut self, now: Time, node: NodeId) -> bool {
        let seed = self.seed;
        let place = self.place(node);
        match &mut place.seat {
            Some(seat) if seat.is_up() => return false,
            Some(seat) => {
                let seed = machine_seed(seed ^ SEAT_SALT, node, seat.lives());
                seat.start(now, seed, &mut place.store);
            }
            None if place.manager.is_some() => return false,
            None => self.begin(now, node),
        }
        true
    }

    /// From now on it acts.
    pub(super) fn begin(&mut self, now: Time, node: NodeId) {
        let (seed, no_rivals) = (self.seed, self.no_rivals);
        let counted = self.topology.has_standbys();
        let number = self.next_write();
        let place = self.place(node);
        place.lives += 1;
        place.config.incarnation = if counted {
            (now.0 / LIFE_NS).max(place.store.life + 1)
        } else {
            place.lives
        };
        place.store.life = place.config.incarnation;
        let life = if place.lives == 1 { 0 } else { place.lives };
        let seed = machine_seed(seed, node, life);
        place.manager = Some(machine(place.config.clone(), seed, now, no_rivals));
        if let Some(child) = &mut place.child {
            child.start(now);
        }
        if let Some(seat) = &mut place.seat {
            let what = What::Life(place.config.incarnation);
            seat.write(now, Write { number, what });
        }
    }

    /// It does not act any more.
    pub(super) fn end(&mut self, node: NodeId) {
        let place = self.place(node);
        (place.job, place.took_job) = (None, false);
        place.parent = None;
        place.held.clear();
        if let Some(child) = &mut place.child {
            child.stop();
        }
        if let Some(manager) = place.manager.take() {
            self.past = sum(self.past, *manager.stats());
        }
    }

    /// Submits the job, or begins it anew if it was there before and has not ended.
    pub(super) fn submit(&mut self, now: Time, node: NodeId, tree: &Tree) -> Option<JobAlias> {
        let number = self.next_write();
        let place = self.place(node);
        let manager = place.manager.as_mut()?;
        let submitted = if place.store.job.is_some() {
            let checkpoint = place.store.checkpoint.clone();
            manager.submit_again(now, spec(), root(tree), checkpoint)
        } else {
            let what = What::Accepted;
            match &mut place.seat {
                Some(seat) => seat.write(now, Write { number, what }),
                None => place.store.job = Some(JobState::Live),
            }
            manager.submit(now, spec(), root(tree))
        };
        place.job = Some(submitted.expect("a manager takes its only job"));
        place.took_job = true;
        place.job
    }

    /// A manager is lent the job for the first time, and gets what it has kept of it.
    pub(super) fn restore(&mut self, node: NodeId, job: JobAlias) {
        let place = self.place(node);
        if let Some(manager) = &mut place.manager {
            manager.restore_checkpoint(job, place.store.foreign.clone());
        }
    }

    /// Something of the job is to survive.
    pub(super) fn keep(&mut self, now: Time, node: NodeId, what: What) {
        let number = self.next_write();
        let place = self.place(node);
        let write = Write { number, what };
        match &mut place.seat {
            Some(seat) => seat.write(now, write),
            None if place.dies => place.store.apply(&write),
            None => {}
        }
    }

    /// A write is safe.
    pub(super) fn note_safe(&mut self, node: NodeId, number: u64) {
        let domain = self.topology.domain_of(node);
        self.safe[domain.0 as usize].insert(number);
    }

    /// How many writes of a domain are safe.
    pub(super) fn safe_count(&self, domain: DomainIndex) -> usize {
        self.safe[domain.0 as usize].len()
    }

    /// The first write that is safe and that a manager does not have.
    pub(super) fn lacks(&self, node: NodeId) -> Option<u64> {
        let domain = self.topology.domain_of(node);
        let place = self.get_place(node)?;
        place.store.lacks(&self.safe[domain.0 as usize])
    }

    fn next_write(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }
}

impl Place {
    fn new(scenario: &Scenario, topology: &Topology, node: NodeId) -> Self {
        let domain = topology.domain_of(node);
        let name = topology.place(domain).name.parse();
        let above = topology.domain_above(node);
        let two_above = above.filter(|&above| topology.standby(above).is_some());
        let begins = node == topology.manager(domain);
        let other = topology.other_manager(node);
        let seat = other.map(|other| Seat::new(node, other, begins, scenario.disks_stick));
        let mut faults = scenario.faults.iter();
        Self {
            config: ManagerConfig {
                node,
                domain: name.expect("a topology's names are valid"),
                // Of two, the one that it heeds is told later.
                parent: topology.parent(node).filter(|_| two_above.is_none()),
                policy: policy_of(scenario, domain),
                incarnation: 0,
            },
            manager: None,
            lives: 0,
            store: Store::default(),
            job: None,
            took_job: false,
            dies: faults
                .any(|fault| (fault.kind, fault.server) == (FaultKind::KillManager, domain.0)),
            seat,
            child: two_above.map(|above| Child::new(topology.managers(above))),
            parent: None,
            held: VecDeque::new(),
        }
    }

    /// It acts, as far as it knows, and does what it does.
    pub(super) fn holds(&self, now: Time) -> bool {
        let seat = self.seat.as_ref();
        self.manager.is_some() && seat.is_none_or(|seat| seat.acts_in(now).is_some())
    }

    /// The term in which it acts, if it is one of two.
    pub(super) fn acts_in(&self, now: Time) -> Option<Term> {
        self.seat.as_ref()?.acts_in(now)
    }

    /// How many machines there were.
    pub(super) fn lives(&self) -> u64 {
        self.lives
    }

    pub(super) fn poll_timeout(&self, now: Time) -> Option<Time> {
        let manager = self.manager.as_ref().filter(|_| self.holds(now));
        let timers = [
            manager.and_then(Manager::poll_timeout),
            self.seat.as_ref().and_then(Seat::poll_timeout),
            self.child.as_ref().and_then(Child::poll_timeout),
        ];
        timers.into_iter().flatten().min()
    }
}

/// Who asks is the manager's to know, and nobody else's.
fn spec() -> JobSpec {
    JobSpec {
        origin: CLIENT.parse().expect("a domain's name"),
        ..Arc::unwrap_or_clone(job_spec())
    }
}

fn root(tree: &Tree) -> Closure {
    let root = tree.root();
    Closure {
        kind: kind_at(root.depth),
        args: root.encode(tree.config().args_bytes),
        expected: Duration::ZERO,
        shared: Vec::new(),
        above: Above::NONE,
    }
}

fn machine(config: ManagerConfig, seed: u64, now: Time, no_rivals: bool) -> Manager {
    let mut manager = Manager::new(config, seed, now);
    if no_rivals {
        manager.forbid_rivals();
    }
    manager
}

/// Lives of domains are counted in tenths of a second of their managers' clocks.
const LIFE_NS: u64 = 100_000_000;
const SEAT_SALT: u64 = 0x1f0a_9d3c_64be_8217;
