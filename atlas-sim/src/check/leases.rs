//! Every closure of a live job is ready, waiting, running or leased, and leases form a forest.
//!
//! Within a session that both sides hold, what one has lent the other has, or a message about it has not been
//! heard yet: a grant on the way there, a result or a return on the way back. And what one has borrowed the other
//! still wants, or an abort is on its way. Where a session is not held by both, nothing is said: its end will
//! reach the other side, or the job does not end, which is seen elsewhere.
//!
//! At a server the ledger and the engines agree to the last closure at every moment, since commands and events
//! take no time; and each ticket of an engine has something left that will bring its result.

use std::collections::{BTreeMap, BTreeSet};

use atlas_proto::ids::{JobAlias, LeaseId, NodeId, Ticket};
use atlas_proto::ledger::{Entry, EntryId, Ledger, Rival, Source, State};
use atlas_proto::message::Message;

use super::view::{Node, View};
use crate::topology::{Role, ServerIndex};

/// What is remembered of leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// For what each number was used, in the present life of each node, which has a number, too.
    used: BTreeMap<NodeId, (u64, Used)>,
}

type Used = BTreeMap<LeaseId, (EntryId, NodeId)>;

impl Leases {
    /// Looks at one node, which has just been touched.
    pub(super) fn check_node(&mut self, view: View<'_>, node: NodeId) -> Result<(), String> {
        let Some(present) = view.node(node) else {
            self.used.remove(&node);
            return Ok(());
        };
        self.check_used_once(node, view.lives(node), present.ledger())?;
        check_sessions(view, node, present)?;
        match (view.stage.topology.role(node), present) {
            (Some(Role::Server(server)), Node::Server(_)) => {
                check_engines(view, server, present.ledger())
            }
            _ => Ok(()),
        }
    }

    /// Looks at all nodes.
    pub(super) fn sweep(view: View<'_>) -> Result<(), String> {
        for (node, present) in view.all() {
            check_sessions(view, node, present)?;
            for (id, _) in present.ledger().entries() {
                check_way_up(view, node, id)?;
            }
        }
        check_root(view)
    }

    fn check_used_once(&mut self, node: NodeId, life: u64, ledger: &Ledger) -> Result<(), String> {
        let (of, used) = self.used.entry(node).or_default();
        if *of != life {
            (*of, *used) = (life, Used::new());
        }
        let leases = ledger.entries().flat_map(|(id, _)| {
            let leases = ledger.leases_of(id);
            leases.map(move |(borrower, lease)| (id, borrower, lease))
        });
        for (id, borrower, lease) in leases {
            let before = *used.entry(lease).or_insert((id, borrower));
            if before != (id, borrower) {
                return Err(format!(
                    "{node:?} uses {lease:?} twice: for {before:?} and for {:?}",
                    (id, borrower)
                ));
            }
        }
        Ok(())
    }
}

fn check_sessions(view: View<'_>, node: NodeId, present: Node<'_>) -> Result<(), String> {
    for (id, entry) in present.ledger().entries() {
        let mut leases = present.ledger().leases_of(id);
        let job = entry.job;
        let unknown = |&(borrower, lease): &(NodeId, LeaseId)| {
            !is_accounted_for(view, node, borrower, lease)
                && !is_of_lost_manager(view, node, borrower, job)
        };
        if let Some((borrower, lease)) = leases.find(unknown) {
            return Err(format!(
                "{node:?} has lent {id:?} to {borrower:?} under {lease:?}, who knows nothing of it"
            ));
        }
        if let Source::Peer { lender, lease } = entry.source
            && !is_wanted(view, lender, node, lease)
        {
            return Err(format!(
                "{node:?} has {id:?} of {lender:?} under {lease:?}, who does not want it"
            ));
        }
    }
    Ok(())
}

/// What was lent is at the borrower, on its way there, or on its way back.
fn is_accounted_for(view: View<'_>, lender: NodeId, borrower: NodeId, lease: LeaseId) -> bool {
    let Some(there) = view
        .node(borrower)
        .filter(|_| view.in_session(lender, borrower))
    else {
        return true;
    };
    there.ledger().borrowed(lender, lease).is_some()
        || there.has_result_waiting(lender, lease)
        || view.unheard(lender, borrower).any(|m| grants(m, lease))
        || view.unheard(borrower, lender).any(|m| gives_back(m, lease))
        || view.is_about_to_end_its_job(lender)
}

/// The borrower has heard that the job is over, and the lender never will of the manager that it has: that one is gone, and the lender will
/// miss it and start over.
fn is_of_lost_manager(view: View<'_>, lender: NodeId, borrower: NodeId, job: JobAlias) -> bool {
    let Some(Node::Server(there)) = view.node(borrower) else {
        return false;
    };
    there.has_ended(job) && !view.is_with_manager(lender)
}

/// The lender waits for what was borrowed, or says that it does not.
fn is_wanted(view: View<'_>, lender: NodeId, borrower: NodeId, lease: LeaseId) -> bool {
    let Some(there) = view
        .node(lender)
        .filter(|_| view.in_session(lender, borrower))
    else {
        return true;
    };
    there.ledger().lent_to(borrower, lease).is_some()
        || view.unheard(lender, borrower).any(|m| aborts(m, lease))
        || view.is_about_to_end_its_job(borrower)
}

fn grants(message: &Message, lease: LeaseId) -> bool {
    matches!(message, Message::GrantClosures { closures, .. }
        if closures.iter().any(|leased| leased.lease == lease))
}

fn gives_back(message: &Message, lease: LeaseId) -> bool {
    if let Message::ReturnResults { results } = message {
        return results.iter().any(|result| result.lease == lease);
    }
    matches!(message, Message::ReturnClosures { leases, .. } if leases.contains(&lease))
}

fn aborts(message: &Message, lease: LeaseId) -> bool {
    matches!(message, Message::AbortLeases { leases } if leases.contains(&lease))
}

/// The ledger of a server and its engines hold the same, and no ticket is stuck.
fn check_engines(view: View<'_>, server: ServerIndex, ledger: &Ledger) -> Result<(), String> {
    let engine = view.stage.engine(server);
    let running = |(id, entry): (EntryId, &Entry)| {
        let here = entry.state == State::Running || ledger.rival(id) == Some(Rival::Here);
        here.then_some((entry.job, Ticket(id.0)))
    };
    let expected = sorted(ledger.entries().filter_map(running));
    let held = sorted(engine.tickets().map(|(job, ticket, _)| (job, ticket)));
    if expected != held {
        return Err(format!(
            "{server:?} believes that its engines run {expected:?}, they run {held:?}"
        ));
    }
    let lent = |(_, entry): (EntryId, &Entry)| match entry.source {
        Source::Engine { lease } => Some((entry.job, lease)),
        Source::Root | Source::Peer { .. } | Source::Orphan { .. } => None,
    };
    let expected = sorted(ledger.entries().filter_map(lent));
    let held = sorted(engine.leases().map(|(job, lease, _)| (job, lease)));
    if expected != held {
        return Err(format!(
            "{server:?} has of its engines {expected:?}, they have lent {held:?}"
        ));
    }
    match engine
        .tickets()
        .find(|(_, _, held)| held.here == 0 && held.lent == 0)
    {
        Some((job, ticket, _)) => Err(format!(
            "{ticket:?} of {job:?} at {server:?} is not done, and nothing of it is left"
        )),
        None => Ok(()),
    }
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items
}

/// From source to source without a cycle, as far as sessions hold, to the root at the job's manager.
fn check_way_up(view: View<'_>, node: NodeId, id: EntryId) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let mut at = Some((node, id));
    while let Some((node, id)) = at {
        if !seen.insert((node, id)) {
            return Err(format!("leases go round from {node:?}, {id:?}: {seen:?}"));
        }
        at = step_up(view, node, id);
    }
    Ok(())
}

fn step_up(view: View<'_>, node: NodeId, id: EntryId) -> Option<(NodeId, EntryId)> {
    let entry = view.node(node)?.ledger().entry(id)?;
    match entry.source {
        Source::Root | Source::Orphan { .. } => None,
        Source::Peer { lender, lease } => {
            let there = view
                .node(lender)
                .filter(|_| view.in_session(lender, node))?;
            Some((lender, there.ledger().lent_to(node, lease)?))
        }
        Source::Engine { lease } => {
            let server = view.stage.server_at(node)?;
            let mut leases = view.stage.engine(server).leases();
            let (.., ticket) =
                leases.find(|&(job, known, _)| (job, known) == (entry.job, lease))?;
            Some((node, EntryId(ticket.0)))
        }
    }
}

/// The root of a live job is at the manager that the job was submitted to, once; of no other job is there one. A manager whose
/// standby has taken over and that has not noticed has the root that it had.
fn check_root(view: View<'_>) -> Result<(), String> {
    for (node, present) in view.all() {
        let is_root = |entry: &Entry| entry.source == Source::Root;
        let roots = present
            .ledger()
            .entries()
            .filter(|(_, e)| is_root(e))
            .count();
        let is_home = view.stage.topology.domain_of(node) == view.nodes.submitted_at();
        let expected = usize::from(is_home && view.nodes.has_root(node));
        if roots != expected {
            return Err(format!("{node:?} has {roots} roots in place of {expected}"));
        }
    }
    Ok(())
}
