//! The lender's side: closures that were taken out, until their results are back.
//!
//! A lent closure is claimed (by the runner [`HOST`]) and keeps its arguments. It
//! stands in the table of leases, and *who takes it out of the table owns it*: to
//! complete it with a result, to fail it, or to make it ready again. The table's
//! lock is held for that step alone; encoding, decoding and destructors, which
//! are the program's code, run outside of it.
//!
//! ```text
//!           lend                    return_result
//!   ready ───────▶ claimed, in table ────────────▶ done
//!     ▲                     │  └── abort_lent ───▶ failed
//!     └── reclaim, Refused ─┘
//! ```
//!
//! An abort that comes while a closure is on its way into the table finds nothing
//! there; so `lend` looks for one after it has put the closure in.

use std::time::Duration;

use crate::checkpoint::{Recorded, Worth, bytes_worth, cost_of};
use crate::closure::ClosureRef;
use crate::host::{Lease, Lent, LentClosure, ReadyClosure, ReturnError};
use crate::panic::TaskPanic;
use crate::pool::{HOST, Pool};
use crate::portable::{Outcome, PortableClosure};

impl Pool {
    pub(crate) fn lend(&self, closures_max: usize) -> Lent {
        let mut lent = Lent::default();
        self.lend_ready(closures_max, &mut lent);
        if lent.closures.len() < closures_max {
            self.hosting.want();
            self.lend_ready(closures_max, &mut lent);
            self.ask_all();
        }
        lent
    }

    /// Takes out what is public already.
    fn lend_ready(&self, closures_max: usize, lent: &mut Lent) {
        let mut kept = Vec::new();
        while lent.closures.len() < closures_max && kept.len() < KEPT_MAX {
            let Some(closure) = self.steal_any() else {
                break;
            };
            if !closure.claim(self.runner(HOST)) {
                continue;
            }
            if !self.lend_one(&closure, lent) {
                kept.push(closure);
            }
        }
        for closure in kept {
            closure.unclaim();
            self.inject(closure);
        }
    }

    /// Encodes a claimed closure and enters it into the table; false if it stays.
    fn lend_one(&self, closure: &ClosureRef, lent: &mut Lent) -> bool {
        let Some(portable) = closure.kind().portable else {
            return false;
        };
        if closure.stays() {
            return false;
        }
        if self.complete_found(closure) {
            return true;
        }
        // SAFETY: claimed by the caller, and not run.
        let args = match unsafe { (portable.encode)(closure, self.hosting.closure_bytes_max) } {
            Ok(args) => args,
            Err(error) => {
                closure.stay();
                lent.kept.push(error);
                return false;
            }
        };
        let lease = self.hosting.new_lease();
        self.hosting.lent().insert(lease, closure.clone());
        if closure.is_aborted() && self.hosting.lent().remove(&lease).is_some() {
            fail(closure, TaskPanic::aborted());
            return true;
        }
        let task = (portable.task)().id();
        let origin = closure.origin();
        let depth = origin.map_or(0, |origin| origin.depth);
        let above = origin.map(|origin| origin.account.names());
        let accepted = origin.is_some_and(|origin| origin.account.is_above_all());
        let closure = PortableClosure { task, args };
        lent.closures.push(LentClosure {
            lease,
            closure,
            depth,
            above: above.unwrap_or_default(),
            accepted,
        });
        true
    }

    pub(crate) fn return_result(
        &self,
        lease: Lease,
        outcome: Outcome,
        work: Duration,
    ) -> Result<(), ReturnError> {
        match outcome {
            Outcome::Value(bytes) => self.return_value(lease, &bytes, work)?,
            Outcome::Panic { task, message } => {
                let closure = self.take_lent(lease)?;
                self.measure_lent(&closure, work);
                fail(&closure, TaskPanic::new(task, message));
            }
            Outcome::Refused { .. } => {
                let closure = self.take_lent(lease)?;
                closure.stay();
                self.make_ready(closure);
            }
        }
        Ok(())
    }

    fn return_value(&self, lease: Lease, bytes: &[u8], work: Duration) -> Result<(), ReturnError> {
        let kind = match self.hosting.lent().get(&lease) {
            Some(closure) => closure.kind(),
            None => return Err(ReturnError::Unknown(lease)),
        };
        let portable = kind.portable.expect("only portable closures are lent");
        let value = (portable.decode)(bytes).map_err(|source| {
            let task = (portable.task)().path();
            ReturnError::Malformed { task, source }
        })?;
        let closure = self.take_lent(lease)?;
        self.measure_lent(&closure, work);
        self.record_lent(&closure, bytes, work);
        // SAFETY: claimed by `lend` and not run; out of the table, so this is the
        // only result. A lease is given once, so `value` was decoded for this closure.
        unsafe { (portable.fill)(&closure, value) };
        closure.complete();
        Ok(())
    }

    /// Before the closure is completed, so that who waits for it has its work too.
    fn measure_lent(&self, closure: &ClosureRef, work: Duration) {
        if let Some(measures) = &self.measures {
            measures.add_lent(closure, work);
        }
    }

    /// The result of a lent closure is here: it may be lost with this machine. One that is larger than a closure may be cannot be told.
    fn record_lent(&self, closure: &ClosureRef, result: &[u8], work: Duration) {
        let total = u64::try_from(work.as_nanos()).unwrap_or(u64::MAX);
        let worth = Worth {
            total,
            ..Worth::default()
        };
        let bytes_max = bytes_worth(worth).map(|bytes| bytes.min(self.hosting.closure_bytes_max));
        let is_worth = bytes_max.is_some_and(|bytes_max| result.len() <= bytes_max);
        let Some(origin) = closure
            .origin()
            .filter(|_| is_worth && self.checkpoints.is_some())
        else {
            return;
        };
        // SAFETY: claimed by `lend` and not run, and out of the table: it is the caller's.
        let Some(key) = (unsafe { closure.key() }) else {
            return;
        };
        origin.account.cover_part(worth, cost_of(result.len()));
        let recorded = Recorded {
            key,
            result: result.to_vec(),
            work,
            above: origin.account.names(),
        };
        self.tell_recorded(recorded, work);
    }

    /// The oldest closures that could be lent, up to so many. They stay ready, all for anybody from now on; what
    /// nobody needs any more is thrown out on the way.
    pub(crate) fn oldest_ready(&self, closures_max: usize) -> Vec<ReadyClosure> {
        let mut passed = Vec::new();
        while passed.len() < closures_max
            && let Some(closure) = self.steal_any()
        {
            if !closure.is_claimed() {
                passed.push(closure);
            }
        }
        let mut ready: Vec<_> = passed.iter().filter_map(ready_closure).collect();
        for closure in passed {
            self.inject(closure);
        }
        ready.sort_by_key(|closure| closure.depth);
        ready
    }

    pub(crate) fn reclaim(&self, lease: Lease) -> bool {
        let lent = self.take_lent(lease);
        lent.map(|closure| self.make_ready(closure)).is_ok()
    }

    /// Fails a lent closure that nobody wants, and tells the host.
    pub(crate) fn abort_lent(&self, closure: &ClosureRef) {
        let lease = {
            let mut lent = self.hosting.lent();
            let mut leases = lent.iter();
            let found = leases.find_map(|(lease, other)| (other == closure).then_some(*lease));
            found.inspect(|lease| drop(lent.remove(lease)))
        };
        if let Some(lease) = lease {
            fail(closure, TaskPanic::aborted());
            self.hosting.tell(|host| host.unwanted(lease));
        }
    }

    /// Fails all lent closures: nobody will bring their results any more.
    pub(crate) fn fail_all_lent(&self) {
        let lent = std::mem::take(&mut *self.hosting.lent());
        for (lease, closure) in lent {
            let task = closure.task().map(|task| task.path().to_owned());
            let message = "its runtime was shut down while it was lent".to_owned();
            fail(&closure, TaskPanic::new(task, message));
            self.hosting.tell(|host| host.unwanted(lease));
        }
    }

    fn take_lent(&self, lease: Lease) -> Result<ClosureRef, ReturnError> {
        let lent = self.hosting.lent().remove(&lease);
        lent.ok_or(ReturnError::Unknown(lease))
    }

    /// Gives back a closure that was lent, and is out of the table.
    fn make_ready(&self, closure: ClosureRef) {
        closure.unclaim();
        self.inject(closure);
    }
}

fn ready_closure(closure: &ClosureRef) -> Option<ReadyClosure> {
    let task = closure.task().filter(|_| !closure.stays())?.id();
    let depth = closure.origin().map_or(0, |origin| origin.depth);
    Some(ReadyClosure { task, depth })
}

/// Drops the kept arguments of a lent closure and completes it with a panic. The
/// caller has taken it out of the table.
fn fail(closure: &ClosureRef, panic: TaskPanic) {
    // SAFETY: claimed by `lend`, and nobody else has it any more.
    unsafe { (closure.kind().discard)(closure) };
    // SAFETY: as above, and the call is gone.
    unsafe { closure.fail(panic) };
}

/// How many closures that cannot leave are passed over in one look: they are
/// taken out of their queues for its time.
const KEPT_MAX: usize = 64;
