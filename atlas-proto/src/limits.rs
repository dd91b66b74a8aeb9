//! The bounds of everything that a peer can make a node hold, each with the reason for its size.

use std::time::Duration;

/// An encoded packet is refused beyond this size: one steal's closures, with arguments of some KiB, fit;
/// larger data travels as blobs.
pub const PACKET_BYTES_MAX: usize = 4 << 20;
/// Arguments and results of one closure: as the codec of programs allows by default.
pub const CLOSURE_BYTES_MAX: usize = 1 << 20;
/// Closures in one grant: enough to feed a domain of some thousand workers in one message.
pub const GRANT_CLOSURES_MAX: usize = 4096;
/// Leases or results in one message.
pub const LEASES_PER_MESSAGE_MAX: usize = 4096;
/// Siblings named in one hint: a thief asks two at random, and needs some to fall back to.
pub const HINT_PEERS_MAX: usize = 4;
/// The name of an engine.
pub const ENGINE_NAME_BYTES_MAX: usize = 32;
/// What an engine is told beside its artifact.
pub const ENGINE_OPTIONS_BYTES_MAX: usize = 64 << 10;
/// Patterns in a policy, as sent with a membership.
pub const PATTERNS_MAX: usize = 64;
/// Runs of ready closures in an engine's report: the oldest few decide what leaves.
pub const READY_RUNS_MAX: usize = 8;
/// Children of one manager: a few hundred connections is what one process serves with ease.
pub const CHILDREN_MAX: usize = 4096;
/// Jobs that one node knows at a time.
pub const JOBS_MAX: usize = 1024;
/// Closures that one node holds of others.
pub const HELD_MAX: usize = 1 << 18;
/// Sequenced messages to one peer that wait for their acknowledgement or their turn. A peer that lets
/// them pile up further is gone or hostile.
pub const UNACKED_MAX: usize = 1 << 16;
/// Sequenced messages under way to one peer at a time.
pub const WINDOW: usize = 512;
/// Kinds of closures of one job whose work is measured apart.
pub const KINDS_MAX: usize = 512;

/// A node is to say something to each neighbour this often at least; each side of a pair at every second
/// turn, so that one message a second passes between the two.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);
