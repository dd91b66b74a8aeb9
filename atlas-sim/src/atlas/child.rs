//! A child of a domain with a standby: it keeps in touch with both managers, and its witness says which of them acts.
//!
//! In place of connections there are hellos, which say who is there, in which of its lives, and what it has heard: links of a
//! world lose, and what is said once when a connection begins must come.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::standby::{StandbyMessage, Term, Witness, WitnessRecord};
use atlas_proto::time::Time;

use super::packet::AtlasPacket;

/// What a child has for its domain's managers, over all its lives.
#[derive(Debug)]
pub(super) struct Child {
    managers: Vec<NodeId>,
    disk: WitnessRecord,
    lives: u64,
    life: Option<Life>,
}

#[derive(Debug)]
struct Life {
    witness: Witness,
    hello_at: Time,
    /// The last term in which each has said to act.
    led: BTreeMap<NodeId, Term>,
    outbox: VecDeque<(NodeId, AtlasPacket)>,
}

/// A node says that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which of its lives this is.
    pub(super) life: u64,
    /// The last term in which it has heard the receiver say to act.
    pub(super) led: Option<Term>,
}

impl Child {
    pub(super) fn new(managers: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            managers: managers.into_iter().collect(),
            disk: WitnessRecord::default(),
            lives: 0,
            life: None,
        }
    }

    pub(super) fn start(&mut self, now: Time) {
        self.lives += 1;
        self.life = Some(Life {
            witness: Witness::new(self.disk, now),
            hello_at: now,
            led: BTreeMap::new(),
            outbox: VecDeque::new(),
        });
        self.handle_timeout(now);
    }

    pub(super) fn stop(&mut self) {
        self.life = None;
    }

    pub(super) fn handle_message(&mut self, now: Time, from: NodeId, message: &StandbyMessage) {
        let Some(life) = self.life.as_mut().filter(|_| self.managers.contains(&from)) else {
            return;
        };
        if let StandbyMessage::LeadDomain { term, .. } = message {
            let led = life.led.entry(from).or_default();
            *led = (*led).max(*term);
        }
        life.witness.handle_message(now, from, message);
        // It is on the disk before anybody hears of it.
        if let Some(record) = life.witness.poll_save() {
            self.disk = record;
        }
        while let Some((to, message)) = life.witness.poll_send() {
            life.outbox.push_back((to, AtlasPacket::Standby(message)));
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        let lives = self.lives;
        let Some(life) = self.life.as_mut().filter(|life| life.hello_at <= now) else {
            return;
        };
        life.hello_at = now + HELLO_EVERY;
        for &manager in &self.managers {
            let led = life.led.get(&manager).copied();
            let hello = Hello { life: lives, led };
            life.outbox.push_back((manager, AtlasPacket::Hello(hello)));
        }
    }

    pub(super) fn poll_send(&mut self) -> Option<(NodeId, AtlasPacket)> {
        self.life.as_mut()?.outbox.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.life.as_ref().map(|life| life.hello_at)
    }

    /// Who acts, as far as it knows, and in which term.
    pub(super) fn heeds(&self) -> Option<(NodeId, Term)> {
        self.life.as_ref()?.witness.heeds()
    }

    #[cfg(test)]
    pub(super) fn forget(&mut self) {
        self.disk = WitnessRecord::default();
    }

    /// What it has promised, in all its lives.
    pub(super) fn promised(&self) -> Term {
        self.disk.promised
    }
}

/// More often than nodes are missed by far.
pub(super) const HELLO_EVERY: Duration = Duration::from_secs(1);
