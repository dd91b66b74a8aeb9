//! How a manager stands in its domain: it follows, asks for votes, or acts.
//!
//! ```text
//!   Following --nothing heard for a while--> Asking --a majority of each list--> Acting
//!       ^                                      |                                   |
//!       +-------- somebody else acts ----------+--------- a later term acts -------+
//! ```
//!
//! A manager that never had a standby has no list with which anybody could stand: it acts without asking, as if there were
//! nothing here. What it does as long as it acts is in `acting`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::acting::Acting;
use super::message::StandbyMessage;
use super::roll::{Roll, RollId, Term};
use super::{ASK_EVERY, ASK_FOR, TERMS_AHEAD_MAX, VOTE_AFTER};
use crate::ids::NodeId;
use crate::rng::Rng;
use crate::time::Time;

/// What a manager must not forget of its standing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingRecord {
    /// The highest term that it has asked for votes in, or acted or heeded somebody in.
    pub(super) term: Term,
    /// The highest term that it knows somebody has acted in.
    pub(super) acted_in: Term,
    /// Who.
    pub(super) acted: Option<NodeId>,
    /// The last list that it has made or taken.
    pub(super) newest: Roll,
    /// The lists with which another may stand beside it, if it acts; with which it may stand itself, if it does not. Each needs
    /// its own majority.
    pub(super) rolls: Vec<Roll>,
}

/// What a neighbour is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A child of the domain.
    Witness,
    /// A child whose own domain is another, one below, and who is here as long as that has no manager: it is told who acts, and
    /// never votes, nor does its word let anybody act.
    Guest,
    /// Another manager of the domain.
    Manager,
}

/// What a manager is just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It acts: until then, if nobody heeds it before; for ever, if none. After that it does nothing until this changes.
    Acts {
        /// In this term.
        term: Term,
        /// So long.
        until: Option<Time>,
    },
    /// It does not act.
    Follows {
        /// Who acts, as far as it knows, and in which term.
        manager: Option<(NodeId, Term)>,
    },
}

/// The machine. The parent module says how it is called.
#[derive(Debug)]
pub struct Standing {
    pub(super) node: NodeId,
    rng: Rng,
    pub(super) record: StandingRecord,
    pub(super) unsaved: bool,
    /// The highest term that anybody has told of.
    seen: Term,
    pub(super) links: BTreeMap<NodeId, Link>,
    phase: Phase,
    pub(super) outbox: VecDeque<(NodeId, StandbyMessage)>,
    pub(super) records: Records,
}

#[derive(Debug)]
enum Phase {
    Following {
        manager: Option<(NodeId, Term)>,
        ask_at: Time,
    },
    Asking(Asking),
    Acting(Acting),
}

#[derive(Debug)]
struct Asking {
    term: Term,
    binding: bool,
    /// When what they answered was sent.
    granted: BTreeMap<NodeId, Time>,
    again_at: Time,
    until: Time,
}

/// What is to survive, by number, and who has it.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) last: u64,
    pub(super) safe: u64,
    pub(super) replica: Option<Replica>,
    pub(super) lost_at: Time,
}

/// A standby that takes records.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) node: NodeId,
    /// It has all up to this one; none as long as it lacks what was before.
    pub(super) kept: Option<u64>,
}

impl StandingRecord {
    /// Of the manager that begins a domain: it acts.
    #[must_use]
    pub fn first(node: NodeId) -> Self {
        let term = Term(1);
        let mut newest = Roll::empty(node);
        newest.id.term = term;
        Self {
            term,
            acted_in: term,
            acted: Some(node),
            newest,
            rolls: Vec::new(),
        }
    }

    /// Of a manager that has enrolled as a standby: it follows.
    #[must_use]
    pub fn standby(node: NodeId) -> Self {
        Self {
            term: Term(0),
            acted_in: Term(0),
            acted: None,
            newest: Roll::empty(node),
            rolls: Vec::new(),
        }
    }
}

impl Standing {
    /// A manager with what it remembers of earlier lives.
    #[must_use]
    pub fn new(node: NodeId, record: StandingRecord, seed: u64, now: Time) -> Self {
        let acted = record.acted == Some(node);
        let (free, term) = (record.rolls.is_empty(), record.acted_in);
        let phase = if acted && free {
            Phase::Acting(Acting::new(term, now, BTreeMap::new()))
        } else {
            // What it heeded in an earlier life it may have heeded just now; if it acted it has heeded nobody.
            let wait = if acted { Duration::ZERO } else { VOTE_AFTER };
            Phase::Following {
                manager: None,
                ask_at: now + wait,
            }
        };
        Self {
            node,
            rng: Rng::new(seed),
            seen: record.term,
            record,
            unsaved: false,
            links: BTreeMap::new(),
            phase,
            outbox: VecDeque::new(),
            records: Records::default(),
        }
    }

    /// A neighbour can be talked to.
    pub fn handle_connected(&mut self, now: Time, node: NodeId, link: Link) {
        self.links.insert(node, link);
        if let Phase::Acting(acting) = &self.phase {
            let lead = self.lead(now, acting, node);
            self.outbox.push_back((node, lead));
        } else if let Phase::Asking(asking) = &self.phase
            && link != Link::Guest
        {
            let request = self.request(now, asking);
            self.outbox.push_back((node, request));
        }
        self.settle(now);
    }

    /// It cannot any more.
    pub fn handle_disconnected(&mut self, now: Time, node: NodeId) {
        self.links.remove(&node);
        self.settle(now);
    }

    /// A neighbour has said something.
    pub fn handle_message(&mut self, now: Time, from: NodeId, message: StandbyMessage) {
        match message {
            StandbyMessage::LeadDomain {
                term,
                beat,
                roll,
                list,
            } => self.handle_lead_domain(now, from, term, beat, roll, list),
            StandbyMessage::HeedManager { term, beat, roll } => {
                if let Phase::Acting(acting) = &mut self.phase {
                    acting.handle_heed(now, from, term, Time(beat), roll);
                }
            }
            StandbyMessage::GrantVote {
                term,
                beat,
                binding,
            } => match &mut self.phase {
                Phase::Asking(asking) if (asking.term, asking.binding) == (term, binding) => {
                    asking.granted.insert(from, Time(beat).min(now));
                }
                Phase::Acting(acting) if binding => acting.handle_grant(now, from, term, beat),
                Phase::Asking(_) | Phase::Acting(_) | Phase::Following { .. } => {}
            },
            StandbyMessage::RefuseManager {
                promised, acted, ..
            } => self.handle_refuse_manager(now, promised, acted),
            // A standby's own children do not vote for each other: only witnesses are asked.
            StandbyMessage::RequestVote { .. } => {}
        }
        self.settle(now);
    }

    /// It is time for something.
    pub fn handle_timeout(&mut self, now: Time) {
        match &mut self.phase {
            Phase::Following { ask_at, .. } if *ask_at <= now => self.ask(now),
            Phase::Asking(asking) if asking.until <= now => self.ask(now),
            Phase::Asking(asking) if asking.again_at <= now => {
                asking.again_at = now + ASK_EVERY;
                self.send_requests(now);
            }
            Phase::Following { .. } | Phase::Asking(_) | Phase::Acting(_) => {}
        }
        self.settle(now);
    }

    /// When [`Standing::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        match &self.phase {
            Phase::Following { ask_at, .. } => self.may_stand().then_some(*ask_at),
            Phase::Asking(asking) => Some(asking.until.min(asking.again_at)),
            Phase::Acting(acting) => self.needs_beats().then_some(acting.next_beat),
        }
    }

    /// What is to be on the disk before anything else is sent, and before this manager acts or takes a record.
    pub fn poll_save(&mut self) -> Option<StandingRecord> {
        std::mem::take(&mut self.unsaved).then(|| self.record.clone())
    }

    /// The next message to send.
    pub fn poll_send(&mut self) -> Option<(NodeId, StandbyMessage)> {
        self.outbox.pop_front()
    }

    /// What this manager is.
    #[must_use]
    pub fn stands(&self) -> Stands {
        match &self.phase {
            Phase::Acting(acting) => Stands::Acts {
                term: acting.term,
                until: self.lease_end(acting),
            },
            Phase::Following { manager, .. } => Stands::Follows { manager: *manager },
            Phase::Asking(_) => Stands::Follows { manager: None },
        }
    }

    /// The standby that has all records, if this manager acts.
    #[must_use]
    pub fn standby(&self) -> Option<NodeId> {
        match &self.phase {
            Phase::Acting(_) => self.record.newest.standby,
            Phase::Following { .. } | Phase::Asking(_) => None,
        }
    }

    /// How many children may vote for whoever stands, if this manager acts and somebody does.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.standby()
            .map_or(0, |_| self.record.newest.voters.len())
    }

    /// This manager has changed something that is to survive, and it is on its own disk. Gives its number.
    pub fn handle_record(&mut self, now: Time) -> u64 {
        self.records.last += 1;
        self.settle(now);
        self.records.last
    }

    /// The number of the last record: what a standby that begins now is to have at first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.records.last
    }

    /// All records up to this one are safe.
    #[must_use]
    pub fn safe(&self) -> u64 {
        self.records.safe
    }

    /// A standby begins to take records, of which it has none yet.
    pub fn handle_replica(&mut self, now: Time, node: NodeId) {
        self.records.replica = Some(Replica { node, kept: None });
        self.settle(now);
    }

    /// The standby has all records up to this one on its disk.
    pub fn handle_kept(&mut self, now: Time, node: NodeId, index: u64) {
        let last = self.records.last;
        if let Some(replica) = &mut self.records.replica
            && replica.node == node
        {
            replica.kept = replica.kept.max(Some(index.min(last)));
        }
        self.settle(now);
    }

    /// The standby takes no more records for now.
    pub fn handle_replica_lost(&mut self, now: Time, node: NodeId) {
        if self.records.replica.as_ref().map(|replica| replica.node) == Some(node) {
            self.records.replica = None;
            self.records.lost_at = now;
        }
        self.settle(now);
    }

    fn handle_lead_domain(
        &mut self,
        now: Time,
        from: NodeId,
        term: Term,
        beat: u64,
        roll: RollId,
        list: Option<Roll>,
    ) {
        let StandingRecord {
            acted_in, acted, ..
        } = self.record;
        if term < acted_in || (term == acted_in && acted != Some(from)) {
            let refusal = self.refusal();
            return self.outbox.push_back((from, refusal));
        }
        let before = self.record.clone();
        self.record.term = term.max(self.record.term);
        (self.record.acted_in, self.record.acted) = (term, Some(from));
        if let Some(list) = list.filter(|list| list.id == roll && list.id > self.record.newest.id) {
            let stands = list.standby == Some(self.node);
            self.record.rolls = if stands {
                vec![list.clone()]
            } else {
                Vec::new()
            };
            self.record.newest = list;
        }
        self.unsaved |= before != self.record;
        self.seen = self.seen.max(term);
        self.phase = Phase::Following {
            manager: Some((from, term)),
            ask_at: now + VOTE_AFTER,
        };
        self.records.replica = None;
        let heed = StandbyMessage::HeedManager {
            term,
            beat,
            roll: self.record.newest.id,
        };
        self.outbox.push_back((from, heed));
    }

    fn handle_refuse_manager(&mut self, now: Time, promised: Term, acted: Option<NodeId>) {
        if promised.0 > self.record.term.0.saturating_add(TERMS_AHEAD_MAX) {
            return;
        }
        self.seen = self.seen.max(promised);
        let rest = self.jitter(ASK_FOR);
        match &mut self.phase {
            Phase::Acting(acting) if promised > acting.term => {
                if acted.is_some_and(|acted| acted != self.node) {
                    // What it knew is old: it begins anew with what the other has.
                    self.phase = Phase::Following {
                        manager: None,
                        ask_at: now + VOTE_AFTER,
                    };
                } else if self.record.rolls.is_empty() {
                    // Somebody asked for votes and will never have them: nobody else can act in a later term.
                    let term = promised.next();
                    acting.term = term;
                    (self.record.term, self.record.acted_in) = (term, term);
                    self.number_anew(term);
                    self.unsaved = true;
                    self.lead_all(now);
                } else {
                    acting.want(promised.next());
                }
            }
            Phase::Asking(asking) if promised >= asking.term => {
                asking.until = asking.until.min(now + rest);
            }
            Phase::Acting(_) | Phase::Asking(_) | Phase::Following { .. } => {}
        }
    }

    /// Begins to ask for votes, in a term that nobody has had.
    fn ask(&mut self, now: Time) {
        if !self.may_stand() {
            return;
        }
        let term = self.seen.max(self.record.term).next();
        let until = now + ASK_FOR + self.jitter(ASK_FOR);
        self.phase = Phase::Asking(Asking {
            term,
            binding: false,
            granted: BTreeMap::new(),
            again_at: now + ASK_EVERY,
            until,
        });
        self.send_requests(now);
    }

    fn send_requests(&mut self, now: Time) {
        let Phase::Asking(asking) = &self.phase else {
            return;
        };
        let asked = self.links.keys().filter(|node| self.is_voter(**node));
        let asked = asked.filter(|node| !asking.granted.contains_key(node));
        let request = self.request(now, asking);
        let requests: Vec<_> = asked.map(|node| (*node, request.clone())).collect();
        self.outbox.extend(requests);
    }

    fn request(&self, now: Time, asking: &Asking) -> StandbyMessage {
        StandbyMessage::RequestVote {
            term: asking.term,
            beat: now.0,
            roll: self.record.newest.id,
            binding: asking.binding,
        }
    }

    /// What follows from the present state: after every input.
    fn settle(&mut self, now: Time) {
        if let Phase::Asking(asking) = &mut self.phase
            && self
                .record
                .rolls
                .iter()
                .all(|roll| elects(roll, self.node, &asking.granted))
        {
            if asking.binding {
                let granted = std::mem::take(&mut asking.granted);
                let term = asking.term;
                self.begin_to_act(now, term, granted);
            } else {
                asking.binding = true;
                asking.granted.clear();
                (asking.again_at, asking.until) = (now + ASK_EVERY, now + ASK_FOR);
                self.record.term = asking.term;
                self.unsaved = true;
                self.send_requests(now);
                return self.settle(now);
            }
        }
        if matches!(self.phase, Phase::Acting(_)) {
            let following = Phase::Following {
                manager: None,
                ask_at: now,
            };
            let Phase::Acting(mut acting) = std::mem::replace(&mut self.phase, following) else {
                return;
            };
            self.act(now, &mut acting);
            self.phase = Phase::Acting(acting);
        }
    }

    fn begin_to_act(&mut self, now: Time, term: Term, granted: BTreeMap<NodeId, Time>) {
        (self.record.acted_in, self.record.acted) = (term, Some(self.node));
        self.record.term = term;
        if self.record.newest.manager == self.node {
            self.number_anew(term);
        } else {
            // Whoever acted before is not heard, and has not what is to come.
            self.record.newest = Roll {
                id: RollId { term, count: 0 },
                manager: self.node,
                standby: None,
                voters: self.record.newest.voters.clone(),
            };
        }
        self.unsaved = true;
        self.records.lost_at = now;
        self.phase = Phase::Acting(Acting::new(term, now, granted));
        self.lead_all(now);
    }

    /// The last list becomes one of this term, whoever may vote and stand as before: another may have acted since it was made, of
    /// whom nobody has heard, and the lists of that one are no later ones of this manager's.
    pub(super) fn number_anew(&mut self, term: Term) {
        let id = RollId { term, count: 0 };
        let old = std::mem::replace(&mut self.record.newest.id, id);
        if let Some(roll) = self.record.rolls.iter_mut().find(|roll| roll.id == old) {
            roll.id = id;
        }
    }

    fn lead_all(&mut self, now: Time) {
        if let Phase::Acting(acting) = &self.phase {
            let nodes = self.links.keys();
            let leads: Vec<_> = nodes
                .map(|node| (*node, self.lead(now, acting, *node)))
                .collect();
            self.outbox.extend(leads);
        }
    }

    pub(super) fn is_voter(&self, node: NodeId) -> bool {
        let mut rolls = self.record.rolls.iter();
        rolls.any(|roll| roll.voters.binary_search(&node).is_ok())
    }

    fn may_stand(&self) -> bool {
        !self.record.rolls.is_empty()
    }

    fn refusal(&self) -> StandbyMessage {
        StandbyMessage::RefuseManager {
            promised: self.record.acted_in,
            acted: self.record.acted,
            roll: self.record.newest.id,
        }
    }

    fn jitter(&mut self, whole: Duration) -> Duration {
        let lot = u32::try_from(self.rng.below(1024)).unwrap_or(0);
        whole * lot / 1024
    }
}

/// These votes are enough for `node` as far as this list goes. With an empty list nobody but its own maker can act.
pub(super) fn elects(roll: &Roll, node: NodeId, granted: &BTreeMap<NodeId, Time>) -> bool {
    (roll.voters.is_empty() && roll.manager == node)
        || roll.has_majority(|voter| granted.contains_key(&voter))
}
