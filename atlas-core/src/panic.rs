//! A panic on its way from a task to the sync of its parent.
//!
//! Inline children unwind through their parent's frame by themselves. Where a
//! child ran on another stack, thread or machine, its panic is caught there,
//! carried as a [`TaskPanic`], and raised again at the sync. The path of the
//! innermost task is noted while unwinding passes its call, so it is the same
//! under any schedule.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::task::Task;

/// A panic of a task: where, and what it said.
pub struct TaskPanic {
    task: Option<String>,
    message: String,
    payload: Option<Box<dyn Any + Send>>,
}

impl TaskPanic {
    /// A panic that arrived from elsewhere as text.
    #[must_use]
    pub fn new(task: Option<String>, message: String) -> Self {
        Self {
            task,
            message,
            payload: None,
        }
    }

    /// The path of the task that panicked; `None` outside of any task.
    #[must_use]
    pub fn task(&self) -> Option<&str> {
        self.task.as_deref()
    }

    /// What the panic said.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// True if the task did not fail by itself but was aborted, because nobody
    /// wanted its result.
    #[must_use]
    pub fn is_abort(&self) -> bool {
        self.payload
            .as_ref()
            .is_some_and(|payload| payload.is::<Aborted>())
    }

    /// Goes on unwinding, with the original payload if the panic happened in
    /// this process, and with the message as a `String` otherwise.
    pub fn resume(self) -> ! {
        if let Some(task) = self.task {
            NOTED.set(Some(task));
        }
        resume_unwind(self.payload.unwrap_or_else(|| Box::new(self.message)))
    }

    /// What a child that nobody wants ends with.
    pub(crate) fn aborted() -> Self {
        Self {
            task: None,
            message: "aborted: nobody wants the result".to_owned(),
            payload: Some(Box::new(Aborted)),
        }
    }

    /// A caught payload, with the noted task, or else `task`.
    pub(crate) fn caught(payload: Box<dyn Any + Send>, task: Option<&'static str>) -> Self {
        let message = match (
            payload.downcast_ref::<&str>(),
            payload.downcast_ref::<String>(),
        ) {
            (Some(text), _) => (*text).to_owned(),
            (None, Some(text)) => text.clone(),
            (None, None) if payload.is::<Aborted>() => return Self::aborted(),
            (None, None) => "a panic whose payload is not text".to_owned(),
        };
        Self {
            task: NOTED.take().or_else(|| task.map(str::to_owned)),
            message,
            payload: Some(payload),
        }
    }
}

impl fmt::Debug for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPanic")
            .field("task", &self.task)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Some(task) => write!(f, "task `{task}` panicked: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

impl std::error::Error for TaskPanic {}

/// Calls `f` and returns its panic as a value that names the task.
///
/// # Errors
/// The panic, if `f` panicked.
pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R, TaskPanic> {
    let noted_before = NOTED.take();
    let result = catch_for(None, f);
    NOTED.set(noted_before);
    result
}

/// Calls `f` on behalf of `task` and catches its panic.
pub(crate) fn catch_for<R>(
    task: Option<&'static str>,
    f: impl FnOnce() -> R,
) -> Result<R, TaskPanic> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| TaskPanic::caught(payload, task))
}

/// Unwinds the running strand, because nobody wants its result.
pub(crate) fn unwind_aborted() -> ! {
    resume_unwind(Box::new(Aborted))
}

/// Takes the note of the unwinding that passes now, which another strand of this
/// thread must not see.
pub(crate) fn take_note() -> Option<String> {
    NOTED.take()
}

/// Puts back what [`take_note`] took.
pub(crate) fn set_note(note: Option<String>) {
    NOTED.set(note);
}

/// Calls `f` on behalf of a task, whose path is noted if `f` unwinds.
#[inline(always)]
pub(crate) fn noting<T: Task, R>(f: impl FnOnce() -> R) -> R {
    let note = NotePath::<T>(PhantomData);
    let result = f();
    std::mem::forget(note);
    result
}

/// Ends the process with this message if it is dropped by unwinding; forgotten
/// otherwise.
pub(crate) struct AbortOnUnwind(pub(crate) &'static str);

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!("atlas: {}", self.0);
        std::process::abort();
    }
}

/// Notes a task's path if it is dropped by unwinding; forgotten otherwise. It
/// has no size, so that the fast path stores nothing for it.
struct NotePath<T: Task>(PhantomData<T>);

impl<T: Task> Drop for NotePath<T> {
    #[inline(always)]
    fn drop(&mut self) {
        note(T::PATH);
    }
}

#[cold]
#[inline(never)]
fn note(path: &'static str) {
    let noted = NOTED.take();
    NOTED.set(noted.or_else(|| Some(path.to_owned())));
}

/// The payload of an abort.
struct Aborted;

thread_local! {
    /// The innermost task that the current unwinding has passed.
    static NOTED: Cell<Option<String>> = const { Cell::new(None) };
}
