//! The server's side of the seam to an engine: what it commands, what it hears.
//!
//! An engine runs one job's closures on some workers of the machine. It may be a process of the job's own
//! binary, a WebAssembly instance, or (in the simulator) a virtual one; the server machine sees these two
//! enums alone. Every command but [`EngineCommand::Lend`] is without an answer. To a process they are said, and
//! from it heard, in the messages of `atlas-engine`, which leave out the job.

use std::sync::Arc;

pub use atlas_engine::{Above, Lent, Load as EngineLoad, Measured, ReadyRun, Recorded, TaskPath};
use atlas_engine::{FromEngine, ToEngine};
use bytes::Bytes;

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
    /// Results that were recorded by machines that are gone: whatever begins or runs again from now on looks its children up.
    Remember {
        /// The job.
        job: JobAlias,
        /// What is known of it.
        entries: Vec<Recorded>,
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
        closures: Vec<Lent>,
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
    /// Results that are worth keeping for the case that this machine is lost.
    Recorded {
        /// The job.
        job: JobAlias,
        /// Each with what it is the result of.
        entries: Vec<Recorded>,
    },
    /// How the program calls its tasks, or some of them.
    Tasks {
        /// The job.
        job: JobAlias,
        /// Each with its path.
        paths: Vec<TaskPath>,
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
    /// Whether another engine would do better.
    pub kind: CrashKind,
}

/// What another engine would come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// It ran, and ended by itself or was killed: what it had may be to blame, or this machine.
    Died,
    /// It could not be begun on this machine, for a reason that lies in it, as with a disk that is full. Others may do better.
    NotBegun,
    /// Another one would end likewise: there is no program, or it is none for this machine.
    Hopeless,
}

impl EngineCommand {
    /// The job whose engine is meant.
    #[must_use]
    pub fn job(&self) -> JobAlias {
        match self {
            Self::Start { job, .. }
            | Self::SetWorkers { job, .. }
            | Self::Accept { job, .. }
            | Self::Abort { job, .. }
            | Self::Lend { job, .. }
            | Self::ReturnResult { job, .. }
            | Self::Reclaim { job, .. }
            | Self::Stop { job }
            | Self::Remember { job, .. } => *job,
        }
    }

    /// What to say to the job's engine; none for a start, when there is none yet.
    #[must_use]
    pub fn to_engine(self) -> Option<ToEngine> {
        let said = match self {
            Self::Start { .. } => return None,
            Self::SetWorkers { job: _, workers } => ToEngine::SetWorkers { workers },
            Self::Accept {
                job: _,
                ticket,
                closure,
            } => ToEngine::Accept { ticket, closure },
            Self::Abort { job: _, ticket } => ToEngine::Abort { ticket },
            Self::Lend {
                job: _,
                request,
                closures_max,
            } => ToEngine::Lend {
                request,
                closures_max,
            },
            Self::ReturnResult {
                job: _,
                lease,
                finished,
            } => ToEngine::ReturnResult { lease, finished },
            Self::Reclaim { job: _, lease } => ToEngine::Reclaim { lease },
            Self::Stop { job: _ } => ToEngine::Stop,
            Self::Remember { job: _, entries } => ToEngine::Remember { entries },
        };
        Some(said)
    }
}

impl EngineEvent {
    /// The job whose engine has said it, or has died.
    #[must_use]
    pub fn job(&self) -> JobAlias {
        match self {
            Self::Load { job, .. }
            | Self::Lent { job, .. }
            | Self::Finished { job, .. }
            | Self::Unwanted { job, .. }
            | Self::Measured { job, .. }
            | Self::Recorded { job, .. }
            | Self::Tasks { job, .. }
            | Self::Crashed { job, .. } => *job,
        }
    }

    /// What the engine of `job` has said; none for its greeting, shared values and signs of life, which are the driver's.
    #[must_use]
    pub fn from_engine(job: JobAlias, said: FromEngine) -> Option<Self> {
        let event = match said {
            FromEngine::Hello { program: _ } | FromEngine::Share { name: _ } | FromEngine::Pong => {
                return None;
            }
            FromEngine::Load(load) => Self::Load { job, load },
            FromEngine::Lent { request, closures } => Self::Lent {
                job,
                request,
                closures,
            },
            FromEngine::Finished { ticket, finished } => Self::Finished {
                job,
                ticket,
                finished,
            },
            FromEngine::Unwanted { lease } => Self::Unwanted { job, lease },
            FromEngine::Measured { samples } => Self::Measured { job, samples },
            FromEngine::Record { entries } => Self::Recorded { job, entries },
            FromEngine::Tasks { paths } => Self::Tasks { job, paths },
        };
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atlas_engine::{Key, Program, SharedName, frame};

    use super::*;
    use crate::ids::{GlobalJobId, TaskId};
    use crate::job::{ClosureKind, Outcome};

    const JOB: JobAlias = JobAlias(7);
    const KIND: ClosureKind = ClosureKind {
        task: TaskId(1),
        depth: 2,
    };

    fn closure() -> Closure {
        Closure {
            kind: KIND,
            args: b"args".as_slice().into(),
            expected: Duration::from_millis(3),
            shared: Vec::new(),
            above: Above::NONE,
        }
    }

    fn finished() -> Finished {
        Finished {
            outcome: Outcome::Value(b"out".as_slice().into()),
            work: Duration::from_millis(4),
        }
    }

    fn recorded() -> Recorded {
        Recorded {
            key: Key::of(KIND.task, b"args"),
            result: b"out".as_slice().into(),
            work: Duration::from_millis(4),
            above: Above::NONE,
        }
    }

    fn path() -> TaskPath {
        TaskPath {
            task: KIND.task,
            path: "a::b".to_owned(),
            impure: true,
        }
    }

    /// Every command but `Start`, and what is said to the engine.
    fn commands() -> [(EngineCommand, ToEngine); 8] {
        let (job, ticket, lease) = (JOB, Ticket(3), EngineLease(4));
        let (request, workers, closures_max) = (EngineRequest(5), 6, 8);
        let (closure, finished) = (closure(), finished());
        [
            (
                EngineCommand::SetWorkers { job, workers },
                ToEngine::SetWorkers { workers },
            ),
            (
                EngineCommand::Accept {
                    job,
                    ticket,
                    closure: closure.clone(),
                },
                ToEngine::Accept { ticket, closure },
            ),
            (
                EngineCommand::Abort { job, ticket },
                ToEngine::Abort { ticket },
            ),
            (
                EngineCommand::Lend {
                    job,
                    request,
                    closures_max,
                },
                ToEngine::Lend {
                    request,
                    closures_max,
                },
            ),
            (
                EngineCommand::ReturnResult {
                    job,
                    lease,
                    finished: finished.clone(),
                },
                ToEngine::ReturnResult { lease, finished },
            ),
            (
                EngineCommand::Reclaim { job, lease },
                ToEngine::Reclaim { lease },
            ),
            (EngineCommand::Stop { job }, ToEngine::Stop),
            (
                EngineCommand::Remember {
                    job,
                    entries: vec![recorded()],
                },
                ToEngine::Remember {
                    entries: vec![recorded()],
                },
            ),
        ]
    }

    /// Everything but `Hello`, and what the machine hears.
    fn events() -> [(FromEngine, EngineEvent); 5] {
        let (job, ticket, lease) = (JOB, Ticket(3), EngineLease(4));
        let (request, finished) = (EngineRequest(5), finished());
        let load = EngineLoad {
            idle: 1,
            stopped: 2,
            ready: 3,
            oldest: vec![ReadyRun {
                kind: KIND,
                closures: 3,
            }],
        };
        let samples = vec![Measured {
            kind: KIND,
            work: Duration::from_millis(6),
            finished: 1,
        }];
        let lent = Lent {
            lease,
            closure: closure(),
            accepted: true,
        };
        [
            (
                FromEngine::Load(load.clone()),
                EngineEvent::Load { job, load },
            ),
            (
                FromEngine::Lent {
                    request,
                    closures: vec![lent.clone()],
                },
                EngineEvent::Lent {
                    job,
                    request,
                    closures: vec![lent],
                },
            ),
            (
                FromEngine::Finished {
                    ticket,
                    finished: finished.clone(),
                },
                EngineEvent::Finished {
                    job,
                    ticket,
                    finished,
                },
            ),
            (
                FromEngine::Unwanted { lease },
                EngineEvent::Unwanted { job, lease },
            ),
            (
                FromEngine::Measured {
                    samples: samples.clone(),
                },
                EngineEvent::Measured { job, samples },
            ),
        ]
    }

    /// What is kept, and what is called how.
    fn more_events() -> [(FromEngine, EngineEvent); 2] {
        let job = JOB;
        [
            (
                FromEngine::Record {
                    entries: vec![recorded()],
                },
                EngineEvent::Recorded {
                    job,
                    entries: vec![recorded()],
                },
            ),
            (
                FromEngine::Tasks {
                    paths: vec![path()],
                },
                EngineEvent::Tasks {
                    job,
                    paths: vec![path()],
                },
            ),
        ]
    }

    #[test]
    fn commands_are_said_without_their_job() {
        for (command, said) in commands() {
            assert_eq!(command.job(), JOB);
            assert_eq!(command.to_engine(), Some(said));
        }
    }

    #[test]
    fn what_an_engine_says_is_of_its_job() {
        for (said, event) in events().into_iter().chain(more_events()) {
            let bytes = frame::encode(&said).unwrap();
            let heard = frame::read(&mut &bytes[..]).unwrap().unwrap();
            assert_eq!(EngineEvent::from_engine(JOB, heard), Some(event));
        }
    }

    #[test]
    fn starts_greetings_shared_values_and_signs_of_life_are_the_drivers() {
        let spec = JobSpec {
            id: GlobalJobId(7),
            origin: "example.edu".parse().unwrap(),
            engine: "native".to_owned(),
            artifact: [1; 32],
            options: b"".as_slice().into(),
        };
        let start = EngineCommand::Start {
            job: JOB,
            spec: Arc::new(spec),
        };
        assert_eq!(start.job(), JOB);
        assert_eq!(start.to_engine(), None);
        let program = Program {
            fingerprint: [2; 32],
            tasks: 3,
        };
        let hello = FromEngine::Hello { program };
        assert_eq!(EngineEvent::from_engine(JOB, hello), None);
        let name = SharedName([4; 32]);
        let share = FromEngine::Share { name };
        assert_eq!(EngineEvent::from_engine(JOB, share), None);
        assert_eq!(EngineEvent::from_engine(JOB, FromEngine::Pong), None);
    }
}
