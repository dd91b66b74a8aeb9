//! The names of what a server and an engine speak of, one type each, so that no two numbers can be confused.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number that names something.
#[doc(hidden)]
#[macro_export]
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize,
        )]
        pub struct $name(pub u64);

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }
    };
}

id! {
    /// A task of the program: the stable hash of its path.
    TaskId
}

id! {
    /// The server's name for a closure that it gave to the engine.
    Ticket
}

id! {
    /// The engine's name for a closure that it gave to the server. An engine gives none twice.
    Lease
}

id! {
    /// The server's name for a question.
    RequestId
}

/// The name of a shared value, or of a large result: the BLAKE3 hash of its encoding. In text it is the hash in hexadecimal digits,
/// which is the name of the value's file, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SharedName(pub [u8; Self::BYTES]);

impl SharedName {
    /// How many bytes it has.
    pub const BYTES: usize = 32;
}

impl fmt::Display for SharedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SharedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedName({self})")
    }
}

/// The name of a task with its arguments, and so of its result: what is kept of a job is looked up by it.
///
/// It names no job: results are kept for each job apart, and a job has another name on each link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub [u8; Self::BYTES]);

impl Key {
    /// How many bytes it has.
    pub const BYTES: usize = 32;

    /// The key of a task with its encoded arguments: the BLAKE3 hash of both.
    #[must_use]
    pub fn of(task: TaskId, args: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&task.0.to_le_bytes());
        hasher.update(args);
        Self(hasher.finalize().into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// The task of a job's root closure: the stable hash of the path `main`, which no task of a program has, since
/// paths begin with the name of a crate.
pub const ROOT_TASK: TaskId = TaskId(0x49de_89cb_7af5_5ee5);
