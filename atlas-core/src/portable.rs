//! Closures and results as bytes.
//!
//! A ready closure leaves the process as its task's id and its arguments in
//! postcard; its result comes back as an [`Outcome`].
//!
//! What is read here may be anything: it was made elsewhere. No length in it is
//! trusted with an allocation (postcard checks strings and bytes against what is
//! left, serde caps what it reserves for sequences), no byte may be left over,
//! and every error names the task. The `Serialize` and `Deserialize`
//! implementations are the program's: one that panics is an error like one that
//! fails, because the thread that called it is not the program's.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::closure::{Closure, ClosureRef};
use crate::heap::{InHeap, new_closure};
use crate::panic::{TaskPanic, catch};
use crate::task::{Portable, Task, TaskId};
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

/// What became of a closure that was to run elsewhere.
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
    /// It can only be run by its lender, who does, and lends it no more: it was
    /// not accepted there, or its result cannot be encoded.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Arguments or a result cannot be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// What postcard, or a `Serialize` or `Deserialize` implementation, says.
    #[error(transparent)]
    Postcard(#[from] postcard::Error),
    /// A `Serialize` or `Deserialize` implementation panicked.
    #[error("its `Serialize` or `Deserialize` implementation panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// The bytes go on after the value.
    #[error("{bytes} bytes are left over")]
    LeftOver {
        /// How many.
        bytes: usize,
    },
}

/// A closure cannot leave the process. It stays ready, and runs here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Its arguments are too large.
    #[error(
        "the arguments of task `{task}` take more than {bytes_max} bytes, and are not moved: \
         pass large read-only data as a shared value, or raise `Builder::closure_bytes_max`"
    )]
    TooLarge {
        /// The task's path.
        task: &'static str,
        /// How many bytes are moved at most.
        bytes_max: usize,
    },
    /// A `Serialize` implementation has failed.
    #[error("the arguments of task `{task}` cannot be encoded")]
    Serialize {
        /// The task's path.
        task: &'static str,
        /// Why.
        source: CodecError,
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
        "the arguments of task `{task}` take {bytes} bytes, and at most {bytes_max} are accepted: \
         raise `Builder::closure_bytes_max` on this side too"
    )]
    TooLarge {
        /// The task's path.
        task: &'static str,
        /// The size of the encoded arguments.
        bytes: usize,
        /// How many bytes are accepted at most.
        bytes_max: usize,
    },
    /// The arguments do not fit the task.
    #[error("the arguments of task `{task}` cannot be decoded")]
    Arguments {
        /// The task's path.
        task: &'static str,
        /// Why.
        source: CodecError,
    },
    /// The bytes end too early to be a closure.
    #[error("these {bytes} bytes are no closure: they end too early")]
    Truncated {
        /// How many there are.
        bytes: usize,
    },
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
    /// [`DecodeError::Format`] or [`DecodeError::Truncated`]. Whether the
    /// arguments fit the task is seen when the closure is accepted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let truncated = DecodeError::Truncated { bytes: bytes.len() };
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
    pub(crate) import: fn(&[u8], Waiter) -> Result<ClosureRef, CodecError>,
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

fn import<T: Task>(args: &[u8], waiter: Waiter) -> Result<ClosureRef, CodecError> {
    let args = decode::<T::Args>(args)?;
    Ok(new_closure(TaskCall::<T>(args), Some(waiter)))
}

unsafe fn export<T: Task>(closure: &Closure) -> Outcome {
    // SAFETY: contract of `ErasedTask::export`.
    let value = match unsafe { take_result::<TaskCall<T>, InHeap>(closure) } {
        Ok(value) => value,
        Err(panic) => return Outcome::from(panic),
    };
    // The value moves in: its destructor may panic too.
    match guarded(move || Ok(postcard::to_stdvec(&value)?)) {
        Ok(bytes) => Outcome::Value(bytes),
        Err(error) => Outcome::Refused {
            reason: format!(
                "the result of task `{}` cannot be encoded: {error}",
                T::PATH
            ),
        },
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

/// Encodes the arguments of the task with this path.
pub(crate) fn encode(
    task: &'static str,
    args: &impl Serialize,
    bytes_max: usize,
) -> Result<Vec<u8>, EncodeError> {
    let bytes = Bounded::new(bytes_max);
    guarded(|| Ok(postcard::serialize_with_flavor(args, bytes)?)).map_err(|source| {
        if matches!(
            &source,
            CodecError::Postcard(postcard::Error::SerializeBufferFull)
        ) {
            EncodeError::TooLarge { task, bytes_max }
        } else {
            EncodeError::Serialize { task, source }
        }
    })
}

/// Decodes a value; bytes that are left over are an error too.
pub(crate) fn decode<V: Portable>(bytes: &[u8]) -> Result<V, CodecError> {
    decode_any(bytes)
}

/// The same for a value that need not go to another thread.
pub(crate) fn decode_any<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, CodecError> {
    guarded(|| match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(CodecError::LeftOver { bytes: rest.len() }),
    })
}

/// Calls the program's code on a thread that is not the program's.
pub(crate) fn guarded<R>(f: impl FnOnce() -> Result<R, CodecError>) -> Result<R, CodecError> {
    catch(f).unwrap_or_else(|panic| {
        let message = panic.message().to_owned();
        Err(CodecError::Panicked { message })
    })
}

/// Bytes that postcard writes, up to a number: what is too large is not first
/// built in memory.
pub(crate) struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Bounded {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            bytes_max,
        }
    }
}

impl postcard::ser_flavors::Flavor for Bounded {
    type Output = Vec<u8>;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        if data.len() > self.bytes_max - self.bytes.len() {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.bytes.len() >= self.bytes_max {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.bytes.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.bytes)
    }
}

/// How large the arguments of a closure may be that is moved, unless the builder
/// says otherwise: they are held in memory several times on the way, and a lender
/// keeps them until the result is back.
pub const CLOSURE_BYTES_MAX: usize = 64 << 20;
/// The first byte of an encoded closure.
const FORMAT: u8 = 1;
