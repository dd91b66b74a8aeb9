//! `spawn!`: a child with a handle.

use std::marker::PhantomData;

use crate::closure::{Closure, ClosureRef};
use crate::heap::{InHeap, new_closure};
use crate::panic::TaskPanic;
use crate::pool;
use crate::runtime;
use crate::task::{Portable, Task, Value};
use crate::task_call::TaskCall;
use crate::work::take_result;

/// A child that was spawned. [`Handle::sync`] waits for its value; dropping the
/// handle says that nobody wants it: a child that has not begun is dropped, and
/// one that runs is unwound at its next join.
#[must_use = "dropping a handle aborts the child: call `sync`"]
pub struct Handle<T> {
    closure: Option<ClosureRef>,
    /// Takes the result; unsafe: the caller is the waiter of a done closure.
    take: unsafe fn(&Closure) -> Result<T, TaskPanic>,
    marker: PhantomData<T>,
}

/// Spawns a task. `spawn!` expands to this.
pub fn spawn_task<T: Task>(args: T::Args) -> Handle<Value<T>> {
    let closure = new_closure(TaskCall::<T>(args), None);
    runtime::publish(closure.clone());
    Handle {
        closure: Some(closure),
        take: take_result::<TaskCall<T>, InHeap>,
        marker: PhantomData,
    }
}

impl<T: Portable> Handle<T> {
    /// Waits for the child's value. If no other worker has begun the child, it
    /// runs here.
    ///
    /// # Panics
    /// A panic of the child is raised here.
    pub fn sync(self) -> T {
        match self.try_sync() {
            Ok(value) => value,
            Err(panic) => panic.resume(),
        }
    }

    /// Waits for the child's value, or for its panic.
    ///
    /// # Errors
    /// The panic of the child: the task's path and what it said.
    pub fn try_sync(mut self) -> Result<T, TaskPanic> {
        let closure = self.closure.take().expect("a handle is synced once");
        runtime::wait_or_run(&closure);
        // SAFETY: the handle is the only waiter, and the closure is done.
        unsafe { (self.take)(&closure) }
    }
}

impl<T> Handle<T> {
    /// True once [`Handle::sync`] would return at once.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.closure
            .as_ref()
            .is_some_and(|closure| closure.is_done())
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        if let Some(closure) = self.closure.take() {
            pool::abort(&closure);
        }
    }
}

impl<T> std::fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("is_done", &self.is_done())
            .finish()
    }
}
