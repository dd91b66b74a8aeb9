//! What speaks against a closure: engines that died while they ran it.
//!
//! An engine's death may be the machine's fault, or the fault of any closure in it or of what descends from one. So all that
//! were in it are suspected; who finishes is cleared by that. A suspicion goes with the closure: back to its lender, and from
//! there to the next borrower ([`Message::SuspectLeases`]). Who sees [`ENGINE_DEATHS_MAX`] deaths on one line fails the closure, and
//! with it, as with any panic, what waits for it.
//!
//! A line is a closure and what descends from it: a task that kills its process may be lent from an engine, or die in it
//! with its parent. So what is lent from an engine inherits what its parents are suspected of, and an engine that dies
//! counts for what came back to it suspected, if that is not long ago (`FRESH`): of several deaths in short order on one line
//! it is likely that they have one cause. The name in the suspicion is that of the deepest closure that an engine died with.
//!
//! [`Message::SuspectLeases`]: crate::message::Message::SuspectLeases

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::{Closure, ClosureKind};

/// What speaks against a closure or its descendants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// So many engines have died.
    pub engines: u32,
    /// Of the closure that is suspected most.
    pub kind: ClosureKind,
    /// The size of its arguments.
    pub bytes: u64,
}

impl Suspicion {
    /// Another engine has died, with this closure in it.
    pub(crate) fn after_death(before: Option<Self>, closure: &Closure) -> Self {
        let engines = before.map_or(0, |before| before.engines).saturating_add(1);
        // Who is deeper is closer to the cause.
        if let Some(before) = before.filter(|before| before.kind.depth > closure.kind.depth) {
            return Self { engines, ..before };
        }
        Self {
            engines,
            kind: closure.kind,
            bytes: closure.args.len() as u64,
        }
    }

    /// Another engine has died, with the suspected closure in it.
    pub(crate) fn once_more(self) -> Self {
        Self {
            engines: self.engines.saturating_add(1),
            ..self
        }
    }

    /// The heavier of two; the deeper, if they are equal.
    pub(crate) fn heavier(self, other: Self) -> Self {
        let weight = |it: &Self| (it.engines, it.kind.depth);
        if weight(&other) > weight(&self) {
            other
        } else {
            self
        }
    }

    /// No engine will survive it.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.engines >= ENGINE_DEATHS_MAX
    }
}

/// One engine may die by its machine's fault, two by bad luck.
pub const ENGINE_DEATHS_MAX: u32 = 3;
/// For so long an engine is suspected with what came back to it, and what leaves a new engine with what is in it.
pub(crate) const FRESH: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::engine::Above;
    use crate::ids::TaskId;

    fn closure(task: u64, depth: u32, bytes: usize) -> Closure {
        Closure {
            kind: ClosureKind {
                task: TaskId(task),
                depth,
            },
            args: Bytes::from(vec![0; bytes]),
            expected: Duration::ZERO,
            shared: Vec::new(),
            above: Above::NONE,
        }
    }

    #[test]
    fn the_third_death_on_one_line_proves_the_deepest_guilty() {
        let (root, child) = (closure(0, 0, 9), closure(1, 1, 100));
        // The child dies elsewhere, then with its parent, then elsewhere again.
        let apart = Suspicion::after_death(None, &child);
        let together = Suspicion::after_death(None, &root).heavier(apart.once_more());
        assert_eq!((together.engines, together.bytes), (2, 100));
        let again = Suspicion::after_death(Some(together), &root);
        assert_eq!((again.kind, again.bytes), (child.kind, 100), "by name");
        let apart = Suspicion::after_death(Some(together), &child);
        assert!(apart.is_proven() && !together.is_proven());
        assert_eq!(apart.kind, child.kind);
    }
}
