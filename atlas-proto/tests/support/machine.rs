//! The machines behind one face: what goes in, what comes out.

use atlas_proto::engine::{EngineCommand, EngineEvent};
use atlas_proto::ids::{Epoch, JobAlias, NodeId};
use atlas_proto::job::{Closure, JobSpec};
use atlas_proto::ledger::Ledger;
use atlas_proto::limits::Bound;
use atlas_proto::message::Packet;
use atlas_proto::path::Path;
use atlas_proto::stats::Stats;
use atlas_proto::time::Time;
use atlas_proto::{Manager, ManagerEvent, Server, Transmit};

#[derive(Debug)]
pub(crate) enum Input {
    Packet(NodeId, Packet),
    Path(NodeId, Path),
    Engine(EngineEvent),
    Retreat,
    Resume,
    Leave,
    Submit(JobSpec, Closure),
    Kill(JobAlias),
    Timeout,
}

pub(crate) enum Machine {
    Server(Server),
    Manager(Manager),
}

/// What a machine put out after one input.
#[derive(Debug, PartialEq)]
pub(crate) enum Output {
    Sent(Transmit),
    Commanded(EngineCommand),
    Told(ManagerEvent),
}

impl Machine {
    pub(crate) fn apply(&mut self, now: Time, input: &Input) -> Vec<Output> {
        match (&mut *self, input) {
            (Self::Server(server), Input::Packet(from, packet)) => {
                server.handle_packet(now, *from, packet.clone());
            }
            (Self::Manager(manager), Input::Packet(from, packet)) => {
                manager.handle_packet(now, *from, packet.clone());
            }
            (Self::Server(server), Input::Path(peer, path)) => {
                server.handle_path(now, *peer, *path)
            }
            (Self::Manager(manager), Input::Path(peer, path)) => {
                manager.handle_path(now, *peer, *path);
            }
            (Self::Server(server), Input::Timeout) => server.handle_timeout(now),
            (Self::Manager(manager), Input::Timeout) => manager.handle_timeout(now),
            (Self::Server(server), Input::Engine(event)) => {
                server.handle_engine(now, event.clone())
            }
            (Self::Server(server), Input::Retreat) => server.retreat(now),
            (Self::Server(server), Input::Resume) => server.resume(now),
            (Self::Server(server), Input::Leave) => server.leave(now),
            (Self::Manager(manager), Input::Kill(job)) => manager.kill(now, *job),
            (Self::Manager(manager), Input::Submit(spec, root)) => {
                // A job that is refused is an answer, too.
                let _ = manager.submit(now, spec.clone(), root.clone());
            }
            _ => unreachable!("{input:?} is not for this machine"),
        }
        self.drain()
    }

    fn drain(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        match self {
            Self::Server(server) => {
                outputs.extend(std::iter::from_fn(|| server.poll_engine()).map(Output::Commanded));
                outputs.extend(std::iter::from_fn(|| server.poll_transmit()).map(Output::Sent));
            }
            Self::Manager(manager) => {
                outputs.extend(std::iter::from_fn(|| manager.poll_event()).map(Output::Told));
                outputs.extend(std::iter::from_fn(|| manager.poll_transmit()).map(Output::Sent));
            }
        }
        outputs
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        match self {
            Self::Server(server) => server.poll_timeout(),
            Self::Manager(manager) => manager.poll_timeout(),
        }
    }

    pub(crate) fn session(&self, peer: NodeId) -> Option<Epoch> {
        match self {
            Self::Server(server) => server.session(peer),
            Self::Manager(manager) => manager.session(peer),
        }
    }

    pub(crate) fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Server(server) => server.epoch(),
            Self::Manager(_) => None,
        }
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        match self {
            Self::Server(server) => server.ledger(),
            Self::Manager(manager) => manager.ledger(),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        match self {
            Self::Server(server) => *server.stats(),
            Self::Manager(manager) => *manager.stats(),
        }
    }

    pub(crate) fn bounds(&self) -> Vec<Bound> {
        match self {
            Self::Server(server) => server.bounds(),
            Self::Manager(manager) => manager.bounds(),
        }
    }
}
