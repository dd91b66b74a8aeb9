//! Closures and results as bytes.
//!
//! A ready closure leaves the process as its task's id and its arguments in
//! postcard; its result comes back as an [`Outcome`]. Decoding checks sizes
//! before it allocates, and every error names the task.

use serde::{Deserialize, Serialize};

use crate::closure::{Closure, ClosureRef};
use crate::heap::{InHeap, new_closure};
use crate::panic::{TaskPanic, catch_for};
use crate::task::{Portable, Task, TaskId, TaskInfo};
use crate::task_call::TaskCall;
use crate::waiter::Waiter;
use crate::work::take_result;

/// A ready closure outside of any process: a task and its encoded arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableClosure {
    /// Which task.
    pub task: TaskId,
    /// Its arguments as one postcard tuple.
    pub args: Vec<u8>,
}

/// What became of a closure that ran elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its result in postcard.
    Value(Vec<u8>),
    /// It panicked.
    Panic {
        /// The path of the innermost task that panicked.
        task: Option<String>,
        /// What it said.
        message: String,
    },
}

/// A closure cannot leave the process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Its arguments are too large.
    #[error(
        "the arguments of task `{task}` take {bytes} bytes, and at most {CLOSURE_BYTES_MAX} can be moved: \
         pass large read-only data as a shared value"
    )]
    TooLarge {
        /// The task's path.
        task: &'static str,
        /// The size of the encoded arguments.
        bytes: usize,
    },
    /// A `Serialize` implementation has failed.
    #[error("the arguments of task `{task}` cannot be encoded")]
    Serialize {
        /// The task's path.
        task: &'static str,
        /// What serde says.
        source: postcard::Error,
    },
}

/// Bytes that are no closure of this program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No task has this id.
    #[error(
        "no task of this program has the id {0}: the closure was made by another program or version"
    )]
    UnknownTask(TaskId),
    /// The arguments are too large.
    #[error(
        "the arguments of task `{task}` take {bytes} bytes, and at most {CLOSURE_BYTES_MAX} are accepted"
    )]
    TooLarge {
        /// The task's path.
        task: &'static str,
        /// The size of the encoded arguments.
        bytes: usize,
    },
    /// The arguments do not fit the task.
    #[error("the arguments of task `{task}` cannot be decoded")]
    Arguments {
        /// The task's path.
        task: &'static str,
        /// What postcard says.
        source: postcard::Error,
    },
    /// The bytes are no closure at all.
    #[error("these bytes are no closure")]
    Frame(#[source] postcard::Error),
    /// The closure was written by another version of Atlas.
    #[error(
        "the closure has format {found}, and this is format {FORMAT}: use the same version of Atlas on both sides"
    )]
    Format {
        /// The format that was found.
        found: u8,
    },
}

impl PortableClosure {
    /// The closure as one byte string: format, task, arguments.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.task.number().to_le_bytes());
        bytes.extend_from_slice(&self.args);
        bytes
    }

    /// Reads what [`PortableClosure::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`DecodeError::Format`] or [`DecodeError::Frame`]. Whether the arguments
    /// fit the task is seen when the closure is accepted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let truncated = DecodeError::Frame(postcard::Error::DeserializeUnexpectedEnd);
        let Some((&found, rest)) = bytes.split_first() else {
            return Err(truncated);
        };
        if found != FORMAT {
            return Err(DecodeError::Format { found });
        }
        let Some((task, args)) = rest.split_first_chunk() else {
            return Err(truncated);
        };
        Ok(Self {
            task: TaskId::from_number(u64::from_le_bytes(*task)),
            args: args.to_vec(),
        })
    }
}

/// A task's conversions between bytes and closures, without its types.
#[derive(Clone, Copy)]
pub(crate) struct ErasedTask {
    /// Decodes arguments and makes a closure of them.
    pub(crate) import: fn(&[u8], Waiter) -> Result<ClosureRef, postcard::Error>,
    /// Takes and encodes the result of a done closure that `import` made.
    ///
    /// Unsafe: the caller is that closure's waiter.
    pub(crate) export: unsafe fn(&Closure) -> Outcome,
}

impl ErasedTask {
    pub(crate) const fn of<T: Task>() -> Self {
        Self {
            import: import::<T>,
            export: export::<T>,
        }
    }
}

fn import<T: Task>(args: &[u8], waiter: Waiter) -> Result<ClosureRef, postcard::Error> {
    let args = decode::<T::Args>(args)?;
    Ok(new_closure(TaskCall::<T>(args), Some(waiter)))
}

unsafe fn export<T: Task>(closure: &Closure) -> Outcome {
    // SAFETY: contract of `ErasedTask::export`.
    let result = unsafe { take_result::<TaskCall<T>, InHeap>(closure) };
    // A `Serialize` implementation may panic like any code of the task.
    let encoded =
        result.and_then(|value| catch_for(Some(T::PATH), move || postcard::to_stdvec(&value)));
    match encoded {
        Ok(Ok(bytes)) => Outcome::Value(bytes),
        Ok(Err(error)) => Outcome::Panic {
            task: Some(T::PATH.to_owned()),
            message: format!(
                "the result of task `{}` cannot be encoded: {error}",
                T::PATH
            ),
        },
        Err(panic) => Outcome::from(panic),
    }
}

impl From<TaskPanic> for Outcome {
    fn from(panic: TaskPanic) -> Self {
        Self::Panic {
            task: panic.task().map(str::to_owned),
            message: panic.message().to_owned(),
        }
    }
}

/// Encodes a task's arguments.
pub(crate) fn encode(
    task: &'static TaskInfo,
    args: &impl Serialize,
) -> Result<Vec<u8>, EncodeError> {
    let task = task.path();
    let bytes =
        postcard::to_stdvec(args).map_err(|source| EncodeError::Serialize { task, source })?;
    if bytes.len() > CLOSURE_BYTES_MAX {
        let bytes = bytes.len();
        return Err(EncodeError::TooLarge { task, bytes });
    }
    Ok(bytes)
}

/// Decodes a value; bytes that are left over are an error too.
pub(crate) fn decode<V: Portable>(bytes: &[u8]) -> Result<V, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        (_, _) => Err(postcard::Error::DeserializeBadEncoding),
    }
}

/// The largest closure that is moved: its arguments are held in memory several
/// times on the way, and a lender keeps them until the result is back.
pub const CLOSURE_BYTES_MAX: usize = 64 << 20;
/// The first byte of an encoded closure.
const FORMAT: u8 = 1;
