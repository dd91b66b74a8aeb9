//! The managers of a world, as they come and go, and what the store of each keeps over its lives.

use std::sync::Arc;
use std::time::Duration;

use atlas_proto::engine::Recorded;
use atlas_proto::ids::{JobAlias, NodeId};
use atlas_proto::job::{Closure, JobSpec};
use atlas_proto::stats::Stats;
use atlas_proto::time::Time;
use atlas_proto::{Manager, ManagerConfig};

use super::{CLIENT, machine_seed, policy_of, sum};
use crate::scenario::{FaultKind, Scenario};
use crate::topology::{DomainIndex, Topology};
use crate::workload::{Tree, kind_at};
use crate::world::job_spec;

/// All managers, there or not.
#[derive(Debug)]
pub(super) struct Managers {
    places: Vec<Place>,
    no_rivals: bool,
    seed: u64,
    /// Of lives that are over.
    past: Stats,
}

#[derive(Debug)]
struct Place {
    config: ManagerConfig,
    manager: Option<Manager>,
    store: Store,
    /// It will be asked for what its store has.
    dies: bool,
}

/// What a manager's store has of the job, if it was submitted there.
#[derive(Debug, Default)]
struct Store {
    job: Option<JobAlias>,
    checkpoint: Vec<Recorded>,
}

impl Managers {
    pub(super) fn new(
        scenario: &Scenario,
        topology: &Topology,
        now: impl Fn(NodeId) -> Time,
    ) -> Self {
        let place = |domain| {
            let node = topology.manager(domain);
            let name = topology.place(domain).name.parse();
            let config = ManagerConfig {
                node,
                domain: name.expect("a topology's names are valid"),
                parent: topology.parent(node),
                policy: policy_of(scenario, domain),
                incarnation: 1,
            };
            let seed = machine_seed(scenario.seed, node, 0);
            let manager = machine(config.clone(), seed, now(node), scenario.no_rivals);
            let mut faults = scenario.faults.iter();
            Place {
                manager: Some(manager),
                config,
                store: Store::default(),
                dies: faults
                    .any(|fault| (fault.kind, fault.server) == (FaultKind::KillManager, domain.0)),
            }
        };
        Self {
            places: topology.domains().map(place).collect(),
            no_rivals: scenario.no_rivals,
            seed: scenario.seed,
            past: Stats::default(),
        }
    }

    /// The manager, if it is there.
    pub(super) fn at(&mut self, domain: DomainIndex) -> Option<&mut Manager> {
        self.places[domain.0 as usize].manager.as_mut()
    }

    pub(super) fn get(&self, domain: DomainIndex) -> Option<&Manager> {
        self.places.get(domain.0 as usize)?.manager.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (DomainIndex, &Manager)> {
        let places = (0..).map(DomainIndex).zip(&self.places);
        places.filter_map(|(domain, place)| Some((domain, place.manager.as_ref()?)))
    }

    /// What managers counted in lives that are over.
    pub(super) fn past_stats(&self) -> Stats {
        self.past
    }

    /// A manager is gone, but for what its store has.
    pub(super) fn remove(&mut self, domain: DomainIndex) {
        if let Some(manager) = self.places[domain.0 as usize].manager.take() {
            self.past = sum(self.past, *manager.stats());
        }
    }

    /// A manager comes back, unless it is there. True if it does.
    pub(super) fn start(&mut self, now: Time, domain: DomainIndex) -> bool {
        let place = &mut self.places[domain.0 as usize];
        if place.manager.is_some() {
            return false;
        }
        place.config.incarnation += 1;
        let seed = machine_seed(self.seed, place.config.node, place.config.incarnation);
        place.manager = Some(machine(place.config.clone(), seed, now, self.no_rivals));
        true
    }

    /// Submits the job, or begins it anew if it was there before and has not ended.
    pub(super) fn submit(
        &mut self,
        now: Time,
        domain: DomainIndex,
        tree: &Tree,
    ) -> Option<JobAlias> {
        let Place { manager, store, .. } = &mut self.places[domain.0 as usize];
        let manager = manager.as_mut()?;
        let submitted = if store.job.is_some() {
            let checkpoint = store.checkpoint.clone();
            manager.submit_again(now, spec(), root(tree), checkpoint)
        } else {
            manager.submit(now, spec(), root(tree))
        };
        store.job = Some(submitted.expect("a manager takes its only job"));
        store.job
    }

    pub(super) fn keep(&mut self, domain: DomainIndex, entries: Vec<Recorded>) {
        let place = &mut self.places[domain.0 as usize];
        if place.dies {
            place.store.checkpoint.extend(entries);
        }
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
    }
}

fn machine(config: ManagerConfig, seed: u64, now: Time, no_rivals: bool) -> Manager {
    let mut manager = Manager::new(config, seed, now);
    if no_rivals {
        manager.forbid_rivals();
    }
    manager
}
