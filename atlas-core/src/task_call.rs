//! A task with its arguments, as latent work: the portable kind.

use crate::closure::ClosureRef;
use crate::frame::{Continuation, drive};
use crate::join::join_latent;
use crate::next::Returned;
use crate::panic::noting;
use crate::portable::{decode, encode};
use crate::task::{Task, TaskInfo, Value};
use crate::work::{Hooks, Latent, Place};

/// Runs `a` with the call of a task latent, then `call`, which is that call.
/// `join!` expands to this: `call` names the function as the caller sees it, so
/// that the compiler may inline it where nobody has stolen it.
#[inline(always)]
pub fn join_task<T, A, RA, C>(args: T::Args, a: A, call: C) -> (RA, Value<T>)
where
    T: Task,
    A: FnOnce() -> RA + Send,
    RA: Send,
    C: FnOnce(T::Args) -> T::Returned + Send,
{
    join_latent(a, TaskCall::<T>(args), |TaskCall(args)| {
        call_task::<T, C>(args, call)
    })
}

/// Calls a task by `call` and waits for its value. `join!` expands to this for
/// its first child.
#[inline(always)]
pub fn call_task<T, C>(args: T::Args, call: C) -> Value<T>
where
    T: Task,
    C: FnOnce(T::Args) -> T::Returned,
{
    noting::<T, _>(|| call(args).finish())
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

    fn run(self) -> Value<T> {
        call_task::<T, _>(self.0, T::call)
    }

    fn run_as<P: Place<Self>>(self, closure: &ClosureRef) {
        let to = Continuation::closure(closure.clone());
        drive(Some(to), |_| noting::<T, _>(|| T::call(self.0)).settle(to));
    }
}

fn info<T: Task>() -> &'static TaskInfo {
    const { &TaskInfo::of::<T>() }
}
