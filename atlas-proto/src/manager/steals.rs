//! Steals that go through a manager: those that it asks for on behalf of a hungry child, and those that its
//! parent asks for, which it passes on to its children with surplus.
//!
//! A steal that is passed on is for a share of what all children have. It is asked of the richest of them, of each
//! the same part of its own surplus: as much as makes up for those who are not asked, but no more than half beyond
//! the share itself, since the siblings of who is left with nothing would steal next. The work that makes the move
//! worth while is divided among them. Before that come roots that wait at this manager itself, and children that have
//! no worker for what they have. What they give is gathered on its way up: a steal that was passed
//! on at each of several levels is answered by one grant rather than by one for each server that gave something.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Manager;
use crate::ids::{NodeId, RequestId};
use crate::ledger::EntryId;
use crate::message::{EndStealReason, JobHeader, LeasedClosure, Message, Share, StealTerms};
use crate::path::Path;
use crate::time::Time;

/// A steal that this manager has asked a child for.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) victim: NodeId,
    pub(super) purpose: Purpose,
}

/// What closures are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For a hungry child.
    Feed(NodeId),
    /// For the parent's steal of this number.
    Relay(RequestId),
    /// Whoever it was for is gone: for whoever is hungry then.
    Keep,
}

/// A steal of the parent's.
#[derive(Debug)]
pub(super) struct Relay {
    /// The parent's number.
    request: RequestId,
    waiting: BTreeSet<RequestId>,
    granted: bool,
    /// What was given for it and is held until all have answered, or until it is due.
    gathered: Vec<EntryId>,
    due: Option<Time>,
    /// Why nothing was granted, if all who were asked say the same.
    refused: Option<EndStealReason>,
}

impl Manager {
    /// The parent wants closures for somebody else.
    pub(super) fn handle_request_steal(
        &mut self,
        now: Time,
        parent: NodeId,
        request: RequestId,
        terms: &StealTerms,
    ) {
        let to = terms.destination.as_ref();
        if !to.is_none_or(|to| self.config.policy.allows_outflow(&to.domain)) {
            return self.end_steal(now, parent, request, EndStealReason::Policy);
        }
        if self.give_waiting(now, parent, request, terms) {
            return;
        }
        let victims = match self.victims_for(terms) {
            Ok(victims) => victims,
            Err(reason) => return self.end_steal(now, parent, request, reason),
        };
        let number = self.next_request();
        let mut waiting = BTreeSet::new();
        for (victim, terms) in victims {
            waiting.insert(self.ask(now, victim, terms, Purpose::Relay(number)));
        }
        self.relays.insert(
            number,
            Relay {
                request,
                waiting,
                granted: false,
                gathered: Vec::new(),
                due: None,
                refused: None,
            },
        );
    }

    /// Asks a child for closures.
    pub(super) fn ask(
        &mut self,
        now: Time,
        victim: NodeId,
        terms: StealTerms,
        purpose: Purpose,
    ) -> RequestId {
        let request = self.next_request();
        if let Some(child) = self.children.get_mut(&victim) {
            let (closures, work) = (
                terms.share.of_count(child.load.surplus),
                child.load.surplus_work,
            );
            child.asked += 1;
            child.reduce_surplus(closures, terms.share.of_work(work));
        }
        self.stats.steals_asked += 1;
        self.asks.insert(request, Ask { victim, purpose });
        self.sessions
            .send(now, victim, Message::RequestSteal { request, terms });
        request
    }

    pub(super) fn handle_grant(
        &mut self,
        now: Time,
        from: NodeId,
        request: Option<RequestId>,
        job: JobHeader,
        closures: Vec<LeasedClosure>,
    ) {
        let entries = self.take_in(now, from, job, closures);
        let ask = request
            .and_then(|request| self.asks.get(&request))
            .filter(|ask| ask.victim == from);
        if let Some(purpose) = ask.map(|ask| ask.purpose) {
            self.answer(now, purpose, &entries);
        }
    }

    /// Closures that were asked for go to whom they were asked for.
    pub(super) fn answer(&mut self, now: Time, purpose: Purpose, entries: &[EntryId]) {
        match purpose {
            Purpose::Feed(child) => self.feed(now, child, entries),
            Purpose::Relay(number) => {
                let (Some(parent), Some(relay)) = (self.parent(), self.relays.get_mut(&number))
                else {
                    return;
                };
                if !entries.is_empty() {
                    let gap = gathering_gap(self.sessions.path(parent));
                    relay.granted = true;
                    relay.due.get_or_insert(now + gap);
                    relay.gathered.extend(entries);
                    entries.iter().for_each(|&id| self.ledger.hold(id));
                }
            }
            Purpose::Keep => {}
        }
    }

    pub(super) fn handle_end_steal(
        &mut self,
        now: Time,
        from: NodeId,
        request: RequestId,
        reason: EndStealReason,
    ) {
        let Some(ask) = self.asks.get(&request).filter(|ask| ask.victim == from) else {
            return;
        };
        // A policy does not change with the load.
        let version = match reason {
            EndStealReason::Policy => None,
            EndStealReason::Done
            | EndStealReason::NoSurplus
            | EndStealReason::NotWorthMoving
            | EndStealReason::Leaving => self.children.get(&from).map(|victim| victim.load.version),
        };
        if let Purpose::Feed(child) = ask.purpose
            && reason != EndStealReason::Done
            && let Some(child) = self.children.get_mut(&child)
        {
            child.refused_by.insert(from, version);
        }
        if let Purpose::Relay(number) = ask.purpose
            && let Some(relay) = self.relays.get_mut(&number)
        {
            let same = relay.refused.is_none_or(|before| before == reason);
            relay.refused = Some(if same {
                reason
            } else {
                EndStealReason::NoSurplus
            });
        }
        self.close_ask(now, from, request);
    }

    pub(super) fn close_ask(&mut self, now: Time, victim: NodeId, request: RequestId) {
        if self
            .asks
            .get(&request)
            .is_none_or(|ask| ask.victim != victim)
        {
            return;
        }
        let Some(ask) = self.asks.remove(&request) else {
            return;
        };
        if let Some(victim) = self.children.get_mut(&victim) {
            victim.asked -= 1;
        }
        match ask.purpose {
            Purpose::Feed(child) => {
                if let Some(child) = self.children.get_mut(&child)
                    && child.asking == Some(request)
                {
                    child.asking = None;
                }
            }
            Purpose::Relay(number) => self.close_relay(now, number, request),
            Purpose::Keep => {}
        }
    }

    fn close_relay(&mut self, now: Time, number: RequestId, request: RequestId) {
        let Some(relay) = self.relays.get_mut(&number) else {
            return;
        };
        relay.waiting.remove(&request);
        if relay.waiting.is_empty()
            && let (Some(relay), Some(parent)) = (self.relays.remove(&number), self.parent())
            && !self.relay(now, parent, relay.request, relay.gathered, false)
        {
            let refused = relay.refused.unwrap_or(EndStealReason::NoSurplus);
            let reason = if relay.granted {
                EndStealReason::Done
            } else {
                refused
            };
            self.end_steal(now, parent, relay.request, reason);
        }
    }

    /// Sends what has been gathered long enough for steals that are not over.
    pub(super) fn send_gathered(&mut self, now: Time) {
        let Some(parent) = self.parent() else {
            return;
        };
        let mut due = Vec::new();
        for relay in self.relays.values_mut() {
            if relay.due.is_some_and(|due| due <= now) {
                relay.due = None;
                due.push((relay.request, std::mem::take(&mut relay.gathered)));
            }
        }
        for (request, gathered) in due {
            self.relay(now, parent, request, gathered, true);
        }
    }

    /// When [`Manager::send_gathered`] has something to do.
    pub(super) fn gathering_timeout(&self) -> Option<Time> {
        self.relays.values().filter_map(|relay| relay.due).min()
    }

    /// Sends what was gathered; says whether that ended the steal.
    pub(super) fn relay(
        &mut self,
        now: Time,
        parent: NodeId,
        request: RequestId,
        gathered: Vec<EntryId>,
        more: bool,
    ) -> bool {
        let jobs = self.by_job(&self.ledger.still_held(gathered));
        let mut rest = jobs.len();
        let mut ended = false;
        for (_, entries) in jobs {
            rest -= 1;
            ended = self.pass_on(now, parent, &entries, Some(request), more || rest > 0);
        }
        ended
    }

    /// Nobody waits for the parent's steals any more: what was held for them is anybody's.
    pub(super) fn drop_relays(&mut self) {
        for relay in std::mem::take(&mut self.relays).into_values() {
            for id in self.ledger.still_held(relay.gathered) {
                self.ledger.requeue(id);
            }
        }
    }

    fn end_steal(&mut self, now: Time, parent: NodeId, request: RequestId, reason: EndStealReason) {
        self.stats.steals_refused += u64::from(reason != EndStealReason::Done);
        let load = self.load_for(now, parent);
        self.sessions.send(
            now,
            parent,
            Message::EndSteal {
                request,
                reason,
                load,
            },
        );
    }

    /// The children to ask, each with its part of the terms.
    fn victims_for(&self, terms: &StealTerms) -> Result<Vec<(NodeId, StealTerms)>, EndStealReason> {
        let rich = self.children.iter().filter(|(_, child)| child.is_rich());
        let mut rich: Vec<_> = rich
            .map(|(&node, child)| (node, child.is_stranded(), child.load.surplus_work))
            .collect();
        let works = rich.iter().map(|(_, _, work)| *work);
        let total = works.fold(Duration::ZERO, Duration::saturating_add);
        if rich.is_empty() || total.is_zero() {
            return Err(EndStealReason::NoSurplus);
        }
        let needed = terms.work_min;
        if terms.share.of_work(total) < needed {
            return Err(EndStealReason::NotWorthMoving);
        }
        let least = total / u32::try_from(rich.len()).unwrap_or(u32::MAX) / SMALL_PART;
        rich.sort_by_key(|(_, stranded, work)| std::cmp::Reverse((*stranded, *work)));
        rich.truncate(VICTIMS_MAX);
        let works = rich.iter().map(|(_, _, work)| *work);
        let asked = works.fold(Duration::ZERO, Duration::saturating_add);
        let part = Share::of_whole(terms.share.of_work(total), asked);
        let share = part.min(Share::HALF).max(terms.share);
        let terms_for = |work: Duration| {
            let of_all = work.as_secs_f64() / total.as_secs_f64() / f64::from(STALENESS);
            let work_min = needed.as_secs_f64() * of_all.min(1.0);
            StealTerms {
                share,
                work_min: Duration::try_from_secs_f64(work_min).unwrap_or(needed),
                ..terms.clone()
            }
        };
        let worthy = rich
            .into_iter()
            .filter(|(_, stranded, work)| (*stranded || *work >= least) && !work.is_zero());
        let worthy = worthy.map(|(node, _, work)| (node, terms_for(work)));
        Ok(worthy.collect())
    }
}

/// For so long a grant waits for others to go with it: the way itself takes half of it.
fn gathering_gap(path: Path) -> Duration {
    path.latency.saturating_mul(2).min(GATHERING_MAX)
}

/// A child with less than this part of the average surplus is not asked.
const SMALL_PART: u32 = 4;
/// A steal is passed on to so many children, the richest: a few large moves make fewer and shorter chains of
/// leases than many small ones.
const VICTIMS_MAX: usize = 3;
/// What a child has now may be this many times less than what it reported.
const STALENESS: u32 = 2;
/// Nobody is kept waiting for longer.
const GATHERING_MAX: Duration = Duration::from_millis(100);
