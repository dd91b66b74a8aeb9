//! What a thread keeps for the fast path: the poll flag and the newest latent
//! record.
//!
//! Both are thread-local statics with constant initialisers and no destructor,
//! so that an access is one instruction relative to the thread pointer. The
//! flag stands on a cache line of its own, because thieves write it while the
//! owner writes the other word at each join.
//!
//! | word | owner | others |
//! | --- | --- | --- |
//! | `WANT` | one relaxed load at each join; clears it when raised | set bits, while the runtime keeps the thread alive |
//! | `NEWEST` | reads and writes | never |
//! | `WORKER` | written once at thread start and end | never |
//!
//! A thread that is not a worker keeps the bit [`OUTSIDER`] raised for ever: it
//! takes the slow path, which is where it learns what it is, and a worker never
//! has to ask.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::latent::Node;
use crate::worker::Worker;

/// A poll flag on cache lines of its own (two: adjacent lines are prefetched in
/// pairs).
#[repr(align(128))]
pub(crate) struct WantFlag(AtomicU8);

thread_local! {
    static WANT: WantFlag = const { WantFlag(AtomicU8::new(OUTSIDER)) };
    static NEWEST: Cell<*const Node> = const { Cell::new(ptr::null()) };
    static WORKER: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

/// A thief looks for work, or sleeps until some is there.
pub(crate) const THIEF: u8 = 1;
/// The worker's inbox has something in it.
pub(crate) const INBOX: u8 = 2;
/// A sleeper has waited for long: work is to be made public whatever it costs.
pub(crate) const URGENT: u8 = 4;
/// Fewer workers may run: look whether this one still may.
pub(crate) const LIMIT: u8 = 8;
/// What has been measured so far is asked for.
pub(crate) const MEASURE: u8 = 16;
/// Children are to be keyed and timed.
pub(crate) const TRACE: u8 = 32;
/// This thread is not a worker.
pub(crate) const OUTSIDER: u8 = 0x80;

/// True if somebody wants something of this thread.
#[inline(always)]
pub(crate) fn want_raised() -> bool {
    WANT.with(|want| want.0.load(Ordering::Relaxed)) != 0
}

/// Runs `f` with this thread's flag.
pub(crate) fn with_want<R>(f: impl FnOnce(&WantFlag) -> R) -> R {
    WANT.with(f)
}

/// The newest latent record of the running strand.
#[inline(always)]
pub(crate) fn newest() -> *const Node {
    NEWEST.with(Cell::get)
}

/// Replaces the newest latent record.
#[inline(always)]
pub(crate) fn set_newest(node: *const Node) {
    NEWEST.with(|newest| newest.set(node));
}

/// The worker that this thread is, or null.
pub(crate) fn worker() -> *const Worker {
    WORKER.with(Cell::get)
}

/// Says which worker this thread is.
pub(crate) fn set_worker(worker: *const Worker) {
    WORKER.with(|cell| cell.set(worker));
}

impl WantFlag {
    /// Asks for work: raises [`THIEF`] without taking the cache line if it is
    /// raised already. A thief asks again as long as it searches.
    pub(crate) fn ask_for_work(&self) {
        if self.0.load(Ordering::Relaxed) & THIEF == 0 {
            self.0.fetch_or(THIEF, Ordering::Relaxed);
        }
    }

    /// Asks for work that is worth a wake-up by now.
    pub(crate) fn ask_urgently(&self) {
        self.0.fetch_or(URGENT, Ordering::Relaxed);
    }

    /// Says that fewer workers may run.
    pub(crate) fn announce_limit(&self) {
        self.0.fetch_or(LIMIT, Ordering::Relaxed);
    }

    /// Asks for what was measured so far.
    pub(crate) fn ask_for_measures(&self) {
        self.0.fetch_or(MEASURE, Ordering::Relaxed);
    }

    /// Has the next join traced, without taking the cache line if it is already.
    pub(crate) fn ask_for_traces(&self) {
        if self.0.load(Ordering::Relaxed) & TRACE == 0 {
            self.0.fetch_or(TRACE, Ordering::Relaxed);
        }
    }

    /// The next join is not to be traced.
    pub(crate) fn lower_traces(&self) {
        if self.0.load(Ordering::Relaxed) & TRACE != 0 {
            self.0.fetch_and(!TRACE, Ordering::Relaxed);
        }
    }

    /// Says that the inbox has something. Release pairs with the Acquire of
    /// [`WantFlag::take`]: who takes the bit finds the message. It always
    /// writes: a look first could be taken for a bit that is being cleared.
    pub(crate) fn announce_inbox(&self) {
        self.0.fetch_or(INBOX, Ordering::Release);
    }

    /// Takes all bits and lowers the flag. Acquire pairs with the Release of
    /// [`WantFlag::announce_inbox`].
    pub(crate) fn take(&self) -> u8 {
        self.0.swap(0, Ordering::Acquire)
    }

    /// Lowers or raises the flag outright, at the start and end of a worker.
    pub(crate) fn store(&self, bits: u8) {
        self.0.store(bits, Ordering::Relaxed);
    }
}
