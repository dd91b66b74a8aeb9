//! What a long task without children says of itself while it runs: [`checkpoint`] and [`resume`].
//!
//! A state is kept under a name that follows from that of the task's result, so it is given to a later run of the same
//! task with the same arguments, and to no other. That the task which asks is the one whose name is known has to
//! be certain: on the fast path a child leaves no trace, and would be given its parent's state. So the poll flag is
//! raised when a traced child begins; as long as nobody has found it raised, no join was made, and the child is a leaf
//! ([`State::is_leaf`]). What makes a join, waits, or asks twice is none from then on.

use std::cell::RefMut;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::{Key, Recorded, Worth, bytes_worth, encode_result};
use crate::measure::clock;
use crate::portable;
use crate::strand::Running;
use crate::worker::Worker;

/// What is known of the state of the innermost traced child.
#[derive(Clone, Copy)]
pub(crate) struct State {
    is_leaf: bool,
    has_resumed: bool,
    began: u64,
    /// Nothing is kept before.
    due: u64,
}

impl State {
    /// Of a child that begins now; the poll flag is raised if it `can_be_leaf`.
    pub(crate) fn new(can_be_leaf: bool, now: u64) -> Self {
        Self {
            is_leaf: can_be_leaf,
            has_resumed: false,
            began: now,
            due: now + INTERVAL_NANOSECONDS,
        }
    }

    /// It has children, or may have had some.
    pub(crate) fn is_no_leaf(&mut self) {
        self.is_leaf = false;
    }
}

/// Keeps the state of a long task that has no children, for the case that it is computed again: [`resume`] gives it there.
///
/// See the function of the same name in the crate `atlas`.
pub fn checkpoint<S: Serialize>(state: &S) {
    let Some(worker) = Worker::current() else {
        return;
    };
    let Some((key, now, began)) = worker.state_is_due() else {
        return;
    };
    let total = now - began;
    let worth = Worth {
        total,
        ..Worth::default()
    };
    let bytes_max = bytes_worth(worth).unwrap_or(0);
    let bytes_max = bytes_max.min(worker.pool.hosting.closure_bytes_max);
    if let Some(result) = encode_result(state, bytes_max) {
        let work = Duration::from_nanos(total);
        let recorded = Recorded {
            key: key.of_state(),
            result,
            work,
            above: worker.names_of_running(),
        };
        worker.pool.tell_recorded(recorded, work);
    }
    let used = clock() - now;
    worker.credit.use_up(used);
    worker.keep_next_state_after(used.saturating_mul(STATE_SHARE));
}

/// The last state that an earlier run of this task with these arguments has kept by [`checkpoint`], if it is known here.
///
/// See the function of the same name in the crate `atlas`.
pub fn resume<S: DeserializeOwned>() -> Option<S> {
    let worker = Worker::current()?;
    let key = worker.begin_resume()?;
    let found = worker.pool.find(key.of_state())?;
    portable::decode_any(&found.result).ok()
}

impl Worker {
    /// The name of the running task, if it is certain.
    fn with_leaf<R>(&self, f: impl FnOnce(Key, &mut State) -> Option<R>) -> Option<R> {
        self.pool.checkpoints.as_ref()?;
        let running = self.running.borrow_mut();
        let mut running = RefMut::filter_map(running, Option::as_mut).ok()?;
        let (key, state) = running.leaf()?;
        f(key, state)
    }

    /// The running task, and what it is below.
    fn names_of_running(&self) -> Vec<u64> {
        self.with_running(|running| running.account().map(|account| account.names()))
            .unwrap_or_default()
    }

    fn begin_resume(&self) -> Option<Key> {
        self.with_leaf(|key, state| {
            if std::mem::replace(&mut state.has_resumed, true) {
                // A second one is another call within the same task.
                state.is_no_leaf();
                return None;
            }
            Some(key)
        })
    }

    /// The name of the task whose state is to be kept now, the time, and when it began.
    fn state_is_due(&self) -> Option<(Key, u64, u64)> {
        let now = clock();
        let due = self.with_leaf(|key, state| {
            let is_due = state.has_resumed && now >= state.due;
            is_due.then_some((key, now, state.began))
        })?;
        self.credit.is_left(now, false).then_some(due)
    }

    fn keep_next_state_after(&self, nanoseconds: u64) {
        self.with_leaf(|_, state| {
            let after = nanoseconds.clamp(INTERVAL_NANOSECONDS, 10 * INTERVAL_NANOSECONDS);
            state.due = clock() + after;
            Some(())
        });
    }
}

impl Running {
    /// The name and the state of what runs, if that is certain to be a leaf.
    fn leaf(&mut self) -> Option<(Key, &mut State)> {
        let (key, state) = match self.scopes.last_mut() {
            Some(scope) => (scope.key, &mut scope.state),
            None => (self.origin.as_ref()?.account.key, &mut self.state),
        };
        Some((key?, state)).filter(|(_, state)| state.is_leaf)
    }
}

/// A state is kept so often at most, and a tenth as often at least.
const INTERVAL_NANOSECONDS: u64 = 100_000_000;
/// In between, so that it takes such a part of the time.
const STATE_SHARE: u64 = 100;
