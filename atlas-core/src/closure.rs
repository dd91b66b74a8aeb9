//! The public closure: work that more than one thread can see.
//!
//! A latent record becomes a public closure when it is promoted; `spawn!`,
//! `scope` and closures that come from outside are public from the start. It is
//! reference-counted, because the deque may still hold a reference after the
//! owner has taken the work back: such a stale reference is dropped by whoever
//! finds it.
//!
//! State word (`state`), bits:
//!
//! ```text
//!            claim (thief, owner, host)          complete
//!   READY ────────────────────────────▶ CLAIMED ──────────▶ CLAIMED|DONE
//!      │                                   │
//!      └── + WAITING: a waiter is written  └── + ABORT: nobody wants the result
//! ```
//!
//! STAYS says that the closure is never lent; it changes nothing else.
//!
//! | field | who may touch it | when |
//! | --- | --- | --- |
//! | `work` (through `kind`) | the claimer | from its claim to `complete` |
//! | result (through `kind`) | the claimer writes, the waiter reads | before `complete`; after it has seen `DONE` |
//! | `waiter` | the waiting side writes | before it sets `WAITING` |
//! | `waiter` | the completer reads | after `complete` has seen `WAITING` |
//! | `runner` | the claimer writes, an aborter reads | any time (atomic) |

use std::any::Any;
use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::OnceLock;

use crate::checkpoint::Key;
use crate::measure::{self, Origin};
use crate::panic::TaskPanic;
use crate::portable::{CodecError, EncodeError};
use crate::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
use crate::task::TaskInfo;
use crate::waiter::Waiter;

/// The head of every public closure; the typed rest follows it in memory
/// (`#[repr(C)]`), or stands in the parent's frame.
#[repr(C)]
pub(crate) struct Closure {
    refs: AtomicUsize,
    state: State,
    /// Who claimed it (`Pool::runner`), or [`NO_RUNNER`].
    runner: AtomicUsize,
    waiter: UnsafeCell<Waiter>,
    kind: &'static ClosureKind,
    /// Written once, before it is public; none where nothing is measured.
    origin: OnceLock<Origin>,
}

/// What a kind of closure can do. Each function's contract on `state` stands in
/// the table above.
pub(crate) struct ClosureKind {
    /// Runs the work and completes the closure, now or (continuation-passing
    /// tasks) later. The caller has claimed it.
    pub(crate) execute: unsafe fn(&ClosureRef),
    /// Drops the work without running it. The caller has claimed it.
    pub(crate) discard: unsafe fn(&Closure),
    /// Where the result is to be written, as `*mut Result<V, TaskPanic>` of the
    /// value type `V`. The caller has claimed the closure and writes it at once.
    pub(crate) result: unsafe fn(&Closure) -> *mut (),
    /// Writes a failure as the result. The caller has claimed it.
    pub(crate) fail: unsafe fn(&Closure, TaskPanic),
    /// Frees the memory. No reference is left.
    pub(crate) free: unsafe fn(NonNull<Closure>),
    /// What is needed to move it to another process, for tasks.
    pub(crate) portable: Option<PortableKind>,
}

/// How a closure of a task leaves the process, and how its result comes back.
#[derive(Clone, Copy)]
pub(crate) struct PortableKind {
    /// The task.
    pub(crate) task: fn() -> &'static TaskInfo,
    /// Encodes the arguments in at most so many bytes, and leaves them in place.
    /// The caller has claimed it.
    pub(crate) encode: unsafe fn(&Closure, usize) -> Result<Vec<u8>, EncodeError>,
    /// The name of its result, if it may be kept. The caller has claimed it, and it has not run.
    pub(crate) key: unsafe fn(&Closure) -> Option<Key>,
    /// Encodes its result in so many bytes at most; none for a failure. The caller has claimed it and written the
    /// result, or is its waiter and has seen it done.
    pub(crate) encode_result: unsafe fn(&Closure, usize) -> Option<Vec<u8>>,
    /// Decodes a result, which nobody but `fill` can use.
    pub(crate) decode: fn(&[u8]) -> Result<ErasedValue, CodecError>,
    /// Drops the arguments that were kept, and writes what `decode` gave as the
    /// result. The caller has claimed it.
    pub(crate) fill: unsafe fn(&Closure, ErasedValue),
}

/// A decoded result without its type.
pub(crate) type ErasedValue = Box<dyn Any + Send>;

/// The state word and its transitions, apart from the memory that they guard.
pub(crate) struct State(AtomicU32);

impl State {
    pub(crate) fn ready() -> Self {
        Self(AtomicU32::new(READY))
    }

    /// Takes the work; false if somebody else has. Acquire pairs with the
    /// Release by which the closure became public (the deque's push), so that
    /// a second claimer after [`State::unclaim`] sees what the first left.
    pub(crate) fn claim(&self) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        while seen & CLAIMED == 0 {
            match self.0.compare_exchange_weak(
                seen,
                seen | CLAIMED,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// True if a reference that a queue still holds is of no use.
    pub(crate) fn is_claimed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CLAIMED != 0
    }

    /// Gives back work that was claimed and not begun.
    pub(crate) fn unclaim(&self) {
        self.0.fetch_and(!CLAIMED, Ordering::Release);
    }

    /// The result is written; true if a waiter is to be told. Release publishes
    /// the result to [`State::is_done`] and [`State::wait`]; Acquire pairs with
    /// the Release of `wait`, which published the waiter.
    pub(crate) fn complete(&self) -> bool {
        self.0.fetch_or(DONE, Ordering::AcqRel) & WAITING != 0
    }

    /// The waiter is written; false if the result was there first. Release
    /// publishes the waiter to [`State::complete`]; Acquire pairs with its
    /// Release.
    pub(crate) fn wait(&self) -> bool {
        self.0.fetch_or(WAITING, Ordering::AcqRel) & DONE == 0
    }

    /// True once the result can be read. Acquire pairs with `complete`.
    pub(crate) fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire) & DONE != 0
    }

    /// Says that nobody wants the result. An aborter sets the bit, then reads
    /// the runner; a runner writes itself, then reads the bit. Both access this
    /// word by a read-modify-write: the later one sees what the other did
    /// before (Release and Acquire pair between the two).
    pub(crate) fn abort(&self) {
        self.0.fetch_or(ABORT, Ordering::AcqRel);
    }

    /// See [`State::abort`]; a load could miss the bit.
    pub(crate) fn is_aborted(&self) -> bool {
        self.0.fetch_or(0, Ordering::AcqRel) & ABORT != 0
    }

    /// Says that the closure is never lent. Whoever has claimed it says and asks
    /// so: the order is that of the claims.
    pub(crate) fn stay(&self) {
        self.0.fetch_or(STAYS, Ordering::Relaxed);
    }

    pub(crate) fn stays(&self) -> bool {
        self.0.load(Ordering::Relaxed) & STAYS != 0
    }
}

impl Closure {
    pub(crate) fn new(kind: &'static ClosureKind, waiter: Option<Waiter>) -> Self {
        let state = State::ready();
        if waiter.is_some() {
            state.wait();
        }
        Self {
            refs: AtomicUsize::new(1),
            state,
            runner: AtomicUsize::new(NO_RUNNER),
            waiter: UnsafeCell::new(waiter.unwrap_or(Waiter::Nobody)),
            kind,
            origin: OnceLock::new(),
        }
    }

    /// Says where it comes from, to the measures. The first who says it is believed.
    pub(crate) fn set_origin(&self, origin: Origin) {
        let _ = self.origin.set(origin);
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.get()
    }

    pub(crate) fn kind(&self) -> &'static ClosureKind {
        self.kind
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state.is_done()
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.state.is_aborted()
    }

    /// Says that it is never lent; the caller has claimed it.
    pub(crate) fn stay(&self) {
        self.state.stay();
    }

    /// True if it is never lent; the caller has claimed it.
    pub(crate) fn stays(&self) -> bool {
        self.state.stays()
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.state.is_claimed()
    }

    /// Takes the work for this runner.
    pub(crate) fn claim(&self, runner: usize) -> bool {
        let claimed = self.state.claim();
        if claimed {
            self.runner.store(runner, Ordering::Relaxed);
        }
        claimed
    }

    pub(crate) fn unclaim(&self) {
        self.runner.store(NO_RUNNER, Ordering::Relaxed);
        self.state.unclaim();
    }

    /// Who has claimed it.
    pub(crate) fn runner(&self) -> Option<usize> {
        let runner = self.runner.load(Ordering::Relaxed);
        (runner != NO_RUNNER).then_some(runner)
    }

    /// Registers who is told of the result; false if the result was there first.
    ///
    /// # Safety
    /// The caller is the only waiter and has registered none before.
    pub(crate) unsafe fn wait(&self, waiter: Waiter) -> bool {
        // SAFETY: table row `waiter`: written by the waiting side before WAITING.
        unsafe { *self.waiter.get() = waiter };
        self.state.wait()
    }

    /// Says that nobody wants the result. Work that was not begun is dropped
    /// and true returned; running work is told by the caller.
    pub(crate) fn abort(&self) -> bool {
        self.state.abort();
        if !self.state.claim() {
            return false;
        }
        // SAFETY: claimed just now.
        unsafe { (self.kind.discard)(self) };
        // SAFETY: claimed, and the work is gone: `fail` only writes the result.
        unsafe { (self.kind.fail)(self, TaskPanic::aborted()) };
        self.complete();
        true
    }

    /// Publishes the result and tells the waiter.
    pub(crate) fn complete(&self) {
        if self.origin.get().is_some() {
            measure::settle(self);
        }
        if self.state.complete() {
            // SAFETY: table row `waiter`: `complete` has seen WAITING, and runs once.
            let waiter = unsafe { (*self.waiter.get()).take() };
            waiter.tell(self);
        }
    }

    /// Writes a failure and publishes it.
    ///
    /// # Safety
    /// The caller has claimed the closure, and its work is gone.
    pub(crate) unsafe fn fail(&self, panic: TaskPanic) {
        // SAFETY: passed on to the caller.
        unsafe { (self.kind.fail)(self, panic) };
        self.complete();
    }

    /// The name of its result, if it has one.
    ///
    /// # Safety
    /// The caller has claimed the closure, and it has not run.
    pub(crate) unsafe fn key(&self) -> Option<Key> {
        // SAFETY: passed on to the caller.
        unsafe { (self.kind.portable?.key)(self) }
    }

    /// Its result in so many bytes at most.
    ///
    /// # Safety
    /// The caller has claimed the closure and written the result, or is its waiter and has seen it done.
    pub(crate) unsafe fn encode_result(&self, bytes_max: usize) -> Option<Vec<u8>> {
        // SAFETY: passed on to the caller.
        unsafe { (self.kind.portable?.encode_result)(self, bytes_max) }
    }

    /// Decodes its result and writes it; the caller completes it then. False if these bytes are no result.
    ///
    /// # Safety
    /// The caller has claimed the closure, and it has not run.
    pub(crate) unsafe fn fill_with(&self, bytes: &[u8]) -> bool {
        let Some(portable) = self.kind.portable else {
            return false;
        };
        let Ok(value) = (portable.decode)(bytes) else {
            return false;
        };
        // SAFETY: passed on to the caller; the value was decoded for this kind of closure.
        unsafe { (portable.fill)(self, value) };
        true
    }

    /// The task of a portable closure.
    pub(crate) fn task(&self) -> Option<&'static TaskInfo> {
        self.kind.portable.map(|portable| (portable.task)())
    }
}

/// A counted reference to a closure.
pub(crate) struct ClosureRef(NonNull<Closure>);

// SAFETY: a closure's fields are shared by the rules of the table above; what
// its work and result hold is `Send` (bounds at the places that make closures).
unsafe impl Send for ClosureRef {}
// SAFETY: as above.
unsafe impl Sync for ClosureRef {}

impl ClosureRef {
    /// Takes over the one reference that a new closure starts with.
    ///
    /// # Safety
    /// The pointer comes from a new closure whose memory `kind.free` can free.
    pub(crate) unsafe fn from_raw(closure: NonNull<Closure>) -> Self {
        Self(closure)
    }

    /// One more reference to a closure that somebody else keeps alive now.
    pub(crate) fn of(closure: &Closure) -> Self {
        closure.refs.fetch_add(1, Ordering::Relaxed);
        Self(NonNull::from(closure))
    }

    /// Hands the reference over as a pointer; [`ClosureRef::from_raw`] takes it
    /// back.
    pub(crate) fn into_raw(self) -> NonNull<Closure> {
        let pointer = self.0;
        std::mem::forget(self);
        pointer
    }
}

impl std::ops::Deref for ClosureRef {
    type Target = Closure;
    fn deref(&self) -> &Closure {
        // SAFETY: a counted reference keeps the closure alive.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for ClosureRef {
    fn clone(&self) -> Self {
        Self::of(self)
    }
}

impl Drop for ClosureRef {
    fn drop(&mut self) {
        // Release: uses of this reference come before the free; the fence
        // pairs with it.
        if self.refs.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            let free = self.kind.free;
            // SAFETY: this was the last reference.
            unsafe { free(self.0) };
        }
    }
}

impl PartialEq for ClosureRef {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

const READY: u32 = 0;
const CLAIMED: u32 = 1;
const DONE: u32 = 2;
const WAITING: u32 = 4;
const ABORT: u32 = 8;
const STAYS: u32 = 16;
const NO_RUNNER: usize = usize::MAX;
