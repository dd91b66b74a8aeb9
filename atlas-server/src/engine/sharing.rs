//! The shared values of one engine: those that it makes go to the manager, those that its closures name come from there.
//!
//! ```text
//!   engine --Share--> into the store, by a link --> manager, which fetches it
//!   Accept with names --> all in the store and the engine's folder --> engine
//!                    \-> not to be had in time: refused, so that its lender runs it
//! ```
//!
//! A closure waits alone: those without shared values pass it, and so do those whose values are there. One that is not wanted any
//! more waits no longer, and never comes to the engine.
//!
//! Nobody's word is taken for a value: it has the name that its content gives it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atlas_engine::{Failure, SharedName};
use atlas_fs::daemon::chain;
use atlas_fs::{AddAs, AddError, BlobName, exchange};
use atlas_proto::control::NodeAnswer;
use atlas_proto::ids::{JobAlias, Ticket};
use atlas_proto::job::{Closure, Finished, Outcome};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::fetch::Fetch;
use super::output::connected;
use super::{Life, Surroundings, Teller};

/// The blobs that engines share now: they are not removed from the store.
#[derive(Debug, Default)]
pub(crate) struct SharedBlobs(Mutex<HashMap<Life, HashSet<BlobName>>>);

/// The shared values of one engine.
pub(super) struct Sharing {
    surroundings: Arc<Surroundings>,
    job: JobAlias,
    life: Life,
    folder: PathBuf,
    /// Those whose files lie in the engine's folder.
    here: HashSet<SharedName>,
    /// Closures whose values do not.
    waiting: HashMap<Ticket, AbortHandle>,
    arrivals: JoinSet<Arrival>,
    announcements: JoinSet<()>,
}

/// A closure that has waited.
struct Arrival {
    ticket: Ticket,
    closure: Closure,
    refusal: Option<String>,
}

/// What becomes of a closure that has waited.
#[derive(Debug)]
pub(super) enum Admitted {
    /// Its values are there.
    Accept(Ticket, Closure),
    /// They cannot be had. Its lender is to run it.
    Refuse(Ticket, Finished),
}

impl SharedBlobs {
    pub(super) fn all(&self) -> HashSet<BlobName> {
        self.lives().values().flatten().copied().collect()
    }

    fn insert(&self, life: Life, name: BlobName) {
        self.lives().entry(life).or_default().insert(name);
    }

    fn remove(&self, life: Life) {
        self.lives().remove(&life);
    }

    fn lives(&self) -> std::sync::MutexGuard<'_, HashMap<Life, HashSet<BlobName>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sharing {
    pub(super) fn new(surroundings: &Arc<Surroundings>, teller: &Teller, folder: PathBuf) -> Self {
        Self {
            surroundings: surroundings.clone(),
            job: teller.job,
            life: teller.life,
            folder,
            here: HashSet::new(),
            waiting: HashMap::new(),
            arrivals: JoinSet::new(),
            announcements: JoinSet::new(),
        }
    }

    /// The engine has made a file: it becomes a blob, of which the manager is told until it has it.
    pub(super) fn take_from_engine(&mut self, name: SharedName) {
        self.here.insert(name);
        let blob = BlobName(name.0);
        self.surroundings.shared.insert(self.life, blob);
        let file = self.folder.join(name.to_string());
        let announced = announce(self.surroundings.clone(), self.job, blob, file);
        self.announcements.spawn(announced);
        while self.announcements.try_join_next().is_some() {}
    }

    /// The closure, if the engine has all that it names; otherwise it waits.
    pub(super) fn admit(&mut self, ticket: Ticket, closure: Closure) -> Option<Closure> {
        let lacking = |name: &&SharedName| !self.here.contains(*name);
        let lacks: Vec<SharedName> = closure.shared.iter().filter(lacking).copied().collect();
        if lacks.is_empty() {
            return Some(closure);
        }
        for name in &lacks {
            let blob = BlobName(name.0);
            self.surroundings.shared.insert(self.life, blob);
        }
        let fetch = Fetch::new(&self.surroundings, self.job);
        let folder = self.folder.clone();
        let arrival = async move {
            let fetched = fetch_all(&fetch, &folder, &lacks).await;
            Arrival {
                ticket,
                closure,
                refusal: fetched.err(),
            }
        };
        self.waiting.insert(ticket, self.arrivals.spawn(arrival));
        None
    }

    /// The closure is not wanted any more. True if it has waited, so that the engine does not know of it.
    pub(super) fn abort(&mut self, ticket: Ticket) -> bool {
        let waits = self.waiting.remove(&ticket);
        waits.inspect(AbortHandle::abort).is_some()
    }

    /// The next one that waits no longer. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Admitted {
        loop {
            let Some(arrived) = self.arrivals.join_next().await else {
                return std::future::pending().await;
            };
            // Of those that were aborted nobody waits.
            if let Ok(arrival) = arrived
                && self.waiting.remove(&arrival.ticket).is_some()
            {
                return self.judge(arrival);
            }
        }
    }

    fn judge(&mut self, arrival: Arrival) -> Admitted {
        let Arrival {
            ticket,
            closure,
            refusal,
        } = arrival;
        let Some(reason) = refusal else {
            self.here.extend(&closure.shared);
            return Admitted::Accept(ticket, closure);
        };
        tracing::warn!(job = %self.job, reason, "a closure is refused");
        let failure = Failure::Refused { reason };
        let outcome = Outcome::Panic(failure.to_bytes());
        let work = Duration::ZERO;
        Admitted::Refuse(ticket, Finished { outcome, work })
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        self.surroundings.shared.remove(self.life);
    }
}

/// Sees to it that these files are in an engine's folder; otherwise says why they are not.
async fn fetch_all(
    fetch: &Fetch,
    folder: &std::path::Path,
    names: &[SharedName],
) -> Result<(), String> {
    for name in names {
        let file = folder.join(name.to_string());
        let fetched = fetch.shared(BlobName(name.0), file).await;
        fetched.map_err(|error| {
            format!(
                "the shared value {name} cannot be had there: {}",
                chain(&error)
            )
        })?;
    }
    Ok(())
}

/// Makes a blob of a file, and tells the manager of it until that has it.
async fn announce(surroundings: Arc<Surroundings>, job: JobAlias, name: BlobName, file: PathBuf) {
    match add(&surroundings, name, file).await {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!(%job, %name, "what an engine shares is not what it says");
            return;
        }
        Err(error) => {
            tracing::warn!(%job, %name, error = chain(&error), "what an engine shares cannot be kept");
            return;
        }
    }
    let mut manager = surroundings.manager.clone();
    loop {
        let connection = connected(&mut manager).await;
        match exchange::announce(&connection, job, name).await {
            Ok(NodeAnswer::Refused(refusal)) => {
                tracing::warn!(%job, %name, %refusal, "the manager does not take a shared value");
                return;
            }
            Ok(_) => return,
            Err(error) => tracing::debug!(%job, %name, %error, "telling of a shared value again"),
        }
        sleep(ANNOUNCE_INTERVAL).await;
    }
}

/// Adds a file to the store, by another name for it. False if it is not the blob that it should be.
async fn add(surroundings: &Surroundings, name: BlobName, file: PathBuf) -> Result<bool, AddError> {
    let added = surroundings.store.add_file_async(file, AddAs::Linked);
    Ok(added.await?.name == name)
}

const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(200);
