//! The borrower's side: closures that were put in, until they are done.
//!
//! An accepted closure stands in the table of tickets while it waits and runs. Who
//! takes it out of the table has its end: either it is done and its result goes to
//! the host, or it was aborted and the host hears no more of it.

use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use crate::closure::Closure;
use crate::host::{AcceptError, Ticket};
use crate::measure::Origin;
use crate::pool::{self, Pool};
use crate::portable::{DecodeError, PortableClosure};
use crate::waiter::Waiter;

impl Pool {
    pub(crate) fn accept(
        self: &Arc<Self>,
        ticket: Ticket,
        portable: &PortableClosure,
        depth: u32,
        above: &[u64],
    ) -> Result<(), AcceptError> {
        let info = self
            .tasks
            .find(portable.task)
            .ok_or(DecodeError::UnknownTask(portable.task))?;
        let task = info.path();
        let bytes = portable.args.len();
        let bytes_max = self.hosting.closure_bytes_max;
        if bytes > bytes_max {
            return Err(AcceptError::Decode(DecodeError::TooLarge {
                task,
                bytes,
                bytes_max,
            }));
        }
        let waiter = Waiter::Lender {
            pool: Arc::clone(self),
            ticket,
        };
        let closure = (info.erased.import)(&portable.args, waiter)
            .map_err(|source| DecodeError::Arguments { task, source })?;
        if self.measures.is_some() {
            closure.set_origin(Origin::accepted(depth, above));
        }
        match self.hosting.accepted().entry(ticket) {
            Entry::Vacant(entry) => entry.insert(closure.clone()),
            // Dropped after the lock: its arguments are the program's.
            Entry::Occupied(_) => return Err(AcceptError::TicketInUse(ticket)),
        };
        self.inject(closure);
        Ok(())
    }

    pub(crate) fn abort_accepted(&self, ticket: Ticket) -> bool {
        let closure = self.hosting.accepted().remove(&ticket);
        closure.map(|closure| pool::abort(&closure)).is_some()
    }

    /// An accepted closure is done: its result goes to the host.
    pub(crate) fn return_to_lender(&self, ticket: Ticket, closure: &Closure) {
        {
            let mut accepted = self.hosting.accepted();
            // An aborted closure's ticket may name another one by now.
            match accepted.entry(ticket) {
                Entry::Occupied(entry) if std::ptr::eq(&**entry.get(), closure) => entry.remove(),
                Entry::Occupied(_) | Entry::Vacant(_) => return,
            }
        };
        let info = closure.task().expect("accepted closures are of tasks");
        // SAFETY: `accept` made this closure with `import`, and this is its waiter.
        let outcome = unsafe { (info.erased.export)(closure) };
        let work = closure.origin().map_or(Duration::ZERO, Origin::work);
        self.hosting
            .tell(|host| host.finished(ticket, outcome, work));
    }
}
