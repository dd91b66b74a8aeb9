//! What the links of a world are like, by level. Written into scenarios, so every number is an integer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The links of a world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// Between two nodes of one domain. Each node has a port of this bandwidth, and half of the latency.
    pub lan: LinkConfig,
    /// From a domain to the one that encloses it, by the depth of the domain: the first entry is for depth 1.
    /// Where there is none, the last one counts.
    pub uplinks: Vec<LinkConfig>,
    /// What is cut, and when.
    pub cuts: Vec<Cut>,
}

/// One kind of link, alike in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkConfig {
    /// One way.
    pub latency: Duration,
    /// Of each direction.
    pub bytes_per_s: u64,
    /// Messages lost, in a million.
    pub loss_ppm: u32,
    /// Messages that arrive twice, in a million.
    pub duplication_ppm: u32,
    /// Messages that are held up, in a million, so that later ones overtake them.
    pub reordering_ppm: u32,
    /// Those are held up by at most this.
    pub held_up_max: Duration,
}

/// A link that carries nothing for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Which.
    pub what: CutWhat,
    /// From this time on, counted from the start of the world.
    pub from: Duration,
    /// Until before this time.
    pub until: Duration,
}

/// What is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CutWhat {
    /// The uplink of the domain of this number.
    Uplink(u32),
    /// All between two nodes, by their numbers.
    Pair(u64, u64),
    /// All between a node and others, by its number.
    Node(u64),
}

impl NetworkConfig {
    /// The uplink of a domain at a depth.
    #[must_use]
    pub fn uplink(&self, depth: u32) -> &LinkConfig {
        let last = self.uplinks.len().saturating_sub(1);
        let index = (depth.saturating_sub(1) as usize).min(last);
        self.uplinks.get(index).unwrap_or(&self.lan)
    }

    /// All links, to change them.
    pub fn links_mut(&mut self) -> impl Iterator<Item = &mut LinkConfig> {
        std::iter::once(&mut self.lan).chain(&mut self.uplinks)
    }
}

impl Default for NetworkConfig {
    /// A gigabit network in each domain; 50 ms and 100 Mbit/s from each domain to the one around it.
    fn default() -> Self {
        Self {
            lan: LinkConfig::clean(Duration::from_micros(200), 125_000_000),
            uplinks: vec![LinkConfig::clean(Duration::from_millis(50), 12_500_000)],
            cuts: Vec::new(),
        }
    }
}

impl LinkConfig {
    /// A link that loses nothing.
    #[must_use]
    pub fn clean(latency: Duration, bytes_per_s: u64) -> Self {
        Self {
            latency,
            bytes_per_s,
            loss_ppm: 0,
            duplication_ppm: 0,
            reordering_ppm: 0,
            held_up_max: Duration::ZERO,
        }
    }
}
