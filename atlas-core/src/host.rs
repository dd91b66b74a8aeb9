//! The seam to the outside: a host takes closures out, puts closures in, and
//! carries results both ways.
//!
//! The runtime knows nothing of processes or machines. It tells its [`Host`]
//! what happens; the host calls the [`Runtime`](crate::Runtime):
//!
//! ```text
//!   lender                                   borrower
//!   lend() ── LentClosure{lease, closure} ──▶ accept(ticket, closure)
//!   return_result(lease, outcome) ◀── Host::finished(ticket, outcome)
//!
//!   Host::unwanted(lease) ──────────────────▶ abort_accepted(ticket)
//!   reclaim(lease): the borrower is given up, the closure is ready here again
//! ```
//!
//! A lent closure keeps its arguments at the lender: `reclaim` makes it ready
//! again, whatever became of the borrower. The first result wins; a second, late
//! or unknown one is an error of `return_result` and changes nothing. So
//! messages may be lost, doubled and overtake each other. A rival for a slow
//! borrower needs nothing of the runtime: the host sends the same closure, under
//! the same lease, to a second one.
//!
//! When to lend is the host's to decide: it asks for
//! [`ready_count`](crate::Runtime::ready_count) and
//! [`idle_workers`](crate::Runtime::idle_workers) when it likes, is told of hunger
//! and surplus, and must pace itself: a host that asks again at once for what it
//! was told cannot be had keeps the workers busy with answers.
//!
//! A host may keep results of children that have finished ([`Host::recorded`]) in a safe place, and
//! [give them](crate::Runtime::remember) to whoever computes the same again.
//!
//! Whose side is where: this file holds the words of both sides, `lender.rs` what
//! was taken out, `borrower.rs` what was put in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::checkpoint::Recorded;
use crate::closure::ClosureRef;
use crate::panic::AbortOnUnwind;
use crate::portable::{CodecError, DecodeError, EncodeError, Outcome, PortableClosure};
use crate::task::TaskId;

/// What a runtime tells the outside.
///
/// # What a call may do
///
/// The calls come from any thread that has brought the news about: from a worker
/// in the middle of a task, or from the host's own thread inside of
/// [`return_result`](crate::Runtime::return_result), say. So a method
///
/// - returns soon, since a worker waits for it: a host notes what it was told, and
///   acts on a thread of its own;
/// - holds no lock, while it calls the runtime, that it also takes in one of these
///   methods;
/// - may call `lend`, `accept`, `return_result`, `reclaim`, `abort_accepted` and
///   what only looks, on this runtime or another: the runtime holds no lock while it
///   calls. (Results may then be carried to the next lender within the call; and
///   `lend` encodes, `accept` and `return_result` decode, on the worker's stack.)
/// - must not run, spawn, join or sync tasks;
/// - must not panic: that ends the process, as it would lose a result.
///
/// During the drop of the runtime `finished`, `unwanted` and `hungry` may still come.
pub trait Host: Send + Sync + 'static {
    /// A worker has found no work and goes to sleep. Told once for each sleep:
    /// hunger lasts until [`idle_workers`](crate::Runtime::idle_workers) is zero.
    fn hungry(&self);

    /// After a call of `lend` that came back with less than was asked for, or of `ask_for_surplus`: a
    /// closure is ready now. Told once, however many calls have come back so; to
    /// be told again, call it again. It may be gone when it is called for, and
    /// what the host itself puts in or reclaims is not told.
    fn surplus(&self);

    /// A closure that was accepted under `ticket` is done. `work` is the workers' time that it took with all that
    /// descends from it, wherever that ran: zero if nothing is [measured](crate::Builder::measured).
    fn finished(&self, ticket: Ticket, outcome: Outcome, work: Duration);

    /// A child of what was accepted has finished, and to run it again would cost much more than to keep its result:
    /// where there are [checkpoints](crate::Builder::checkpoints). It may be told of twice. Should it be lost before anybody
    /// else knows it, `uncovered` is the workers' time that is lost: what earlier records do not stand for.
    fn recorded(&self, recorded: Recorded, uncovered: Duration) {
        let _ = (recorded, uncovered);
    }

    /// Nobody here wants the result of the closure that was lent as `lease`: its
    /// handle was dropped, its parent has panicked or was aborted, or the runtime
    /// is dropped. The lease has ended; the borrower may be told to abort.
    fn unwanted(&self, lease: Lease) {
        let _ = lease;
    }
}

/// The borrower's name for a closure that was put in: chosen by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The lender's name for a closure that was taken out. A runtime gives none twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease(pub u64);

/// A closure that was taken out.
#[derive(Debug, Clone)]
pub struct LentClosure {
    /// Its name when the result comes back.
    pub lease: Lease,
    /// What to run.
    pub closure: PortableClosure,
    /// How many closures are above it, where it is [measured](crate::Builder::measured); zero elsewhere.
    pub depth: u32,
    /// What it is below, as in [`Recorded`]: of use to who records what is below it.
    pub above: Vec<u64>,
    /// It was accepted itself, and is not something that was made here. Known where it is [measured](crate::Builder::measured); false
    /// elsewhere.
    pub accepted: bool,
}

/// A closure that is ready and could be lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyClosure {
    /// Its task.
    pub task: TaskId,
    /// As in [`LentClosure`].
    pub depth: u32,
}

/// What [`Runtime::lend`](crate::Runtime::lend) gives.
#[derive(Debug, Default)]
pub struct Lent {
    /// The oldest of each queue first.
    pub closures: Vec<LentClosure>,
    /// Why closures stay here that were ready. Each is named once in its life, and
    /// runs here.
    pub kept: Vec<EncodeError>,
}

/// A closure was not put in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// It is no closure of this program. To have its lender run it, and lend it no
    /// more, send [`Outcome::Refused`] back.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Another closure runs under this ticket: the host has put it in twice.
    #[error("a closure that was accepted as {0:?} is not done yet")]
    TicketInUse(Ticket),
}

/// A result was not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReturnError {
    /// No closure is lent under this lease: the result is late or a duplicate.
    #[error("no closure is lent as {0:?}: its result came before, or it was taken back")]
    Unknown(Lease),
    /// The bytes are no result of the task. The closure stays lent.
    #[error("the result of task `{task}` cannot be decoded")]
    Malformed {
        /// The task's path.
        task: &'static str,
        /// Why.
        source: CodecError,
    },
}

/// A runtime's side of the seam.
pub(crate) struct Hosting {
    host: Option<Arc<dyn Host>>,
    pub(crate) closure_bytes_max: usize,
    wants: AtomicBool,
    next_lease: AtomicU64,
    lent: Mutex<BTreeMap<Lease, ClosureRef>>,
    accepted: Mutex<BTreeMap<Ticket, ClosureRef>>,
}

impl Hosting {
    pub(crate) fn new(host: Option<Arc<dyn Host>>, closure_bytes_max: usize) -> Self {
        Self {
            host,
            closure_bytes_max,
            wants: AtomicBool::new(false),
            next_lease: AtomicU64::new(0),
            lent: Mutex::default(),
            accepted: Mutex::default(),
        }
    }

    /// A `lend` waits for work from now on. It must look at the queues, and raise
    /// the workers' flags, after this: the fence pairs with that of
    /// [`Hosting::tell_surplus`], so that either `lend` sees the closure, or the
    /// worker the wish.
    pub(crate) fn want(&self) {
        self.wants.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// True if work comes from elsewhere, too.
    pub(crate) fn has_host(&self) -> bool {
        self.host.is_some()
    }

    /// True while a `lend` waits for work.
    pub(crate) fn wants(&self) -> bool {
        self.wants.load(Ordering::Relaxed)
    }

    /// A closure became public.
    pub(crate) fn tell_surplus(&self) {
        if self.host.is_none() {
            return;
        }
        // Pairs with the fence of `want`.
        fence(Ordering::SeqCst);
        if self.wants() && self.wants.swap(false, Ordering::Relaxed) {
            self.tell(Host::surplus);
        }
    }

    /// A worker goes to sleep.
    pub(crate) fn tell_hungry(&self) {
        self.tell(Host::hungry);
    }

    /// Calls the host, if there is one. The caller holds no lock.
    pub(crate) fn tell(&self, call: impl FnOnce(&(dyn Host + 'static))) {
        if let Some(host) = &self.host {
            // A host that panics has lost what it was told, and would unwind
            // through a runtime in the middle of completing a closure.
            let abort_on_unwind = AbortOnUnwind("the host has panicked in a call of the runtime");
            call(&**host);
            std::mem::forget(abort_on_unwind);
        }
    }

    pub(crate) fn new_lease(&self) -> Lease {
        Lease(self.next_lease.fetch_add(1, Ordering::Relaxed))
    }

    /// What is lent. The lock is held for no more than a look or a change.
    pub(crate) fn lent(&self) -> MutexGuard<'_, BTreeMap<Lease, ClosureRef>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was accepted and is not done, under the same rule.
    pub(crate) fn accepted(&self) -> MutexGuard<'_, BTreeMap<Ticket, ClosureRef>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
