//! Public closures that own their slot: `spawn!`, scopes, `run`, and closures
//! that come from outside.

use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use crate::closure::{Closure, ClosureKind, ClosureRef};
use crate::waiter::Waiter;
use crate::work::{Holds, Latent, Place, Slot, closure_kind};

/// A closure with its slot behind it.
#[repr(C)]
struct HeapClosure<L: Latent> {
    head: Closure,
    holds: Cell<Holds>,
    slot: UnsafeCell<Slot<L>>,
}

impl<L: Latent> HeapClosure<L> {
    const KIND: &'static ClosureKind = &closure_kind::<L, InHeap>();
}

/// Makes a public closure of a call. With a `waiter` it is told of the result.
///
/// The closure may borrow: who makes it sees to it that it is done, and its
/// result taken, before the borrow ends.
pub(crate) fn new_closure<L: Latent>(call: L, waiter: Option<Waiter>) -> ClosureRef {
    let closure = Box::new(HeapClosure {
        head: Closure::new(HeapClosure::<L>::KIND, waiter),
        holds: Cell::new(Holds::Call),
        slot: UnsafeCell::new(Slot {
            call: ManuallyDrop::new(call),
        }),
    });
    let pointer = NonNull::from(Box::leak(closure)).cast();
    // SAFETY: a new closure, which `InHeap::free` frees as this box.
    unsafe { ClosureRef::from_raw(pointer) }
}

/// The place of a closure that owns its slot.
pub(crate) struct InHeap;

/// # Safety
/// The closure is the head of a `HeapClosure<L>`.
unsafe fn whole<L: Latent>(closure: &Closure) -> &HeapClosure<L> {
    // SAFETY: by the caller.
    unsafe { &*ptr::from_ref(closure).cast::<HeapClosure<L>>() }
}

// SAFETY: the slot lives as long as the closure.
unsafe impl<L: Latent> Place<L> for InHeap {
    unsafe fn slot(closure: &Closure) -> *mut Slot<L> {
        // SAFETY: closures of this place are the head of a `HeapClosure`.
        unsafe { whole::<L>(closure) }.slot.get()
    }

    unsafe fn now_holds(closure: &Closure, holds: Holds) {
        // SAFETY: as in `slot`; the caller is the only one who uses it now.
        unsafe { whole::<L>(closure) }.holds.set(holds);
    }

    unsafe fn free(closure: NonNull<Closure>) {
        // SAFETY: made from this box in `new_closure`; no reference is left.
        let closure = unsafe { Box::from_raw(closure.cast::<HeapClosure<L>>().as_ptr()) };
        let slot = closure.slot.into_inner();
        match closure.holds.get() {
            // SAFETY: `holds` says so.
            Holds::Call => drop(ManuallyDrop::into_inner(unsafe { slot.call })),
            Holds::Nothing => {}
            // SAFETY: `holds` says so.
            Holds::Result => drop(ManuallyDrop::into_inner(unsafe { slot.result })),
        }
    }
}
