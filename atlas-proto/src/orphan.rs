//! Closures whose lender is lost, at servers and managers alike.
//!
//! Whoever computes again what they descend from has what was recorded of them at hand, but not what is in the middle of running. So that
//! is let go on, and has a lender again when somebody comes to the same closure; if nobody does, for a bounded time: beyond it, it would only
//! do once more what others do already.

use std::ops::RangeInclusive;
use std::time::Duration;

use atlas_engine::{Above, Key, ROOT_TASK, Recorded};

use crate::ids::{Epoch, JobAlias, NodeId};
use crate::job::{Closure, Finished, Outcome};
use crate::limits::ORPHANS_MAX;
use crate::message::{Message, OrphanName};

/// What a result is kept under, and what that is below.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    key: Key,
    above: Above,
}

impl Name {
    pub(crate) fn of(closure: &Closure) -> Self {
        Self {
            key: closure.key(),
            above: closure.above,
        }
    }

    /// That of a closure whose result may be used by who computes it again, as far as a manager knows: `main` is always run again, and of
    /// other impure tasks only the servers know that run them.
    pub(crate) fn of_reusable(closure: &Closure) -> Option<Self> {
        (closure.kind.task != ROOT_TASK).then(|| Self::of(closure))
    }
}

/// All that goes by the names of a job's closures.
pub(crate) fn of_job(job: JobAlias) -> RangeInclusive<(JobAlias, Key)> {
    (job, Key([0; 32]))..=(job, Key([0xff; 32]))
}

/// Who has which orphans of a job, in as many messages as it takes.
pub(crate) fn in_messages(
    job: JobAlias,
    holder: Option<(NodeId, Epoch)>,
    orphans: &[OrphanName],
) -> impl Iterator<Item = Message> {
    orphans
        .chunks(ORPHANS_MAX)
        .map(move |orphans| Message::NameOrphans {
            job,
            holder,
            orphans: orphans.to_vec(),
        })
}

/// The result of an orphan as it is kept, if it is worth that. None of a panic, which whoever runs it again will see, nor of a blob,
/// which may be lost with who has it.
pub(crate) fn recorded(name: Name, finished: Finished) -> Option<Recorded> {
    let work = finished.work;
    match finished.outcome {
        Outcome::Value(result) if work >= cost_of(result.len()).saturating_mul(WORTH) => {
            let Name { key, above } = name;
            Some(Recorded {
                key,
                result,
                work,
                above,
            })
        }
        Outcome::Value(_) | Outcome::Panic(_) | Outcome::Blob { .. } => None,
    }
}

/// What it costs to send and keep a result of so many bytes, as an engine reckons it.
fn cost_of(bytes: usize) -> Duration {
    let each = Duration::from_nanos(u64::try_from(bytes).unwrap_or(u64::MAX));
    ENTRY_COST.saturating_add(each.saturating_mul(BYTE_NANOSECONDS))
}

/// Whoever runs the lender's closure again begins it within seconds, and comes to what was lent of it some closures later. Beyond that, what
/// takes longer has recorded its parts, unless it has none.
pub(crate) const ORPHAN_TIME: Duration = Duration::from_secs(15);
/// To recompute it costs so many times what it costs to send.
const WORTH: u32 = 20;
/// What an entry costs on its way to a manager and in its table.
const ENTRY_COST: Duration = Duration::from_micros(20);
/// What each byte costs: 100 MB/s.
const BYTE_NANOSECONDS: u32 = 10;
