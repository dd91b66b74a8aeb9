//! What is said, in both directions.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::above::Above;
use crate::bounded::{ByteString, Length, List, Text};
use crate::failure::Failure;
use crate::ids::{Key, Lease, RequestId, SharedName, TaskId, Ticket};
use crate::limits::{
    CLOSURE_BYTES_MAX, LENT_CLOSURES_MAX, READY_RUNS_MAX, RECORDS_MAX, RESULT_BYTES_MAX,
    SAMPLES_MAX, SHARED_NAMES_MAX, TASK_PATH_BYTES_MAX, TASKS_MAX,
};

/// What a server wants of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToEngine {
    /// The first message.
    Hello {
        /// The engine will never be asked to use more workers than this; at least one. It begins with none.
        workers_max: u32,
    },
    /// Use so many workers from now on. With zero, stop using the processor at the next safe point.
    SetWorkers {
        /// How many; the engine takes more than its maximum for the maximum.
        workers: u32,
    },
    /// Run a closure; [`FromEngine::Finished`] answers in the end.
    Accept {
        /// The server's name for it, which names no other closure that is not finished.
        ticket: Ticket,
        /// What to run.
        closure: Closure,
    },
    /// A closure that was accepted is not wanted any more: drop it and all that descends from it.
    Abort {
        /// Which.
        ticket: Ticket,
    },
    /// Give up to so many ready closures, oldest first; [`FromEngine::Lent`] answers.
    Lend {
        /// The server's name for this question.
        request: RequestId,
        /// At most so many.
        closures_max: u32,
    },
    /// The result of a closure that the engine lent.
    ReturnResult {
        /// Which.
        lease: Lease,
        /// How it ended.
        finished: Finished,
    },
    /// A closure that the engine lent comes back undone: it is ready again.
    Reclaim {
        /// Which.
        lease: Lease,
    },
    /// The job is over: end, and forget all.
    Stop,
    /// Results that were recorded by engines that are gone, so that they need not be computed again: whatever begins or
    /// runs again from now on looks its children up among them. More may follow; of what is said twice that with more work in it counts.
    Remember {
        /// Which, and of what.
        #[serde(with = "List::<RECORDS_MAX>")]
        entries: Vec<Recorded>,
    },
    /// Give a sign of life: [`FromEngine::Pong`] answers, whatever runs.
    Ping,
}

/// What an engine tells its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromEngine {
    /// The first message: the answer to the server's.
    Hello {
        /// What runs here.
        program: Program,
    },
    /// How much there is to do, told when it has changed by enough to matter.
    Load(Load),
    /// The answer to [`ToEngine::Lend`].
    Lent {
        /// The question.
        request: RequestId,
        /// What may leave, oldest first; none if there was none.
        #[serde(with = "List::<LENT_CLOSURES_MAX>")]
        closures: Vec<Lent>,
    },
    /// A closure that was accepted is done.
    Finished {
        /// Which.
        ticket: Ticket,
        /// How it ended.
        finished: Finished,
    },
    /// A closure that the engine lent is not wanted any more.
    Unwanted {
        /// Which.
        lease: Lease,
    },
    /// What was measured since the last time.
    Measured {
        /// One entry for each kind that anything was done for.
        #[serde(with = "List::<SAMPLES_MAX>")]
        samples: Vec<Measured>,
    },
    /// There is a file with a shared value now. Closures that name it are lent after this.
    Share {
        /// Which.
        name: SharedName,
    },
    /// Results of finished closures that are worth keeping for the case that this machine is lost.
    Record {
        /// Each with what it is the result of.
        #[serde(with = "List::<RECORDS_MAX>")]
        entries: Vec<Recorded>,
    },
    /// How the program calls its tasks, said after [`FromEngine::Hello`], so that what is said of a closure can name its task.
    Tasks {
        /// Some of them, or all.
        #[serde(with = "List::<TASKS_MAX>")]
        paths: Vec<TaskPath>,
    },
    /// The answer to [`ToEngine::Ping`].
    Pong,
}

/// What an engine is a process of. Closures pass only between engines whose programs are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// A hash over the paths of all its tasks.
    pub fingerprint: [u8; 32],
    /// How many there are.
    pub tasks: u32,
}

/// What closures are measured by: those of one task at one depth are expected to be alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClosureKind {
    /// The task.
    pub task: TaskId,
    /// How many closures are above it in the job.
    pub depth: u32,
}

/// A task with its arguments: the unit of work that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// Which task, how deep.
    pub kind: ClosureKind,
    /// The encoded arguments.
    #[serde(with = "ByteString::<CLOSURE_BYTES_MAX>")]
    pub args: Bytes,
    /// The work that its lender expects in it and all that descends from it; zero if unknown, as it is to an engine.
    pub expected: Duration,
    /// The shared values that an engine must have to decode the arguments, those that are named within such values included.
    #[serde(with = "List::<SHARED_NAMES_MAX>")]
    pub shared: Vec<SharedName>,
    /// What it is below: to those who record what is below it. To an engine that lends it that is known, to others it is not.
    pub above: Above,
}

impl Closure {
    /// What its result is kept under.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::of(self.kind.task, &self.args)
    }

    /// The bytes that are held and moved for it, but for some numbers: arguments and names. Shared values are not among them: they
    /// are moved once, and not for this closure alone.
    #[must_use]
    pub fn size(&self) -> usize {
        self.args.len() + self.shared.len() * SharedName::BYTES
    }

    /// It can be sent.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        self.args.len() <= CLOSURE_BYTES_MAX && self.shared.len() <= SHARED_NAMES_MAX
    }
}

/// A closure that may leave, under the name by which its result comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lent {
    /// The engine's name for it.
    pub lease: Lease,
    /// What to run.
    pub closure: Closure,
    /// The server has given it to the engine, which did not begin it; otherwise the engine has made it.
    pub accepted: bool,
}

/// How a closure ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The encoded result.
    Value(#[serde(with = "ByteString::<CLOSURE_BYTES_MAX>")] Bytes),
    /// Why there is none: a [`Failure`], encoded.
    Panic(#[serde(with = "ByteString::<CLOSURE_BYTES_MAX>")] Bytes),
    /// The encoded result is too large for a message, and lies in a file of this name.
    Blob {
        /// What its content is.
        name: SharedName,
        /// How long that is.
        #[serde(with = "Length::<RESULT_BYTES_MAX>")]
        bytes: u64,
    },
}

impl Outcome {
    /// There is no result: only the closure's lender can run it.
    #[must_use]
    pub fn refused(reason: String) -> Self {
        Self::Panic(Failure::Refused { reason }.to_bytes())
    }

    /// The encoded result or panic, if it is here.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Value(bytes) | Self::Panic(bytes) => Some(bytes),
            Self::Blob { .. } => None,
        }
    }

    /// The bytes that are held and moved for it in messages, but for some numbers.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes().map_or(SharedName::BYTES, Bytes::len)
    }
}

/// A finished closure: what came out, and how much work went in, descendants included, wherever they ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// What came out.
    pub outcome: Outcome,
    /// The workers' time that it took on all machines together.
    pub work: Duration,
}

/// How much an engine has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Workers with nothing to run, of those that it may use.
    pub idle: u32,
    /// Closures that were stopped in the middle because workers were taken away. They cannot be lent, and go on when
    /// there are workers again.
    pub stopped: u32,
    /// Closures that could be lent.
    pub ready: u32,
    /// The oldest of them, in runs of one kind, oldest first. At most [`READY_RUNS_MAX`]; the rest is younger than
    /// these.
    #[serde(with = "List::<READY_RUNS_MAX>")]
    pub oldest: Vec<ReadyRun>,
}

/// Ready closures of one kind, next to each other in age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyRun {
    /// Their kind.
    pub kind: ClosureKind,
    /// How many.
    pub closures: u32,
}

/// What was seen of closures of one kind since the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The kind.
    pub kind: ClosureKind,
    /// Workers' time spent inside closures of this kind and their descendants, finished or not,
    /// wherever it was spent.
    pub work: Duration,
    /// How many of them finished.
    pub finished: u32,
}

/// A result that is kept, under the name of what it is the result of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The task and its arguments.
    pub key: Key,
    /// The encoded result. Panics are not kept.
    #[serde(with = "ByteString::<CLOSURE_BYTES_MAX>")]
    pub result: Bytes,
    /// The workers' time that it took, which is what it saves.
    pub work: Duration,
    /// What it is below: with the result of one of these, nobody asks for this one.
    pub above: Above,
}

impl Recorded {
    /// The bytes that are held and moved for it, but for some numbers.
    #[must_use]
    pub fn size(&self) -> usize {
        self.result.len() + Key::BYTES + self.above.size()
    }
}

/// What a program calls one of its tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPath {
    /// The task.
    pub task: TaskId,
    /// Its path: crate, modules, name.
    #[serde(with = "Text::<TASK_PATH_BYTES_MAX>")]
    pub path: String,
    /// The same arguments may give another result, or it does something beside that: whoever wants one runs it, and is not served by what
    /// others run.
    pub impure: bool,
}

/// The arguments of a root closure: what follows the program's name on its command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine(pub Vec<Vec<u8>>);

impl CommandLine {
    /// A root closure's arguments, as postcard encodes a task's: a tuple of one.
    #[must_use]
    pub fn to_args(&self) -> Bytes {
        let args = postcard::to_stdvec(&(self,));
        args.expect("bytes can be encoded").into()
    }
}
