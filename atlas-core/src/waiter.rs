//! Who is told when a public closure is done.

use std::sync::Arc;
use std::thread::Thread;

use crate::closure::{Closure, ClosureRef};
use crate::frame::Continuation;
use crate::host::Ticket;
use crate::pool::Pool;
use crate::scope::ScopeCounter;

/// The waiting side of a closure.
pub(crate) enum Waiter {
    /// Nobody yet, or nobody any more.
    Nobody,
    /// A suspended strand: worker, strand, and which of its waits it is.
    Strand {
        pool: Arc<Pool>,
        home: usize,
        strand: usize,
        wait: u64,
    },
    /// A slot of a waiting frame, which belongs to one worker.
    Slot {
        pool: Arc<Pool>,
        home: usize,
        continuation: Continuation,
    },
    /// A thread outside the runtime.
    Thread(Thread),
    /// A scope that counts its children.
    Scope(Arc<ScopeCounter>),
    /// The lender of an imported closure, somewhere behind the host.
    Lender { pool: Arc<Pool>, ticket: Ticket },
}

impl Waiter {
    /// Leaves nobody behind.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Nobody)
    }

    /// Tells it that `closure` is done.
    pub(crate) fn tell(self, closure: &Closure) {
        match self {
            Self::Nobody => {}
            Self::Strand {
                pool,
                home,
                strand,
                wait,
            } => {
                pool.send(home, Message::Resume { strand, wait });
            }
            Self::Slot {
                pool,
                home,
                continuation,
            } => {
                let closure = ClosureRef::of(closure);
                pool.send(
                    home,
                    Message::Fill {
                        closure,
                        continuation,
                    },
                );
            }
            Self::Thread(thread) => thread.unpark(),
            Self::Scope(counter) => counter.child_done(),
            Self::Lender { pool, ticket } => pool.return_to_lender(ticket, closure),
        }
    }
}

/// What a worker finds in its inbox.
pub(crate) enum Message {
    /// The strand's wait with this number is over.
    Resume { strand: usize, wait: u64 },
    /// A child of a frame is done.
    Fill {
        closure: ClosureRef,
        continuation: Continuation,
    },
    /// Nobody wants the closure that this worker runs.
    Abort(ClosureRef),
}
