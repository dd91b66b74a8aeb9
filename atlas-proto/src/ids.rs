//! The names of things on the wire, one type each, so that no two numbers can be confused.
//!
//! None of them says anything about a client: a job is known by an alias that each domain's manager
//! draws for itself, and to those who keep what is known of it by a number drawn by lot; a closure by the lease under which it was lent.
//!
//! What passes between a server and its engines has the names that the two use.

use std::fmt;

use atlas_engine::id;
pub use atlas_engine::{Lease as EngineLease, RequestId as EngineRequest, TaskId, Ticket};
use serde::{Deserialize, Serialize};

id! {
    /// A machine, as its neighbours call it. The driver derives it from the machine's certificate.
    NodeId
}

id! {
    /// One membership of one child in one domain, numbered by the domain's manager: larger is later.
    ///
    /// It is also the number of the session: what was agreed under one epoch is void under the next.
    /// Zero is no epoch.
    Epoch
}

id! {
    /// A job, as one link knows it. Each domain's manager draws an alias of its own.
    JobAlias
}

/// A job, wherever it is known and as long as it lives: it follows from what its client has drawn by lot. An alias ends with its session; by this a
/// manager finds what an earlier life, or an earlier session, has kept of the job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GlobalJobId(pub u128);

impl fmt::Debug for GlobalJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GlobalJobId({self})")
    }
}

impl fmt::Display for GlobalJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

id! {
    /// A closure that was lent, numbered by its lender.
    LeaseId
}

id! {
    /// A steal that a thief has asked for, numbered by the thief.
    RequestId
}

impl Epoch {
    /// No membership: the epoch of messages before the first and after the last.
    pub const NONE: Self = Self(0);
}
