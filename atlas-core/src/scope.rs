//! `scope`: any number of children that may borrow from the caller's frame.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use crate::closure::ClosureRef;
use crate::heap::new_closure;
use crate::join::Body;
use crate::panic::{TaskPanic, catch_for};
use crate::runtime;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::waiter::Waiter;
use crate::worker::Worker;

/// Where [`scope`]'s children are spawned. `'scope` is what they may borrow.
pub struct Scope<'scope> {
    counter: Arc<ScopeCounter>,
    /// Invariant in `'scope`, as a store of closures that borrow for it.
    marker: PhantomData<&'scope mut &'scope ()>,
}

/// Runs `op`, which may spawn children that borrow from outside the scope, and
/// returns when all of them are done. The signature is rayon's.
///
/// # Panics
/// The first panic of `op` or of a child is raised again here, after all
/// children are done.
///
/// ```
/// let mut parts = [0, 0];
/// let (left, right) = parts.split_at_mut(1);
/// atlas_core::scope(|scope| {
///     scope.spawn(|_| left[0] = 1);
///     scope.spawn(|_| right[0] = 2);
/// });
/// assert_eq!(parts, [1, 2]);
/// ```
pub fn scope<'scope, OP, R>(op: OP) -> R
where
    OP: FnOnce(&Scope<'scope>) -> R + Send,
    R: Send,
{
    runtime::run(move || {
        let worker = Worker::current().expect("inside `run`");
        let done = new_closure(Body(|| ()), None);
        assert!(worker.claim(&done), "nobody else knows it");
        let scope = Scope {
            counter: Arc::new(ScopeCounter::new(done.clone())),
            marker: PhantomData,
        };
        let result = catch_for(None, || op(&scope));
        scope.counter.child_done();
        worker.wait_for(&done);
        match (result, scope.counter.take_panic()) {
            (Ok(result), None) => result,
            (Err(panic), _) | (Ok(_), Some(panic)) => panic.resume(),
        }
    })
}

impl<'scope> Scope<'scope> {
    /// Spawns a child. It may start at once on another worker, and runs on this
    /// one at the latest when the scope waits for it.
    pub fn spawn<BODY>(&self, body: BODY)
    where
        BODY: FnOnce(&Scope<'scope>) + Send + 'scope,
    {
        let counter = Arc::clone(&self.counter);
        counter.children.add();
        let child = Scope {
            counter: Arc::clone(&counter),
            marker: PhantomData,
        };
        let body = Body(move || {
            if let Err(panic) = catch_for(None, || body(&child)) {
                child.counter.keep_panic(panic);
            }
        });
        // What `body` borrows lives until `scope` has seen all children done.
        runtime::publish(new_closure(body, Some(Waiter::Scope(counter))));
    }
}

// SAFETY: a scope is a counted reference and a marker.
unsafe impl Send for Scope<'_> {}
// SAFETY: `spawn` takes only `Send` bodies.
unsafe impl Sync for Scope<'_> {}

/// The join counter of a scope.
pub(crate) struct ScopeCounter {
    children: JoinCounter,
    /// Completed when the last child is done.
    done: ClosureRef,
    panic: Mutex<Option<TaskPanic>>,
}

impl ScopeCounter {
    fn new(done: ClosureRef) -> Self {
        Self {
            children: JoinCounter::new(),
            done,
            panic: Mutex::new(None),
        }
    }

    /// A child, or the scope's own body, is done.
    pub(crate) fn child_done(&self) {
        if self.children.remove() {
            // SAFETY: claimed in `scope`, and its call is nothing; the counter
            // reaches zero once.
            unsafe { (self.done.kind().discard)(&self.done) };
            // SAFETY: as above: a place for the result of `|| ()`.
            let place = unsafe { (self.done.kind().result)(&self.done) };
            // SAFETY: as above.
            unsafe { place.cast::<Result<(), TaskPanic>>().write(Ok(())) };
            self.done.complete();
        }
    }

    fn keep_panic(&self, panic: TaskPanic) {
        self.lock().get_or_insert(panic);
    }

    fn take_panic(&self) -> Option<TaskPanic> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<TaskPanic>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts what is not done yet; starts at one, for the body itself.
pub(crate) struct JoinCounter(AtomicUsize);

impl JoinCounter {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(1))
    }

    /// One more. The caller is counted itself, so the counter is not zero.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One is done; true for the last. Release and Acquire pair among the
    /// decrements: the last sees what all others did.
    pub(crate) fn remove(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }
}
