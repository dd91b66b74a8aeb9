//! How many connections an endpoint has accepted, and of whom: so many of all nodes, and few of each one but those of users.
//!
//! A node whose connection was lost may be back before the loss is noticed here, so that a node has several for a while;
//! the newest are the good ones. Only nodes that have proved who they are take places.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use atlas_proto::ids::NodeId;

use crate::close::{CloseCode, Closing};

/// The places of an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    places_max: usize,
    count: usize,
    /// The number of the next.
    next: u64,
    /// The oldest first. Nobody has an empty queue.
    nodes: BTreeMap<NodeId, VecDeque<(u64, Closing)>>,
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    node: NodeId,
    number: u64,
}

impl Places {
    pub(crate) fn new(places_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Taken {
            places_max,
            count: 0,
            next: 0,
            nodes: BTreeMap::new(),
        })))
    }

    /// A place for a connection of this node's, which may have so many; if need be that of its oldest, which is closed. None if others have
    /// all.
    pub(crate) fn take(
        &self,
        node: NodeId,
        per_node_max: usize,
        closing: Closing,
    ) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.nodes.get(&node).map_or(0, VecDeque::len);
        let full = taken.count >= taken.places_max;
        let oldest = (own > 0 && (full || own >= per_node_max))
            .then(|| taken.take_oldest(node))
            .flatten();
        if full && oldest.is_none() {
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        taken.count += 1;
        let queue = taken.nodes.entry(node).or_default();
        queue.push_back((number, closing));
        drop(taken);
        if let Some(oldest) = oldest {
            let reason = "this node has connected again, and this was its oldest connection";
            oldest.close(CloseCode::Replaced, reason);
        }
        let places = self.clone();
        Some(Place {
            places,
            node,
            number,
        })
    }
}

impl Taken {
    fn take_oldest(&mut self, node: NodeId) -> Option<Closing> {
        let (_, oldest) = self.nodes.get_mut(&node)?.pop_front()?;
        self.count -= 1;
        Some(oldest)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = taken.nodes.get_mut(&self.node) else {
            return;
        };
        let before = queue.len();
        queue.retain(|(number, _)| *number != self.number);
        let freed = before - queue.len();
        if queue.is_empty() {
            taken.nodes.remove(&self.node);
        }
        taken.count -= freed;
    }
}
