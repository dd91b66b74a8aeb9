//! The bounds of everything that a peer can make a node hold, each with the reason for its size.
//!
//! What has no bound of its own follows from these: results that wait for their message ended a lease each,
//! victims that refused a child are its siblings, names of jobs on links are jobs times neighbours, the hints of a thief
//! are those of one message. Packets, commands and events wait only until the driver has drained them after the input
//! that made them. Both machines tell what they hold of each beside its bound: [`Bound`].

use std::time::Duration;

pub use atlas_engine::limits::{
    CLOSURE_BYTES_MAX, CLOSURE_SIZE_MAX, READY_RUNS_MAX, RECORDS_BYTES_MAX, RECORDS_MAX,
    RESULT_BYTES_MAX, SHARED_NAMES_MAX,
};

/// An encoded packet is refused beyond this size: one steal's closures, with arguments of some KiB, fit;
/// larger data travels as blobs.
pub const PACKET_BYTES_MAX: usize = 4 << 20;
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
/// Children of one manager: a few hundred connections is what one process serves with ease.
pub const CHILDREN_MAX: usize = 4096;
/// Engines of one job that may die on one server one after the other, with closures of others and none finished: one may be the
/// machine's fault, three are the job's.
pub const ENGINE_CRASHES_MAX: u32 = 3;
/// Engines of one job that one server, one after the other, could not begin, before it fails what it was given: with the pauses between
/// them this takes seven seconds at least, in which others could have had it.
pub const ENGINES_NOT_BEGUN_MAX: u32 = 4;
/// Jobs that one node knows at a time.
pub const JOBS_MAX: usize = 1024;
/// The closures' sizes in one grant: with the job and the numbers a grant of so many bytes fits into a packet, and the
/// largest closure fits into a grant.
pub const GRANT_BYTES_MAX: usize = CLOSURE_SIZE_MAX;
/// Closures that one node holds of others.
pub const HELD_MAX: usize = 1 << 18;
/// The sizes of all closures that one node holds of others: a part of a machine's memory that it can spare.
pub const HELD_BYTES_MAX: usize = 1 << 30;
/// Sequenced messages to one peer that wait for their acknowledgement or their turn. A peer that lets
/// them pile up further is gone or hostile.
pub const UNACKED_MAX: usize = 1 << 16;
/// The arguments and results in these messages: half a minute of a way of 100 Mbit/s.
pub const UNACKED_BYTES_MAX: usize = 256 << 20;
/// Results that were returned to one lender and not acknowledged, of which is remembered what they are kept under: what some hundred
/// workers finish while a lender is lost and not missed yet.
pub const RESULTS_NAMED_MAX: usize = 1 << 14;
/// Sequenced messages under way to one peer at a time. No more that came before their turn are kept.
pub const WINDOW: usize = 512;
/// The arguments and results in messages that came before their turn: what is dropped will be sent again.
pub const EARLY_BYTES_MAX: usize = 64 << 20;
/// Kinds of closures of one job whose work is measured apart.
pub const KINDS_MAX: usize = 512;
/// Paths of a job's tasks that are kept to be named in errors.
pub const TASK_PATHS_MAX: usize = 1024;
/// Sessions of a node: a server's with all its siblings and its manager, opened by siblings and by its own steals; a
/// manager's with all its children and its parent.
pub const SESSIONS_MAX: usize = CHILDREN_MAX + 1;
/// Jobs whose end a server remembers, so that a grant which was under way does not bring one back. A grant is
/// under way for seconds at most; fewer jobs than this end in that time.
pub const ENDED_JOBS_MAX: usize = 256;
/// Questions to engines that a server waits for. An honest sibling has one steal outstanding.
pub const LENDINGS_MAX: usize = CHILDREN_MAX;
/// Siblings whose last membership a server knows to be over; the oldest are forgotten first. They are
/// there to refuse packets that were under way then, so that those of a few seconds would do.
pub const FORGOTTEN_MAX: usize = 4 * CHILDREN_MAX;
/// Nodes whose last attempt to join a manager remembers, children included. They are there to refuse packets
/// that were under way then.
pub const NONCES_MAX: usize = 4 * CHILDREN_MAX;
/// Neighbours whose path a node remembers, those without a session included.
pub const PATHS_MAX: usize = 4 * CHILDREN_MAX;
/// Steals that a manager has asked of one child and that are not over: one for each hungry sibling whose
/// share is still worth asking for, and the parent's. A child that lets them pile up further is asked for no
/// more. A steal of the parent's waits for one of these at least, so that there are no more of those than of these.
pub const ASKS_PER_CHILD_MAX: usize = 128;

/// Results that a manager keeps of one job. With the numbers that is a few MiB, and as many messages as a server can be sent at once
/// tell them all.
pub const CHECKPOINT_ENTRIES_MAX: usize = 1 << 16;
/// The sizes of these: a server that must compute something again is told them in a fraction of a second.
pub const CHECKPOINT_BYTES_MAX: usize = 32 << 20;
/// The sizes of what is kept of all jobs together.
pub const CHECKPOINTS_BYTES_MAX: usize = 256 << 20;
/// Closures whose lender is lost that one message names.
pub const ORPHANS_MAX: usize = 256;
/// Those that a node remembers that others have named. Beyond them some are begun again, which costs work and nothing else.
pub const ORPHANS_NAMED_MAX: usize = 1 << 15;
/// Bytes under way to one peer beyond which it is told of no checkpoint: what else it is to hear must not wait for so much.
pub const CHECKPOINT_UNACKED_MAX: usize = UNACKED_BYTES_MAX / 4;

/// What an origin says of a file by URL that tells its versions apart: an ETag, a date. Servers of the web allow no longer headers.
pub const VERSION_BYTES_MAX: usize = 16 << 10;

/// No way is longer than this: what is measured beyond has gone wrong, and must not silence a neighbour for as
/// long.
pub const LATENCY_MAX: Duration = Duration::from_secs(60);

/// A node is to say something to each neighbour this often at least; each side of a pair at every second
/// turn, so that one message passes between the two in this time. The manager answers its child's turn, so that the
/// acknowledgements of packets below ride on messages: between the two go three packets in three seconds.
pub const KEEP_ALIVE: Duration = Duration::from_millis(1500);

/// How much a machine holds of something that others can make it hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Of what.
    pub what: &'static str,
    /// So much it holds.
    pub held: usize,
    /// So much it may hold.
    pub max: usize,
}

impl Bound {
    pub(crate) fn new(what: &'static str, held: usize, max: usize) -> Self {
        Self { what, held, max }
    }
}
