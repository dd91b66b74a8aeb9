//! A task with its arguments, as latent work: the portable kind.

use std::marker::PhantomData;

use crate::closure::ClosureRef;
use crate::frame::{Continuation, drive};
use crate::join::join_latent;
use crate::next::Returned;
use crate::panic::NotePath;
use crate::portable::{decode, encode};
use crate::task::{Task, TaskInfo, Value};
use crate::work::{Hooks, Latent, Place};

/// Runs `a` with the call of a task latent, then the task. `join!` expands to
/// this.
#[inline(always)]
pub fn join_task<T, A, RA>(args: T::Args, a: A) -> (RA, Value<T>)
where
    T: Task,
    A: FnOnce() -> RA + Send,
    RA: Send,
{
    join_latent(a, TaskCall::<T>(args))
}

/// Calls a task and waits for its value. `join!` expands to this for its first
/// child.
#[inline(always)]
pub fn call_task<T: Task>(args: T::Args) -> Value<T> {
    TaskCall::<T>(args).run()
}

/// A task with its arguments.
pub(crate) struct TaskCall<T: Task>(pub(crate) T::Args);

impl<T: Task> Latent for TaskCall<T> {
    type Output = Value<T>;
    const PATH: Option<&'static str> = Some(T::PATH);
    const HOOKS: Option<Hooks<Self>> = Some(Hooks {
        task: info::<T>,
        encode: |call| encode(info::<T>(), &call.0),
        decode_result: decode,
    });

    #[inline(always)]
    fn run(self) -> Value<T> {
        let note = NotePath::<T>(PhantomData);
        let value = T::call(self.0).finish();
        std::mem::forget(note);
        value
    }

    fn run_as<P: Place<Self>>(self, closure: &ClosureRef) {
        let to = Continuation::closure(closure.clone());
        drive(Some(to), |_| {
            let note = NotePath::<T>(PhantomData);
            let returned = T::call(self.0);
            std::mem::forget(note);
            returned.settle(to)
        });
    }
}

fn info<T: Task>() -> &'static TaskInfo {
    const { &TaskInfo::of::<T>() }
}
