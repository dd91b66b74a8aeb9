//! Continuation-passing tasks: [`Next`], and the typed frames behind it.
//!
//! A task that returns [`Next`] never waits: it ends by giving a value, or by
//! giving children and the continuation that their results go to
//! (`spawn_next!`). It holds no stack while its children run.
//!
//! A waiting closure takes 32 bytes of heap, plus for each child the larger of
//! its arguments and its result, plus what the continuation captures; the
//! allocator adds its own header. A child's result takes the place of its
//! arguments.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::closure::{Closure, ClosureRef};
use crate::frame::{CHILDREN_MAX, Continuation, Frame, FrameKind, FrameRef, drive};
use crate::heap::{InHeap, new_closure};
use crate::latent::{Node, NodeKind, Promoted};
use crate::panic::{TaskPanic, noting};
use crate::task::{Portable, Task, Value};
use crate::task_call::TaskCall;
use crate::waiter::Waiter;
use crate::work::{Latent, take_call, take_result};
use crate::worker::Worker;

/// What a continuation-passing task returns: a value, or children and what
/// comes after them.
///
/// ```text
/// #[atlas::spawn]
/// fn fib(n: u64) -> Next<u64> {
///     if n < 2 { return Next::value(n); }
///     atlas::spawn_next!(fib(n - 1), fib(n - 2) => sum())
/// }
/// ```
#[must_use = "a `Next` does nothing until a task returns it, or `sync` is called"]
pub struct Next<T> {
    inner: Inner<T>,
}

enum Inner<T> {
    Value(T),
    Frame(OwnedFrame, PhantomData<T>),
}

/// A frame that was not linked yet.
struct OwnedFrame(FrameRef);

impl<T: Portable> Next<T> {
    /// The value itself: nothing is left to do.
    #[inline(always)]
    pub fn value(value: T) -> Self {
        Self {
            inner: Inner::Value(value),
        }
    }

    /// Runs everything and waits for the value.
    ///
    /// # Panics
    /// A panic of any task that takes part is raised here.
    pub fn sync(self) -> T {
        match self.inner {
            Inner::Value(value) => value,
            Inner::Frame(..) if Worker::current().is_none() => {
                crate::runtime::run(move || self.sync())
            }
            Inner::Frame(..) => self.run_here(),
        }
    }

    fn run_here(self) -> T {
        let worker = Worker::current().expect("`sync` looked");
        let promise = new_closure(Promise(PhantomData::<T>), None);
        assert!(worker.claim(&promise), "nobody else knows it");
        // SAFETY: claimed, never run; a promise's call is nothing.
        let Promise(_) = unsafe { take_call::<Promise<T>, InHeap>(&promise) };
        let to = Continuation::closure(promise.clone());
        drive(Some(to), |_| self.settle(to));
        worker.wait_for(&promise);
        // SAFETY: this is the waiter, and it is done.
        match unsafe { take_result::<Promise<T>, InHeap>(&promise) } {
            Ok(value) => value,
            Err(panic) => panic.resume(),
        }
    }
}

/// A closure without a call, whose result comes by a continuation.
struct Promise<T>(PhantomData<T>);

impl<T: Portable> Latent for Promise<T> {
    type Output = T;
    fn run(self) -> T {
        unreachable!("a promise is claimed by who waits for it")
    }
}

// SAFETY: it holds no `T`.
unsafe impl<T> Send for Promise<T> {}

impl Drop for OwnedFrame {
    fn drop(&mut self) {
        self.0.discard();
    }
}

// SAFETY: an unlinked frame holds arguments and captured values, all `Send`.
unsafe impl Send for OwnedFrame {}

/// What a task may return: any [`Portable`] value, or a [`Next`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of an Atlas task",
    label = "cannot leave this process",
    note = "a task returns `T` or `atlas::Next<T>`, where `T` is owned, `Send`, and implements serde's `Serialize` and `DeserializeOwned`",
    note = "derive them: `#[derive(serde::Serialize, serde::Deserialize)]`; for borrowed data use `atlas::join` or `atlas::scope`"
)]
pub trait Returned: Sized {
    /// The value in the end.
    type Value: Portable;
    /// Waits for the value.
    fn finish(self) -> Self::Value;
    /// Delivers the value, or links the frame that will; a frame that is full
    /// now, if one is.
    #[doc(hidden)]
    fn settle(self, to: Continuation) -> Option<FrameRef>;
}

#[diagnostic::do_not_recommend]
impl<T: Portable> Returned for T {
    type Value = T;

    #[inline(always)]
    fn finish(self) -> T {
        self
    }

    #[inline(always)]
    fn settle(self, to: Continuation) -> Option<FrameRef> {
        // SAFETY: a continuation of a task that returns `T` expects a `T`.
        unsafe { to.deliver(self) }
    }
}

impl<T: Portable> Returned for Next<T> {
    type Value = T;

    fn finish(self) -> T {
        self.sync()
    }

    #[inline(always)]
    fn settle(self, to: Continuation) -> Option<FrameRef> {
        match self.inner {
            // SAFETY: a continuation of a task that returns `Next<T>` expects a `T`.
            Inner::Value(value) => unsafe { to.deliver(value) },
            Inner::Frame(frame, _) => {
                ManuallyDrop::new(frame).0.link(to);
                None
            }
        }
    }
}

/// Children as a tuple of tasks, up to eight.
pub trait Children: 'static {
    /// A tuple of argument tuples.
    type Args: Send;
    /// A tuple of values.
    type Values;
    /// A tuple of slots.
    #[doc(hidden)]
    type Slots;
    #[doc(hidden)]
    const SLOTS: &'static [SlotKind];
    #[doc(hidden)]
    fn into_slots(args: Self::Args) -> Self::Slots;
    /// # Safety
    /// All slots hold values.
    #[doc(hidden)]
    unsafe fn into_values(slots: Self::Slots) -> Self::Values;
}

/// A child's arguments until it is started or handed out, then its value.
#[doc(hidden)]
#[repr(C)]
pub union Slot<T: Task> {
    args: ManuallyDrop<T::Args>,
    value: ManuallyDrop<Value<T>>,
}

/// What can be done with a slot. The pointers are to the slot.
#[doc(hidden)]
pub struct SlotKind {
    /// From the start of the tuple of slots.
    pub(crate) offset: usize,
    /// Takes the arguments, runs the child and settles what it returns.
    pub(crate) start: unsafe fn(*mut (), Continuation) -> Option<FrameRef>,
    /// Takes the arguments and makes a public closure of them.
    pub(crate) hand_out: unsafe fn(*mut (), Waiter) -> ClosureRef,
    /// Moves the value of a done closure in.
    pub(crate) fill: unsafe fn(*mut (), &Closure) -> Result<(), TaskPanic>,
    pub(crate) drop_args: unsafe fn(*mut ()),
    pub(crate) drop_value: unsafe fn(*mut ()),
}

impl<T: Task> Slot<T> {
    const fn new(args: T::Args) -> Self {
        Self {
            args: ManuallyDrop::new(args),
        }
    }

    const fn kind(offset: usize) -> SlotKind {
        SlotKind {
            offset,
            start: Self::start,
            hand_out: Self::hand_out,
            fill: Self::fill,
            drop_args: Self::drop_args,
            drop_value: Self::drop_value,
        }
    }

    /// # Safety
    /// The slot holds arguments; they are taken.
    unsafe fn take_args(slot: *mut ()) -> T::Args {
        // SAFETY: by the caller.
        unsafe { slot.cast::<T::Args>().read() }
    }

    unsafe fn start(slot: *mut (), to: Continuation) -> Option<FrameRef> {
        // SAFETY: contract of `SlotKind::start`.
        let args = unsafe { Self::take_args(slot) };
        noting::<T, _>(|| T::call(args)).settle(to)
    }

    unsafe fn hand_out(slot: *mut (), waiter: Waiter) -> ClosureRef {
        // SAFETY: contract of `SlotKind::hand_out`.
        let args = unsafe { Self::take_args(slot) };
        new_closure(TaskCall::<T>(args), Some(waiter))
    }

    unsafe fn fill(slot: *mut (), closure: &Closure) -> Result<(), TaskPanic> {
        // SAFETY: `hand_out` made the closure; it is done, and this is its waiter.
        let value = unsafe { take_result::<TaskCall<T>, InHeap>(closure) }?;
        // SAFETY: the arguments were taken, the slot is empty.
        unsafe { slot.cast::<Value<T>>().write(value) };
        Ok(())
    }

    unsafe fn drop_args(slot: *mut ()) {
        // SAFETY: the slot holds arguments.
        unsafe { slot.cast::<T::Args>().drop_in_place() };
    }

    unsafe fn drop_value(slot: *mut ()) {
        // SAFETY: the slot holds a value.
        unsafe { slot.cast::<Value<T>>().drop_in_place() };
    }
}

macro_rules! children {
    ($($task:ident $index:tt),+) => {
        impl<$($task: Task),+> Children for ($($task,)+) {
            type Args = ($($task::Args,)+);
            type Values = ($(Value<$task>,)+);
            type Slots = ($(Slot<$task>,)+);
            const SLOTS: &'static [SlotKind] = &[
                $(Slot::<$task>::kind(std::mem::offset_of!(Self::Slots, $index)),)+
            ];
            fn into_slots(args: Self::Args) -> Self::Slots {
                ($(Slot::new(args.$index),)+)
            }
            unsafe fn into_values(slots: Self::Slots) -> Self::Values {
                // SAFETY: all slots hold values (caller).
                ($(ManuallyDrop::into_inner(unsafe { slots.$index.value }),)+)
            }
        }
    };
}

children!(A 0);
children!(A 0, B 1);
children!(A 0, B 1, C 2);
children!(A 0, B 1, C 2, D 3);
children!(A 0, B 1, C 2, D 3, E 4);
children!(A 0, B 1, C 2, D 3, E 4, F 5);
children!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
children!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

/// Children, then the continuation `K`, whose arguments `assemble` makes of the
/// children's values and of what was captured. `spawn_next!` expands to this.
#[inline(always)]
pub fn spawn_next<C, K, X, F>(args: C::Args, captured: X, assemble: F) -> Next<Value<K>>
where
    C: Children,
    K: Task,
    X: Send + 'static,
    F: FnOnce(C::Values, X) -> K::Args + Send + 'static,
{
    let frame = Box::new(TypedFrame::<C, K, X, F> {
        head: Frame::new(TypedFrame::<C, K, X, F>::KIND),
        slots: UnsafeCell::new(C::into_slots(args)),
        captured,
        assemble,
        continuation: PhantomData,
    });
    let frame = FrameRef::new(NonNull::from(Box::leak(frame)).cast());
    Next {
        inner: Inner::Frame(OwnedFrame(frame), PhantomData),
    }
}

/// A frame with its slots.
#[repr(C)]
struct TypedFrame<C: Children, K, X, F> {
    head: Frame,
    slots: UnsafeCell<C::Slots>,
    captured: X,
    assemble: F,
    continuation: PhantomData<K>,
}

impl<C, K, X, F> TypedFrame<C, K, X, F>
where
    C: Children,
    K: Task,
    X: Send + 'static,
    F: FnOnce(C::Values, X) -> K::Args + Send + 'static,
{
    const KIND: &'static FrameKind = &FrameKind {
        node: NodeKind {
            promote: promote_child,
            is_frame: true,
        },
        children: {
            assert!(
                C::SLOTS.len() <= CHILDREN_MAX,
                "a frame has at most eight children"
            );
            #[expect(clippy::cast_possible_truncation, reason = "checked above")]
            let children = C::SLOTS.len() as u8;
            children
        },
        slots: C::SLOTS,
        slots_offset: std::mem::offset_of!(Self, slots),
        finish: Self::finish,
        free: Self::free,
    };

    /// [`FrameKind::finish`].
    unsafe fn finish(frame: FrameRef, to: Continuation) -> Option<FrameRef> {
        // SAFETY: made as this box in `spawn_next`; the last use of the frame.
        let frame = *unsafe { Box::from_raw(frame.pointer().cast::<Self>().as_ptr()) };
        // SAFETY: the frame is full.
        let values = unsafe { C::into_values(frame.slots.into_inner()) };
        let args = (frame.assemble)(values, frame.captured);
        noting::<K, _>(|| K::call(args)).settle(to)
    }

    /// [`FrameKind::free`].
    unsafe fn free(frame: FrameRef) {
        // SAFETY: made as this box in `spawn_next`; the last use of the frame.
        // Slots are unions and drop nothing.
        drop(unsafe { Box::from_raw(frame.pointer().cast::<Self>().as_ptr()) });
    }
}

/// [`NodeKind::promote`] of frames: hands the next child out.
unsafe fn promote_child(node: *const Node) -> Promoted {
    let worker = Worker::current().expect("the owner's thread promotes");
    let frame = FrameRef::of_node(node);
    let (child, exhausted) = frame.take_child();
    let waiter = Waiter::Slot {
        pool: Arc::clone(&worker.pool),
        home: worker.index,
        continuation: Continuation::slot(frame, child),
    };
    // SAFETY: the child was not begun: its arguments are in place.
    let closure = unsafe { (frame.kind().slot(child).hand_out)(frame.place(child), waiter) };
    worker.expect_fill(closure.clone(), frame);
    Promoted { closure, exhausted }
}
