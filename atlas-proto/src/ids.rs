//! The names of things on the wire, one type each, so that no two numbers can be confused.
//!
//! None of them says anything about a client: a job is known by an alias that each domain's manager
//! draws for itself, a closure by the lease under which it was lent.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }
    };
}

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

id! {
    /// A task of the program: the stable hash of its path.
    TaskId
}

id! {
    /// A closure that a server gave to an engine.
    Ticket
}

id! {
    /// A closure that an engine gave to its server.
    EngineLease
}

impl Epoch {
    /// No membership: the epoch of messages before the first and after the last.
    pub const NONE: Self = Self(0);
}
