//! No server stays hungry beside a sibling with surplus.
//!
//! Judged by what engines and servers' queues truly hold, not by what nodes believe of each other. Surplus counts
//! where moving half of it would repay the way between the two, as the nodes themselves reckon it.

use std::collections::BTreeMap;
use std::time::Duration;

use atlas_proto::cost::work_min;
use atlas_proto::ledger::State;
use atlas_proto::time::Time;

use super::view::View;
use crate::topology::ServerIndex;
use crate::workload::{Tree, TreeNode};

/// Since when servers have been hungry beside surplus.
#[derive(Debug, Default)]
pub(super) struct Hunger {
    since: BTreeMap<ServerIndex, Time>,
}

impl Hunger {
    /// Looks at all servers; more often than [`HUNGER_MAX`] by far.
    pub(super) fn sweep(&mut self, view: View<'_>) -> Result<(), String> {
        let now = view.stage.now();
        for server in view.stage.topology.servers() {
            let rich = is_hungry(view, server).then(|| rich_sibling(view, server));
            let Some(rich) = rich.flatten() else {
                self.since.remove(&server);
                continue;
            };
            let since = *self.since.entry(server).or_insert(now);
            if now.since(since) > HUNGER_MAX {
                let (thief, victim) = (describe(view, server), describe(view, rich));
                return Err(format!(
                    "{server:?} is hungry beside a sibling with surplus since {since}: {thief}; {rich:?}: {victim}"
                ));
            }
        }
        Ok(())
    }
}

/// It serves, and nothing runs or waits there.
fn is_hungry(view: View<'_>, server: ServerIndex) -> bool {
    let engine = view.stage.engine(server);
    let serves = |server: &atlas_proto::Server| {
        server.epoch().is_some() && server.load().workers > 0 && server.ledger().ready_count() == 0
    };
    view.nodes.server(server).is_some_and(serves) && engine.running() == 0 && engine.ready() == 0
}

/// What is there, what it says of that itself, and what its manager believes.
fn describe(view: View<'_>, server: ServerIndex) -> String {
    let topology = &view.stage.topology;
    let (node, home) = (topology.server(server), topology.home(server));
    let engine = view.stage.engine(server);
    let own = view.nodes.server(server).map(|server| {
        let queued = server.ledger().ready_count();
        (server.epoch(), queued, server.load())
    });
    let mut managers = topology.managers(home);
    let manager = managers.find_map(|manager| view.nodes.manager(manager));
    let believed = manager.and_then(|manager| manager.children().find(|(child, _)| *child == node));
    let (running, ready) = (engine.running(), engine.ready());
    format!(
        "{running} running and {ready} ready, itself {own:?}, at its manager {:?}",
        believed.map(|(_, load)| load)
    )
}

fn rich_sibling(view: View<'_>, thief: ServerIndex) -> Option<ServerIndex> {
    let topology = &view.stage.topology;
    let tree = view.stage.tree.as_deref()?;
    view.siblings(thief)
        .filter(|&sibling| sibling != thief)
        .find(|&victim| {
            let Some(server) = view.nodes.server(victim) else {
                return false;
            };
            let engine = view.stage.engine(victim);
            let ready = engine.ready() + server.ledger().ready_count();
            if server.epoch().is_none() || server.load().workers == 0 || ready < SURPLUS_MIN {
                return false;
            }
            let path = view
                .stage
                .path(topology.server(thief), topology.server(victim));
            let worth = work_min(path) * 2;
            let queued = server.ledger().entries().filter_map(|(_, entry)| {
                let ready = entry.state == State::Ready;
                ready.then(|| TreeNode::decode(&entry.closure.args))?
            });
            has_work(tree, engine.ready_nodes().chain(queued), worth)
        })
}

/// The nodes and all below them hold that much.
fn has_work(tree: &Tree, nodes: impl Iterator<Item = TreeNode>, wanted: Duration) -> bool {
    let wanted = u64::try_from(wanted.as_nanos()).unwrap_or(u64::MAX);
    let mut stack: Vec<TreeNode> = nodes.collect();
    let mut found = 0_u64;
    while let Some(node) = stack.pop() {
        found = found.saturating_add(tree.work(&node));
        if found >= wanted {
            return true;
        }
        tree.children(&node, &mut stack);
    }
    false
}

/// A lost report, hint or steal is made good by the next report of load, and that is due every two seconds; with the
/// engine's news, the request and the answer, three such turns are enough, and one more is slack.
pub(super) const HUNGER_MAX: Duration = Duration::from_secs(10);
/// Of one ready closure nothing can be told: its own server may run it at any moment.
const SURPLUS_MIN: usize = 2;
