//! The names of what a server and an engine speak of, one type each, so that no two numbers can be confused.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

    /// Its beginning.
    #[must_use]
    pub fn short(&self) -> ShortKey {
        let (short, _) = self.0.split_first_chunk().expect("a key is longer");
        ShortKey(u64::from_le_bytes(*short))
    }
}

/// The beginning of a [`Key`]. Of ten million results of a job, two share it by accident once in some hundred thousand jobs: good enough
/// where a mistake costs nothing but work.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortKey(pub u64);

impl ShortKey {
    /// How many bytes it has.
    pub const BYTES: usize = 8;
}

impl fmt::Debug for ShortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShortKey({:016x})", self.0.swap_bytes())
    }
}

/// As it is the beginning of a hash, it is shortest as so many bytes.
impl Serialize for ShortKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_le_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShortKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(|bytes| Self(u64::from_le_bytes(bytes)))
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
