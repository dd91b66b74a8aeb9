//! The seam to the outside: a host takes closures out, puts closures in, and
//! carries results both ways.
//!
//! The runtime knows nothing of processes or machines. It tells its [`Host`]
//! when it is hungry, when it has surplus, and when a closure that the host put
//! in is finished; the host calls [`Runtime::lend`](crate::Runtime::lend),
//! [`Runtime::accept`](crate::Runtime::accept),
//! [`Runtime::return_result`](crate::Runtime::return_result) and
//! [`Runtime::reclaim`](crate::Runtime::reclaim).
//!
//! ```text
//!   lender                                   borrower
//!   lend() ── LentClosure{lease, closure} ──▶ accept(ticket, closure)
//!   return_result(lease, outcome) ◀── Host::finished(ticket, outcome)
//! ```
//!
//! A lent closure keeps its arguments at the lender: `reclaim` makes it ready
//! again, whatever became of the borrower. The first result wins; a second, late
//! or unknown one is an error of `return_result` and changes nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::closure::{Closure, ClosureRef};
use crate::panic::TaskPanic;
use crate::pool::{HOST, Pool};
use crate::portable::{DecodeError, EncodeError, Outcome, PortableClosure};
use crate::waiter::Waiter;

/// What a runtime asks of the outside. The calls come from workers, and must
/// return soon: a host hands them to a thread of its own.
pub trait Host: Send + Sync + 'static {
    /// A worker has found no work and goes to sleep.
    fn hungry(&self);
    /// After a call of `lend` that came back with less than was asked for: a
    /// closure is ready now.
    fn surplus(&self);
    /// A closure that was accepted under `ticket` is done.
    fn finished(&self, ticket: Ticket, outcome: Outcome);
}

/// The borrower's name for a closure that was put in: chosen by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The lender's name for a closure that was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease(pub u64);

/// A closure that was taken out.
#[derive(Debug, Clone)]
pub struct LentClosure {
    /// Its name when the result comes back.
    pub lease: Lease,
    /// What to run.
    pub closure: PortableClosure,
}

/// What [`Runtime::lend`](crate::Runtime::lend) gives.
#[derive(Debug, Default)]
pub struct Lent {
    /// Oldest first.
    pub closures: Vec<LentClosure>,
    /// Why closures stayed here that were ready.
    pub kept: Vec<EncodeError>,
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
        /// What postcard says.
        source: postcard::Error,
    },
}

/// A runtime's side of the seam.
pub(crate) struct Hosting {
    host: Option<Arc<dyn Host>>,
    wants: AtomicBool,
    next_lease: AtomicU64,
    lent: Mutex<BTreeMap<Lease, ClosureRef>>,
}

impl Hosting {
    pub(crate) fn new(host: Option<Arc<dyn Host>>) -> Self {
        Self {
            host,
            wants: AtomicBool::new(false),
            next_lease: AtomicU64::new(0),
            lent: Mutex::default(),
        }
    }

    /// True while a `lend` waits for work.
    pub(crate) fn wants(&self) -> bool {
        self.wants.load(Ordering::Relaxed)
    }

    /// A closure became public.
    pub(crate) fn tell_surplus(&self) {
        if self.wants()
            && self.wants.swap(false, Ordering::Relaxed)
            && let Some(host) = &self.host
        {
            host.surplus();
        }
    }

    /// A worker goes to sleep.
    pub(crate) fn tell_hungry(&self) {
        if let Some(host) = &self.host {
            host.hungry();
        }
    }

    fn lent(&self) -> MutexGuard<'_, BTreeMap<Lease, ClosureRef>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    pub(crate) fn lend(&self, closures_max: usize) -> Lent {
        let mut lent = Lent::default();
        let mut kept = Vec::new();
        while lent.closures.len() < closures_max && kept.len() < KEPT_MAX {
            let Some(closure) = self.steal_any() else {
                break;
            };
            if !closure.claim(self.runner(HOST)) {
                continue;
            }
            match self.lend_one(&closure) {
                // An aborter that came before the closure was in the table
                // has not found it.
                Some(Ok(_)) if closure.is_aborted() && self.abort_lent(&closure) => {}
                Some(Ok(one)) => lent.closures.push(one),
                Some(Err(error)) => {
                    lent.kept.push(error);
                    kept.push(closure);
                }
                None => kept.push(closure),
            }
        }
        for closure in kept {
            closure.unclaim();
            self.inject(closure);
        }
        if lent.closures.len() < closures_max {
            self.hosting.wants.store(true, Ordering::Relaxed);
            self.ask_all();
        }
        lent
    }

    /// Encodes a claimed closure and registers it; `None` if it is not portable.
    fn lend_one(&self, closure: &ClosureRef) -> Option<Result<LentClosure, EncodeError>> {
        let portable = closure.kind().portable?;
        // SAFETY: claimed by `lend`, and not run.
        let args = match unsafe { (portable.encode)(closure) } {
            Ok(args) => args,
            Err(error) => return Some(Err(error)),
        };
        let lease = Lease(self.hosting.next_lease.fetch_add(1, Ordering::Relaxed));
        self.hosting.lent().insert(lease, closure.clone());
        let task = (portable.task)().id();
        let closure = PortableClosure { task, args };
        Some(Ok(LentClosure { lease, closure }))
    }

    pub(crate) fn accept(
        self: &Arc<Self>,
        ticket: Ticket,
        closure: &PortableClosure,
    ) -> Result<(), DecodeError> {
        let info = self
            .tasks
            .find(closure.task)
            .ok_or(DecodeError::UnknownTask(closure.task))?;
        let task = info.path();
        let bytes = closure.args.len();
        if bytes > crate::portable::CLOSURE_BYTES_MAX {
            return Err(DecodeError::TooLarge { task, bytes });
        }
        let waiter = Waiter::Lender {
            pool: Arc::clone(self),
            ticket,
        };
        let closure = (info.erased.import)(&closure.args, waiter)
            .map_err(|source| DecodeError::Arguments { task, source })?;
        self.inject(closure);
        Ok(())
    }

    pub(crate) fn return_result(&self, lease: Lease, outcome: Outcome) -> Result<(), ReturnError> {
        let closure = {
            let mut lent = self.hosting.lent();
            let closure = lent.get(&lease).ok_or(ReturnError::Unknown(lease))?;
            if let Outcome::Value(bytes) = &outcome {
                let portable = closure
                    .kind()
                    .portable
                    .expect("only portable closures are lent");
                // SAFETY: claimed by `lend` and not run; the table's lock makes
                // this the only result.
                unsafe { (portable.fill)(closure, bytes) }.map_err(|source| {
                    let task = (portable.task)().path();
                    ReturnError::Malformed { task, source }
                })?;
            }
            lent.remove(&lease).expect("found above")
        };
        match outcome {
            Outcome::Value(_) => closure.complete(),
            Outcome::Panic { task, message } => fail_lent(&closure, TaskPanic::new(task, message)),
        }
        Ok(())
    }

    pub(crate) fn reclaim(&self, lease: Lease) -> bool {
        let Some(closure) = self.hosting.lent().remove(&lease) else {
            return false;
        };
        closure.unclaim();
        self.inject(closure);
        true
    }

    /// Fails a lent closure that nobody wants; false if it is not lent.
    pub(crate) fn abort_lent(&self, closure: &ClosureRef) -> bool {
        let found = {
            let mut lent = self.hosting.lent();
            let lease = lent
                .iter()
                .find(|(_, other)| *other == closure)
                .map(|(lease, _)| *lease);
            lease.and_then(|lease| lent.remove(&lease))
        };
        let lent = found.is_some();
        if let Some(closure) = found {
            fail_lent(&closure, TaskPanic::aborted());
        }
        lent
    }

    /// Fails all lent closures: nobody will bring their results any more.
    pub(crate) fn fail_all_lent(&self) {
        let lent = std::mem::take(&mut *self.hosting.lent());
        for closure in lent.into_values() {
            let task = closure.task().map(|task| task.path().to_owned());
            let message = "its runtime was shut down while it was lent".to_owned();
            fail_lent(&closure, TaskPanic::new(task, message));
        }
    }

    /// An accepted closure is done: its result goes to the host.
    pub(crate) fn return_to_lender(&self, ticket: Ticket, closure: &Closure) {
        let info = closure.task().expect("accepted closures are of tasks");
        // SAFETY: `accept` made this closure with `import`, and this is its waiter.
        let outcome = unsafe { (info.erased.export)(closure) };
        if let Some(host) = &self.hosting.host {
            host.finished(ticket, outcome);
        }
    }
}

/// Drops the kept arguments of a lent closure and completes it with a panic. The
/// caller has taken it out of the table.
fn fail_lent(closure: &ClosureRef, panic: TaskPanic) {
    // SAFETY: claimed by `lend`, and nobody else has it any more.
    unsafe { (closure.kind().discard)(closure) };
    // SAFETY: as above, and the call is gone.
    unsafe { closure.fail(panic) };
}

/// How many closures that cannot leave are passed over in one call.
const KEPT_MAX: usize = 64;
