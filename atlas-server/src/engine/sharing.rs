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
//! The machine counts a worker for each closure that it has given to the engine. So of the idle workers that the engine tells of
//! those are taken off that closures wait for, and the machine is told again when one of these does not come.
//!
//! Nobody's word is taken for a value: it has the name that its content gives it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atlas_engine::{Load, SharedName};
use atlas_fs::daemon::chain;
use atlas_fs::{AddAs, AddError, BlobName, exchange};
use atlas_proto::control::{NodeAnswer, Refusal};
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
    /// What the engine has told last.
    told: Load,
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

    pub(super) fn insert(&self, life: Life, name: BlobName) {
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
            told: Load::default(),
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
        let shared = share(self.surroundings.clone(), self.job, blob, file);
        self.announcements.spawn(shared);
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

    /// The engine has told its load.
    pub(super) fn note_load(&mut self, told: Load) {
        self.told = told;
    }

    /// The engine's load as it is when it has what waits.
    pub(super) fn load(&self) -> Load {
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        Load {
            idle: self.told.idle.saturating_sub(waiting),
            ..self.told.clone()
        }
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
        let outcome = Outcome::refused(reason);
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
async fn share(surroundings: Arc<Surroundings>, job: JobAlias, name: BlobName, file: PathBuf) {
    match add(&surroundings, name, file).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            tracing::warn!(%job, %name, "what an engine shares is not what it says");
            return;
        }
        Err(error) => {
            tracing::warn!(%job, %name, error = chain(&error), "what an engine shares cannot be kept");
            return;
        }
    }
    if let Err(refusal) = announce(&surroundings, job, name).await {
        tracing::warn!(%job, %name, %refusal, "the manager does not take a shared value");
    }
}

/// Tells the manager of a blob until that has it, or refuses it.
pub(super) async fn announce(
    surroundings: &Surroundings,
    job: JobAlias,
    name: BlobName,
) -> Result<(), Refusal> {
    let mut manager = surroundings.manager.clone();
    loop {
        let connection = connected(&mut manager).await;
        match exchange::announce(&connection, job, name).await {
            Ok(NodeAnswer::Refused(refusal)) => return Err(refusal),
            Ok(_) => return Ok(()),
            Err(error) => tracing::debug!(%job, %name, %error, "telling of a blob again"),
        }
        sleep(ANNOUNCE_INTERVAL).await;
    }
}

/// Adds a file to the store, by another name for it. Gives its length; none if it is not the blob that it should be.
pub(super) async fn add(
    surroundings: &Surroundings,
    name: BlobName,
    file: PathBuf,
) -> Result<Option<u64>, AddError> {
    let added = surroundings.store.add_file_async(file, AddAs::Linked);
    let added = added.await?;
    Ok((added.name == name).then_some(added.bytes))
}

const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::fs;

    use atlas_engine::{Above, Failure};
    use atlas_fs::Store;
    use atlas_proto::ids::TaskId;
    use atlas_proto::job::ClosureKind;
    use tokio::time::timeout;

    use super::super::stage::{self, name};
    use super::*;

    struct Stage {
        sharing: Sharing,
        stage: stage::Stage,
    }

    impl Stage {
        fn new() -> Self {
            let stage = stage::Stage::new();
            Self {
                sharing: Sharing::new(&stage.surroundings, &stage.teller(), stage.shared()),
                stage,
            }
        }

        fn store(&self) -> &Store {
            &self.stage.surroundings.store
        }

        async fn soon(&mut self) -> Option<Admitted> {
            timeout(SOON, self.sharing.next()).await.ok()
        }
    }

    fn closure(shared: &[SharedName]) -> Closure {
        Closure {
            kind: ClosureKind {
                task: TaskId(1),
                depth: 0,
            },
            args: Vec::new().into(),
            expected: Duration::ZERO,
            shared: shared.to_vec(),
            above: Above::NONE,
        }
    }

    const SOON: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn closures_wait_for_their_own_values_alone() {
        let mut stage = Stage::new();
        let (here, away) = (name(b"here"), name(b"away"));
        stage.store().add_bytes(b"here").unwrap();
        let admit = |stage: &mut Stage, ticket, shared: &[SharedName]| {
            stage.sharing.admit(Ticket(ticket), closure(shared))
        };
        assert_eq!(admit(&mut stage, 1, &[away, here]), None);
        assert_eq!(admit(&mut stage, 2, &[]), Some(closure(&[])));
        // Two that wait for one value.
        assert_eq!(admit(&mut stage, 3, &[here]), None);
        assert_eq!(admit(&mut stage, 4, &[here]), None);
        let mut accepted = Vec::new();
        for _ in 0..2 {
            match stage.sharing.next().await {
                Admitted::Accept(ticket, _) => accepted.push(ticket.0),
                refused @ Admitted::Refuse(..) => panic!("{refused:?}"),
            }
        }
        accepted.sort_unstable();
        assert_eq!(accepted, [3, 4]);
        assert_eq!(fs::read(stage.stage.file(here)).unwrap(), b"here");
        assert_eq!(admit(&mut stage, 5, &[here]), Some(closure(&[here])));
        assert!(stage.soon().await.is_none());
    }

    #[tokio::test]
    async fn aborted_closure_waits_no_longer_and_does_not_come() {
        let mut stage = Stage::new();
        let value = name(b"value");
        let idle = Load {
            idle: 2,
            ..Load::default()
        };
        stage.sharing.note_load(idle.clone());
        assert_eq!(stage.sharing.admit(Ticket(1), closure(&[value])), None);
        assert_eq!(stage.sharing.load().idle, 1, "one is spoken for");
        assert!(stage.sharing.abort(Ticket(1)));
        assert_eq!(stage.sharing.load(), idle);
        assert!(!stage.sharing.abort(Ticket(1)));
        // Also if its values have come already.
        stage.store().add_bytes(b"value").unwrap();
        assert_eq!(stage.sharing.admit(Ticket(2), closure(&[value])), None);
        while !stage.stage.file(value).exists() {
            tokio::task::yield_now().await;
        }
        assert!(stage.sharing.abort(Ticket(2)));
        assert!(stage.soon().await.is_none());
    }

    #[tokio::test]
    async fn closure_whose_value_is_damaged_is_refused() {
        let mut stage = Stage::new();
        let value = name(b"value");
        stage.store().add_bytes(b"value").unwrap();
        let packed = stage.store().folder();
        let packed = packed.join(format!("{value}.packed"));
        let mut bytes = fs::read(&packed).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let metadata = fs::metadata(&packed).unwrap();
        fs::remove_file(&packed).unwrap();
        fs::write(&packed, bytes).unwrap();
        let file = fs::File::open(&packed).unwrap();
        let times = fs::FileTimes::new().set_modified(metadata.modified().unwrap());
        file.set_times(times).unwrap();
        file.set_permissions(metadata.permissions()).unwrap();

        assert_eq!(stage.sharing.admit(Ticket(1), closure(&[value])), None);
        let Admitted::Refuse(Ticket(1), finished) = stage.sharing.next().await else {
            panic!("it is no value");
        };
        let failure = Failure::from_bytes(finished.outcome.bytes().unwrap());
        assert!(matches!(failure, Failure::Refused { .. }), "{failure:?}");
        assert!(!stage.stage.file(value).exists());
    }

    #[tokio::test]
    async fn what_an_engine_shares_is_taken_for_what_it_is() {
        let mut stage = Stage::new();
        let (value, false_name) = (name(b"value"), name(b"another"));
        fs::write(stage.stage.file(value), b"value").unwrap();
        fs::write(stage.stage.file(false_name), b"no value").unwrap();
        let surroundings = stage.stage.surroundings.clone();
        let taken = |name: SharedName, file| add(&surroundings, BlobName(name.0), file);
        assert_eq!(
            taken(value, stage.stage.file(value)).await.unwrap(),
            Some(5)
        );
        let refused = taken(false_name, stage.stage.file(false_name)).await;
        assert_eq!(refused.unwrap(), None);
        assert!(
            taken(name(b"none"), stage.stage.file(name(b"none")))
                .await
                .is_err()
        );
        let has = |name: SharedName| surroundings.store.has(BlobName(name.0));
        assert_eq!([value, false_name].map(has), [true, false]);
        // Its own closures find it where it is.
        stage.sharing.take_from_engine(value);
        assert!(stage.sharing.admit(Ticket(1), closure(&[value])).is_some());
    }

    #[tokio::test]
    async fn values_are_kept_as_long_as_their_engine_lives() {
        let mut stage = Stage::new();
        let [made, needed] = [name(b"made"), name(b"needed")];
        stage.sharing.take_from_engine(made);
        stage.sharing.admit(Ticket(1), closure(&[needed]));
        let kept = |stage: &Stage| stage.stage.surroundings.shared.all();
        let both = [made, needed].map(|name| BlobName(name.0));
        assert_eq!(kept(&stage), both.into());
        let Stage { sharing, stage } = stage;
        drop(sharing);
        assert!(stage.surroundings.shared.all().is_empty());
    }
}
