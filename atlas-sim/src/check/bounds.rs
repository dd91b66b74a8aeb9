//! A manager's state follows its children and their jobs, not its descendants.

use atlas_proto::ids::NodeId;
use atlas_proto::limits::GRANT_CLOSURES_MAX;

use super::view::{Node, View};
use crate::topology::Role;

/// Looks at a node that was just touched; of servers nothing is asked.
pub(super) fn check_node(view: View<'_>, node: NodeId) -> Result<(), String> {
    let (Some(Node::Manager(manager)), Some(Role::Manager(domain))) =
        (view.node(node), view.stage.topology.role(node))
    else {
        return Ok(());
    };
    let children = manager.children().count();
    let known = view.stage.topology.children(domain);
    if children > known {
        return Err(format!(
            "{node:?} has {children} children, there are {known}"
        ));
    }
    if manager.job_count() > JOBS {
        return Err(format!(
            "{node:?} knows {} jobs, there is {JOBS}",
            manager.job_count()
        ));
    }
    // The steals on behalf of a child bring it one grant at a time, and its own work comes by another.
    let closures_max = (known + 1) * JOBS * GRANT_CLOSURES_MAX;
    let closures = manager.ledger().len();
    if closures > closures_max {
        return Err(format!(
            "{node:?} holds {closures} closures for {children} children"
        ));
    }
    Ok(())
}

/// After the job nothing of it is left anywhere.
pub(super) fn check_nothing_left(view: View<'_>) -> Result<(), String> {
    for (node, present) in view.all() {
        let held = present.ledger().len();
        if held > 0 {
            return Err(format!(
                "{node:?} holds {held} closures of a job that is over"
            ));
        }
        if let Node::Manager(manager) = present
            && manager.job_count() > 0
        {
            return Err(format!("{node:?} knows a job that is over"));
        }
    }
    let mut servers = view.stage.topology.servers();
    match servers.find(|&server| view.stage.engine(server).tickets().next().is_some()) {
        Some(server) => Err(format!("the engines of {server:?} run a job that is over")),
        None => Ok(()),
    }
}

/// Worlds have one job.
const JOBS: usize = 1;
