//! Closures whose lender is lost, at servers and managers alike.
//!
//! Whoever computes them again has what was recorded of them at hand, but not what is in the middle of running. So that is let
//! go on, for a bounded time: beyond it, it would only do once more what others do already.

use std::time::Duration;

use atlas_engine::{Key, Recorded};

use crate::job::{Closure, Finished, Outcome};

/// The result of an orphan as it is kept; none of a panic, which whoever runs it again will see.
pub(crate) fn recorded(closure: &Closure, finished: Finished) -> Option<Recorded> {
    let key = Key::of(closure.kind.task, &closure.args);
    match finished.outcome {
        Outcome::Value(result) => Some(Recorded {
            key,
            result,
            work: finished.work,
        }),
        Outcome::Panic(_) => None,
    }
}

/// A few intervals of recording: what takes longer has recorded its parts, unless it has none.
pub(crate) const ORPHAN_TIME: Duration = Duration::from_secs(5);
