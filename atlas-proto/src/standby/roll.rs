//! Terms, and the lists of those who vote in them.

use atlas_engine::id;
use serde::{Deserialize, Serialize};

use crate::codec::bounded::List;
use crate::ids::NodeId;
use crate::limits::CHILDREN_MAX;

id! {
    /// One time of one manager in office: larger is later. Zero is before the first.
    Term
}

/// The number of a list. The lists of a later term are later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RollId {
    /// In which it was made.
    pub term: Term,
    /// Counts those of the term.
    pub count: u64,
}

/// Who may vote, and who may stand, beside the manager that has made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// Its number.
    pub id: RollId,
    /// Who acted when it was made.
    pub manager: NodeId,
    /// Who has all records and may take over.
    pub standby: Option<NodeId>,
    /// Those children who may vote, in the order of their names.
    #[serde(with = "List::<CHILDREN_MAX>")]
    pub voters: Vec<NodeId>,
}

#[expect(
    clippy::derivable_impls,
    reason = "what makes names derives no default, since most have none"
)]
impl Default for Term {
    fn default() -> Self {
        Self(0)
    }
}

impl Term {
    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Roll {
    /// Before there was any.
    pub(super) fn empty(manager: NodeId) -> Self {
        Self {
            id: RollId::default(),
            manager,
            standby: None,
            voters: Vec::new(),
        }
    }

    /// More than half of the voters are of this kind. Of none there is no majority.
    pub(super) fn has_majority(&self, is: impl Fn(NodeId) -> bool) -> bool {
        let count = self.voters.iter().filter(|voter| is(**voter)).count();
        2 * count > self.voters.len()
    }

    /// The manager that may stand with this list beside `node`.
    pub(super) fn rival_of(&self, node: NodeId) -> Option<NodeId> {
        if self.standby == Some(node) {
            Some(self.manager)
        } else {
            self.standby
        }
    }
}
