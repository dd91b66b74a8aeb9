//! The typed inside of a public closure: a call until it runs, its result after.
//!
//! [`Latent`] is what can be called; [`Slot`] is the memory that holds first the
//! call and then the result; [`Place`] says where a closure keeps its slot (in the
//! parent's frame, or in the closure itself). The functions of a
//! [`ClosureKind`] follow from those two, in [`closure_kind`].
//!
//! Who may touch a slot when stands in `closure.rs`; every function here is
//! called by the closure's claimer, but for reading the result, which is the
//! waiter's.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use crate::checkpoint::Key;
use crate::closure::{Closure, ClosureKind, ClosureRef, ErasedValue, PortableKind};
use crate::panic::{TaskPanic, catch, catch_for};
use crate::portable::{CodecError, EncodeError};
use crate::task::TaskInfo;

/// Work that can wait in a slot, and be run by another thread.
pub(crate) trait Latent: Send + Sized {
    /// What it gives.
    type Output: Send;
    /// The task's path, for panics.
    const PATH: Option<&'static str> = None;
    /// How it leaves the process, if it can.
    const HOOKS: Option<Hooks<Self>> = None;
    /// Runs it here, to the end.
    fn run(self) -> Self::Output;
    /// Runs it as the work of `closure`, whose call it was, and completes that
    /// once all that descends from it is done.
    fn run_as<P: Place<Self>>(self, closure: &ClosureRef) {
        let result = catch_for(Self::PATH, || self.run());
        // SAFETY: the closure is claimed and its call taken (caller).
        unsafe { put_result::<Self, P>(closure, result) };
        closure.complete();
    }
}

/// How the call of a task is encoded, and its result decoded.
pub(crate) struct Hooks<L: Latent> {
    pub(crate) task: fn() -> &'static TaskInfo,
    pub(crate) encode: fn(&L, usize) -> Result<Vec<u8>, EncodeError>,
    /// The name of the result; none if it may be another one the next time.
    pub(crate) key: fn(&L) -> Option<Key>,
    /// The result in so many bytes at most.
    pub(crate) encode_result: fn(&L::Output, usize) -> Option<Vec<u8>>,
    pub(crate) decode_result: fn(&[u8]) -> Result<ErasedValue, CodecError>,
    /// What `decode_result` gave, with its type.
    pub(crate) typed_result: fn(ErasedValue) -> L::Output,
}

/// The call until it is run, its result after.
#[repr(C)]
pub(crate) union Slot<L: Latent> {
    pub(crate) call: ManuallyDrop<L>,
    pub(crate) result: ManuallyDrop<Result<L::Output, TaskPanic>>,
}

/// What a slot holds, for places that must know it to free it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Call,
    Nothing,
    Result,
}

/// Where a public closure keeps its slot.
///
/// # Safety
/// `slot` gives the slot that the closure was made with, alive until the waiter
/// has read the result.
pub(crate) unsafe trait Place<L: Latent>: Sized {
    /// The slot.
    ///
    /// # Safety
    /// The closure is of this place, and the caller its claimer or its waiter
    /// after `is_done`.
    unsafe fn slot(closure: &Closure) -> *mut Slot<L>;
    /// Records what the slot holds from now on.
    ///
    /// # Safety
    /// As for `slot`.
    unsafe fn now_holds(_closure: &Closure, _holds: Holds) {}
    /// Frees the memory.
    ///
    /// # Safety
    /// No reference is left.
    unsafe fn free(closure: NonNull<Closure>);
}

/// The functions of a closure of `L` in the place `P`.
pub(crate) const fn closure_kind<L: Latent, P: Place<L>>() -> ClosureKind {
    ClosureKind {
        execute: execute::<L, P>,
        discard: discard::<L, P>,
        result: result::<L, P>,
        fail: fail::<L, P>,
        free: P::free,
        portable: match L::HOOKS {
            Some(hooks) => Some(PortableKind {
                task: hooks.task,
                encode: encode::<L, P>,
                key: key::<L, P>,
                encode_result: encode_result::<L, P>,
                decode: hooks.decode_result,
                fill: fill::<L, P>,
            }),
            None => None,
        },
    }
}

/// Takes the call out.
///
/// # Safety
/// The caller has claimed the closure, which is of this place, and the call is
/// still there.
pub(crate) unsafe fn take_call<L: Latent, P: Place<L>>(closure: &Closure) -> L {
    // SAFETY: by the caller.
    let slot = unsafe { P::slot(closure) };
    // SAFETY: by the caller.
    unsafe { P::now_holds(closure, Holds::Nothing) };
    // SAFETY: the call is there, and is read once.
    ManuallyDrop::into_inner(unsafe { slot.cast::<ManuallyDrop<L>>().read() })
}

/// Writes the result.
///
/// # Safety
/// The caller has claimed the closure, which is of this place, and the call is
/// gone.
pub(crate) unsafe fn put_result<L: Latent, P: Place<L>>(
    closure: &Closure,
    result: Result<L::Output, TaskPanic>,
) {
    // SAFETY: by the caller.
    let slot = unsafe { P::slot(closure) };
    // SAFETY: by the caller.
    unsafe { P::now_holds(closure, Holds::Result) };
    let result = Slot {
        result: ManuallyDrop::new(result),
    };
    // SAFETY: the slot is the claimer's, and holds nothing that needs a drop.
    unsafe { slot.write(result) };
}

/// Takes the result out.
///
/// # Safety
/// The caller is the waiter, has seen `is_done`, and takes it once.
pub(crate) unsafe fn take_result<L: Latent, P: Place<L>>(
    closure: &Closure,
) -> Result<L::Output, TaskPanic> {
    // SAFETY: by the caller.
    let slot = unsafe { P::slot(closure) };
    // SAFETY: by the caller.
    unsafe { P::now_holds(closure, Holds::Nothing) };
    // SAFETY: done, so the result is there; it is read once.
    ManuallyDrop::into_inner(unsafe {
        slot.cast::<ManuallyDrop<Result<L::Output, TaskPanic>>>()
            .read()
    })
}

unsafe fn execute<L: Latent, P: Place<L>>(closure: &ClosureRef) {
    // SAFETY: contract of `ClosureKind::execute`: claimed.
    let call = unsafe { take_call::<L, P>(closure) };
    call.run_as::<P>(closure);
}

unsafe fn discard<L: Latent, P: Place<L>>(closure: &Closure) {
    // SAFETY: contract of `ClosureKind::discard`: claimed.
    let call = unsafe { take_call::<L, P>(closure) };
    // Nobody wants this work, nor a panic of its destructor: the caller has still
    // to complete the closure, and may be a worker outside of any task.
    let _ = catch(|| drop(call));
}

unsafe fn result<L: Latent, P: Place<L>>(closure: &Closure) -> *mut () {
    // SAFETY: contract of `ClosureKind::result`: claimed, and the call is gone.
    unsafe { P::now_holds(closure, Holds::Result) };
    // SAFETY: as above. The result is at the start of the union (`repr(C)`).
    unsafe { P::slot(closure) }.cast()
}

unsafe fn fail<L: Latent, P: Place<L>>(closure: &Closure, panic: TaskPanic) {
    // SAFETY: contract of `ClosureKind::fail`: claimed, and the call is gone.
    unsafe { put_result::<L, P>(closure, Err(panic)) };
}

unsafe fn encode<L: Latent, P: Place<L>>(
    closure: &Closure,
    bytes_max: usize,
) -> Result<Vec<u8>, EncodeError> {
    // SAFETY: contract of `PortableKind::encode`: claimed, and not run.
    let slot = unsafe { P::slot(closure) };
    // SAFETY: the call is there, and stays while it is encoded.
    let call = unsafe { &*slot.cast::<L>() };
    let hooks = L::HOOKS.expect("a portable closure has hooks: `closure_kind` looked");
    (hooks.encode)(call, bytes_max)
}

unsafe fn key<L: Latent, P: Place<L>>(closure: &Closure) -> Option<Key> {
    // SAFETY: contract of `PortableKind::key`: claimed, and not run.
    let slot = unsafe { P::slot(closure) };
    // SAFETY: the call is there, and stays while it is hashed.
    let call = unsafe { &*slot.cast::<L>() };
    (L::HOOKS?.key)(call)
}

unsafe fn encode_result<L: Latent, P: Place<L>>(
    closure: &Closure,
    bytes_max: usize,
) -> Option<Vec<u8>> {
    // SAFETY: contract of `PortableKind::encode_result`: the result is the caller's.
    let slot = unsafe { P::slot(closure) };
    // SAFETY: as above, and it stays while it is encoded.
    let result = unsafe { &*slot.cast::<Result<L::Output, TaskPanic>>() };
    (L::HOOKS?.encode_result)(result.as_ref().ok()?, bytes_max)
}

unsafe fn fill<L: Latent, P: Place<L>>(closure: &Closure, value: ErasedValue) {
    let hooks = L::HOOKS.expect("a portable closure has hooks: `closure_kind` looked");
    // SAFETY: contract of `PortableKind::fill`: claimed, and not run here.
    let call = unsafe { take_call::<L, P>(closure) };
    let dropped = catch_for(L::PATH, || drop(call));
    let result = dropped.map(|()| (hooks.typed_result)(value));
    // SAFETY: the call is gone now.
    unsafe { put_result::<L, P>(closure, result) };
}
