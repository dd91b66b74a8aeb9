//! How a manager of a domain with a standby stands: what the driver of a real one does around its [`Standing`].
//!
//! It keeps in touch with the domain's children and its other manager, keeps on its disk what the machine must not forget, and sees
//! that what is written comes to the standby. What is to be told when it is safe is told then, and never if this manager stops
//! acting before.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::rng::Rng;
use atlas_proto::standby::{Link, StandbyMessage, Standing, StandingRecord, Stands, Term};
use atlas_proto::time::Time;

use super::child::{HELLO_EVERY, Hello};
use super::packet::AtlasPacket;
use super::replica::{Asked, Following, Leading, ReplicaWord};
use super::store::{Store, Write};

/// A manager's, over all its lives.
#[derive(Debug)]
pub(super) struct Seat {
    node: NodeId,
    other: NodeId,
    disk: StandingRecord,
    disk_sticks: bool,
    lives: u64,
    life: Option<Life>,
}

#[derive(Debug)]
struct Life {
    standing: Standing,
    neighbours: BTreeMap<NodeId, Neighbour>,
    hello_at: Time,
    /// The last term in which the other has said to act.
    led: Option<Term>,
    rng: Rng,
    /// On their way to the disk.
    writes: VecDeque<(Time, Write)>,
    /// On the disk, and not yet safe, by the number of the record.
    waiting: BTreeMap<u64, Write>,
    streams: u64,
    leading: Option<Leading>,
    following: Option<Following>,
    outbox: VecDeque<(NodeId, AtlasPacket)>,
    safe: VecDeque<Write>,
}

#[derive(Debug)]
struct Neighbour {
    life: u64,
    heard: Time,
}

impl Seat {
    /// One of two managers. It begins the domain, or stands by; `disk_sticks` says that its disk does now and then.
    pub(super) fn new(node: NodeId, other: NodeId, begins: bool, disk_sticks: bool) -> Self {
        Self {
            node,
            other,
            disk: if begins {
                StandingRecord::first(node)
            } else {
                StandingRecord::standby(node)
            },
            disk_sticks,
            lives: 0,
            life: None,
        }
    }

    pub(super) fn start(&mut self, now: Time, seed: u64, store: &mut Store) {
        self.lives += 1;
        self.life = Some(Life {
            standing: Standing::new(self.node, self.disk.clone(), seed, now),
            neighbours: BTreeMap::new(),
            hello_at: now,
            led: None,
            rng: Rng::new(seed ^ DISK_SALT),
            writes: VecDeque::new(),
            waiting: BTreeMap::new(),
            streams: self.lives << 32,
            leading: None,
            following: None,
            outbox: VecDeque::new(),
            safe: VecDeque::new(),
        });
        self.handle_timeout(now, store);
    }

    /// All is lost but what is on the disk.
    pub(super) fn stop(&mut self) {
        self.life = None;
    }

    pub(super) fn is_up(&self) -> bool {
        self.life.is_some()
    }

    /// How often its process was started.
    pub(super) fn lives(&self) -> u64 {
        self.lives
    }

    /// A neighbour says something; nobody else is heard.
    pub(super) fn handle(
        &mut self,
        now: Time,
        from: NodeId,
        packet: AtlasPacket,
        store: &mut Store,
    ) {
        let (link, other) = (self.link(from), self.other);
        let Some(life) = &mut self.life else {
            return;
        };
        match packet {
            AtlasPacket::Hello(hello) => life.hear_hello(now, from, link, hello),
            AtlasPacket::Standby(message) if life.hears(now, from) => {
                if let StandbyMessage::LeadDomain { term, .. } = &message {
                    life.led = life.led.max(Some(*term));
                }
                life.standing.handle_message(now, from, message);
            }
            AtlasPacket::Replica(word) if from == other && life.hears(now, from) => {
                life.hear_replica(now, from, word, store);
            }
            AtlasPacket::Standby(_) | AtlasPacket::Replica(_) | AtlasPacket::Node(_) => {}
        }
        self.carry_out(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Time, store: &mut Store) {
        let (lives, other) = (self.lives, self.other);
        let Some(life) = &mut self.life else {
            return;
        };
        if life.standing.poll_timeout().is_some_and(|due| due <= now) {
            life.standing.handle_timeout(now);
        }
        if life.hello_at <= now {
            life.hello_at = now + HELLO_EVERY;
            let hello = AtlasPacket::Hello(Hello {
                life: lives,
                led: life.led,
            });
            life.outbox.push_back((other, hello));
        }
        life.forget_silent(now);
        life.reach_disk(now, store);
        self.carry_out(now);
    }

    /// Something is to survive, at a manager that acts.
    pub(super) fn write(&mut self, now: Time, write: Write) {
        if let Some(life) = &mut self.life {
            let last = life.writes.back().map_or(now, |(at, _)| *at);
            let is_stuck = self.disk_sticks && life.rng.below(DISK_STUCK_OF) == 0;
            let most = if is_stuck {
                DISK_STUCK_US_MAX
            } else {
                DISK_US_MAX
            };
            let takes = Duration::from_micros(life.rng.below(most) as u64);
            life.writes.push_back((last.max(now + takes), write));
        }
    }

    /// The next write of which may be told: it survives.
    pub(super) fn poll_safe(&mut self) -> Option<Write> {
        self.life.as_mut()?.safe.pop_front()
    }

    pub(super) fn poll_send(&mut self) -> Option<(NodeId, AtlasPacket)> {
        self.life.as_mut()?.outbox.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let life = self.life.as_ref()?;
        let silent = life.neighbours.values().map(|known| known.heard).min();
        let timers = [
            life.standing.poll_timeout(),
            Some(life.hello_at),
            silent.map(|heard| heard + GONE_AFTER),
            life.writes.front().map(|(at, _)| *at),
            life.leading.as_ref().map(Leading::lost_at),
            life.following.as_ref().map(Following::due),
        ];
        timers.into_iter().flatten().min()
    }

    /// Its manager is there: it acts, if perhaps it must wait.
    pub(super) fn acts(&self) -> bool {
        self.acting().is_some()
    }

    /// The term in which it acts now.
    pub(super) fn acts_in(&self, now: Time) -> Option<Term> {
        let (term, until) = self.acting()?;
        until.is_none_or(|until| now < until).then_some(term)
    }

    /// Somebody has all records and would take over.
    pub(super) fn has_standby(&self) -> bool {
        let life = self.life.as_ref();
        life.is_some_and(|life| life.standing.standby().is_some())
    }

    #[cfg(test)]
    pub(super) fn forget(&mut self) {
        self.disk = StandingRecord::first(self.node);
    }

    fn acting(&self) -> Option<(Term, Option<Time>)> {
        match self.life.as_ref()?.standing.stands() {
            Stands::Acts { term, until } => Some((term, until)),
            Stands::Follows { .. } => None,
        }
    }

    fn link(&self, from: NodeId) -> Link {
        if from == self.other {
            Link::Manager
        } else {
            Link::Witness
        }
    }

    /// What the machine wants: what it must not forget is on the disk before anybody hears of it.
    fn carry_out(&mut self, now: Time) {
        let Some(life) = &mut self.life else {
            return;
        };
        life.follow(now);
        if let Some(leading) = &mut life.leading {
            let to = leading.to;
            let again = leading.again(now).into_iter();
            life.outbox
                .extend(again.map(|word| (to, AtlasPacket::Replica(word))));
        }
        if let Some(record) = life.standing.poll_save() {
            self.disk = record;
        }
        while let Some((to, message)) = life.standing.poll_send() {
            if life.neighbours.contains_key(&to) {
                life.outbox.push_back((to, AtlasPacket::Standby(message)));
            }
        }
        let safe = life.standing.safe();
        let later = life.waiting.split_off(&(safe + 1));
        life.safe
            .extend(std::mem::replace(&mut life.waiting, later).into_values());
        if !matches!(life.standing.stands(), Stands::Acts { .. }) {
            // Nobody is told that they are safe.
            life.waiting.clear();
            life.leading = None;
        }
    }
}

impl Life {
    /// It is connected, and heard.
    fn hears(&mut self, now: Time, from: NodeId) -> bool {
        let known = self.neighbours.get_mut(&from);
        known.map(|known| known.heard = now).is_some()
    }

    fn hear_hello(&mut self, now: Time, from: NodeId, link: Link, hello: Hello) {
        let known = self.neighbours.get(&from);
        if known.is_some_and(|known| known.life > hello.life) {
            return;
        }
        let is_new = known.is_none_or(|known| known.life < hello.life);
        let neighbour = Neighbour {
            life: hello.life,
            heard: now,
        };
        self.neighbours.insert(from, neighbour);
        let lacks = match self.standing.stands() {
            Stands::Acts { term, .. } => hello.led != Some(term),
            Stands::Follows { .. } => false,
        };
        // What is said when a connection begins comes, however often it is lost.
        if is_new || lacks {
            self.standing.handle_connected(now, from, link);
        }
    }

    fn forget_silent(&mut self, now: Time) {
        let silent = |known: &Neighbour| known.heard + GONE_AFTER <= now;
        let gone: Vec<NodeId> = self
            .neighbours
            .iter()
            .filter(|(_, known)| silent(known))
            .map(|(&node, _)| node)
            .collect();
        for node in gone {
            self.neighbours.remove(&node);
            self.standing.handle_disconnected(now, node);
        }
        if let Some(leading) = self.leading.take_if(|leading| leading.lost_at() <= now) {
            self.standing.handle_replica_lost(now, leading.to);
        }
    }

    /// Follows whoever acts, if that is the other.
    fn follow(&mut self, now: Time) {
        let Stands::Follows {
            manager: Some(manager),
        } = self.standing.stands()
        else {
            self.following = None;
            return;
        };
        // A later term is another life of it, too.
        if self.following.as_ref().map(|following| following.manager) != Some(manager) {
            self.streams += 1;
            self.following = Some(Following::new(now, manager, self.streams));
        }
        if let Some(following) = &mut self.following
            && let Some(word) = following.say(now)
        {
            self.outbox
                .push_back((manager.0, AtlasPacket::Replica(word)));
        }
    }

    fn hear_replica(&mut self, now: Time, from: NodeId, word: ReplicaWord, store: &mut Store) {
        if let ReplicaWord::Follow { follower, kept } = word {
            return self.hear_follow(now, from, (follower, kept), store);
        }
        if let Some(following) = self.following.as_mut().filter(|f| f.manager.0 == from)
            && following.handle(now, word, store)
        {
            self.following = None;
        }
    }

    fn hear_follow(
        &mut self,
        now: Time,
        from: NodeId,
        (follower, kept): (u64, Option<(u64, u64)>),
        store: &Store,
    ) {
        if !matches!(self.standing.stands(), Stands::Acts { .. }) {
            return;
        }
        let asked = match &mut self.leading {
            Some(leading) => leading.hear(now, follower, kept),
            None => Asked::Unknown,
        };
        let word = match asked {
            Asked::Nothing => return,
            Asked::Kept(index) => return self.standing.handle_kept(now, from, index),
            Asked::Unknown if kept.is_some() => Some(ReplicaWord::Gone { follower }),
            Asked::Unknown => {
                self.streams += 1;
                self.leading = Some(Leading::new(now, from, follower, self.streams));
                self.standing.handle_replica(now, from);
                None
            }
            Asked::Everything => None,
        };
        let last = self.standing.last();
        let everything = || {
            let leading = self.leading.as_mut()?;
            Some(leading.everything(now, last, store.clone()))
        };
        if let Some(word) = word.or_else(everything) {
            self.outbox.push_back((from, AtlasPacket::Replica(word)));
        }
    }

    /// What is on the disk by now goes to the standby.
    fn reach_disk(&mut self, now: Time, store: &mut Store) {
        while let Some((_, write)) = self.writes.pop_front_if(|(at, _)| *at <= now) {
            store.apply(&write);
            if !matches!(self.standing.stands(), Stands::Acts { .. }) {
                // Another may act by now: nobody is told that it is safe.
                continue;
            }
            let index = self.standing.handle_record(now);
            self.waiting.insert(index, write.clone());
            if let Some(leading) = &mut self.leading {
                let word = leading.record(now, index, write);
                self.outbox
                    .push_back((leading.to, AtlasPacket::Replica(word)));
            }
        }
    }
}

/// A neighbour of whom nothing is heard for so long is not connected.
const GONE_AFTER: Duration = Duration::from_secs(5);
/// A disk takes up to so long,
const DISK_US_MAX: usize = 30_000;
/// and once in so many times
const DISK_STUCK_OF: usize = 30;
/// up to so long: longer than it takes to be replaced.
const DISK_STUCK_US_MAX: usize = 10_000_000;
const DISK_SALT: u64 = 0x5be0_cd19_137e_2179;
