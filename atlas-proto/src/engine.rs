//! The server's side of the seam to an engine: what it commands, what it hears.
//!
//! An engine runs one job's closures on some workers of the machine. It may be a process of the job's own
//! binary, a WebAssembly instance, or (in the simulator) a virtual one; the server machine sees these two
//! enums alone. Every command but [`EngineCommand::Lend`] is without an answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::ids::{EngineLease, JobAlias, RequestId, Ticket};
use crate::job::{Closure, ClosureKind, Finished, JobSpec};

/// What the server wants of the engines of its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineCommand {
    /// Start the engine of a job, with no worker yet.
    Start {
        /// The job.
        job: JobAlias,
        /// What to start.
        spec: Arc<JobSpec>,
    },
    /// Use so many workers from now on. With zero, stop using the processor at the next safe point.
    SetWorkers {
        /// The job.
        job: JobAlias,
        /// How many.
        workers: u32,
    },
    /// Run a closure; [`EngineEvent::Finished`] answers in the end.
    Accept {
        /// The job.
        job: JobAlias,
        /// The server's name for it.
        ticket: Ticket,
        /// What to run.
        closure: Closure,
    },
    /// A closure that was accepted is not wanted any more: drop it and all that descends from it.
    Abort {
        /// The job.
        job: JobAlias,
        /// Which.
        ticket: Ticket,
    },
    /// Give up to so many ready closures, oldest first; [`EngineEvent::Lent`] answers.
    Lend {
        /// The job.
        job: JobAlias,
        /// The server's name for this question.
        request: RequestId,
        /// At most so many; at least one.
        closures_max: u32,
    },
    /// The result of a closure that the engine lent.
    ReturnResult {
        /// The job.
        job: JobAlias,
        /// Which.
        lease: EngineLease,
        /// How it ended.
        finished: Finished,
    },
    /// A closure that the engine lent comes back undone: it is ready again.
    Reclaim {
        /// The job.
        job: JobAlias,
        /// Which.
        lease: EngineLease,
    },
    /// The job is over: stop its engine and forget all it holds.
    Stop {
        /// The job.
        job: JobAlias,
    },
}

/// What an engine tells its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// How much there is to do, told when it has changed by enough to matter.
    Load {
        /// The job.
        job: JobAlias,
        /// The state now.
        load: EngineLoad,
    },
    /// The answer to [`EngineCommand::Lend`]: closures, oldest first; none if there was none.
    Lent {
        /// The job.
        job: JobAlias,
        /// The question.
        request: RequestId,
        /// What may leave.
        closures: Vec<(EngineLease, Closure)>,
    },
    /// A closure that was accepted is done.
    Finished {
        /// The job.
        job: JobAlias,
        /// Which.
        ticket: Ticket,
        /// How it ended.
        finished: Finished,
    },
    /// A closure that the engine lent is not wanted any more.
    Unwanted {
        /// The job.
        job: JobAlias,
        /// Which.
        lease: EngineLease,
    },
    /// What was measured since the last time.
    Measured {
        /// The job.
        job: JobAlias,
        /// One entry for each kind that anything was done for.
        samples: Vec<Measured>,
    },
    /// The engine died, or could not be had. What it held is lost.
    Crashed {
        /// The job.
        job: JobAlias,
        /// What is known of it.
        crash: Crash,
    },
}

/// Why there is no engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// What becomes of closures that no engine survives: what [`Outcome::Panic`](crate::job::Outcome::Panic) carries.
    pub failure: Bytes,
    /// Another engine would not do better: there is no program, or it is none for this machine.
    pub hopeless: bool,
}

/// How much one engine has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineLoad {
    /// Workers with nothing to run.
    pub idle: u32,
    /// Closures that were stopped in the middle because workers were taken away. They cannot be lent, and go on when
    /// there are workers again.
    pub stopped: u32,
    /// Closures that could be lent.
    pub ready: u32,
    /// The oldest of them, in runs of one kind, oldest first. At most [`READY_RUNS_MAX`]; the rest is
    /// younger than these.
    ///
    /// [`READY_RUNS_MAX`]: crate::limits::READY_RUNS_MAX
    pub oldest: Vec<ReadyRun>,
}

/// Ready closures of one kind, next to each other in age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyRun {
    /// Their kind.
    pub kind: ClosureKind,
    /// How many.
    pub closures: u32,
}

/// What was seen of closures of one kind since the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The kind.
    pub kind: ClosureKind,
    /// Processor time spent inside closures of this kind and their descendants, finished or not,
    /// wherever it was spent.
    pub work: Duration,
    /// How many of them finished.
    pub finished: u32,
}
