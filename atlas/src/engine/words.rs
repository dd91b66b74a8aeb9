//! The words of the runtime in those of the socket, and back.

use atlas_core::{Key, Measured, PortableClosure, ReadyClosure, Recorded, TaskId, TaskInfo};
use atlas_engine::limits::TASK_PATH_BYTES_MAX;
use atlas_engine::{Above, ClosureKind, ShortKey, TaskPath, ToEngine};

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

pub(super) fn recorded(entry: Recorded) -> atlas_engine::Recorded {
    atlas_engine::Recorded {
        key: atlas_engine::Key(entry.key.0),
        result: entry.result.into(),
        work: entry.work,
        above: above(&entry.above),
    }
}

pub(super) fn above(keys: &[u64]) -> Above {
    keys.iter().map(|&key| ShortKey(key)).collect()
}

pub(super) fn remembered(entry: &atlas_engine::Recorded) -> Recorded {
    Recorded {
        key: Key(entry.key.0),
        result: entry.result.to_vec(),
        work: entry.work,
        above: entry.above.keys().iter().map(|key| key.0).collect(),
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
        impure: task.impure(),
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
        ToEngine::Ping => "Ping",
        ToEngine::Remember { .. } => "Remember",
    }
}
