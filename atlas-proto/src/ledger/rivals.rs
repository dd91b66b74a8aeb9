//! Entries that two have at a time: a *rival* was begun because the borrower is late. The first result wins.
//!
//! The rival of an entry that is `Lent` is a second lease, or runs in the engine of this machine. When the first lease ends without a
//! result the rival takes its place; when a result comes, the entry is gone, and who has lost is told to stop.
//! Invariant: only an entry that is `Lent` has a rival.

use std::time::Duration;

use super::{Entry, EntryId, Ledger, State};
use crate::ids::{LeaseId, NodeId};
use crate::rival::LATE_MIN;
use crate::time::Time;

/// Who else has a closure that is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// The engine of this machine.
    Here,
    /// Another peer.
    Peer {
        /// Who.
        borrower: NodeId,
        /// This node's number for it.
        lease: LeaseId,
    },
}

/// An entry whose result has come: who had it as well is to stop.
#[derive(Debug)]
pub(crate) struct Won {
    pub(crate) id: EntryId,
    pub(crate) entry: Entry,
    pub(crate) loser: Option<Rival>,
    /// The result is the rival's.
    pub(crate) by_rival: bool,
}

impl Ledger {
    /// Who else has an entry.
    #[must_use]
    pub fn rival(&self, id: EntryId) -> Option<Rival> {
        self.rivals.get(&id).copied()
    }

    pub(crate) fn has_rivals(&self) -> bool {
        !self.rivals.is_empty()
    }

    /// All that have a rival.
    pub fn rivals(&self) -> impl Iterator<Item = (EntryId, Rival)> {
        self.rivals.iter().map(|(&id, &rival)| (id, rival))
    }

    /// An entry was lent just now.
    pub(crate) fn note_lent(&mut self, id: EntryId, now: Time) {
        self.lent_at.insert(id, now);
    }

    /// A peer has returned a result, or lent something that it made: it is at work.
    pub(crate) fn note_progress(&mut self, peer: NodeId, now: Time) {
        self.progress.insert(peer, now);
    }

    pub(crate) fn forget_progress(&mut self, peer: NodeId) {
        self.progress.remove(&peer);
    }

    pub(crate) fn forget_all_progress(&mut self) {
        self.progress.clear();
    }

    /// All that an entry is lent under.
    pub fn leases_of(&self, id: EntryId) -> impl Iterator<Item = (NodeId, LeaseId)> + use<> {
        let first = match self.entries.get(&id).map(|entry| entry.state) {
            Some(State::Lent { borrower, lease }) => Some((borrower, lease)),
            Some(State::Ready | State::Held | State::Running) | None => None,
        };
        let second = match self.rival(id) {
            Some(Rival::Peer { borrower, lease }) => Some((borrower, lease)),
            Some(Rival::Here) | None => None,
        };
        first.into_iter().chain(second)
    }

    /// Entries that are lent, have no rival, and are late: of whose borrower nothing has come back for longer than `patience`
    /// says, which gives none for those that are never late. Oldest first.
    pub(crate) fn late(
        &self,
        now: Time,
        most: usize,
        patience: impl Fn(EntryId, &Entry) -> Option<Duration>,
    ) -> Vec<EntryId> {
        let lent = self.lent_at.keys().copied();
        let late = lent.filter(|&id| self.is_late(now, id, &patience));
        late.take(most).collect()
    }

    /// As in [`Ledger::late`], of one entry.
    pub(crate) fn is_late(
        &self,
        now: Time,
        id: EntryId,
        patience: impl Fn(EntryId, &Entry) -> Option<Duration>,
    ) -> bool {
        let silent = self.silence(now, id).filter(|silent| *silent >= LATE_MIN);
        let (Some(silent), Some(entry)) = (silent, self.entries.get(&id)) else {
            return false;
        };
        !self.rival_at.contains_key(&id)
            && patience(id, entry).is_some_and(|patience| patience < silent)
    }

    /// For how long the borrower of an entry that is lent has shown no progress.
    fn silence(&self, now: Time, id: EntryId) -> Option<Duration> {
        let lent_at = *self.lent_at.get(&id)?;
        let State::Lent { borrower, .. } = self.entries.get(&id)?.state else {
            return None;
        };
        let heard = self.progress.get(&borrower).copied();
        Some(now.since(heard.map_or(lent_at, |heard| heard.max(lent_at))))
    }

    /// The engine of this machine runs an entry that is lent.
    pub(crate) fn rival_here(&mut self, id: EntryId, now: Time) {
        debug_assert!(self.is_lent_once(id), "only what is lent has a rival");
        self.rival_at.insert(id, now);
        self.rivals.insert(id, Rival::Here);
    }

    /// Lends an entry a second time.
    pub(crate) fn lend_rival(&mut self, id: EntryId, borrower: NodeId, now: Time) -> LeaseId {
        debug_assert!(self.is_lent_once(id), "only what is lent has a rival");
        self.rival_at.insert(id, now);
        self.last_lease += 1;
        let lease = LeaseId(self.last_lease);
        self.lent.insert((borrower, lease), id);
        self.rivals.insert(id, Rival::Peer { borrower, lease });
        lease
    }

    /// The engine of this machine has an entry, though another has it as well.
    pub(crate) fn is_rival_here(&self, id: EntryId) -> bool {
        self.rival(id) == Some(Rival::Here)
    }

    /// The rivals that take longer than `takes` says themselves: so the closures are large, and nobody was late.
    pub(crate) fn rivals_in_vain(
        &self,
        now: Time,
        takes: impl Fn(&Entry) -> Duration,
    ) -> Vec<EntryId> {
        let in_vain = |id: &&EntryId| {
            let (entry, at) = (self.entries.get(id), self.rival_at.get(id));
            let both = entry.zip(at);
            both.is_some_and(|(entry, &at)| now.since(at) > takes(entry))
        };
        self.rivals.keys().filter(in_vain).copied().collect()
    }

    /// Nobody but the first borrower has the entry any more.
    pub(crate) fn drop_rival(&mut self, id: EntryId) -> Option<Rival> {
        let rival = self.rivals.remove(&id)?;
        if let Rival::Peer { borrower, lease } = rival {
            self.lent.remove(&(borrower, lease));
        }
        Some(rival)
    }

    /// A lease is over without a result. The entry, if nobody has it any more.
    pub(crate) fn end_lease(&mut self, borrower: NodeId, lease: LeaseId) -> Option<EntryId> {
        let id = self.lent_to(borrower, lease)?;
        let first = self.entries.get(&id)?.state == State::Lent { borrower, lease };
        if !first {
            self.drop_rival(id);
            return None;
        }
        match self.rivals.remove(&id) {
            None => Some(id),
            Some(Rival::Here) => {
                self.change(id, State::Running);
                None
            }
            Some(Rival::Peer { borrower, lease }) => {
                let since = self.lent_at.get(&id).copied();
                self.change(id, State::Lent { borrower, lease });
                self.lent_at.extend(since.map(|since| (id, since)));
                None
            }
        }
    }

    /// All leases of a peer are over without a result. The entries that nobody has any more.
    pub(crate) fn end_leases_of(&mut self, borrower: NodeId) -> Vec<EntryId> {
        let leases: Vec<LeaseId> = super::of_peer(&self.lent, borrower)
            .map(|(lease, _)| lease)
            .collect();
        let ended = leases.into_iter();
        ended
            .filter_map(|lease| self.end_lease(borrower, lease))
            .collect()
    }

    /// The closure that `borrower` holds under `lease` is done: its entry is gone.
    pub(crate) fn take_lent(&mut self, borrower: NodeId, lease: LeaseId) -> Option<Won> {
        let id = self.lent_to(borrower, lease)?;
        let first = self.entries.get(&id)?.state == State::Lent { borrower, lease };
        self.take_won(id, !first)
    }

    /// The closure that the engine of this machine ran is done: its entry is gone.
    pub(crate) fn take_run(&mut self, id: EntryId) -> Option<Won> {
        let by_rival = self.is_rival_here(id);
        self.take_won(id, by_rival)
    }

    fn take_won(&mut self, id: EntryId, by_rival: bool) -> Option<Won> {
        let rival = self.drop_rival(id);
        let entry = self.remove(id)?;
        let loser = match entry.state {
            State::Lent { borrower, lease } if by_rival => Some(Rival::Peer { borrower, lease }),
            State::Lent { .. } | State::Ready | State::Held | State::Running => {
                rival.filter(|_| !by_rival)
            }
        };
        Some(Won {
            id,
            entry,
            loser,
            by_rival,
        })
    }

    /// An entry is lent, and has no rival.
    pub(crate) fn is_lent_once(&self, id: EntryId) -> bool {
        let state = self.entries.get(&id).map(|entry| entry.state);
        matches!(state, Some(State::Lent { .. })) && !self.rival_at.contains_key(&id)
    }
}
