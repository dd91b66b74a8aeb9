//! The server's side of the seam to an engine: what it commands, what it hears.
//!
//! An engine runs one job's closures on some workers of the machine. It may be a process of the job's own
//! binary, a WebAssembly instance, or (in the simulator) a virtual one; the server machine sees these two
//! enums alone. Every command but [`EngineCommand::Lend`] is without an answer.

use std::sync::Arc;

pub use atlas_engine::{Load as EngineLoad, Measured, ReadyRun};

use crate::ids::{EngineLease, EngineRequest, JobAlias, Ticket};
use crate::job::{Closure, Finished, JobSpec};

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
        request: EngineRequest,
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
        request: EngineRequest,
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
    /// The engine died. What it held is lost.
    Crashed {
        /// The job.
        job: JobAlias,
    },
}
