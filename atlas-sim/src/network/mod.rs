//! The links between nodes: who crosses which, when each is free, what gets lost.
//!
//! Every node has a port to the network of its domain, every domain one uplink to the domain around it. A
//! message crosses its sender's port, the uplinks on the way up to the domain that encloses both, the uplinks
//! on the way down, its receiver's port:
//!
//! ```text
//!   sender ─port─▶ gateway ─uplink─▶ gateway ─uplink─▶ gateway ─port─▶ receiver
//! ```
//!
//! Each of them is a queue of its own in each direction, first come first served: a message occupies it for
//! its bytes over the bandwidth, and is at the other end one latency later. So that the order at every queue
//! is the order of arrival *there*, the world brings a message to each gateway by an event of its own:
//! [`Network::forward`] moves it by one hop. What is lost, doubled or held up follows from the seed.

mod config;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::path::Path;
use atlas_proto::rng::Rng;
use atlas_proto::time::Time;

pub use config::{Cut, CutWhat, LinkConfig, NetworkConfig};
use wire::Wire;

use crate::topology::{DomainIndex, Topology};

/// All links of a world.
#[derive(Debug)]
pub struct Network {
    topology: Arc<Topology>,
    config: NetworkConfig,
    rng: Rng,
    /// By node: out and in.
    ports: Vec<[Wire; 2]>,
    /// By domain: to the domain around it and from there.
    uplinks: Vec<[Wire; 2]>,
}

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transit {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// All of it, headers included.
    pub bytes: u64,
    /// How many hops are behind it.
    hops: u8,
}

/// Where a message is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// At the next gateway, to be forwarded from there.
    Gateway(Transit, Time),
    /// At its receiver, perhaps twice.
    Receiver(Time, Option<Time>),
    /// Nowhere.
    Lost,
}

impl Transit {
    /// A message that is about to leave its sender.
    #[must_use]
    pub fn new(from: NodeId, to: NodeId, bytes: u64) -> Self {
        Self {
            from,
            to,
            bytes,
            hops: 0,
        }
    }
}

impl Network {
    /// All links are free, and what happens on them follows from the seed.
    #[must_use]
    pub fn new(topology: Arc<Topology>, config: NetworkConfig, seed: u64) -> Self {
        let port = Wire::new(config.lan.bytes_per_s);
        let uplink = |domain| {
            let depth = topology.place(domain).depth;
            let wire = Wire::new(config.uplink(depth).bytes_per_s);
            [wire, wire]
        };
        Self {
            ports: vec![[port, port]; topology.nodes()],
            uplinks: topology.domains().map(uplink).collect(),
            rng: Rng::new(seed),
            topology,
            config,
        }
    }

    /// Moves a message by one hop, from where it is now.
    pub fn forward(&mut self, now: Time, transit: Transit) -> Hop {
        let route = Route::new(&self.topology, transit.from, transit.to);
        let leaves_sender = transit.hops == 0;
        if leaves_sender && self.is_pair_cut(now, transit) {
            return Hop::Lost;
        }
        let mut at = now;
        if leaves_sender {
            if self.chance(self.config.lan.loss_ppm) {
                return Hop::Lost;
            }
            let port = &mut self.ports[index(transit.from)][OUT];
            at = port.carry(now, transit.bytes) + self.config.lan.latency / 2;
        }
        match route.hop(&self.topology, transit.hops) {
            Some((domain, direction)) => self.cross(at, transit, domain, direction),
            None => self.arrive(at, transit, route.uplinks() == 0),
        }
    }

    /// What the way between two nodes costs a lone message.
    #[must_use]
    pub fn path(&self, one: NodeId, other: NodeId) -> Path {
        let port = Path {
            latency: self.config.lan.latency / 2,
            bytes_per_s: self.config.lan.bytes_per_s,
        };
        let route = Route::new(&self.topology, one, other);
        (0..route.uplinks())
            .filter_map(|hop| route.hop(&self.topology, hop))
            .map(|(domain, _)| {
                let link = self.config.uplink(self.topology.place(domain).depth);
                Path {
                    latency: link.latency,
                    bytes_per_s: link.bytes_per_s,
                }
            })
            .fold(port, Path::then)
            .then(port)
    }

    /// How many uplinks lie between two nodes.
    #[must_use]
    pub fn uplinks_between(&self, one: NodeId, other: NodeId) -> u8 {
        Route::new(&self.topology, one, other).uplinks()
    }

    /// Stops all loss, duplication and reordering, and ends all cuts.
    pub fn heal(&mut self) {
        self.config.cuts.clear();
        for link in self.config.links_mut() {
            *link = LinkConfig::clean(link.latency, link.bytes_per_s);
        }
    }

    /// Over the uplink of a domain.
    fn cross(&mut self, at: Time, transit: Transit, domain: DomainIndex, direction: usize) -> Hop {
        let depth = self.topology.place(domain).depth;
        let (latency, loss_ppm) = {
            let link = self.config.uplink(depth);
            (link.latency, link.loss_ppm)
        };
        if self.is_uplink_cut(at, domain) || self.chance(loss_ppm) {
            return Hop::Lost;
        }
        let wire = &mut self.uplinks[domain.0 as usize][direction];
        let there = wire.carry(at, transit.bytes) + latency;
        Hop::Gateway(
            Transit {
                hops: transit.hops + 1,
                ..transit
            },
            there,
        )
    }

    /// From the domain's network into the receiver's port.
    fn arrive(&mut self, at: Time, transit: Transit, from_own_domain: bool) -> Hop {
        let lan = &self.config.lan;
        let (half, loss_ppm) = (lan.latency / 2, lan.loss_ppm);
        // The switch of a domain passes bits on as they come: they occupy both ports at one time.
        let port = &mut self.ports[index(transit.to)][IN];
        let there = if from_own_domain {
            port.carry_through(at + half, transit.bytes)
        } else {
            port.carry(at + half, transit.bytes)
        };
        if !from_own_domain && self.chance(loss_ppm) || self.is_pair_cut(there, transit) {
            return Hop::Lost;
        }
        let link = self.widest(transit);
        let (duplication_ppm, reordering_ppm) = (link.duplication_ppm, link.reordering_ppm);
        let held_up_max = link.held_up_max;
        let first = there + self.held_up(reordering_ppm, held_up_max);
        let twice = self.chance(duplication_ppm);
        let again = twice.then(|| there + self.held_up(PPM, held_up_max));
        Hop::Receiver(first, again)
    }

    /// The link on the way that is nearest to the root: what it does to the order, the whole way does.
    fn widest(&self, transit: Transit) -> &LinkConfig {
        let (one, other) = (
            self.topology.domain_of(transit.from),
            self.topology.domain_of(transit.to),
        );
        if one == other {
            return &self.config.lan;
        }
        self.config
            .uplink(self.topology.common_depth(one, other) + 1)
    }

    fn is_uplink_cut(&self, at: Time, domain: DomainIndex) -> bool {
        self.is_cut(at, |what| *what == CutWhat::Uplink(domain.0))
    }

    fn is_pair_cut(&self, at: Time, transit: Transit) -> bool {
        let (from, to) = (transit.from.0, transit.to.0);
        self.is_cut(at, |what| match *what {
            CutWhat::Pair(one, other) => (one, other) == (from, to) || (one, other) == (to, from),
            CutWhat::Node(node) => node == from || node == to,
            CutWhat::Uplink(_) => false,
        })
    }

    fn is_cut(&self, at: Time, what: impl Fn(&CutWhat) -> bool) -> bool {
        let at = at.since(Time::ZERO);
        let during = |cut: &&Cut| (cut.from..cut.until).contains(&at);
        self.config
            .cuts
            .iter()
            .filter(during)
            .any(|cut| what(&cut.what))
    }

    fn chance(&mut self, ppm: u32) -> bool {
        // Where there is no chance nothing is drawn, so that clean worlds are fast.
        ppm > 0 && self.rng.below(PPM as usize) < ppm as usize
    }

    fn held_up(&mut self, ppm: u32, max: Duration) -> Duration {
        if max.is_zero() || !self.chance(ppm) {
            return Duration::ZERO;
        }
        let nanos = usize::try_from(max.as_nanos()).unwrap_or(usize::MAX);
        Duration::from_nanos(self.rng.below(nanos) as u64)
    }
}

/// The uplinks between two nodes.
struct Route {
    from: DomainIndex,
    to: DomainIndex,
    from_depth: u32,
    up: u8,
    down: u8,
}

impl Route {
    fn new(topology: &Topology, from: NodeId, to: NodeId) -> Self {
        let (from, to) = (topology.domain_of(from), topology.domain_of(to));
        let common = topology.common_depth(from, to);
        let (from_depth, to_depth) = (topology.place(from).depth, topology.place(to).depth);
        let hops = |depth: u32| u8::try_from(depth - common).unwrap_or(u8::MAX);
        Self {
            from,
            to,
            from_depth,
            up: hops(from_depth),
            down: hops(to_depth),
        }
    }

    fn uplinks(&self) -> u8 {
        self.up + self.down
    }

    /// The domain whose uplink is crossed after so many, and in which direction.
    fn hop(&self, topology: &Topology, hops: u8) -> Option<(DomainIndex, usize)> {
        if hops >= self.uplinks() {
            return None;
        }
        let common = self.from_depth - u32::from(self.up);
        let upward = hops < self.up;
        let (end, depth) = if upward {
            (self.from, self.from_depth - u32::from(hops))
        } else {
            (self.to, common + u32::from(hops - self.up) + 1)
        };
        Some((
            topology.ancestor_at(end, depth),
            if upward { OUT } else { IN },
        ))
    }
}

fn index(node: NodeId) -> usize {
    usize::try_from(node.0).expect("a node of this world")
}

const OUT: usize = 0;
const IN: usize = 1;
/// Certainty.
const PPM: u32 = 1_000_000;
