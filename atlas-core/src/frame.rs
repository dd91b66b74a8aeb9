//! Frames: waiting closures on the heap, and the loop that runs them.
//!
//! `spawn_next!` makes a frame: the arguments of its children, a slot for each
//! result, and the continuation that is called when all slots are full. A frame
//! belongs to one worker. Its children wait in it, latent: it is a node of the
//! latent list like a join's record, and thieves get its children one by one.
//! What a thief computes comes back through the owner's inbox, so that slots and
//! counters are never shared, and need no atomic operation.
//!
//! ```text
//!  spawn_next! ──▶ in the list ──(last child started or handed out)──▶ waiting
//!                                                                        │ all
//!   freed ◀── continuation called, its result goes on ◀── full ◀─────────┘ slots
//! ```
//!
//! [`run_frames`] is the trampoline: it starts the newest frame's next child,
//! delivers results, and calls continuations, in one loop and on one stack level,
//! however long the chain of waiting frames is.
//!
//! A frame whose child panics is *dead*: it drops what it has not begun, aborts
//! and awaits what was handed out, and then passes the panic on.
//!
//! The closures with join counters and the explicit continuation passing are
//! Cilk's (Blumofe et al. 1995).

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use crate::closure::{Closure, ClosureRef};
use crate::latent::{Node, NodeKind};
use crate::next::SlotKind;
use crate::panic::TaskPanic;
use crate::tls;
use crate::worker::Worker;

/// What all frames begin with. 32 bytes; slots and captured values follow.
#[repr(C)]
pub(crate) struct Frame {
    node: Node,
    /// Where the continuation's result goes: the target of a [`Continuation`].
    target: Cell<*const ()>,
    target_slot: Cell<u8>,
    /// The first child that has not been started or handed out.
    next: Cell<u8>,
    /// One bit a slot whose child has neither delivered nor failed, and
    /// [`LINKED`]. The frame is full when nothing is open.
    open: Cell<u16>,
    /// One bit a slot whose child has failed, and [`DEAD`].
    failed: Cell<u16>,
}

/// What a kind of frame can do. The first field makes it a [`NodeKind`].
///
/// All functions are called on the owner's thread.
#[repr(C)]
pub(crate) struct FrameKind {
    pub(crate) node: NodeKind,
    pub(crate) children: u8,
    pub(crate) slots: &'static [SlotKind],
    /// Where the tuple of slots begins in the frame.
    pub(crate) slots_offset: usize,
    /// Frees the full frame, calls its continuation and settles what it returns.
    pub(crate) finish: unsafe fn(FrameRef, Continuation) -> Option<FrameRef>,
    /// Drops what was captured, and frees; slots hold nothing.
    pub(crate) free: unsafe fn(FrameRef),
}

impl FrameKind {
    #[inline(always)]
    pub(crate) fn slot(&self, child: u8) -> &'static SlotKind {
        &self.slots[usize::from(child)]
    }
}

/// A frame that is alive.
#[derive(Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
pub struct FrameRef(NonNull<Frame>);

// SAFETY: a frame is used by its owner's thread; the reference travels through
// other threads inside a continuation, untouched.
unsafe impl Send for FrameRef {}

/// Where a result goes: a slot of a frame, or the result of a public closure.
#[derive(Clone, Copy)]
pub struct Continuation {
    /// A frame, or a counted reference to a closure with bit 0 set.
    target: *const (),
    slot: u8,
}

// SAFETY: as for `FrameRef`; closure references are `Send`.
unsafe impl Send for Continuation {}

/// What the trampoline is doing, for the case that user code unwinds out of it.
pub(crate) struct Driver {
    at: Cell<Continuation>,
}

impl Frame {
    pub(crate) fn new(kind: &'static FrameKind) -> Self {
        Self {
            // The first field of `FrameKind` is the `NodeKind` (`repr(C)`).
            node: Node::new(std::ptr::null(), &kind.node),
            target: Cell::new(std::ptr::null()),
            target_slot: Cell::new(0),
            next: Cell::new(0),
            open: Cell::new(LINKED | all(kind.children)),
            failed: Cell::new(0),
        }
    }

    fn continuation(&self) -> Continuation {
        Continuation {
            target: self.target.get(),
            slot: self.target_slot.get(),
        }
    }
}

impl FrameRef {
    pub(crate) fn new(frame: NonNull<Frame>) -> Self {
        Self(frame)
    }

    pub(crate) fn pointer(self) -> NonNull<Frame> {
        self.0
    }

    pub(crate) fn of_node(node: *const Node) -> Self {
        Self(NonNull::new(node.cast_mut().cast()).expect("a node of the list"))
    }

    pub(crate) fn continuation(self) -> Continuation {
        self.frame().continuation()
    }

    fn frame<'frame>(self) -> &'frame Frame {
        // SAFETY: a `FrameRef` is used while its frame is alive: until `finish`
        // or `free`, which are the last that is done with it.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn kind(self) -> &'static FrameKind {
        let kind = std::ptr::from_ref(self.frame().node.kind().expect("frames keep their kind"));
        // SAFETY: a frame's node kind is the first field of its `FrameKind`.
        unsafe { &*kind.cast::<FrameKind>() }
    }

    /// Takes the next child for a thief: its number, and whether it was the last.
    pub(crate) fn take_child(self) -> (u8, bool) {
        let child = self.frame().next.get();
        self.frame().next.set(child + 1);
        (child, child + 1 == self.kind().children)
    }

    /// The slot of a child.
    #[inline(always)]
    pub(crate) fn place(self, child: u8) -> *mut () {
        let kind = self.kind();
        let offset = kind.slots_offset + kind.slot(child).offset;
        self.0.as_ptr().wrapping_byte_add(offset).cast()
    }

    /// Links the frame into the running strand's list, with `to` as the place of
    /// its result.
    #[inline(always)]
    pub(crate) fn link(self, to: Continuation) {
        let frame = self.frame();
        frame.target.set(to.target);
        frame.target_slot.set(to.slot);
        frame.node.parent.set(tls::newest());
        tls::set_newest(&raw const frame.node);
    }

    /// Takes the frame out of the list, whose newest node it is; the frame if it
    /// is full.
    #[inline(always)]
    fn unlink(self) -> Option<Self> {
        tls::set_newest(self.frame().node.parent.get());
        self.close(LINKED)
    }

    /// A child has delivered or failed: the frame if it is full now.
    #[inline(always)]
    fn settle(self, slot: u8) -> Option<Self> {
        self.close(1 << slot)
    }

    #[inline(always)]
    fn close(self, bit: u16) -> Option<Self> {
        let frame = self.frame();
        let open = frame.open.get() & !bit;
        frame.open.set(open);
        (open == 0).then_some(self)
    }

    /// Frees a frame that was never linked.
    pub(crate) fn discard(self) {
        for child in 0..self.kind().children {
            // SAFETY: no child was started: all arguments are in place.
            unsafe { (self.kind().slot(child).drop_args)(self.place(child)) };
        }
        // SAFETY: the slots are empty now, and nobody else has the frame.
        unsafe { (self.kind().free)(self) };
    }

    /// Drops the children of a linked frame that were not begun.
    fn drop_unstarted(self) {
        let frame = self.frame();
        for child in frame.next.get()..self.kind().children {
            frame.failed.set(frame.failed.get() | 1 << child);
            // SAFETY: not started: the arguments are in place.
            unsafe { (self.kind().slot(child).drop_args)(self.place(child)) };
            let full = self.settle(child);
            debug_assert!(full.is_none(), "the frame is still linked");
        }
        frame.next.set(self.kind().children);
    }
}

impl Continuation {
    /// No place at all.
    const NOWHERE: Self = Self {
        target: std::ptr::null(),
        slot: 0,
    };

    pub(crate) fn closure(closure: ClosureRef) -> Self {
        let target = closure.into_raw().as_ptr().cast_const().cast::<()>();
        Self {
            target: target.map_addr(|address| address | CLOSURE),
            slot: 0,
        }
    }

    pub(crate) fn slot(frame: FrameRef, slot: u8) -> Self {
        Self {
            target: frame.0.as_ptr().cast_const().cast(),
            slot,
        }
    }

    pub(crate) fn target(self) -> Target {
        let pointer = self
            .target
            .map_addr(|address| address & !CLOSURE)
            .cast_mut();
        let pointer = NonNull::new(pointer).expect("a continuation goes somewhere");
        if self.target.addr() & CLOSURE == 0 {
            return Target::Slot(FrameRef(pointer.cast()), self.slot);
        }
        // SAFETY: the reference that `Continuation::closure` keeps; a
        // continuation is used once.
        Target::Closure(unsafe { ClosureRef::from_raw(pointer.cast()) })
    }

    /// True if the result of `closure` depends on what comes here.
    pub(crate) fn leads_to(self, closure: &ClosureRef) -> bool {
        let mut at = self;
        while at.target.addr() & CLOSURE == 0 {
            let frame = NonNull::new(at.target.cast_mut().cast());
            let frame = FrameRef(frame.expect("a continuation goes somewhere"));
            at = frame.continuation();
        }
        at.target.addr() & !CLOSURE == std::ptr::from_ref(&**closure).addr()
    }

    /// Delivers a value; the frame that is full now, if one is.
    ///
    /// # Safety
    /// The continuation expects a `V`, and is used once.
    #[inline(always)]
    pub(crate) unsafe fn deliver<V>(self, value: V) -> Option<FrameRef> {
        match self.target() {
            Target::Slot(frame, slot) => {
                // SAFETY: the slot is empty, its child having been started, and
                // it is for a `V` (caller).
                unsafe { frame.place(slot).cast::<V>().write(value) };
                frame.settle(slot)
            }
            Target::Closure(closure) => {
                // SAFETY: whoever made this continuation has claimed the closure.
                let place = unsafe { (closure.kind().result)(&closure) };
                // SAFETY: a result place for a `V` (caller).
                unsafe { place.cast::<Result<V, TaskPanic>>().write(Ok(value)) };
                closure.complete();
                None
            }
        }
    }

    /// Delivers a panic; the frame that is settled now, if one is.
    fn fail(self, panic: TaskPanic) -> Option<FrameRef> {
        match self.target() {
            Target::Slot(frame, slot) => {
                mourn(frame, panic);
                let failed = &frame.frame().failed;
                failed.set(failed.get() | 1 << slot);
                frame.settle(slot)
            }
            Target::Closure(closure) => {
                // SAFETY: whoever made this continuation has claimed the closure
                // and taken its call.
                unsafe { closure.fail(panic) };
                None
            }
        }
    }
}

/// The two kinds of places for a result.
pub(crate) enum Target {
    Slot(FrameRef, u8),
    Closure(ClosureRef),
}

impl Driver {
    fn new() -> Self {
        Self {
            at: Cell::new(Continuation::NOWHERE),
        }
    }

    /// Says whose result the user code that is called next will give.
    #[inline(always)]
    pub(crate) fn enter(&self, continuation: Continuation) {
        self.at.set(continuation);
    }

    /// True if the result of `closure` depends on what runs. `newest` is the end
    /// of the list: between two calls of user code it is a frame of this driver,
    /// if one is left.
    pub(crate) fn works_for(&self, closure: &ClosureRef, newest: *const Node) -> bool {
        let mut at = self.at.get();
        if at.target.is_null() {
            if newest.is_null() {
                return false;
            }
            at = FrameRef::of_node(newest).continuation();
        }
        at.leads_to(closure)
    }

    /// The user code has returned, and its result has been settled.
    #[inline(always)]
    fn leave(&self) {
        self.at.set(Continuation::NOWHERE);
    }
}

/// Runs `first`, which gives a frame that is full, or none, and then all frames
/// that it leaves in the list. On return each frame is done or waits for what
/// was handed out. `to` is where `first`'s result goes.
pub(crate) fn drive(to: Option<Continuation>, first: impl FnOnce(&Driver) -> Option<FrameRef>) {
    let mark = tls::newest();
    let driver = Driver::new();
    driver.at.set(to.unwrap_or(Continuation::NOWHERE));
    let mut first = Some(first);
    let mut full = None;
    loop {
        let step = crate::panic::catch_for(None, || {
            if let Some(first) = first.take() {
                full = first(&driver);
                driver.leave();
            }
            run_frames(mark, full.take(), &driver);
        });
        let Err(panic) = step else {
            return;
        };
        full = driver.at.replace(Continuation::NOWHERE).fail(panic);
    }
}

/// The trampoline: runs until the list is back at `mark`.
fn run_frames(mark: *const Node, mut full: Option<FrameRef>, driver: &Driver) {
    loop {
        while let Some(frame) = full {
            full = finish(frame, driver);
        }
        let unwanted =
            tls::want_raised() && Worker::current().is_some_and(|worker| worker.poll().is_unwanted);
        let newest = tls::newest();
        if std::ptr::eq(newest, mark) {
            return;
        }
        if unwanted {
            full = kill(FrameRef::of_node(newest));
            continue;
        }
        let frame = FrameRef::of_node(newest);
        let head = frame.frame();
        let child = head.next.get();
        let kind = frame.kind();
        let mut last = child + 1 == kind.children;
        if !head.node.is_unmarked() {
            match come_back(frame) {
                Marked::Exhausted(ready) => {
                    full = ready;
                    continue;
                }
                Marked::HasChild => last = false,
                Marked::HasLastChild => last = true,
            }
        }
        head.next.set(child + 1);
        if last {
            // The child that starts now is open still.
            let _ = frame.unlink();
        }
        let to = Continuation::slot(frame, child);
        driver.enter(to);
        // SAFETY: the child was not started or handed out before.
        full = unsafe { (kind.slot(child).start)(frame.place(child), to) };
        driver.leave();
    }
}

/// What the owner finds when it comes back to a marked frame.
enum Marked {
    HasChild,
    HasLastChild,
    /// All children are gone; the frame is out of the list, and perhaps full.
    Exhausted(Option<FrameRef>),
}

/// The owner has come back to a marked frame, the newest of the list.
#[cold]
fn come_back(frame: FrameRef) -> Marked {
    let head = frame.frame();
    let left = frame.kind().children - head.next.get();
    if left > 1 && head.failed.get() == 0 {
        return Marked::HasChild;
    }
    if let Some(worker) = Worker::current() {
        worker.take_back(&raw const head.node);
        if left == 0 {
            worker.forget_promoted();
        }
    }
    if left == 1 && head.failed.get() == 0 {
        return Marked::HasLastChild;
    }
    frame.drop_unstarted();
    Marked::Exhausted(frame.unlink())
}

/// Ends a frame all of whose slots are settled.
#[inline(always)]
fn finish(frame: FrameRef, driver: &Driver) -> Option<FrameRef> {
    if frame.frame().failed.get() != 0 {
        return bury(frame);
    }
    let to = frame.frame().continuation();
    driver.enter(to);
    // SAFETY: all slots are full.
    let full = unsafe { (frame.kind().finish)(frame, to) };
    driver.leave();
    full
}

/// Nobody wants the result of what runs: fails the newest frame of the list.
#[cold]
fn kill(frame: FrameRef) -> Option<FrameRef> {
    if let Some(worker) = Worker::current() {
        worker.take_back(&raw const frame.frame().node);
    }
    mourn(frame, TaskPanic::aborted());
    frame.drop_unstarted();
    frame.unlink()
}

/// Keeps a dead frame's first panic, and makes its owner look.
#[cold]
fn mourn(frame: FrameRef, panic: TaskPanic) {
    let head = frame.frame();
    head.node.mark();
    if head.failed.get() & DEAD != 0 {
        return;
    }
    head.failed.set(head.failed.get() | DEAD);
    MOURNED.with_borrow_mut(|dead| dead.push((frame, panic)));
    if let Some(worker) = Worker::current() {
        worker.abort_awaited(|other| other == frame);
    }
}

/// Frees a dead frame and passes its panic on.
#[cold]
fn bury(frame: FrameRef) -> Option<FrameRef> {
    let head = frame.frame();
    let continuation = head.continuation();
    for child in 0..frame.kind().children {
        if head.failed.get() & 1 << child == 0 {
            // SAFETY: settled and not failed: the slot holds a value.
            unsafe { (frame.kind().slot(child).drop_value)(frame.place(child)) };
        }
    }
    // SAFETY: the slots are empty now; this is the last use.
    unsafe { (frame.kind().free)(frame) };
    let panic = MOURNED.with_borrow_mut(|dead| {
        let at = dead.iter().position(|(other, _)| *other == frame);
        dead.swap_remove(at.expect("a dead frame has a panic")).1
    });
    continuation.fail(panic)
}

/// A handed-out child is done: moves its result into the slot. The frame, if it
/// is settled now.
pub(crate) fn fill(continuation: Continuation, closure: &Closure) -> Option<FrameRef> {
    let Target::Slot(frame, slot) = continuation.target() else {
        unreachable!("only frames are filled through an inbox");
    };
    // SAFETY: the child was handed out, and its closure is done.
    match unsafe { (frame.kind().slot(slot).fill)(frame.place(slot), closure) } {
        Ok(()) => frame.settle(slot),
        Err(panic) => continuation.fail(panic),
    }
}

/// Runs the continuation of a settled frame, and what follows from it.
pub(crate) fn run_full(frame: FrameRef) {
    let worker = Worker::current().expect("frames are full on their worker");
    drive(None, |driver| {
        worker.set_driver(driver);
        Some(frame)
    });
    worker.set_driver(std::ptr::null());
}

/// The mask of `children` slots.
const fn all(children: u8) -> u16 {
    (1 << children) - 1
}

thread_local! {
    /// The panics of this worker's dead frames.
    static MOURNED: RefCell<Vec<(FrameRef, TaskPanic)>> = const { RefCell::new(Vec::new()) };
}

/// The bit that tells a closure from a frame in a continuation.
const CLOSURE: usize = 1;
/// In `open`: the frame is in the latent list.
const LINKED: u16 = 1 << 8;
/// In `failed`: the frame will not call its continuation.
const DEAD: u16 = 1 << 8;
/// A frame keeps one bit a slot.
pub(crate) const CHILDREN_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_of_a_waiting_closure_takes_32_bytes() {
        assert_eq!(size_of::<Frame>(), 32);
    }
}
