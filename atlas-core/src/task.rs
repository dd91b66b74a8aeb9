//! What a task is: its id, its argument and result types, and the table of
//! all tasks linked into this program.
//!
//! `#[atlas::spawn]` writes one [`Task`] implementation for each function and
//! submits its [`TaskInfo`] to a link-time registry (`inventory`). Nothing here
//! knows threads; it knows how to find a task by its id and how to name it.
//!
//! Invariant: two tasks of one program never share an id. [`TaskTable::build`]
//! checks it before the first worker starts.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::next::Returned;
use crate::portable::ErasedTask;

/// A function marked `#[atlas::spawn]`.
///
/// The attribute implements this for a type of the function's name, which lives
/// in the type namespace beside the function. It is not implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an Atlas task",
    note = "mark the function with `#[atlas::spawn]`"
)]
pub trait Task: 'static + Sized {
    /// The arguments as one tuple, in the order of the parameters.
    type Args: Portable;
    /// What the function returns: a value, or a [`Next`](crate::Next).
    type Returned: Returned;
    /// Crate, module path and name: `my_crate::my_mod::my_fn`.
    const PATH: &'static str;
    /// True if a second run may give another result; such a task is never
    /// answered from a checkpoint.
    const IMPURE: bool;
    /// Calls the function.
    fn call(args: Self::Args) -> Self::Returned;
}

/// The value that a task delivers to its continuation.
pub type Value<T> = <<T as Task>::Returned as Returned>::Value;

/// What may be an argument or a result of a task: owned data that can cross to
/// another thread and, encoded, to another machine.
///
/// It holds for every `Serialize + DeserializeOwned + Send + 'static` type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument or a result of an Atlas task",
    label = "cannot leave this process",
    note = "a task's data is owned, `Send`, and implements serde's `Serialize` and `DeserializeOwned`",
    note = "derive them: `#[derive(serde::Serialize, serde::Deserialize)]`; for borrowed data use `atlas::join` or `atlas::scope`"
)]
pub trait Portable: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Portable for T {}

/// What `#[atlas::spawn]` asserts of each argument: [`Portable`] without its
/// supertraits, which the compiler would report in its place.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of an Atlas task",
    label = "cannot leave this process",
    note = "an argument is owned, `Send`, and implements serde's `Serialize` and `DeserializeOwned`",
    note = "derive them: `#[derive(serde::Serialize, serde::Deserialize)]`; for borrowed data use `atlas::join` or `atlas::scope`"
)]
pub trait Argument {}

#[diagnostic::do_not_recommend]
impl<T: Portable> Argument for T {}

/// Fails to compile for a type that cannot be an argument.
#[doc(hidden)]
#[derive(Debug)]
pub struct AssertArgument<T: Argument>(std::marker::PhantomData<T>);

/// The stable name of a task: a 64-bit hash (XXH3) of its path, equal in every
/// build target and on every platform.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
pub struct TaskId(u64);

impl TaskId {
    /// The id of the task with this path.
    #[must_use]
    pub const fn of_path(path: &str) -> Self {
        Self(xxhash_rust::const_xxh3::xxh3_64(path.as_bytes()))
    }

    /// An id from its number, as [`TaskId::number`] gave it.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The id as a number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}

/// One task of this program, as the registry holds it.
#[derive(Clone, Copy)]
pub struct TaskInfo {
    id: TaskId,
    path: &'static str,
    impure: bool,
    pub(crate) erased: ErasedTask,
}

impl TaskInfo {
    /// Describes the task `T`.
    #[must_use]
    pub const fn of<T: Task>() -> Self {
        Self {
            id: TaskId::of_path(T::PATH),
            path: T::PATH,
            impure: T::IMPURE,
            erased: ErasedTask::of::<T>(),
        }
    }

    /// The task's stable id.
    #[must_use]
    pub const fn id(&self) -> TaskId {
        self.id
    }

    /// The task's path: crate, module path and name.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// True if the task was marked `#[atlas::spawn(impure)]`.
    #[must_use]
    pub const fn impure(&self) -> bool {
        self.impure
    }
}

impl fmt::Debug for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskInfo")
            .field("id", &self.id)
            .field("path", &self.path)
            .field("impure", &self.impure)
            .finish_non_exhaustive()
    }
}

inventory::collect!(TaskInfo);

/// Two tasks hash to one id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "tasks `{first}` and `{second}` have the same id {id}: rename one of them, or move it to another module"
)]
pub struct TaskCollision {
    /// The shared id.
    pub id: TaskId,
    /// The path of the task that was found first.
    pub first: &'static str,
    /// The path of the other one.
    pub second: &'static str,
}

/// All tasks of this program by id.
#[derive(Debug, Default)]
pub struct TaskTable {
    by_id: BTreeMap<TaskId, &'static TaskInfo>,
}

impl TaskTable {
    /// Collects the tasks linked into this program.
    ///
    /// # Errors
    /// [`TaskCollision`] if two of them have one id.
    pub fn build() -> Result<Self, TaskCollision> {
        Self::from_infos(inventory::iter::<TaskInfo>())
    }

    /// Collects the given tasks.
    ///
    /// # Errors
    /// [`TaskCollision`] if two of them have one id.
    pub fn from_infos(
        infos: impl IntoIterator<Item = &'static TaskInfo>,
    ) -> Result<Self, TaskCollision> {
        let mut table = Self::default();
        for info in infos {
            if let Some(first) = table.by_id.insert(info.id, info) {
                return Err(TaskCollision {
                    id: info.id,
                    first: first.path,
                    second: info.path,
                });
            }
        }
        Ok(table)
    }

    /// The task with this id.
    #[must_use]
    pub fn find(&self, id: TaskId) -> Option<&'static TaskInfo> {
        self.by_id.get(&id).copied()
    }

    /// The number of tasks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True if the program has no task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All tasks in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &'static TaskInfo> {
        self.by_id.values().copied()
    }
}
