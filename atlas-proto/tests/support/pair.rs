//! A world for [`Standing`] and [`Witness`]: two managers, their children and guests, each with a clock that runs at its own speed,
//! joined by links on which messages are late, lost, repeated and out of order. What a machine saves survives its crash, and
//! nothing else does. Records go from the manager that acts to the other in order, as over a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::rng::Rng;
use atlas_proto::standby::{
    Link, StandbyMessage, Standing, StandingRecord, Stands, Term, Witness, WitnessRecord,
};
use atlas_proto::time::Time;

/// The manager that begins the domain.
pub(crate) const A: NodeId = NodeId(1);
/// Its standby.
pub(crate) const B: NodeId = NodeId(2);

/// The first of the guests: servers of a domain below.
const GUEST: NodeId = NodeId(1000);

/// How often what goes wrong, in thousandths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    lost: usize,
    repeated: usize,
    /// Of a tick of 50 ms.
    crash: usize,
    cut: usize,
    skew: bool,
    late: Duration,
}

impl Faults {
    pub(crate) const NONE: Self = Self {
        lost: 0,
        repeated: 0,
        crash: 0,
        cut: 0,
        skew: false,
        late: Duration::from_millis(2),
    };
    pub(crate) const ALL: Self = Self {
        lost: 30,
        repeated: 30,
        crash: 6,
        cut: 12,
        skew: true,
        late: Duration::from_millis(400),
    };
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a handful of them")]
enum Body {
    Manager {
        disk: StandingRecord,
        records: BTreeSet<u64>,
        machine: Option<Standing>,
        /// Local writes by their number, those not yet known to be safe.
        waiting: BTreeMap<u64, u64>,
    },
    Child {
        disk: WitnessRecord,
        machine: Option<Witness>,
        highest: Term,
    },
}

#[derive(Debug)]
struct Node {
    body: Body,
    life: u64,
    /// Thousandths of the speed of time.
    speed: u64,
    born: Time,
    started: bool,
}

#[derive(Debug)]
enum What {
    Message(StandbyMessage),
    /// All records, or one more, up to this number of the sender's.
    Snapshot(u64, BTreeSet<u64>),
    Record(u64, u64),
    Kept(u64),
}

#[derive(Debug)]
struct Flight {
    from: (NodeId, u64),
    to: (NodeId, u64),
    what: What,
}

/// The stream of records.
#[derive(Debug)]
struct Stream {
    from: (NodeId, u64),
    to: (NodeId, u64),
    /// What is sent next arrives no earlier.
    order: Time,
}

#[derive(Debug)]
pub(crate) struct World {
    now: Time,
    rng: Rng,
    faults: Faults,
    nodes: BTreeMap<NodeId, Node>,
    flights: BTreeMap<(Time, u64), Flight>,
    count: u64,
    cuts: BTreeSet<(NodeId, NodeId)>,
    stream: Option<Stream>,
    tick: Time,
    last_record: u64,
    safe: BTreeSet<u64>,
    acted: BTreeMap<Term, NodeId>,
    last_acted: Option<NodeId>,
    takeovers: u64,
    /// What was done, and what was said.
    log: Vec<String>,
    said: Vec<(Time, NodeId, NodeId, StandbyMessage)>,
}

const TICK: Duration = Duration::from_millis(50);

impl World {
    pub(crate) fn new(seed: u64, children: u64, faults: Faults) -> Self {
        Self::with_guests(seed, children, 0, faults)
    }

    pub(crate) fn with_guests(seed: u64, children: u64, guests: u64, faults: Faults) -> Self {
        let mut rng = Rng::new(seed);
        let mut nodes = BTreeMap::new();
        for id in (1..=children + 2).chain(GUEST.0..GUEST.0 + guests) {
            let node = NodeId(id);
            let body = if id <= 2 {
                let disk = if node == A {
                    StandingRecord::first(A)
                } else {
                    StandingRecord::standby(B)
                };
                Body::Manager {
                    disk,
                    records: BTreeSet::new(),
                    machine: None,
                    waiting: BTreeMap::new(),
                }
            } else {
                Body::Child {
                    disk: WitnessRecord::default(),
                    machine: None,
                    highest: Term(0),
                }
            };
            let speed = if faults.skew {
                940 + u64::try_from(rng.below(121)).unwrap()
            } else {
                1000
            };
            let born = Time::ZERO;
            nodes.insert(
                node,
                Node {
                    body,
                    life: 0,
                    speed,
                    born,
                    started: false,
                },
            );
        }
        let ids: Vec<NodeId> = nodes.keys().copied().collect();
        let mut world = Self {
            now: Time::ZERO,
            rng,
            faults,
            nodes,
            flights: BTreeMap::new(),
            count: 0,
            cuts: BTreeSet::new(),
            stream: None,
            tick: Time::ZERO,
            last_record: 0,
            safe: BTreeSet::new(),
            acted: BTreeMap::new(),
            last_acted: None,
            takeovers: 0,
            log: Vec::new(),
            said: Vec::new(),
        };
        for id in ids {
            world.start(id);
        }
        world
    }

    pub(crate) fn children(&self) -> Vec<NodeId> {
        let children = self.nodes.keys().copied();
        children.filter(|id| id.0 > 2 && *id < GUEST).collect()
    }

    pub(crate) fn guests(&self) -> Vec<NodeId> {
        let guests = self.nodes.keys().copied();
        guests.filter(|id| *id >= GUEST).collect()
    }

    pub(crate) fn kill(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.life += 1;
        node.started = false;
        match &mut node.body {
            Body::Manager {
                machine, waiting, ..
            } => {
                *machine = None;
                waiting.clear();
            }
            Body::Child { machine, .. } => *machine = None,
        }
        self.log.push(format!("{} kill {id}", self.now));
        self.break_stream(id);
        for other in self.others(id) {
            self.part(other, id);
        }
    }

    pub(crate) fn start(&mut self, id: NodeId) {
        let seed = self.rng.next_u64();
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        if node.started {
            return;
        }
        node.started = true;
        node.born = now;
        match &mut node.body {
            Body::Manager { machine, disk, .. } => {
                *machine = Some(Standing::new(id, disk.clone(), seed, Time::ZERO));
            }
            Body::Child { machine, .. } if id >= GUEST => {
                *machine = Some(Witness::guest(Time::ZERO));
            }
            Body::Child { machine, disk, .. } => *machine = Some(Witness::new(*disk, Time::ZERO)),
        }
        self.log.push(format!("{} start {id}", self.now));
        for other in self.others(id) {
            self.meet(id, other);
        }
        self.drain(id);
    }

    pub(crate) fn cut(&mut self, a: NodeId, b: NodeId) {
        self.cuts.insert((a.min(b), a.max(b)));
        self.log.push(format!("{} cut {a} {b}", self.now));
        if self.joins(a, b) {
            self.stream = None;
            for id in [A, B] {
                let local = self.local(id);
                let other = if id == A { B } else { A };
                if let Some(machine) = self.standing(id) {
                    machine.handle_replica_lost(local, other);
                }
                self.drain(id);
            }
        }
        self.part(a, b);
        self.part(b, a);
    }

    pub(crate) fn heal(&mut self) {
        let cuts = std::mem::take(&mut self.cuts);
        for (a, b) in cuts {
            self.meet(a, b);
        }
    }

    /// Nothing goes wrong from now on, and everybody is there.
    pub(crate) fn mend(&mut self) {
        self.faults = Faults {
            skew: self.faults.skew,
            ..Faults::NONE
        };
        self.heal();
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            self.start(id);
        }
    }

    pub(crate) fn acts(&self, id: NodeId) -> bool {
        self.acting_term(id).is_some()
    }

    pub(crate) fn standby_of(&self, id: NodeId) -> Option<NodeId> {
        let Body::Manager { machine, .. } = &self.nodes[&id].body else {
            return None;
        };
        machine.as_ref().filter(|_| self.acts(id))?.standby()
    }

    pub(crate) fn heeds(&self, child: NodeId, manager: NodeId) -> bool {
        let Body::Child { machine, .. } = &self.nodes[&child].body else {
            return false;
        };
        machine.as_ref().unwrap().heeds().map(|heeds| heeds.0) == Some(manager)
    }

    /// Something is to survive, at a manager that acts.
    pub(crate) fn write(&mut self, id: NodeId) -> u64 {
        assert!(self.acts(id));
        self.write_anyway(id)
    }

    /// As if it had not noticed yet that its time is over.
    pub(crate) fn write_anyway(&mut self, id: NodeId) -> u64 {
        self.last_record += 1;
        let (record, local) = (self.last_record, self.local(id));
        let node = self.nodes.get_mut(&id).unwrap();
        let Body::Manager {
            records,
            machine: Some(machine),
            waiting,
            ..
        } = &mut node.body
        else {
            panic!("{id} is down");
        };
        records.insert(record);
        let index = machine.handle_record(local);
        waiting.insert(index, record);
        self.send_on_stream(id, |_| What::Record(index, record));
        self.drain(id);
        record
    }

    pub(crate) fn is_safe(&self, record: u64) -> bool {
        self.safe.contains(&record)
    }

    pub(crate) fn safe_count(&self) -> u64 {
        u64::try_from(self.safe.len()).unwrap()
    }

    pub(crate) fn takeovers(&self) -> u64 {
        self.takeovers
    }

    pub(crate) fn log(&self) -> String {
        let last = self.said.iter().rev().take(60).rev();
        let said = last.map(|(at, from, to, message)| format!("{at} {from} -> {to} {message:?}"));
        let lines: Vec<String> = self.log.iter().cloned().chain(said).collect();
        lines.join("\n")
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_with(time, |_| false);
    }

    #[track_caller]
    pub(crate) fn run_until(
        &mut self,
        what: &str,
        time: Duration,
        holds: impl FnMut(&Self) -> bool,
    ) {
        let held = self.run_with(time, holds);
        assert!(
            held,
            "not in time: {what}\n{}\n{:#?}",
            self.log(),
            self.nodes
        );
    }

    pub(crate) fn run_with(
        &mut self,
        time: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> bool {
        let end = self.now + time;
        while !holds(self) {
            if !self.step(end) {
                return false;
            }
        }
        true
    }

    /// The next event; none before `end`.
    fn step(&mut self, end: Time) -> bool {
        let timers = self
            .nodes
            .keys()
            .filter_map(|id| self.due(*id).map(|at| (at, *id)));
        let timer = timers.min();
        let flight = self.flights.keys().next().copied();
        let next = [
            timer.map(|timer| timer.0),
            flight.map(|flight| flight.0),
            Some(self.tick),
        ];
        let next = next.into_iter().flatten().min().unwrap();
        if next > end {
            self.now = end;
            self.check();
            return false;
        }
        self.now = self.now.max(next);
        if self.tick <= self.now {
            self.tick = self.tick + TICK;
            self.go_wrong();
        } else if let Some(key) = flight.filter(|flight| flight.0 <= self.now) {
            let flight = self.flights.remove(&key).unwrap();
            self.arrive(flight);
        } else if let Some((_, id)) = timer {
            let local = self.local(id);
            self.standing(id).unwrap().handle_timeout(local);
            self.drain(id);
        }
        self.open_stream();
        self.check();
        true
    }

    fn go_wrong(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        if self.chance(self.faults.crash) {
            let id = ids[self.rng.below(ids.len())];
            if self.nodes[&id].started {
                self.kill(id);
            }
        }
        if self.chance(self.faults.crash * 3) {
            let id = ids[self.rng.below(ids.len())];
            self.start(id);
        }
        if self.chance(self.faults.cut) {
            let manager = ids[self.rng.below(2)];
            if self.chance(400) {
                // From everybody.
                for other in self.others(manager) {
                    self.cut(manager, other);
                }
            } else {
                let other = ids[self.rng.below(ids.len())];
                if other != manager {
                    self.cut(manager, other);
                }
            }
        }
        if self.chance(self.faults.cut) {
            self.heal();
        }
        if self.chance(100) {
            for id in [A, B] {
                if self.acts(id) {
                    self.write(id);
                }
            }
        }
    }

    fn arrive(&mut self, flight: Flight) {
        let ((from, from_life), (to, life)) = (flight.from, flight.to);
        let is_up = |world: &Self, id: NodeId, life| {
            let node = &world.nodes[&id];
            node.started && node.life == life
        };
        if !is_up(self, to, life) || !is_up(self, from, from_life) || self.is_cut(from, to) {
            return;
        }
        let local = self.local(to);
        match flight.what {
            What::Message(message) => match &mut self.nodes.get_mut(&to).unwrap().body {
                Body::Manager {
                    machine: Some(machine),
                    ..
                } => machine.handle_message(local, from, message),
                Body::Child {
                    machine: Some(machine),
                    ..
                } => machine.handle_message(local, from, &message),
                Body::Manager { .. } | Body::Child { .. } => {}
            },
            What::Snapshot(..) | What::Record(..) | What::Kept(_) => {
                self.arrive_on_stream(from, to, local, flight.what);
            }
        }
        self.drain(to);
    }

    fn arrive_on_stream(&mut self, from: NodeId, to: NodeId, local: Time, what: What) {
        let Some(stream) = &self.stream else {
            return;
        };
        let forward = (stream.from.0, stream.to.0) == (from, to);
        let back = (stream.from.0, stream.to.0) == (to, from);
        if !forward && !back {
            return;
        }
        let Body::Manager {
            records,
            machine: Some(machine),
            ..
        } = &mut self.nodes.get_mut(&to).unwrap().body
        else {
            return;
        };
        let index = match what {
            What::Snapshot(index, all) if forward => {
                *records = all;
                index
            }
            What::Record(index, record) if forward => {
                records.insert(record);
                index
            }
            What::Kept(index) if back => {
                machine.handle_kept(local, from, index);
                return;
            }
            What::Snapshot(..) | What::Record(..) | What::Kept(_) | What::Message(_) => return,
        };
        let delay = self.delay();
        let (from_key, to_key) = (self.key(to), self.key(from));
        self.fly(self.now + delay, from_key, to_key, What::Kept(index));
    }

    /// The one who follows asks the one who acts for its records, when the two can talk.
    fn open_stream(&mut self) {
        for (from, to) in [(A, B), (B, A)] {
            let follows = |world: &mut Self, id| {
                let standing = world.standing(id);
                standing.map(|standing| standing.stands())
            };
            let Some(Stands::Follows {
                manager: Some((manager, _)),
            }) = follows(self, to)
            else {
                continue;
            };
            let is_open = self
                .stream
                .as_ref()
                .is_some_and(|stream| (stream.from, stream.to) == (self.key(from), self.key(to)));
            if manager != from || is_open || self.is_cut(A, B) || !self.acts(from) {
                continue;
            }
            let local = self.local(from);
            let (records, last) = {
                let Body::Manager {
                    records,
                    machine: Some(machine),
                    ..
                } = &mut self.nodes.get_mut(&from).unwrap().body
                else {
                    continue;
                };
                machine.handle_replica(local, to);
                (records.clone(), machine.last())
            };
            self.stream = Some(Stream {
                from: self.key(from),
                to: self.key(to),
                order: self.now,
            });
            self.send_on_stream(from, |_| What::Snapshot(last, records));
            self.drain(from);
        }
    }

    fn send_on_stream(&mut self, from: NodeId, what: impl FnOnce(&Self) -> What) {
        let delay = self.delay();
        let key = self.key(from);
        let what = what(self);
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.from == key) else {
            return;
        };
        stream.order = stream.order.max(self.now + delay);
        let (at, to) = (stream.order, stream.to);
        self.fly(at, key, to, what);
    }

    /// Everything that a machine wants is done: what it saves first.
    fn drain(&mut self, id: NodeId) {
        let mut sent = Vec::new();
        let node = self.nodes.get_mut(&id).unwrap();
        match &mut node.body {
            Body::Manager {
                machine: Some(machine),
                disk,
                waiting,
                ..
            } => {
                if let Some(record) = machine.poll_save() {
                    *disk = record;
                }
                while let Some(message) = machine.poll_send() {
                    sent.push(message);
                }
                let later = waiting.split_off(&(machine.safe() + 1));
                let safe = std::mem::replace(waiting, later);
                self.safe.extend(safe.into_values());
                if !matches!(machine.stands(), Stands::Acts { .. }) {
                    waiting.clear();
                }
            }
            Body::Child {
                machine: Some(machine),
                disk,
                highest,
            } => {
                // A guest remembers nothing.
                if let Some(record) = machine.poll_save().filter(|_| id < GUEST) {
                    *disk = record;
                }
                while let Some(message) = machine.poll_send() {
                    sent.push(message);
                }
                assert!(disk.promised >= *highest, "{id} forgets a promise");
                *highest = disk.promised;
            }
            Body::Manager { .. } | Body::Child { .. } => {}
        }
        for (to, message) in sent {
            self.log
                .push(format!("{} {id} -> {to} {message:?}", self.now));
            let copies = 1 + usize::from(self.chance(self.faults.repeated));
            for _ in 0..copies {
                if !self.chance(self.faults.lost) {
                    let delay = self.delay();
                    let (from, to) = (self.key(id), self.key(to));
                    self.fly(self.now + delay, from, to, What::Message(message.clone()));
                }
            }
        }
    }

    fn check(&mut self) {
        let acting: Vec<(NodeId, Term)> = [A, B]
            .into_iter()
            .filter_map(|id| Some((id, self.acting_term(id)?)))
            .collect();
        assert!(acting.len() < 2, "two act: {acting:?}\n{}", self.log());
        let Some(&(id, term)) = acting.first() else {
            return;
        };
        let known = *self.acted.entry(term).or_insert(id);
        assert_eq!(known, id, "{term} has two managers");
        if self.last_acted != Some(id) {
            self.log.push(format!("{} {id} acts in {term}", self.now));
            self.takeovers += u64::from(self.last_acted.is_some());
            self.last_acted = Some(id);
        }
        if let Body::Manager { records, .. } = &self.nodes[&id].body {
            let lost: Vec<&u64> = self.safe.difference(records).collect();
            assert!(lost.is_empty(), "{id} lacks {lost:?}\n{}", self.log());
        }
    }

    fn acting_term(&self, id: NodeId) -> Option<Term> {
        let Body::Manager {
            machine: Some(machine),
            ..
        } = &self.nodes[&id].body
        else {
            return None;
        };
        match machine.stands() {
            Stands::Acts { term, until } => {
                let holds = until.is_none_or(|until| self.local(id) < until);
                holds.then_some(term)
            }
            Stands::Follows { .. } => None,
        }
    }

    fn due(&self, id: NodeId) -> Option<Time> {
        let node = &self.nodes[&id];
        let Body::Manager {
            machine: Some(machine),
            ..
        } = &node.body
        else {
            return None;
        };
        let due = machine.poll_timeout()?;
        Some((node.born + Duration::from_nanos(due.0 * 1000 / node.speed + 1)).max(self.now))
    }

    fn local(&self, id: NodeId) -> Time {
        let node = &self.nodes[&id];
        let since = self.now.since(node.born).as_nanos();
        Time(u64::try_from(since).unwrap() * node.speed / 1000)
    }

    fn standing(&mut self, id: NodeId) -> Option<&mut Standing> {
        match &mut self.nodes.get_mut(&id).unwrap().body {
            Body::Manager { machine, .. } => machine.as_mut(),
            Body::Child { .. } => None,
        }
    }

    /// The two can talk from now on, if both are there.
    fn meet(&mut self, a: NodeId, b: NodeId) {
        let up = |id: NodeId| self.nodes[&id].started;
        if !up(a) || !up(b) || self.is_cut(a, b) {
            return;
        }
        for (id, other) in [(a, b), (b, a)] {
            let link = if other.0 <= 2 {
                Link::Manager
            } else if other >= GUEST {
                Link::Guest
            } else {
                Link::Witness
            };
            let local = self.local(id);
            if let Some(machine) = self.standing(id) {
                machine.handle_connected(local, other, link);
            }
            self.drain(id);
        }
    }

    fn part(&mut self, id: NodeId, from: NodeId) {
        let local = self.local(id);
        if let Some(machine) = self.standing(id) {
            machine.handle_disconnected(local, from);
            self.drain(id);
        }
    }

    fn break_stream(&mut self, id: NodeId) {
        if id.0 > 2 {
            return;
        }
        self.stream = None;
        let other = if id == A { B } else { A };
        let local = self.local(other);
        if let Some(machine) = self.standing(other) {
            machine.handle_replica_lost(local, id);
            self.drain(other);
        }
    }

    fn fly(&mut self, at: Time, from: (NodeId, u64), to: (NodeId, u64), what: What) {
        self.count += 1;
        self.flights
            .insert((at, self.count), Flight { from, to, what });
    }

    fn joins(&self, a: NodeId, b: NodeId) -> bool {
        a.0.max(b.0) == 2
    }

    fn is_cut(&self, a: NodeId, b: NodeId) -> bool {
        self.cuts.contains(&(a.min(b), a.max(b)))
    }

    fn key(&self, id: NodeId) -> (NodeId, u64) {
        (id, self.nodes[&id].life)
    }

    fn others(&self, id: NodeId) -> Vec<NodeId> {
        let is_manager = id.0 <= 2;
        let others = self.nodes.keys().copied();
        // Children have nothing to say to each other here.
        others
            .filter(|other| *other != id && (is_manager || other.0 <= 2))
            .collect()
    }

    fn delay(&mut self) -> Duration {
        let micros = usize::try_from(self.faults.late.as_micros()).unwrap();
        // Most are quick, some are very late.
        let whole = if self.chance(100) {
            micros
        } else {
            micros.min(3000)
        };
        Duration::from_micros(u64::try_from(1 + self.rng.below(whole)).unwrap())
    }

    fn chance(&mut self, thousandths: usize) -> bool {
        self.rng.below(1000) < thousandths
    }
}
