//! A task with its arguments, as latent work: the portable kind.

use crate::checkpoint::{Key, encode_result};
use crate::closure::ClosureRef;
use crate::frame::{Continuation, drive};
use crate::join::join_latent;
use crate::next::Returned;
use crate::panic::noting;
use crate::portable::{decode, encode};
use crate::task::{Task, TaskId, TaskInfo, Value};
use crate::trace;
use crate::work::{Hooks, Latent, Place};

/// Runs `first` with the call of a task latent, then the task. `join!` expands to
/// this.
#[inline(always)]
pub fn join_task<T, A>(first: A, args: T::Args) -> JoinTask<T, A>
where
    T: Task,
    A: First,
{
    JoinTask { first, args }
}

/// The first child of a `join!`: the arguments of a task and its call. `call`
/// names the function as the caller sees it, so that the compiler may inline it.
/// (Not so for the later children: their arguments come back from the latent
/// record, and an inlined body tends to load them wider than they were stored,
/// which stalls.)
#[inline(always)]
pub fn first_task<T, C>(args: T::Args, call: C) -> FirstTask<T, C>
where
    T: Task,
    C: FnOnce(T::Args) -> T::Returned + Send,
{
    FirstTask { args, call }
}

/// What a `join!` runs first on the calling worker. A closure could do the same,
/// but cannot be marked to be inlined.
pub trait First: Send {
    /// What it gives.
    type Output: Send;
    /// Runs it.
    fn run(self) -> Self::Output;
    /// The same for a place where speed does not matter: a second place that
    /// runs `call` would keep the compiler from inlining it in the first.
    type Cold: First<Output = Self::Output>;
    /// Turns it into that.
    fn cold(self) -> Self::Cold;
    /// Runs it as a child that is keyed and timed.
    fn run_traced(self) -> Self::Output;
}

/// See [`first_task`].
#[derive(Debug)]
pub struct FirstTask<T: Task, C> {
    args: T::Args,
    call: C,
}

/// See [`join_task`].
#[derive(Debug)]
pub struct JoinTask<T: Task, A> {
    first: A,
    args: T::Args,
}

impl<T, C> First for FirstTask<T, C>
where
    T: Task,
    C: FnOnce(T::Args) -> T::Returned + Send,
{
    type Output = Value<T>;

    #[inline(always)]
    fn run(self) -> Value<T> {
        call_task::<T, C>(self.args, self.call)
    }

    type Cold = FirstTask<T, fn(T::Args) -> T::Returned>;

    fn cold(self) -> Self::Cold {
        first_task(self.args, T::call)
    }

    fn run_traced(self) -> Value<T> {
        trace::run(TaskCall::<T>(self.args))
    }
}

impl<T, A> First for JoinTask<T, A>
where
    T: Task,
    A: First,
{
    type Output = (A::Output, Value<T>);

    #[inline(always)]
    fn run(self) -> Self::Output {
        join_latent(self.first, TaskCall::<T>(self.args))
    }

    type Cold = JoinTask<T, A::Cold>;

    fn cold(self) -> Self::Cold {
        join_task(self.first.cold(), self.args)
    }

    fn run_traced(self) -> Self::Output {
        trace::go_on();
        self.run()
    }
}

/// Calls a task and waits for its value.
#[inline(always)]
fn call_task<T, C>(args: T::Args, call: C) -> Value<T>
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
        encode: |call, bytes_max| encode(T::PATH, &call.0, bytes_max),
        key: |call| {
            let id = const { TaskId::of_path(T::PATH) };
            (!T::IMPURE).then(|| Key::of_child(id, &call.0))?
        },
        encode_result,
        decode_result: |bytes| Ok(Box::new(decode::<Value<T>>(bytes)?)),
        typed_result: |value| *value.downcast().expect("made by `decode_result`"),
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
