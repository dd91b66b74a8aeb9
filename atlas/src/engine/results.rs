//! Results that are too large for a message: their bytes lie in files, beside those of shared values.
//!
//! The worker that has finished a closure writes the file, before it says so. What came back for a closure that was lent is read,
//! verified and decoded on a thread of its own: with some hundred MiB that takes longer than the server may wait for its
//! next command to be done.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;

use atlas_core::{Lease, Outcome, ReturnError, Runtime, TaskId};
use atlas_engine::limits::{CLOSURE_BYTES_MAX, RESULT_BYTES_MAX};
use atlas_engine::{Failure, Finished, SharedName};

use super::chain;
use crate::shared;

/// How a closure has ended, as far as a message takes it.
pub(super) enum Ended {
    /// With what fits into a message.
    Here(Outcome),
    /// With a result in a file.
    Apart { name: SharedName, bytes: u64 },
    /// With a result that cannot leave, and why.
    Stays(String),
}

/// Writes a large result into a file.
pub(super) fn part(outcome: Outcome) -> Ended {
    match outcome {
        Outcome::Value(bytes) if bytes.len() > CLOSURE_BYTES_MAX => {
            part_bytes(&bytes, RESULT_BYTES_MAX).unwrap_or_else(Ended::Stays)
        }
        outcome @ (Outcome::Value(_) | Outcome::Panic { .. } | Outcome::Refused { .. }) => {
            Ended::Here(outcome)
        }
    }
}

fn part_bytes(encoded: &[u8], bytes_max: u64) -> Result<Ended, String> {
    let bytes = encoded.len() as u64;
    if bytes > bytes_max {
        return Err(format!(
            "its result has {bytes} bytes, and at most {bytes_max} can go to another machine: return less, or parts of it from \
             several tasks"
        ));
    }
    match shared::put_apart(encoded) {
        Some(Ok(name)) => Ok(Ended::Apart { name, bytes }),
        Some(Err(error)) => Err(format!(
            "its result of {bytes} bytes cannot be written to a file ({error}): make room on the server's disk"
        )),
        None => Err(format!(
            "its result has {bytes} bytes, and the server takes none of more than {CLOSURE_BYTES_MAX}: upgrade the server"
        )),
    }
}

/// In the words of the socket. The task is what has run.
pub(super) fn to_wire(ended: Ended, task: TaskId, runtime: &Runtime) -> atlas_engine::Outcome {
    let failure = match ended {
        Ended::Here(Outcome::Value(bytes)) => return atlas_engine::Outcome::Value(bytes.into()),
        Ended::Apart { name, bytes } => return atlas_engine::Outcome::Blob { name, bytes },
        Ended::Here(Outcome::Panic { task, message }) => Failure::Panicked { task, message },
        Ended::Here(Outcome::Refused { reason }) => Failure::Refused { reason },
        Ended::Stays(why) => {
            let path = runtime.tasks().find(task).map_or("", |info| info.path());
            let reason = format!("the task `{path}` stays with its lender: {why}");
            Failure::Refused { reason }
        }
    };
    atlas_engine::Outcome::Panic(failure.to_bytes())
}

fn from_wire(outcome: &atlas_engine::Outcome) -> Outcome {
    match outcome {
        atlas_engine::Outcome::Value(bytes) => Outcome::Value(bytes.to_vec()),
        atlas_engine::Outcome::Panic(bytes) => match Failure::from_bytes(bytes) {
            Failure::Panicked { task, message } => Outcome::Panic { task, message },
            Failure::Refused { reason } => Outcome::Refused { reason },
        },
        atlas_engine::Outcome::Blob { name, bytes } => {
            read(*name, *bytes).map_or_else(|reason| Outcome::Refused { reason }, Outcome::Value)
        }
    }
}

fn read(name: SharedName, bytes: u64) -> Result<Vec<u8>, String> {
    let content = match shared::take_apart(name) {
        Some(Ok(content)) => content,
        Some(Err(error)) => return Err(format!("the result {name} cannot be read: {error}")),
        None => return Err(format!("there is no place for the result {name}")),
    };
    if content.len() as u64 == bytes {
        Ok(content)
    } else {
        Err(format!("the result {name} does not have {bytes} bytes"))
    }
}

/// Where results come back to: those in messages at once, others on a thread, which begins with the first of them.
pub(super) struct Returns {
    runtime: &'static Runtime,
    large: Option<Sender<(Lease, Finished)>>,
}

impl Returns {
    pub(super) fn new(runtime: &'static Runtime) -> Self {
        let large = None;
        Self { runtime, large }
    }

    /// The result of a closure that was lent.
    pub(super) fn take(&mut self, lease: Lease, finished: Finished) -> io::Result<()> {
        if !matches!(finished.outcome, atlas_engine::Outcome::Blob { .. }) {
            give(self.runtime, lease, &finished);
            return Ok(());
        }
        let large = match &self.large {
            Some(large) => large,
            None => self.large.insert(begin(self.runtime)?),
        };
        // The thread ends with the process.
        let _ = large.send((lease, finished));
        Ok(())
    }
}

fn begin(runtime: &'static Runtime) -> io::Result<Sender<(Lease, Finished)>> {
    let (large, returned) = mpsc::channel();
    let give_all = move || {
        for (lease, finished) in returned {
            give(runtime, lease, &finished);
        }
    };
    let name = "atlas-engine-results".to_owned();
    thread::Builder::new().name(name).spawn(give_all)?;
    Ok(large)
}

fn give(runtime: &Runtime, lease: Lease, finished: &Finished) {
    let outcome = from_wire(&finished.outcome);
    if let Outcome::Refused { reason } = &outcome {
        eprintln!("atlas: {reason}: it is computed here");
    }
    match runtime.return_measured(lease, outcome, finished.work) {
        // A late one, or a second one: the first result wins.
        Ok(()) | Err(ReturnError::Unknown(_)) => {}
        Err(error) => {
            eprintln!("atlas: {}: it is computed here", chain(&error));
            runtime.reclaim(lease);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ended: Ended) -> Outcome {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let task = runtime
            .tasks()
            .iter()
            .next()
            .map_or(TaskId::from_number(0), |info| info.id());
        from_wire(&to_wire(ended, task, &runtime))
    }

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
            assert_eq!(said(part(outcome.clone())), outcome);
        }
    }

    #[test]
    fn result_that_is_too_large_is_left_to_the_lender() {
        let why = part_bytes(&[0; 11], 10).err().unwrap();
        let Outcome::Refused { reason } = said(Ended::Stays(why)) else {
            panic!("it cannot leave");
        };
        assert!(
            reason.contains("11 bytes") && reason.contains("return less"),
            "{reason}"
        );
    }

    #[test]
    fn without_a_place_for_files_a_large_result_is_left_to_the_lender() {
        let large = Outcome::Value(vec![0; CLOSURE_BYTES_MAX + 1]);
        assert!(matches!(said(part(large)), Outcome::Refused { .. }));
        let fits = Outcome::Value(vec![0; CLOSURE_BYTES_MAX]);
        assert_eq!(said(part(fits.clone())), fits);
    }
}
