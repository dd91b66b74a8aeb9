//! What a manager does as long as it acts: it says so, knows how long it may go on, and keeps the list of those who may vote and
//! stand.

use std::collections::BTreeMap;

use super::message::StandbyMessage;
use super::roll::{Roll, RollId, Term};
use super::standing::{Link, Standing, elects};
use super::{BEAT, EXCLUDE_AFTER, LEASE};
use crate::ids::NodeId;
use crate::time::Time;

/// Of the term in which it acts.
#[derive(Debug)]
pub(super) struct Acting {
    pub(super) term: Term,
    pub(super) next_beat: Time,
    since: Time,
    /// When that was sent which each has heeded last.
    heeded: BTreeMap<NodeId, Time>,
    /// The last list that each has on its disk.
    knows: BTreeMap<NodeId, RollId>,
    /// Some have promised a later term to one who does not act: a term beyond that, and who has granted it.
    wanted: Option<(Term, BTreeMap<NodeId, Time>)>,
}

impl Acting {
    pub(super) fn new(term: Term, now: Time, heeded: BTreeMap<NodeId, Time>) -> Self {
        Self {
            term,
            next_beat: now,
            since: now,
            heeded,
            knows: BTreeMap::new(),
            wanted: None,
        }
    }

    pub(super) fn handle_heed(
        &mut self,
        now: Time,
        from: NodeId,
        term: Term,
        beat: Time,
        roll: RollId,
    ) {
        let knows = self.knows.entry(from).or_default();
        *knows = roll.max(*knows);
        if term == self.term && beat <= now {
            let heeded = self.heeded.entry(from).or_default();
            *heeded = beat.max(*heeded);
        }
    }

    pub(super) fn want(&mut self, term: Term) {
        if self.wanted.as_ref().is_none_or(|wanted| wanted.0 < term) {
            self.wanted = Some((term, BTreeMap::new()));
        }
    }

    pub(super) fn handle_grant(&mut self, now: Time, from: NodeId, term: Term, beat: u64) {
        if let Some((wanted, granted)) = &mut self.wanted
            && *wanted == term
        {
            granted.insert(from, Time(beat).min(now));
        }
    }

    /// It was heard within the last lease.
    fn is_heeded_by(&self, now: Time, node: NodeId) -> bool {
        let heeded = self.heeded.get(&node);
        heeded.is_some_and(|at| *at + LEASE > now)
    }

    fn knows(&self, node: NodeId, roll: RollId) -> bool {
        self.knows.get(&node).is_some_and(|known| *known >= roll)
    }

    /// The last time at which a majority had heeded; none if none has.
    fn majority_heeded(&self, roll: &Roll) -> Option<Time> {
        let mut times: Vec<Time> = roll
            .voters
            .iter()
            .filter_map(|v| self.heeded.get(v))
            .copied()
            .collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.get(roll.voters.len() / 2).copied()
    }
}

impl Standing {
    /// How long this manager may act; for ever, if none.
    pub(super) fn lease_end(&self, acting: &Acting) -> Option<Time> {
        let rolls = &self.record.rolls;
        let rival = rolls.first()?.rival_of(self.node);
        let by_rival = rival.and_then(|rival| acting.heeded.get(&rival).copied());
        // With a list of nobody, nobody else can come to act.
        let lists = rolls.iter().filter(|roll| !roll.voters.is_empty());
        let times: Vec<Option<Time>> = lists.map(|roll| acting.majority_heeded(roll)).collect();
        if times.is_empty() {
            return None;
        }
        let by_lists = times.into_iter().min().flatten();
        let heeded = by_rival.max(by_lists);
        Some(heeded.map_or(Time::ZERO, |at| at + LEASE))
    }

    /// There is somebody to whom it matters that this manager acts.
    pub(super) fn needs_beats(&self) -> bool {
        let mut links = self.links.values();
        !self.record.rolls.is_empty() || links.any(|link| *link == Link::Manager)
    }

    pub(super) fn lead(&self, now: Time, acting: &Acting, to: NodeId) -> StandbyMessage {
        let newest = &self.record.newest;
        let is_manager = self.links.get(&to) == Some(&Link::Manager);
        let lacks = is_manager && !acting.knows(to, newest.id);
        StandbyMessage::LeadDomain {
            term: acting.term,
            beat: now.0,
            roll: newest.id,
            list: lacks.then(|| newest.clone()),
        }
    }

    /// Does what follows from the present state.
    pub(super) fn act(&mut self, now: Time, acting: &mut Acting) {
        self.strike_rolls(acting);
        let mut tell = self.take_later_term(acting);
        if let Some(standby) = self.next_standby(now, acting) {
            self.change_roll(now, acting, standby);
            tell = true;
        }
        if self.record.rolls.is_empty() {
            self.records.safe = self.records.last;
        } else if let Some(kept) = self.records.replica.as_ref().and_then(|r| r.kept) {
            self.records.safe = self.records.safe.max(kept);
        }
        if tell || (self.needs_beats() && acting.next_beat <= now) {
            acting.next_beat = now + BEAT;
            self.beat(now, acting);
        }
    }

    /// Forgets lists with which nobody can act any more: a majority knows a later one, or the one who could stand with it has
    /// a later one itself.
    fn strike_rolls(&mut self, acting: &Acting) {
        let (newest, node) = (self.record.newest.id, self.node);
        let stays = |roll: &Roll| {
            let known = roll
                .rival_of(node)
                .and_then(|rival| acting.knows.get(&rival));
            if known.is_some_and(|known| *known > roll.id) {
                return false;
            }
            let is_known = roll.has_majority(|voter| acting.knows(voter, newest));
            roll.id == newest || !(is_known || roll.voters.is_empty())
        };
        let before = self.record.rolls.len();
        self.record.rolls.retain(stays);
        self.unsaved |= self.record.rolls.len() != before;
    }

    /// Acts in the term that it wanted, if all majorities want that.
    fn take_later_term(&mut self, acting: &mut Acting) -> bool {
        let Some((term, granted)) = &acting.wanted else {
            return false;
        };
        let mut rolls = self.record.rolls.iter();
        if !rolls.all(|roll| elects(roll, self.node, granted)) {
            return false;
        }
        acting.term = *term;
        for (node, at) in granted {
            let heeded = acting.heeded.entry(*node).or_default();
            *heeded = (*heeded).max(*at);
        }
        acting.wanted = None;
        (self.record.term, self.record.acted_in) = (acting.term, acting.term);
        self.number_anew(acting.term);
        self.unsaved = true;
        true
    }

    /// The standby that the next list is to have, if there is to be one.
    fn next_standby(&self, now: Time, acting: &Acting) -> Option<Option<NodeId>> {
        let newest = &self.record.newest;
        let Some(standby) = newest.standby else {
            // Nobody can stand, and somebody has all records.
            let replica = self.records.replica.as_ref()?;
            let is_even = replica.kept == Some(self.records.last);
            let is_ready = self.record.rolls.is_empty()
                && is_even
                && acting.is_heeded_by(now, replica.node)
                && self.links.get(&replica.node) == Some(&Link::Manager);
            return is_ready.then_some(Some(replica.node));
        };
        let heeded = acting.heeded.get(&standby).copied();
        let heeded = heeded.unwrap_or_default().max(acting.since);
        let takes = self.records.replica.as_ref().map(|replica| replica.node) == Some(standby);
        let took = if takes {
            now
        } else {
            self.records.lost_at.max(acting.since)
        };
        if heeded.min(took) + EXCLUDE_AFTER <= now {
            return Some(None);
        }
        // One change at a time, so that few lists need majorities.
        let voters = self.heeding(now, acting);
        let differs = !voters.is_empty() && voters != newest.voters;
        let settled = self.record.rolls.len() == 1 && acting.is_heeded_by(now, standby);
        (differs && settled).then_some(Some(standby))
    }

    fn change_roll(&mut self, now: Time, acting: &Acting, standby: Option<NodeId>) {
        let voters = self.heeding(now, acting);
        let newest = &self.record.newest;
        let count = if newest.id.term == acting.term {
            newest.id.count + 1
        } else {
            0
        };
        let roll = Roll {
            id: RollId {
                term: acting.term,
                count,
            },
            manager: self.node,
            standby,
            voters,
        };
        if standby.is_some() {
            self.record.rolls.push(roll.clone());
        }
        self.record.newest = roll;
        self.unsaved = true;
    }

    /// The children that heed this manager now.
    fn heeding(&self, now: Time, acting: &Acting) -> Vec<NodeId> {
        let witnesses = self.links.iter().filter(|link| *link.1 == Link::Witness);
        let heeding = witnesses.filter(|link| acting.is_heeded_by(now, *link.0));
        heeding.map(|link| *link.0).collect()
    }

    fn beat(&mut self, now: Time, acting: &Acting) {
        let leads: Vec<_> = self
            .links
            .keys()
            .map(|&node| (node, self.lead(now, acting, node)))
            .collect();
        self.outbox.extend(leads);
        let Some((term, granted)) = &acting.wanted else {
            return;
        };
        let request = StandbyMessage::RequestVote {
            term: *term,
            beat: now.0,
            roll: self.record.newest.id,
            binding: true,
        };
        let asked = self
            .links
            .keys()
            .filter(|node| self.is_voter(**node) && !granted.contains_key(node));
        let requests: Vec<_> = asked.map(|node| (*node, request.clone())).collect();
        self.outbox.extend(requests);
    }
}
