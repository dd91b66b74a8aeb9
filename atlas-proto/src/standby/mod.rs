//! Two managers for one domain, of which one acts: the other, its *standby*, follows it and takes over when it dies.
//!
//! ```text
//!              Standing of the acting manager  <--LeadDomain, HeedManager-->  Standing of its standby
//!                     |  LeadDomain                                               |  RequestVote
//!                     v                                                           v
//!                  Witness of each child of the domain:  HeedManager, GrantVote, RefuseManager
//! ```
//!
//! Why two never act at once:
//!
//! - *Terms* order those who act. A witness votes once in a term, remembers the highest one for ever, and refuses
//!   whoever comes with a lower one.
//! - A [`Roll`] lists who may vote and who may stand beside the manager that acts. **To act, a manager needs the votes of a
//!   majority of each list with which the other may still ask**; for a standby that is the last list that it was told.
//! - *Leases*: a witness, and the standby, that heeds a manager gives no vote to another, and asks for none, within
//!   [`VOTE_AFTER`]. A manager acts only within [`LEASE`] of something that it sent and that the standby, or a majority of
//!   each list, has heeded. So its time is over on its own clock before another's begins, if no clock runs by a fifth faster.
//! - Lists have numbers, which begin with the term of whoever acts: the last list of an earlier term is numbered anew. A witness that knows a later list votes for nobody who stands with an earlier one. So a manager
//!   strikes a standby that does not answer from the list, has a majority of the last list know it, and acts on its own
//!   from then on, whoever dies.
//!
//! Why nothing is lost: as long as a standby is on a list, a record is *safe* only when it has it, too; it comes on a list
//! only when it has all records. What is told to anybody is told when its record is safe.
//!
//! Guests, servers of domains below that have no manager, are told who acts and are on no list: **majorities are of the domain's own
//! children**, however many guests there are.
//!
//! Both machines are called as the others: after each input drain `poll_save`, which has to be on the disk before what
//! follows, then `poll_send`, and arm a timer for `poll_timeout`. They hold no more than one entry for each child.

mod acting;
mod message;
mod roll;
mod standing;
mod witness;

use std::time::Duration;

pub use message::StandbyMessage;
pub use roll::{Roll, RollId, Term};
pub use standing::{Link, Standing, StandingRecord, Stands};
pub use witness::{Witness, WitnessRecord};

/// A manager that acts says so to its witnesses and its standby this often, while it has a standby.
pub const BEAT: Duration = Duration::from_millis(400);
/// What was heeded lets a manager act for so long after it was sent: four beats, of which three may be late.
pub const LEASE: Duration = Duration::from_millis(1900);
/// Who has heeded a manager keeps from voting for another, and from standing, for so long: a lease, and a fifth of it for
/// clocks that run at different speeds.
pub const VOTE_AFTER: Duration = Duration::from_millis(2300);
/// A standby that has not answered, or does not take records, for so long is struck from the list: before its silence
/// delays those who wait for a record by more than people notice.
pub const EXCLUDE_AFTER: Duration = Duration::from_millis(1500);
/// Who asks for votes asks those again that have not answered.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Who asked for votes in vain begins anew after so long, or up to twice that, so that two do not go on splitting the votes.
const ASK_FOR: Duration = Duration::from_millis(600);
/// No honest neighbour is further ahead: terms grow with each time that somebody asks for votes.
const TERMS_AHEAD_MAX: u64 = 1 << 20;
