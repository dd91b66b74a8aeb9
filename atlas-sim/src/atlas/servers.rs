//! The servers of a world, as they come and go.

use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::stats::Stats;
use atlas_proto::time::Time;
use atlas_proto::{Server, ServerConfig};

use super::child::Child;
use super::{AtlasPacket, machine_seed};
use crate::scenario::{Fault, FaultKind, SLOWED, Scenario};
use crate::topology::{ServerIndex, Topology};
use crate::world::Stage;

/// All servers, there or not.
#[derive(Debug)]
pub(super) struct Servers {
    places: Vec<Place>,
    workers: u32,
    no_rivals: bool,
    seed: u64,
    /// When the job is submitted.
    from: Time,
    /// Of lives that are over.
    past: Stats,
}

#[derive(Debug, Default)]
struct Place {
    is_up: bool,
    /// Its machine, for the manager that it serves.
    server: Option<Server>,
    /// Whom it serves, if two manage its domain.
    child: Option<Child>,
    manager: Option<NodeId>,
    is_retreated: bool,
    leaves: bool,
    /// How many machines there were.
    lives: u64,
    /// When it was last.
    since: Time,
    /// How long it was there in earlier lives.
    before: Duration,
}

impl Servers {
    pub(super) fn new(scenario: &Scenario, topology: &Topology) -> Self {
        let place = |server| {
            let home = topology.home(server);
            let is_one_of_two = topology.standby(home).is_some();
            let managers = topology.managers(home);
            Place {
                child: is_one_of_two.then(|| Child::new(managers)),
                ..Place::default()
            }
        };
        Self {
            places: topology.servers().map(place).collect(),
            workers: scenario.workers,
            no_rivals: scenario.no_rivals,
            seed: scenario.seed,
            from: Time::ZERO + scenario.warm_up,
            past: Stats::default(),
        }
    }

    /// Of each server.
    pub(super) fn workers(&self) -> u32 {
        self.workers
    }

    /// The server, if it is there.
    pub(super) fn at(&mut self, index: ServerIndex) -> Option<&mut Server> {
        self.places[index.0 as usize].server.as_mut()
    }

    pub(super) fn get(&self, index: ServerIndex) -> Option<&Server> {
        self.places.get(index.0 as usize)?.server.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ServerIndex, &Server)> {
        let places = (0..).map(ServerIndex).zip(&self.places);
        places.filter_map(|(index, place)| Some((index, place.server.as_ref()?)))
    }

    /// What servers counted in lives that are over.
    pub(super) fn past_stats(&self) -> Stats {
        self.past
    }

    /// How long each server was there up to a time, since the job was submitted.
    pub(super) fn present(&self, until: Time) -> impl Iterator<Item = Duration> {
        self.places.iter().map(move |place| {
            let life = until.since(place.since.max(self.from));
            place.before + if place.is_up { life } else { Duration::ZERO }
        })
    }

    /// What tells a server whom to serve, if two manage its domain.
    pub(super) fn child(&mut self, index: ServerIndex) -> Option<&mut Child> {
        self.places[index.0 as usize].child.as_mut()
    }

    pub(super) fn get_child(&self, index: ServerIndex) -> Option<&Child> {
        self.places.get(index.0 as usize)?.child.as_ref()
    }

    /// How many machines there were.
    pub(super) fn lives(&self, index: ServerIndex) -> u64 {
        self.places
            .get(index.0 as usize)
            .map_or(0, |place| place.lives)
    }

    pub(super) fn poll_timeout(&self, index: ServerIndex) -> Option<Time> {
        let place = self.places.get(index.0 as usize)?;
        let machine = place.server.as_ref().and_then(Server::poll_timeout);
        let child = place.child.as_ref().and_then(Child::poll_timeout);
        machine.into_iter().chain(child).min()
    }

    /// A server comes, unless it is there.
    pub(super) fn start(&mut self, stage: &mut Stage<AtlasPacket>, now: Time, index: ServerIndex) {
        let place = &mut self.places[index.0 as usize];
        if place.is_up {
            return;
        }
        place.is_up = true;
        place.since = stage.now();
        match &mut place.child {
            Some(child) => child.start(now),
            None => {
                let manager = stage.topology.manager(stage.topology.home(index));
                self.begin(stage, now, index, manager);
            }
        }
    }

    /// A server serves this manager from now on, beginning anew if it was another.
    pub(super) fn serve(
        &mut self,
        stage: &mut Stage<AtlasPacket>,
        now: Time,
        index: ServerIndex,
        manager: NodeId,
    ) {
        let place = &self.places[index.0 as usize];
        let serves = place.server.as_ref().map(|_| place.manager);
        if !place.is_up || serves == Some(Some(manager)) {
            return;
        }
        if serves.is_some() {
            self.end(stage, index);
        }
        if self.places[index.0 as usize].leaves {
            return self.remove(stage, index);
        }
        self.begin(stage, now, index, manager);
    }

    fn begin(
        &mut self,
        stage: &mut Stage<AtlasPacket>,
        now: Time,
        index: ServerIndex,
        manager: NodeId,
    ) {
        let place = &mut self.places[index.0 as usize];
        place.lives += 1;
        place.manager = Some(manager);
        let node = stage.topology.server(index);
        let config = ServerConfig {
            node,
            manager,
            workers: self.workers,
            incarnation: place.lives,
        };
        let mut server = Server::new(config, machine_seed(self.seed, node, place.lives), now);
        server.handle_path(now, manager, stage.path(node, manager));
        if self.no_rivals {
            server.forbid_rivals();
        }
        if place.is_retreated {
            server.retreat(now);
        }
        place.server = Some(server);
    }

    /// A machine is gone, with all that it held.
    fn end(&mut self, stage: &mut Stage<AtlasPacket>, index: ServerIndex) {
        if let Some(server) = self.places[index.0 as usize].server.take() {
            self.past = sum(self.past, *server.stats());
            stage.clear_engine(index);
        }
    }

    /// A server is gone, with all that it held.
    pub(super) fn remove(&mut self, stage: &mut Stage<AtlasPacket>, index: ServerIndex) {
        self.end(stage, index);
        let place = &mut self.places[index.0 as usize];
        if place.is_up {
            place.before += stage.now().since(place.since.max(self.from));
        }
        (place.is_up, place.is_retreated, place.leaves) = (false, false, false);
        if let Some(child) = &mut place.child {
            child.stop();
        }
    }

    /// What the scenario has in store for a server happens to it.
    pub(super) fn befall(&mut self, stage: &mut Stage<AtlasPacket>, now: Time, fault: Fault) {
        let index = ServerIndex(fault.server);
        match fault.kind {
            FaultKind::Kill => self.remove(stage, index),
            FaultKind::Start => self.start(stage, now, index),
            FaultKind::Slow => stage.slow_down(index, SLOWED),
            FaultKind::Leave => self.leave(stage, now, index),
            FaultKind::Retreat | FaultKind::Resume => {
                let place = &mut self.places[index.0 as usize];
                place.is_retreated = place.is_up && fault.kind == FaultKind::Retreat;
                if let Some(server) = &mut place.server {
                    match place.is_retreated {
                        true => server.retreat(now),
                        false => server.resume(now),
                    }
                }
            }
            FaultKind::KillManager
            | FaultKind::StartManager
            | FaultKind::KillStandby
            | FaultKind::StartStandby
            | FaultKind::KillActing => {}
        }
    }

    /// A server is asked to go; it goes at once if it serves nobody.
    fn leave(&mut self, stage: &mut Stage<AtlasPacket>, now: Time, index: ServerIndex) {
        let place = &mut self.places[index.0 as usize];
        match &mut place.server {
            Some(server) => {
                place.leaves = true;
                server.leave(now);
            }
            None => self.remove(stage, index),
        }
    }
}

pub(super) fn sum(one: Stats, other: Stats) -> Stats {
    Stats {
        steals_asked: one.steals_asked + other.steals_asked,
        steals_refused: one.steals_refused + other.steals_refused,
        closures_lent: one.closures_lent + other.closures_lent,
        closures_borrowed: one.closures_borrowed + other.closures_borrowed,
        results_late: one.results_late + other.results_late,
        results_stale: one.results_stale + other.results_stale,
        packets_doubled: one.packets_doubled + other.packets_doubled,
        closures_requeued: one.closures_requeued + other.closures_requeued,
        closures_too_large: one.closures_too_large + other.closures_too_large,
        rivals_lent: one.rivals_lent + other.rivals_lent,
        rivals_won: one.rivals_won + other.rivals_won,
        rivals_wasted: one.rivals_wasted + other.rivals_wasted,
        rivals_wasted_ms: one.rivals_wasted_ms + other.rivals_wasted_ms,
        results_recorded: one.results_recorded + other.results_recorded,
        results_restored: one.results_restored + other.results_restored,
        orphans: one.orphans + other.orphans,
        orphans_adopted: one.orphans_adopted + other.orphans_adopted,
        orphans_finished: one.orphans_finished + other.orphans_finished,
        checkpoints_asked: one.checkpoints_asked + other.checkpoints_asked,
        peers_lost: one.peers_lost + other.peers_lost,
    }
}
