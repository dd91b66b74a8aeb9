//! A child's part: whom it heeds, and for whom it votes.
//!
//! It votes once in a term, for nobody while it hears from another, and remembers what it has promised. A guest of the domain
//! heeds whoever acts and votes for nobody: it is on no list, and soon gone.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::VOTE_AFTER;
use super::message::StandbyMessage;
use super::roll::{RollId, Term};
use crate::ids::NodeId;
use crate::time::Time;

/// What a witness must not forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessRecord {
    /// The highest term that it has voted in or heeded somebody in.
    pub promised: Term,
    /// For whom, or whom.
    pub to: Option<NodeId>,
    /// That manager has acted in that term.
    pub acted: bool,
    /// The last list that it knows of.
    pub roll: RollId,
}

/// The machine. The parent module says how it is called.
#[derive(Debug)]
pub struct Witness {
    record: WitnessRecord,
    votes: bool,
    unsaved: bool,
    began: Time,
    /// Who was heard last, or voted for, and when.
    heard: Option<(NodeId, Time)>,
    heeds: Option<NodeId>,
    outbox: VecDeque<(NodeId, StandbyMessage)>,
}

impl Witness {
    /// A witness with what it remembers of earlier lives.
    #[must_use]
    pub fn new(record: WitnessRecord, now: Time) -> Self {
        Self {
            record,
            votes: true,
            unsaved: false,
            began: now,
            heard: None,
            heeds: None,
            outbox: VecDeque::new(),
        }
    }

    /// Of a child whose own domain is another: it has nothing to remember.
    #[must_use]
    pub fn guest(now: Time) -> Self {
        Self {
            votes: false,
            ..Self::new(WitnessRecord::default(), now)
        }
    }

    /// A manager of the domain has said something.
    pub fn handle_message(&mut self, now: Time, from: NodeId, message: &StandbyMessage) {
        match *message {
            StandbyMessage::LeadDomain {
                term, beat, roll, ..
            } => self.handle_lead_domain(now, from, term, beat, roll),
            StandbyMessage::RequestVote { .. } if !self.votes => {}
            StandbyMessage::RequestVote {
                term,
                beat,
                roll,
                binding,
            } => {
                let answer = if self.may_vote(now, from, term, roll) {
                    if binding {
                        self.vote(now, from, term);
                    }
                    StandbyMessage::GrantVote {
                        term,
                        beat,
                        binding,
                    }
                } else {
                    self.refusal()
                };
                self.outbox.push_back((from, answer));
            }
            // Nothing that a witness is told.
            StandbyMessage::HeedManager { .. }
            | StandbyMessage::GrantVote { .. }
            | StandbyMessage::RefuseManager { .. } => {}
        }
    }

    /// What is to be on the disk before anything else is sent.
    pub fn poll_save(&mut self) -> Option<WitnessRecord> {
        std::mem::take(&mut self.unsaved).then_some(self.record)
    }

    /// The next message to send.
    pub fn poll_send(&mut self) -> Option<(NodeId, StandbyMessage)> {
        self.outbox.pop_front()
    }

    /// Who acts, as far as this child knows: nobody else's word counts.
    #[must_use]
    pub fn heeds(&self) -> Option<(NodeId, Term)> {
        self.heeds.map(|node| (node, self.record.promised))
    }

    fn handle_lead_domain(&mut self, now: Time, from: NodeId, term: Term, beat: u64, roll: RollId) {
        let known = (self.record.promised, self.record.to);
        if term < known.0 || (term == known.0 && known.1.is_some_and(|to| to != from)) {
            let refusal = self.refusal();
            return self.outbox.push_back((from, refusal));
        }
        let record = WitnessRecord {
            promised: term,
            to: Some(from),
            acted: true,
            roll: roll.max(self.record.roll),
        };
        self.unsaved |= record != self.record;
        self.record = record;
        self.heard = Some((from, now));
        self.heeds = Some(from);
        let heed = StandbyMessage::HeedManager {
            term,
            beat,
            roll: self.record.roll,
        };
        self.outbox.push_back((from, heed));
    }

    fn may_vote(&self, now: Time, from: NodeId, term: Term, roll: RollId) -> bool {
        let WitnessRecord { promised, to, .. } = self.record;
        let is_new = term > promised || (term == promised && to == Some(from));
        // Whoever was heard last may rely on it; one that was heard in an earlier life, too.
        let (last, since) = match self.heard {
            Some((last, at)) => (Some(last), at),
            None => (to, self.began),
        };
        let is_free = last == Some(from) || since + VOTE_AFTER <= now;
        is_new && is_free && roll >= self.record.roll
    }

    fn vote(&mut self, now: Time, from: NodeId, term: Term) {
        let same = (self.record.promised, self.record.to) == (term, Some(from));
        let record = WitnessRecord {
            promised: term,
            to: Some(from),
            acted: same && self.record.acted,
            roll: self.record.roll,
        };
        self.unsaved |= record != self.record;
        self.record = record;
        self.heard = Some((from, now));
        if self.heeds != Some(from) {
            self.heeds = None;
        }
    }

    fn refusal(&self) -> StandbyMessage {
        StandbyMessage::RefuseManager {
            promised: self.record.promised,
            acted: self.record.to.filter(|_| self.record.acted),
            roll: self.record.roll,
        }
    }
}
