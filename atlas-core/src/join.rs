//! `join`: two calls, of which a thief may take the second.
//!
//! The fast path is a handful of plain instructions: link a record on this
//! frame, look at the poll flag, call the first child, unlink, call the second
//! child directly. No atomic read-modify-write, no fence, no allocation, and the
//! second call is monomorphic.
//!
//! [`LatentCall`], on the parent's frame:
//!
//! | field | who may touch it | when |
//! | --- | --- | --- |
//! | `node` | the owner | always |
//! | `slot` | the owner | while unpromoted |
//! | `slot` | claimer, then waiter | after promotion, by the rules of `closure.rs` |
//!
//! The frame outlives all of this: the owner leaves [`join_latent`], by return
//! or by unwinding, only after it has taken the call back or seen `is_done`.
//!
//! Latent records kept on the caller's stack and made public on demand are lazy
//! task creation (Mohr, Kranz, Halstead 1990); the poll by the victim instead of
//! a fence in each join is as in Lace (van Dijk, van de Pol 2014) and in
//! heartbeat scheduling (Acar et al. 2018).

use std::cell::UnsafeCell;
use std::hint;
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};

use crate::closure::{Closure, ClosureKind, ClosureRef};
use crate::latent::{Node, NodeKind, Promoted};
use crate::pool;
use crate::task_call::First;
use crate::tls;
use crate::trace;
use crate::work::{Latent, Place, Slot, closure_kind, take_result};
use crate::worker::{self, Polled, Worker};

/// Runs both closures, in parallel if another worker has time, and returns both
/// results. The signature is rayon's.
///
/// `a` runs on the calling worker at once; `b` after it, or on another worker
/// meanwhile. On a thread that is not a worker the whole join moves into the
/// [global runtime](crate::Runtime::global).
///
/// # Panics
/// A panic of `a` or `b` is raised again here, after the other one has been
/// dropped unrun, aborted or awaited. If both panic, it is the panic of `a`.
#[inline(always)]
pub fn join<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    join_latent(Body(a), Body(b))
}

/// A Rust closure as latent work: it cannot leave the process.
pub(crate) struct Body<F>(pub(crate) F);

impl<F: FnOnce() -> R + Send, R: Send> Latent for Body<F> {
    type Output = R;
    #[inline(always)]
    fn run(self) -> R {
        (self.0)()
    }
}

impl<F: FnOnce() -> R + Send, R: Send> First for Body<F> {
    type Output = R;

    #[inline(always)]
    fn run(self) -> R {
        (self.0)()
    }

    type Cold = Self;

    fn cold(self) -> Self {
        self
    }

    fn run_traced(self) -> R {
        trace::run(self)
    }
}

/// Runs `a` with `b` latent, then `b`.
#[inline(always)]
pub(crate) fn join_latent<L, A>(a: A, b: L) -> (A::Output, L::Output)
where
    L: Latent,
    A: First,
{
    let record = LatentCall {
        node: Node::new(tls::newest(), LatentCall::<L>::NODE),
        slot: UnsafeCell::new(Slot {
            call: ManuallyDrop::new(b),
        }),
    };
    tls::set_newest(&raw const record.node);
    if tls::want_raised() {
        // A copy of `a` for this path alone: to pass `a` itself would keep it in
        // memory on the fast path too.
        let a = hint::black_box(a);
        // SAFETY: the record is the newest of the list, with its call.
        return unsafe { record.join_slowly(a.cold()) };
    }
    let guard = Abandon(&record);
    let first = a.run();
    mem::forget(guard);
    tls::set_newest(record.node.parent.get());
    if !record.node.is_unmarked() {
        return match record.settle() {
            Some(second) => (first, second),
            // SAFETY: taken back just now: the call is the owner's.
            None => (first, unsafe { record.take_own_call() }.run()),
        };
    }
    // SAFETY: unmarked, so unpromoted: the call is the owner's.
    (first, unsafe { record.take_own_call() }.run())
}

/// A latent record: see the module's table.
#[repr(C)]
struct LatentCall<L: Latent> {
    node: Node,
    slot: UnsafeCell<Slot<L>>,
}

impl<L: Latent> LatentCall<L> {
    const NODE: &'static NodeKind = &NodeKind {
        promote: Self::promote,
        is_frame: false,
    };

    /// # Safety
    /// The slot is the owner's, by the module's table, and the call is in it.
    #[inline(always)]
    unsafe fn take_own_call(&self) -> L {
        // SAFETY: by the caller.
        ManuallyDrop::into_inner(unsafe { self.slot.get().cast::<ManuallyDrop<L>>().read() })
    }

    /// [`NodeKind::promote`]: makes the call public.
    unsafe fn promote(node: *const Node) -> Promoted {
        // SAFETY: a node of this kind is the first field of its record.
        let record = unsafe { &*node.cast::<Self>() };
        let closure = PromotedCall::<L>::of_record(record);
        record.node.set_closure(closure.clone());
        Promoted {
            closure,
            exhausted: true,
        }
    }

    /// The end of a join whose record was marked: the second result, if somebody
    /// else has begun the call, or it is traced. Otherwise the call is the owner's, and is
    /// run by [`join_latent`]: in a recursion no frame of this function stays behind.
    #[cold]
    #[inline(never)]
    fn settle(&self) -> Option<L::Output> {
        let worker = Worker::current().expect("only a worker's thread marks a record");
        let Some(closure) = self.node.take_closure() else {
            let traced = worker.take_back(&raw const self.node);
            let is_worth = traced.is_some_and(|since| worker.is_worth_tracing(since));
            return is_worth.then(|| self.run_traced());
        };
        if worker.reclaim(&raw const self.node, &closure) {
            return self.node.is_traced().then(|| self.run_traced());
        }
        worker.wait_for(&closure);
        // SAFETY: this is the waiter, and `wait_for` returns when it is done.
        match unsafe { take_result::<L, InRecord>(&closure) } {
            Ok(output) => Some(output),
            Err(panic) => panic.resume(),
        }
    }

    /// The result of a call that was taken back, and is traced.
    #[inline(never)]
    fn run_traced(&self) -> L::Output {
        // SAFETY: taken back by the caller: the call is the owner's.
        trace::run(unsafe { self.take_own_call() })
    }

    /// A join that has found the poll flag raised: looks what for, and goes on.
    /// The whole rest is here, so that the fast path has nothing to keep over a
    /// call that is seldom made.
    ///
    /// # Safety
    /// The call is in the slot, and the record is the newest of the list.
    #[cold]
    #[inline(never)]
    unsafe fn join_slowly<A: First>(&self, a: A) -> (A::Output, L::Output) {
        let guard = Abandon(self);
        let (first, is_traced) = match worker::poll_raised() {
            Polled::Worker => (a.run(), false),
            Polled::Traced => (a.run_traced(), true),
            Polled::Outsider => {
                mem::forget(guard);
                tls::set_newest(self.node.parent.get());
                // SAFETY: a thread without a worker promotes nothing.
                let call = unsafe { self.take_own_call() };
                return crate::runtime::run(move || join_latent(a, call));
            }
        };
        mem::forget(guard);
        tls::set_newest(self.node.parent.get());
        if !self.node.is_unmarked()
            && let Some(second) = self.settle()
        {
            return (first, second);
        }
        if is_traced {
            return (first, self.run_traced());
        }
        // SAFETY: unmarked, so unpromoted, or taken back: the call is the owner's.
        (first, unsafe { self.take_own_call() }.run())
    }

    /// Unwinding leaves the frame: nobody may be left who uses the record.
    #[cold]
    fn abandon(&self) {
        tls::set_newest(self.node.parent.get());
        if self.node.is_unmarked() {
            // SAFETY: unmarked, so unpromoted.
            return drop(unsafe { self.take_own_call() });
        }
        let worker = Worker::current().expect("only a worker's thread marks a record");
        let Some(closure) = self.node.take_closure() else {
            worker.take_back(&raw const self.node);
            // SAFETY: not promoted, so the slot is the owner's.
            return drop(unsafe { self.take_own_call() });
        };
        worker.forget_promoted();
        pool::abort(&closure);
        worker.wait_for(&closure);
        // SAFETY: this is the waiter, and `wait_for` returns when it is done.
        drop(unsafe { take_result::<L, InRecord>(&closure) });
    }
}

/// Cleans up a record if the first child unwinds.
struct Abandon<'record, L: Latent>(&'record LatentCall<L>);

impl<L: Latent> Drop for Abandon<'_, L> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The public closure of a promoted record; its slot stays in the record.
#[repr(C)]
struct PromotedCall<L: Latent> {
    head: Closure,
    record: *const LatentCall<L>,
}

impl<L: Latent> PromotedCall<L> {
    const KIND: &'static ClosureKind = &closure_kind::<L, InRecord>();

    fn of_record(record: &LatentCall<L>) -> ClosureRef {
        let closure = Box::new(Self {
            head: Closure::new(Self::KIND, None),
            record,
        });
        let pointer = NonNull::from(Box::leak(closure)).cast();
        // SAFETY: a new closure, which `InRecord::free` frees as this box.
        unsafe { ClosureRef::from_raw(pointer) }
    }
}

/// The place of a promoted call: its parent's record.
struct InRecord;

// SAFETY: the record outlives the closure's use (module doc).
unsafe impl<L: Latent> Place<L> for InRecord {
    unsafe fn slot(closure: &Closure) -> *mut Slot<L> {
        let promoted = ptr::from_ref(closure).cast::<PromotedCall<L>>();
        // SAFETY: closures of this place are the head of a `PromotedCall`.
        let record = unsafe { (*promoted).record };
        // SAFETY: the caller is claimer or waiter, so the owner is still in its frame.
        unsafe { (*record).slot.get() }
    }

    unsafe fn free(closure: NonNull<Closure>) {
        // SAFETY: made from this box in `PromotedCall::of_record`; no reference is left.
        drop(unsafe { Box::from_raw(closure.cast::<PromotedCall<L>>().as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Runtime;

    /// Each record is made public and taken back: the slow path keeps no frame of
    /// its own on the stack while the call runs.
    #[test]
    fn regression_records_that_are_taken_back_nest_as_deep_as_others() {
        fn rest_last(depth: u32) -> u32 {
            if depth == 0 {
                return 0;
            }
            tls::with_want(tls::WantFlag::ask_for_work);
            let (item, rest) = join(|| 1, || rest_last(depth - 1));
            item + rest
        }
        let runtime = Runtime::builder().workers(1).build().unwrap();
        assert_eq!(runtime.run(|| rest_last(20_000)), 20_000);
        assert!(runtime.stats().promotions >= 20_000);
    }
}
