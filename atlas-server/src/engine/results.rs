//! The results of one engine that are too large for messages: blobs, as shared values are.
//!
//! ```text
//!   engine of the borrower --Finished--> into the store, by a link --> manager has it --> the node hears of it
//!   the node returns it    --> in the store and the lender's folder --> ReturnResult --> engine of the lender
//!                         \-> not to be had: refused, so that the lender runs the closure
//! ```
//!
//! A borrower says that a closure is done when its manager has the result. Until then the closure is as if it ran: should this
//! server be lost, its lender knows that the result is, too. So whoever hears of a result finds it at the managers
//! between, or on its way to them.
//!
//! A result that nobody wants any more waits no longer. Nobody's word is taken for one: it has the name that its content
//! gives it, and the length that was said.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atlas_engine::SharedName;
use atlas_fs::BlobName;
use atlas_fs::daemon::chain;
use atlas_proto::ids::{EngineLease, JobAlias, Ticket};
use atlas_proto::job::{Finished, Outcome};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::fetch::{Fetch, SHARED_TIMEOUT};
use super::sharing::{add, announce};
use super::{Life, Surroundings, Teller};

/// The large results of one engine.
pub(super) struct Results {
    surroundings: Arc<Surroundings>,
    job: JobAlias,
    life: Life,
    folder: PathBuf,
    /// Who waits longer for the manager does without, but for what the transfer may take.
    patience: Duration,
    moving: HashMap<Way, AbortHandle>,
    moved: JoinSet<(Way, Finished)>,
}

/// Whose result moves, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// Of a closure that the engine has run, to the manager.
    Out(Ticket),
    /// Of a closure that the engine has lent, from the manager.
    In(EngineLease),
}

impl Results {
    pub(super) fn new(surroundings: &Arc<Surroundings>, teller: &Teller, folder: PathBuf) -> Self {
        Self {
            surroundings: surroundings.clone(),
            job: teller.job,
            life: teller.life,
            folder,
            patience: SHARED_TIMEOUT,
            moving: HashMap::new(),
            moved: JoinSet::new(),
        }
    }

    /// The end of a closure, if there is nothing to be moved before others hear of it; otherwise [`Results::next`] gives it.
    pub(super) fn admit(&mut self, way: Way, finished: Finished) -> Option<Finished> {
        let Outcome::Blob { name, bytes } = finished.outcome else {
            return Some(finished);
        };
        self.surroundings.shared.insert(self.life, BlobName(name.0));
        let (surroundings, job) = (self.surroundings.clone(), self.job);
        let patience = self.patience + Duration::from_secs(bytes / PACE_MIN);
        let file = self.folder.join(name.to_string());
        let moved = self.moved.spawn(async move {
            let moved = match way {
                Way::Out(_) => match add_blob(&surroundings, (name, bytes), file).await {
                    Ok(name) => send(&surroundings, job, name, patience).await,
                    Err(reason) => Err(reason),
                },
                Way::In(_) => fetch(&surroundings, job, (name, bytes), file).await,
            };
            let finished = match moved {
                Ok(()) => finished,
                Err(reason) => {
                    tracing::warn!(%job, reason, "a result is left to its lender");
                    let outcome = Outcome::refused(reason);
                    Finished {
                        outcome,
                        ..finished
                    }
                }
            };
            (way, finished)
        });
        // Of two for one closure, the last is what was said.
        if let Some(former) = self.moving.insert(way, moved) {
            former.abort();
        }
        None
    }

    /// It is not wanted any more. True if it has been moving.
    pub(super) fn abort(&mut self, way: Way) -> bool {
        let moving = self.moving.remove(&way);
        moving.inspect(AbortHandle::abort).is_some()
    }

    /// The next one that is where it has to be, or refused. May be dropped at any time.
    pub(super) async fn next(&mut self) -> (Way, Finished) {
        loop {
            let Some(moved) = self.moved.join_next().await else {
                return std::future::pending().await;
            };
            // For those that were aborted nobody waits.
            if let Ok((way, finished)) = moved
                && self.moving.remove(&way).is_some()
            {
                return (way, finished);
            }
        }
    }
}

/// Makes a blob of what the engine has written.
async fn add_blob(
    surroundings: &Surroundings,
    (name, bytes): (SharedName, u64),
    file: PathBuf,
) -> Result<BlobName, String> {
    let name = BlobName(name.0);
    let added = add(surroundings, name, file).await;
    let added = added.map_err(|error| {
        let why = chain(&error);
        format!("its result cannot be kept on the server that has run it: {why}")
    })?;
    if added == Some(bytes) {
        Ok(name)
    } else {
        Err("its engine has left another result than it says".to_owned())
    }
}

/// Sees to it that the manager has the blob.
async fn send(
    surroundings: &Surroundings,
    job: JobAlias,
    name: BlobName,
    patience: Duration,
) -> Result<(), String> {
    match timeout(patience, announce(surroundings, job, name)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refusal)) => Err(format!("a manager does not take its result: {refusal}")),
        Err(_) => Err(format!(
            "its result has not come to the manager within {} seconds",
            patience.as_secs()
        )),
    }
}

/// Sees to it that the engine finds the result.
async fn fetch(
    surroundings: &Arc<Surroundings>,
    job: JobAlias,
    (name, bytes): (SharedName, u64),
    file: PathBuf,
) -> Result<(), String> {
    let fetch = Fetch::new(surroundings, job);
    let fetched = fetch.shared_within(BlobName(name.0), bytes, file).await;
    fetched.map_err(|error| {
        let why = chain(&error);
        format!("the result {name} of a task cannot be had: {why}")
    })
}

/// A way of fewer bytes a second is worse than running a closure again.
const PACE_MIN: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use atlas_engine::Failure;
    use tokio::task::yield_now;

    use super::super::stage::{Stage, name};
    use super::*;

    const OUT: Way = Way::Out(Ticket(1));
    const IN: Way = Way::In(EngineLease(1));

    fn results(stage: &Stage) -> Results {
        Results::new(&stage.surroundings, &stage.teller(), stage.shared())
    }

    fn finished(outcome: Outcome) -> Finished {
        let work = Duration::from_secs(3);
        Finished { outcome, work }
    }

    fn blob(content: &[u8]) -> Outcome {
        let bytes = content.len() as u64;
        let name = name(content);
        Outcome::Blob { name, bytes }
    }

    fn reason(finished: &Finished) -> String {
        let failure = Failure::from_bytes(finished.outcome.bytes().unwrap());
        let Failure::Refused { reason } = failure else {
            panic!("{failure:?}");
        };
        reason
    }

    #[tokio::test]
    async fn results_in_messages_do_not_wait() {
        let stage = Stage::new();
        let mut results = results(&stage);
        for outcome in [
            Outcome::Value(vec![1].into()),
            Outcome::Panic(vec![2].into()),
        ] {
            for way in [OUT, IN] {
                let finished = finished(outcome.clone());
                assert_eq!(results.admit(way, finished.clone()), Some(finished));
            }
        }
    }

    #[tokio::test]
    async fn a_result_comes_to_its_lender_when_its_content_is_there() {
        let stage = Stage::new();
        let mut results = results(&stage);
        stage.surroundings.store.add_bytes(b"result").unwrap();
        let finished = finished(blob(b"result"));
        assert_eq!(results.admit(IN, finished.clone()), None);
        assert_eq!(results.next().await, (IN, finished));
        assert_eq!(fs::read(stage.file(name(b"result"))).unwrap(), b"result");
        assert!(
            stage
                .surroundings
                .shared
                .all()
                .contains(&BlobName::of(b"result"))
        );
    }

    #[tokio::test]
    async fn a_result_is_kept_here_before_the_manager_has_it() {
        let stage = Stage::new();
        let mut results = results(&stage);
        fs::write(stage.file(name(b"result")), b"result").unwrap();
        assert_eq!(results.admit(OUT, finished(blob(b"result"))), None);
        while !stage.surroundings.store.has(BlobName::of(b"result")) {
            yield_now().await;
        }
        // The manager is away.
        let ended = timeout(Duration::from_millis(100), results.next()).await;
        assert!(ended.is_err());
        assert!(results.abort(OUT));
        assert!(!results.abort(OUT));
    }

    #[tokio::test]
    async fn a_result_that_no_manager_takes_is_left_to_its_lender() {
        let stage = Stage::new();
        let mut results = Results {
            patience: Duration::ZERO,
            ..results(&stage)
        };
        fs::write(stage.file(name(b"result")), b"result").unwrap();
        results.admit(OUT, finished(blob(b"result")));
        let (way, ended) = results.next().await;
        assert_eq!((way, ended.work), (OUT, Duration::from_secs(3)));
        let reason = reason(&ended);
        assert!(reason.contains("within 0 seconds"), "{reason}");
    }

    #[tokio::test]
    async fn what_an_engine_has_left_is_taken_for_what_it_is() {
        let stage = Stage::new();
        let mut results = results(&stage);
        let content = b"result".as_slice();
        fs::write(stage.file(name(content)), content).unwrap();
        fs::write(stage.file(name(b"another")), content).unwrap();
        let longer = Outcome::Blob {
            name: name(content),
            bytes: 7,
        };
        for outcome in [longer, blob(b"another"), blob(b"none")] {
            results.admit(OUT, finished(outcome));
            let (_, ended) = results.next().await;
            let reason = reason(&ended);
            assert!(reason.starts_with("its "), "{reason}");
        }
        assert!(!stage.surroundings.store.has(BlobName::of(b"another")));
    }
}
