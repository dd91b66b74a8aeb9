//! The words of the runtime in those of the socket, and back.

use atlas_core::{
    Key, Measured, Outcome, PortableClosure, ReadyClosure, Recorded, TaskId, TaskInfo,
};
use atlas_engine::limits::{CLOSURE_BYTES_MAX, TASK_PATH_BYTES_MAX};
use atlas_engine::{ClosureKind, Failure, TaskPath, ToEngine};

pub(super) fn kind(task: TaskId, depth: u32) -> ClosureKind {
    ClosureKind {
        task: atlas_engine::TaskId(task.number()),
        depth,
    }
}

pub(super) fn ready_kind(closure: &ReadyClosure) -> ClosureKind {
    kind(closure.task, closure.depth)
}

pub(super) fn portable(closure: &atlas_engine::Closure) -> PortableClosure {
    PortableClosure {
        task: TaskId::from_number(closure.kind.task.0),
        args: closure.args.to_vec(),
    }
}

pub(super) fn measured(sample: &Measured) -> atlas_engine::Measured {
    atlas_engine::Measured {
        kind: kind(sample.task, sample.depth),
        work: sample.work,
        finished: sample.finished,
    }
}

pub(super) fn to_wire(outcome: Outcome) -> atlas_engine::Outcome {
    let failure = match outcome {
        Outcome::Value(bytes) if bytes.len() <= CLOSURE_BYTES_MAX => {
            return atlas_engine::Outcome::Value(bytes.into());
        }
        Outcome::Value(bytes) => Failure::Refused {
            reason: format!(
                "its result has {} bytes, at most {CLOSURE_BYTES_MAX} can go to another machine",
                bytes.len()
            ),
        },
        Outcome::Panic { task, message } => Failure::Panicked { task, message },
        Outcome::Refused { reason } => Failure::Refused { reason },
    };
    atlas_engine::Outcome::Panic(failure.to_bytes())
}

pub(super) fn from_wire(outcome: &atlas_engine::Outcome) -> Outcome {
    match outcome {
        atlas_engine::Outcome::Value(bytes) => Outcome::Value(bytes.to_vec()),
        atlas_engine::Outcome::Panic(bytes) => match Failure::from_bytes(bytes) {
            Failure::Panicked { task, message } => Outcome::Panic { task, message },
            Failure::Refused { reason } => Outcome::Refused { reason },
        },
    }
}

pub(super) fn recorded(entry: Recorded) -> atlas_engine::Recorded {
    atlas_engine::Recorded {
        key: atlas_engine::Key(entry.key.0),
        result: entry.result.into(),
        work: entry.work,
    }
}

pub(super) fn remembered(entry: &atlas_engine::Recorded) -> Recorded {
    Recorded {
        key: Key(entry.key.0),
        result: entry.result.to_vec(),
        work: entry.work,
    }
}

/// What a task is called; the end of it, if it is too long.
pub(super) fn path(task: &TaskInfo) -> TaskPath {
    let path = task.path();
    let cut = path.len().saturating_sub(TASK_PATH_BYTES_MAX);
    let cut = (cut..=path.len()).find(|at| path.is_char_boundary(*at));
    TaskPath {
        task: atlas_engine::TaskId(task.id().number()),
        path: path[cut.unwrap_or(path.len())..].to_owned(),
    }
}

/// What a command is called.
pub(super) fn name(command: &ToEngine) -> &'static str {
    match command {
        ToEngine::Hello { .. } => "Hello",
        ToEngine::SetWorkers { .. } => "SetWorkers",
        ToEngine::Accept { .. } => "Accept",
        ToEngine::Abort { .. } => "Abort",
        ToEngine::Lend { .. } => "Lend",
        ToEngine::ReturnResult { .. } => "ReturnResult",
        ToEngine::Reclaim { .. } => "Reclaim",
        ToEngine::Stop => "Stop",
        ToEngine::Remember { .. } => "Remember",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_the_way() {
        for outcome in [
            Outcome::Value(vec![1, 2]),
            Outcome::Panic {
                task: Some("a::b".to_owned()),
                message: "no".to_owned(),
            },
            Outcome::Refused {
                reason: "cannot".to_owned(),
            },
        ] {
            assert_eq!(from_wire(&to_wire(outcome.clone())), outcome);
        }
    }

    #[test]
    fn result_that_is_too_large_is_left_to_the_lender() {
        let outcome = to_wire(Outcome::Value(vec![0; CLOSURE_BYTES_MAX + 1]));
        assert!(matches!(from_wire(&outcome), Outcome::Refused { .. }));
    }
}
