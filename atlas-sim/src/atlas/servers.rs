//! The servers of a world, as they come and go.

use std::time::Duration;

use atlas_proto::stats::Stats;
use atlas_proto::time::Time;
use atlas_proto::{Server, ServerConfig};

use super::{AtlasPacket, machine_seed};
use crate::scenario::{Fault, FaultKind, SLOWED, Scenario};
use crate::topology::ServerIndex;
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
    server: Option<Server>,
    /// How often it was started.
    lives: u64,
    /// When it was last.
    since: Time,
    /// How long it was there in earlier lives.
    before: Duration,
}

impl Servers {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            places: (0..scenario.servers).map(|_| Place::default()).collect(),
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
            let now = place.server.is_some();
            let life = until.since(place.since.max(self.from));
            place.before + if now { life } else { Duration::ZERO }
        })
    }

    /// A server comes, unless it is there.
    pub(super) fn start(&mut self, stage: &mut Stage<AtlasPacket>, now: Time, index: ServerIndex) {
        let place = &mut self.places[index.0 as usize];
        if place.server.is_some() {
            return;
        }
        place.lives += 1;
        place.since = stage.now();
        let node = stage.topology.server(index);
        let manager = stage.topology.manager(stage.topology.home(index));
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
        place.server = Some(server);
    }

    /// A server is gone, with all that it held.
    pub(super) fn remove(&mut self, stage: &mut Stage<AtlasPacket>, index: ServerIndex) {
        let place = &mut self.places[index.0 as usize];
        if let Some(server) = place.server.take() {
            place.before += stage.now().since(place.since.max(self.from));
            self.past = sum(self.past, *server.stats());
            stage.clear_engine(index);
        }
    }

    /// What the scenario has in store for a server happens to it.
    pub(super) fn befall(&mut self, stage: &mut Stage<AtlasPacket>, now: Time, fault: Fault) {
        let index = ServerIndex(fault.server);
        match fault.kind {
            FaultKind::Kill => self.remove(stage, index),
            FaultKind::Start => self.start(stage, now, index),
            FaultKind::Slow => stage.slow_down(index, SLOWED),
            FaultKind::KillManager | FaultKind::StartManager => {}
            FaultKind::Leave | FaultKind::Retreat | FaultKind::Resume => {
                let Some(server) = self.at(index) else {
                    return;
                };
                match fault.kind {
                    FaultKind::Leave => server.leave(now),
                    FaultKind::Retreat => server.retreat(now),
                    FaultKind::Resume => server.resume(now),
                    FaultKind::Kill
                    | FaultKind::Start
                    | FaultKind::Slow
                    | FaultKind::KillManager
                    | FaultKind::StartManager => {}
                }
            }
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
        closures_requeued: one.closures_requeued + other.closures_requeued,
        closures_too_large: one.closures_too_large + other.closures_too_large,
        rivals_lent: one.rivals_lent + other.rivals_lent,
        rivals_won: one.rivals_won + other.rivals_won,
        rivals_wasted: one.rivals_wasted + other.rivals_wasted,
        rivals_wasted_ms: one.rivals_wasted_ms + other.rivals_wasted_ms,
        results_recorded: one.results_recorded + other.results_recorded,
        orphans: one.orphans + other.orphans,
        orphans_adopted: one.orphans_adopted + other.orphans_adopted,
        orphans_finished: one.orphans_finished + other.orphans_finished,
        checkpoints_asked: one.checkpoints_asked + other.checkpoints_asked,
        peers_lost: one.peers_lost + other.peers_lost,
    }
}
