//! The manager's children: who they are, how much work they have, and when they are gone.
//!
//! A child that was silent for a while is *suspected*: it gets no new work. A child that is silent for longer is
//! given up: its membership ends, its siblings are told, what it had of this domain is ready again. If it
//! was alive after all it learns from the answer to its next packet that it must join anew. For how long that is, the
//! watch over it says (`watch.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::Manager;
use super::steals::Purpose;
use crate::domain::Domain;
use crate::ids::{Epoch, NodeId, RequestId};
use crate::job::JobSpec;
use crate::limits::{ASKS_PER_CHILD_MAX, CHILDREN_MAX, KEEP_ALIVE, NONCES_MAX};
use crate::message::{ChildInfo, Destination, EndStealReason, Load, Message, RefuseChildReason};
use crate::sessions::Silence;
use crate::time::Time;
use crate::uplink::SPEAK_EVERY;
use crate::watch::Side;

/// A child with what is known of it.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) epoch: Epoch,
    pub(super) load: Load,
    /// The steal that is outstanding on its behalf.
    pub(super) asking: Option<RequestId>,
    /// Steals that it was asked for and that are not over.
    pub(super) asked: usize,
    /// Victims that had nothing for this child, with the version of their load then; with none, that is so for as
    /// long as both are children.
    pub(super) refused_by: BTreeMap<NodeId, Option<u32>>,
    /// The number of the last report of surplus when it was last given hints.
    pub(super) hinted: u64,
    /// The number of its own last report of surplus.
    pub(super) stamp: u64,
    domain: Option<Destination>,
    nonce: u64,
    suspected: bool,
}

impl Child {
    fn new(info: ChildInfo, nonce: u64, epoch: Epoch) -> Self {
        let (workers, domain) = match info {
            ChildInfo::Server { .. } => (0, None),
            ChildInfo::Manager { domain, inflow } => (0, Some(Destination { domain, inflow })),
        };
        Self {
            epoch,
            load: Load {
                workers,
                ..Load::default()
            },
            asking: None,
            asked: 0,
            refused_by: BTreeMap::new(),
            hinted: 0,
            stamp: 0,
            domain,
            nonce,
            suspected: false,
        }
    }

    pub(super) fn is_server(&self) -> bool {
        self.domain.is_none()
    }

    pub(super) fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref().map(|destination| &destination.domain)
    }

    /// New work may be sent to it.
    pub(super) fn is_usable(&self) -> bool {
        self.load.workers > 0 && !self.suspected
    }

    /// Siblings may be sent to it.
    pub(super) fn has_surplus(&self) -> bool {
        !self.suspected && self.load.surplus > 0
    }

    /// What it has nobody there will do: it goes before what is only more than a domain's own share.
    pub(super) fn is_stranded(&self) -> bool {
        self.load.workers == 0 && self.load.surplus > 0
    }

    /// It may be asked for closures.
    pub(super) fn is_rich(&self) -> bool {
        self.has_surplus() && self.asked < ASKS_PER_CHILD_MAX
    }

    pub(super) fn admits(&self, spec: &JobSpec) -> bool {
        self.domain
            .as_ref()
            .is_none_or(|domain| domain.admits(&spec.origin))
    }

    pub(super) fn destination(&self) -> Option<&Destination> {
        self.domain.as_ref()
    }

    /// What it has left after so much of its surplus was asked for or given.
    pub(super) fn reduce_surplus(&mut self, closures: u32, work: Duration) {
        self.load.surplus = self.load.surplus.saturating_sub(closures);
        self.load.surplus_work = self.load.surplus_work.saturating_sub(work);
        if self.load.surplus == 0 {
            self.load.surplus_work = Duration::ZERO;
        }
    }
}

impl Manager {
    pub(super) fn handle_join(&mut self, now: Time, node: NodeId, nonce: u64, info: ChildInfo) {
        if let Some(child) = self.children.get(&node)
            && child.nonce == nonce
        {
            // The answer was lost.
            let epoch = child.epoch;
            return self.sessions.send_sessionless(
                node,
                epoch,
                Message::WelcomeChild { nonce, epoch },
            );
        }
        if self.nonces.get(&node).is_some_and(|&known| nonce < known) {
            return;
        }
        self.lose_child(now, node);
        if let Err(reason) = self.may_join(&info) {
            return self.sessions.send_sessionless(
                node,
                Epoch::NONE,
                Message::RefuseChild { nonce, reason },
            );
        }
        self.last_epoch += 1;
        let epoch = Epoch(self.last_epoch);
        self.remember_nonce(node, nonce);
        self.children.insert(node, Child::new(info, nonce, epoch));
        self.sessions.open(now, node, epoch, epoch);
        self.sessions.watch(now, node, Side::Follows);
        self.sessions
            .send_sessionless(node, epoch, Message::WelcomeChild { nonce, epoch });
    }

    pub(super) fn handle_report_load(&mut self, node: NodeId, load: Load) {
        let Some(child) = self.children.get_mut(&node) else {
            return;
        };
        child.suspected = false;
        if load.is_later_than(&child.load) {
            child.load = load;
            if load.surplus > 0 {
                self.surplus_stamp += 1;
                child.stamp = self.surplus_stamp;
            }
        }
    }

    /// A child has spoken: this side, if it has been silent for a turn, does so now rather than when its own turn comes, so that
    /// the packet acknowledges the child's.
    pub(super) fn answer_turn(&mut self, now: Time, node: NodeId) {
        let times = self.sessions.times(node);
        if times.is_some_and(|link| link.last_sent + KEEP_ALIVE <= now) {
            self.sessions.send(now, node, Message::KeepAlive);
        }
    }

    /// The membership of a child is over without a word of it: it died, or joined anew.
    pub(super) fn lose_child(&mut self, now: Time, node: NodeId) {
        self.stats.peers_lost += u64::from(self.children.contains_key(&node));
        self.part_from_child(now, node);
    }

    /// The membership of a child is over, whether it left or was lost.
    pub(super) fn part_from_child(&mut self, now: Time, node: NodeId) {
        let Some(child) = self.children.remove(&node) else {
            return;
        };
        let undelivered = self.results.end(node, self.sessions.link(node));
        self.sessions.close(node);
        for (job, entries) in undelivered {
            self.keep_orphans(job, entries);
        }
        self.jobs.forget_link(node);
        self.upward.forget_child(node);
        self.orphans.forget_holder(node);
        if child.is_server() {
            self.tell_servers(
                now,
                &Message::ForgetPeer {
                    peer: node,
                    epoch: child.epoch,
                },
            );
            self.await_orphans(now);
        }
        let asked: Vec<RequestId> = self
            .asks
            .iter()
            .filter(|(_, ask)| ask.victim == node)
            .map(|(&request, _)| request)
            .collect();
        for request in asked {
            self.handle_end_steal(now, node, request, EndStealReason::Leaving);
        }
        for sibling in self.children.values_mut() {
            sibling.refused_by.remove(&node);
        }
        self.void_leases(now, node);
    }

    /// Looks who is silent, and speaks to whom it has been silent itself.
    pub(super) fn watch_children(&mut self, now: Time) {
        let mut lost = Vec::new();
        let mut due = Vec::new();
        for (&node, child) in &mut self.children {
            if self.sessions.is_bound(node) {
                let bound = self.ledger.binds(node);
                self.sessions.bind(now, node, bound);
            }
            let Some(silence) = self.sessions.silence(node) else {
                continue;
            };
            child.suspected = silence.suspect_at <= now;
            if silence.lost_at <= now {
                lost.push(node);
            } else if silence.last_sent + SPEAK_EVERY <= now {
                due.push(node);
            }
        }
        for node in due {
            self.sessions.send(now, node, Message::KeepAlive);
        }
        for node in lost {
            self.lose_child(now, node);
        }
    }

    pub(super) fn children_timeout(&self) -> Option<Time> {
        let links = self
            .children
            .keys()
            .filter_map(|&node| self.sessions.silence(node));
        let next = |link: Silence| (link.last_sent + SPEAK_EVERY).min(link.lost_at);
        links.map(next).min()
    }

    /// The membership in the parent's domain is over: what the two had of each other is void.
    pub(super) fn lose_parent(&mut self, now: Time) {
        let Some(uplink) = &mut self.uplink else {
            return;
        };
        let parent = uplink.manager();
        uplink.rejoin(now);
        self.stats.peers_lost += 1;
        self.sessions.close(parent);
        self.results.forget(parent);
        self.jobs.forget_link(parent);
        self.orphans.forget_holder(parent);
        self.forget_upward(now);
        self.drop_relays();
        self.void_leases(now, parent);
        for ask in self.asks.values_mut() {
            if matches!(ask.purpose, Purpose::Relay(_)) {
                ask.purpose = Purpose::Keep;
            }
        }
    }

    /// The session with a neighbour is over: what it had is ready again, what came from it is not wanted any more.
    fn void_leases(&mut self, now: Time, peer: NodeId) {
        self.ledger.forget_progress(peer);
        for id in self.ledger.end_leases_of(peer) {
            self.take_back(id, true);
        }
        self.orphan_borrowed(now, peer);
        for job in self.jobs.originating_at(peer) {
            self.end_job(now, job, true);
        }
    }

    /// What is below this manager, as its parent needs to know it.
    ///
    /// A child that has been told of surplus, or for which a steal is outstanding, is not hungry for now. Workers
    /// that will have nothing by the time that closures could come from outside are hungry already.
    #[must_use]
    pub fn load(&self) -> Load {
        let mut sum = Load::default();
        let mut employable = 0_u32;
        for (&node, child) in &self.children {
            let load = child.load;
            sum.workers = sum.workers.saturating_add(load.workers);
            sum.surplus = sum.surplus.saturating_add(load.surplus);
            sum.surplus_work = sum.surplus_work.saturating_add(load.surplus_work);
            // What no job at hand may feed would only draw work here that then has to go elsewhere.
            if !self.jobs.may_employ(|spec| child.admits(spec)) {
                continue;
            }
            employable = employable.saturating_add(load.workers);
            if load.hungry > 0 && child.asking.is_none() {
                sum.hungry = sum.hungry.saturating_add(load.hungry);
                let way = self.sessions.path(node).latency;
                sum.reach = sum.reach.max(way.saturating_add(load.reach));
            }
        }
        let ahead = self.hungry_soon(employable, sum.surplus_work);
        sum.hungry = sum.hungry.max(ahead);
        // What waits here is no work for those below.
        let waiting = self.waiting_load();
        sum.surplus = sum.surplus.saturating_add(waiting.surplus);
        sum.surplus_work = sum.surplus_work.saturating_add(waiting.surplus_work);
        sum
    }

    /// How many of `workers` the work that is ready leaves without, by the time that a steal through the parent
    /// takes. None where there is no job: nobody works there.
    fn hungry_soon(&self, workers: u32, work: Duration) -> u32 {
        let (Some(parent), true) = (self.parent(), self.jobs.len() > 0) else {
            return 0;
        };
        let horizon = self.sessions.path(parent).latency * HORIZON_CROSSINGS;
        if horizon.is_zero() {
            return 0;
        }
        let fed = u32::try_from(work.as_nanos() / horizon.as_nanos()).unwrap_or(u32::MAX);
        workers.saturating_sub(fed)
    }

    /// It is a server of this domain.
    pub(super) fn is_server(&self, node: NodeId) -> bool {
        self.children.get(&node).is_some_and(Child::is_server)
    }

    /// Tells all servers of this domain.
    pub(super) fn tell_servers(&mut self, now: Time, message: &Message) {
        let servers = self.children.iter().filter(|(_, child)| child.is_server());
        let servers: Vec<NodeId> = servers.map(|(&node, _)| node).collect();
        for node in servers {
            self.sessions.send(now, node, message.clone());
        }
    }

    /// The jobs that come from below `node` or through it.
    fn may_join(&self, info: &ChildInfo) -> Result<(), RefuseChildReason> {
        if self.children.len() >= CHILDREN_MAX {
            return Err(RefuseChildReason::Full);
        }
        match info {
            ChildInfo::Server { .. } => Ok(()),
            ChildInfo::Manager { domain, .. } if domain.is_below(&self.config.domain) => Ok(()),
            ChildInfo::Manager { .. } => Err(RefuseChildReason::NotBelow),
        }
    }

    fn remember_nonce(&mut self, node: NodeId, nonce: u64) {
        if self.nonces.len() >= NONCES_MAX {
            let children = &self.children;
            self.nonces.retain(|node, _| children.contains_key(node));
        }
        self.nonces.insert(node, nonce);
    }
}

/// A steal through the parent takes four crossings of the way to it, twice that if the parent has to ask its own:
/// hunger goes up, a request comes down elsewhere, closures go up and come down.
const HORIZON_CROSSINGS: u32 = 8;
