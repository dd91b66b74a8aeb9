//! The names of things on the wire, one type each, so that no two numbers can be confused.
//!
//! None of them says anything about a client: a job is known by an alias that each domain's manager
//! draws for itself, a closure by the lease under which it was lent.
//!
//! What passes between a server and its engines has the names that the two use.

use atlas_engine::id;
pub use atlas_engine::{Lease as EngineLease, RequestId as EngineRequest, TaskId, Ticket};

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
