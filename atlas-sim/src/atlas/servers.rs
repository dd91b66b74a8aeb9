//! The servers of a world, as they come and go.

use atlas_proto::stats::Stats;
use atlas_proto::{Server, ServerConfig};

use super::{AtlasPacket, machine_seed};
use crate::scenario::{Fault, FaultKind, Scenario};
use crate::topology::ServerIndex;
use crate::world::Stage;

/// All servers, there or not.
#[derive(Debug)]
pub(super) struct Servers {
    places: Vec<Place>,
    workers: u32,
    seed: u64,
    /// Of lives that are over.
    past: Stats,
}

#[derive(Debug, Default)]
struct Place {
    server: Option<Server>,
    /// How often it was started.
    lives: u64,
}

impl Servers {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            places: (0..scenario.servers).map(|_| Place::default()).collect(),
            workers: scenario.workers,
            seed: scenario.seed,
            past: Stats::default(),
        }
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

    /// A server comes, unless it is there.
    pub(super) fn start(&mut self, stage: &mut Stage<AtlasPacket>, index: ServerIndex) {
        let place = &mut self.places[index.0 as usize];
        if place.server.is_some() {
            return;
        }
        place.lives += 1;
        let (now, node) = (stage.now(), stage.topology.server(index));
        let manager = stage.topology.manager(stage.topology.home(index));
        let config = ServerConfig {
            node,
            manager,
            workers: self.workers,
            incarnation: place.lives,
        };
        let mut server = Server::new(config, machine_seed(self.seed, node, place.lives), now);
        server.handle_path(now, manager, stage.path(node, manager));
        place.server = Some(server);
    }

    /// A server is gone, with all that it held.
    pub(super) fn remove(&mut self, stage: &mut Stage<AtlasPacket>, index: ServerIndex) {
        if let Some(server) = self.places[index.0 as usize].server.take() {
            self.past = sum(self.past, *server.stats());
            stage.clear_engine(index);
        }
    }

    /// What the scenario has in store for a server happens to it.
    pub(super) fn befall(&mut self, stage: &mut Stage<AtlasPacket>, fault: Fault) {
        let (now, index) = (stage.now(), ServerIndex(fault.server));
        match fault.kind {
            FaultKind::Kill => self.remove(stage, index),
            FaultKind::Start => self.start(stage, index),
            FaultKind::Leave | FaultKind::Retreat | FaultKind::Resume => {
                let Some(server) = self.at(index) else {
                    return;
                };
                match fault.kind {
                    FaultKind::Leave => server.leave(now),
                    FaultKind::Retreat => server.retreat(now),
                    FaultKind::Resume => server.resume(now),
                    FaultKind::Kill | FaultKind::Start => {}
                }
            }
        }
    }
}

fn sum(one: Stats, other: Stats) -> Stats {
    Stats {
        steals_asked: one.steals_asked + other.steals_asked,
        steals_refused: one.steals_refused + other.steals_refused,
        closures_lent: one.closures_lent + other.closures_lent,
        closures_borrowed: one.closures_borrowed + other.closures_borrowed,
        results_late: one.results_late + other.results_late,
        closures_requeued: one.closures_requeued + other.closures_requeued,
        closures_too_large: one.closures_too_large + other.closures_too_large,
        results_recorded: one.results_recorded + other.results_recorded,
        orphans_finished: one.orphans_finished + other.orphans_finished,
        checkpoints_asked: one.checkpoints_asked + other.checkpoints_asked,
        peers_lost: one.peers_lost + other.peers_lost,
    }
}
