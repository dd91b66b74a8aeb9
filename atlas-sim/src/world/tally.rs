//! What is counted while a world runs.

use std::collections::BTreeMap;

use atlas_proto::ids::NodeId;
use atlas_proto::time::Time;

use crate::topology::{Role, ServerIndex, Topology};

/// Counts of one world.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Messages sent, by kind.
    pub sent: BTreeMap<&'static str, Traffic>,
    /// Closures that moved, by level: zero within a leaf domain, one within the domain around it, and so on.
    /// Where a closure passes managers, what comes in at a level is taken off again when it goes on below, so
    /// for a moment a count may be off.
    pub steals: Vec<i64>,
    /// When each server was first given a closure.
    pub first_work: Vec<Option<Time>>,
    /// Messages that each manager sent or received, and how many in its busiest second.
    pub managers: Vec<ManagerTraffic>,
    /// Events of the world.
    pub events: u64,
    /// How many there had been when the world was healed.
    pub(super) healed_after: Option<u64>,
}

/// Some messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// How large, all together.
    pub bytes: u64,
}

/// What one manager sent or received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ManagerTraffic {
    /// In the whole run.
    pub messages: u64,
    /// In the busiest second.
    pub peak: u64,
    second: u64,
    in_second: u64,
}

impl Tally {
    pub(super) fn new(topology: &Topology) -> Self {
        let levels = topology
            .domains()
            .map(|domain| topology.place(domain).depth + 1)
            .max();
        Self {
            sent: BTreeMap::new(),
            steals: vec![0; levels.unwrap_or(1) as usize],
            first_work: vec![None; topology.servers().len()],
            managers: vec![ManagerTraffic::default(); topology.domains().len()],
            events: 0,
            healed_after: None,
        }
    }

    /// Events since the world was healed; none before.
    #[must_use]
    pub fn events_after_heal(&self) -> Option<u64> {
        self.healed_after.map(|before| self.events - before)
    }

    pub(super) fn sent(&mut self, kind: &'static str, bytes: u64) {
        self.sent_many(kind, 1, bytes);
    }

    /// So many messages of a kind were sent, each of so many bytes.
    pub fn sent_many(&mut self, kind: &'static str, messages: u64, bytes: u64) {
        let traffic = self.sent.entry(kind).or_default();
        traffic.messages += messages;
        traffic.bytes += bytes * messages;
    }

    /// A node sent or received a message.
    pub(super) fn handled(&mut self, now: Time, topology: &Topology, node: NodeId) {
        if let Some(Role::Manager(domain)) = topology.role(node) {
            self.managers[domain.0 as usize].count(now);
        }
    }

    /// A server was given a closure.
    pub fn gave_work(&mut self, now: Time, server: ServerIndex) {
        self.first_work[server.0 as usize].get_or_insert(now);
    }

    /// So many closures moved at a level.
    pub fn stole(&mut self, level: usize, closures: i64) {
        if let Some(count) = self.steals.get_mut(level) {
            *count += closures;
        }
    }
}

impl ManagerTraffic {
    fn count(&mut self, now: Time) {
        let second = now.0 / 1_000_000_000;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.messages += 1;
        self.in_second += 1;
        self.peak = self.peak.max(self.in_second);
    }
}
