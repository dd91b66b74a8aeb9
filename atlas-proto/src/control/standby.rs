//! What is said beside the machines between the managers of a domain and its nodes about who acts.

use serde::{Deserialize, Serialize};

use crate::domain::Domain;
use crate::standby::StandbyMessage;

/// What a manager says on a stream of [`WITNESS_TOPIC`](super::WITNESS_TOPIC) to a child, and both say on one of
/// [`STANDBY_TOPIC`](super::STANDBY_TOPIC). A child answers with [`StandbyMessage`]s alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ManagerWord {
    /// Of the machines.
    Standby(StandbyMessage),
    /// Where the managers of the domain are reached, as `host:port`: to a child all of them, by who acts; to another manager
    /// those of the sender.
    Addresses(Vec<String>),
    /// To a child: the domains above, the nearest first, whose managers may have this domain's servers as guests while it has no
    /// manager. Of these up to [`ABOVE_MAX`](super::ABOVE_MAX) count.
    Above(Vec<Above>),
}

/// A domain above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Above {
    /// Which.
    pub domain: Domain,
    /// Where its managers are reached, as `host:port`.
    pub addresses: Vec<String>,
}
