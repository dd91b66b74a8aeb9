//! What must survive: jobs, what was recorded and pinned of those that live, what was recorded of foreign ones, join tokens and the number of
//! lives, in an embedded database (redb).
//!
//! Every page has a checksum, and all are looked at when the store is opened: what was torn or has changed on the disk is found
//! then, and named. A commit is written before the pointer to it is (two phases), so that the last one is whole or was not made.
//!
//! One thread writes ([`Writer`]), so that the loop never waits for a disk; who must know that something is safe waits for the
//! thread's word. With a standby the thread's word alone is not enough: what is on this disk is then told to the
//! [`Journal`], which says when it is safe. A store in memory serves managers that live as long as one command.
//!
//! A disk that is full is nobody's end: what cannot be written then is refused, or written when there is room again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};

use atlas_net::identity::Tokens;
use atlas_proto::control::JobId;
use atlas_proto::engine::Recorded;
use atlas_proto::ids::GlobalJobId;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::jobs::JobRecord;

mod disk;
mod foreign;
mod pins;
mod records;
#[cfg(test)]
mod small_disk;
mod writer;

pub(crate) use foreign::{TIDY_EVERY, now_ms};
pub(crate) use pins::Pin;

use disk::{Disk, Open};
use writer::{IfItFails, Order, Whose, Writer};

/// A manager's store. Clones share it.
#[derive(Clone)]
pub struct Store {
    disk: Arc<Disk>,
    orders: mpsc::Sender<Order>,
    journal: Arc<OnceLock<Journal>>,
}

/// Hears of all that is on the disk, in its order, with whom to tell when it is safe.
pub(crate) type Journal = Box<dyn Fn(Write, Done) + Send + Sync>;

/// Whom to tell when something is safe, or refused.
pub(crate) type Done = oneshot::Sender<Result<(), SaveError>>;

/// Something that is to be safe.
#[derive(Debug)]
pub(crate) struct Saved(oneshot::Receiver<Result<(), SaveError>>);

/// Why something is not safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SaveError {
    #[error(
        "the manager's store cannot be written ({cause}): make room on the manager's disk, or make it writable if it is read-only, and ask again"
    )]
    Disk {
        /// What the disk says.
        cause: String,
    },
    #[error("the manager does not act any more: ask again")]
    Stopped,
}

/// What is wrong with a store, as long as it is.
#[derive(Debug, thiserror::Error)]
#[error(
    "the manager's store {} cannot be written ({cause}): make room on its disk, or see that it is not read-only and that this user \
     may write it; what needs it is refused until then, and no restart is needed",
    path.display()
)]
pub(crate) struct Trouble {
    pub(crate) path: PathBuf,
    pub(crate) cause: String,
}

/// All that a store has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Everything {
    pub(crate) jobs: Vec<JobRecord>,
    pub(crate) tokens: Tokens,
    pub(crate) life: u64,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStoreError {
    /// Another process has it.
    #[error("{} is in use: another manager runs on this state folder; stop it first", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged.
    #[error(
        "the manager's store {} is damaged: put back a copy of it, or move it away to begin without jobs and tokens (servers and \
         clients stay enrolled)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the database says.
        source: Box<redb::Error>,
    },
    /// It is of another version, or the disk does not serve.
    #[error(
        "the manager's store {} cannot be used: see that its disk is neither full nor read-only, and that this user may write it",
        path.display()
    )]
    Database {
        /// The file.
        path: PathBuf,
        /// What the database says.
        source: Box<redb::Error>,
    },
    /// Something in it is damaged or of another version.
    #[error(
        "{what} in the manager's store cannot be read: it is damaged, or of another version of Atlas"
    )]
    Record {
        /// What.
        what: String,
    },
}

/// A change of what must survive.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Write {
    /// How a job stands.
    Job(Box<JobRecord>),
    /// Jobs that are forgotten.
    Forget(Vec<JobId>),
    /// The tokens that let nodes in.
    Tokens(Tokens),
    /// Results of a job, to be kept until it ends.
    Records(JobId, Vec<Recorded>),
    /// The number of a life of the domain's manager.
    Life(u64),
    /// In place of all that was there.
    Everything(Box<Everything>),
    /// Versions that a job has seen first, to be kept until it ends.
    Pins(JobId, Vec<Pin>),
    /// Results of a foreign job, and when they came.
    ForeignRecords(GlobalJobId, u64, Vec<Recorded>),
    /// A foreign job has ended.
    EndForeign(GlobalJobId),
    /// These foreign jobs are known at this time. What was known for the last time long ago goes.
    TidyForeign(u64, Vec<GlobalJobId>),
}

/// How much there is of what was recorded.
#[derive(Debug, Default)]
struct Sizes {
    own: records::Sizes,
    foreign: foreign::Index,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store(..)")
    }
}

impl Store {
    /// Opens the store in a folder, or makes it.
    ///
    /// # Errors
    ///
    /// Another process uses it, or it cannot be read.
    pub fn open(folder: &Path) -> Result<Self, OpenStoreError> {
        let path = folder.join(FILE);
        let database = disk::caught(&path, || open_whole(&path))?;
        let file = path.clone();
        let again = move || opened(&file, configured().open(&file));
        Self::with(database, Box::new(again), &path)
    }

    /// A store that ends with the process.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub fn in_memory() -> Result<Self, OpenStoreError> {
        let path = Path::new("memory");
        let backend = redb::backends::InMemoryBackend::new();
        let database = configured().create_with_backend(backend);
        let database = database.map_err(|error| unusable(path, error))?;
        // Memory has no errors after which it would have to be.
        let again = || Err(unusable(Path::new("memory"), redb::Error::DatabaseClosed));
        Self::with(database, Box::new(again), path)
    }

    fn with(database: Database, again: Open, path: &Path) -> Result<Self, OpenStoreError> {
        let begin = || -> Result<(), redb::Error> {
            let write = database.begin_write()?;
            write.open_table(JOBS)?;
            write.open_table(TOKENS)?;
            write.open_table(LIVES)?;
            records::create(&write)?;
            foreign::create(&write)?;
            pins::create(&write)?;
            Ok(write.commit()?)
        };
        begin().map_err(|error| unusable(path, error))?;
        let disk = Arc::new(Disk::new(path, database, again));
        let (orders, todo) = mpsc::channel();
        let journal = Arc::new(OnceLock::new());
        let writer = Writer::new(disk.clone(), journal.clone());
        let spawned = std::thread::Builder::new()
            .name("atlas-store".into())
            .spawn(move || writer.run(&todo));
        spawned.map_err(|error| unusable(path, redb::Error::Io(error)))?;
        Ok(Self {
            disk,
            orders,
            journal,
        })
    }

    /// What is wrong, if something is: what cannot be written now is refused, or waits.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        let path = self.disk.path().to_owned();
        let cause = self.disk.trouble()?;
        Some(Trouble { path, cause })
    }

    /// From now on all that is written is told, too. Once.
    pub(crate) fn tell(&self, journal: Journal) {
        let _ = self.journal.set(journal);
    }

    /// All that is there.
    pub(crate) fn everything(&self) -> Result<Everything, OpenStoreError> {
        Ok(Everything {
            jobs: self.jobs()?,
            tokens: self.tokens()?,
            life: self.life()?,
        })
    }

    /// The number of the last life of the domain's manager.
    pub(crate) fn life(&self) -> Result<u64, OpenStoreError> {
        self.disk.read(|database| {
            let table = database.begin_read()?.open_table(LIVES)?;
            Ok(table.get(())?.map_or(0, |life| life.value()))
        })
    }

    /// All jobs, oldest first.
    pub(crate) fn jobs(&self) -> Result<Vec<JobRecord>, OpenStoreError> {
        let entries = self.disk.read(|database| {
            let table = database.begin_read()?.open_table(JOBS)?;
            let entries = table.iter()?.map(|entry| {
                let (id, record) = entry?;
                Ok((id.value(), record.value().to_vec()))
            });
            entries.collect::<Result<Vec<_>, redb::Error>>()
        })?;
        let records = entries.into_iter().map(|(id, record)| {
            postcard::from_bytes(&record).map_err(|_| OpenStoreError::Record {
                what: format!("job {id}"),
            })
        });
        records.collect()
    }

    /// The tokens that let nodes in.
    pub(crate) fn tokens(&self) -> Result<Tokens, OpenStoreError> {
        let tokens = self.disk.read(|database| {
            let table = database.begin_read()?.open_table(TOKENS)?;
            Ok(table.get(())?.map(|tokens| tokens.value().to_vec()))
        })?;
        let Some(tokens) = tokens else {
            return Ok(Tokens::default());
        };
        postcard::from_bytes(&tokens).map_err(|_| OpenStoreError::Record {
            what: "the list of tokens".into(),
        })
    }

    /// What was recorded of a job that has not ended.
    pub(crate) fn records(&self, job: JobId) -> Result<Vec<Recorded>, OpenStoreError> {
        self.disk.read(|database| records::read(database, job))
    }

    /// Keeps results of a job until it ends, some time soon: nothing depends on them.
    pub(crate) fn save_records(&self, job: JobId, entries: Vec<Recorded>) {
        drop(self.order(Write::Records(job, entries), IfItFails::Drop));
    }

    /// The versions that a job has seen first, if it has not ended.
    pub(crate) fn pins(&self, job: JobId) -> Result<Vec<Pin>, OpenStoreError> {
        self.disk.read(|database| pins::read(database, job))
    }

    /// Keeps that a job has seen a version first, as soon as that can be.
    pub(crate) fn save_pin(&self, job: JobId, pin: Pin) -> Saved {
        self.order(Write::Pins(job, vec![pin]), IfItFails::Owe)
    }

    /// What was recorded and pinned of all jobs that have not ended, and of foreign ones, as it would be written, in pieces of some size.
    pub(crate) fn all_records(&self) -> Result<Vec<Write>, OpenStoreError> {
        let mut all = self.all_foreign_records()?;
        let live = self.jobs()?.into_iter().map(|record| record.status);
        for job in live.filter(|status| !status.state.has_ended()) {
            let pins = self.pins(job.id)?;
            let pieces = pins.chunks(PINS_PIECE);
            all.extend(pieces.map(|piece| Write::Pins(job.id, piece.to_vec())));
            let entries = self.records(job.id)?;
            let pieces = entries.chunks(RECORDS_PIECE);
            all.extend(pieces.map(|piece| Write::Records(job.id, piece.to_vec())));
        }
        Ok(all)
    }

    /// Begins a life of this manager: gives a number larger than that of any life before, whatever has become of the machine's
    /// clock, by which it would be `clock`.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub fn begin_life(&self, clock: u64) -> Result<u64, OpenStoreError> {
        self.disk.read(|database| {
            let mut write = database.begin_write()?;
            write.set_two_phase_commit(true);
            let life = {
                let mut lives = write.open_table(LIVES)?;
                let last = lives.get(())?.map(|last| last.value());
                let life = last.map_or(clock, |last| clock.max(last + 1));
                lives.insert((), life)?;
                life
            };
            write.commit()?;
            Ok(life)
        })
    }

    /// Tells of a life that has begun.
    pub(crate) fn save_life(&self, life: u64) {
        drop(self.order(Write::Life(life), IfItFails::Owe));
    }

    /// Keeps a job that begins, or refuses it: then it is to be forgotten, since the disk may have it all the same.
    pub(crate) fn save_new_job(&self, record: JobRecord) -> Saved {
        self.order(Write::Job(record.into()), IfItFails::Refuse)
    }

    /// Keeps how a job has ended, as soon as that can be.
    pub(crate) fn save_ended_job(&self, record: JobRecord) -> Saved {
        self.order(Write::Job(record.into()), IfItFails::Owe)
    }

    /// Forgets jobs, as soon as that can be.
    pub(crate) fn forget(&self, jobs: Vec<JobId>) {
        drop(self.order(Write::Forget(jobs), IfItFails::Owe));
    }

    /// Keeps the tokens with a new one, or refuses it.
    pub(crate) fn save_new_token(&self, tokens: Tokens) -> Saved {
        self.order(Write::Tokens(tokens), IfItFails::Refuse)
    }

    /// Keeps the tokens after they were used, as soon as that can be.
    pub(crate) fn save_used_tokens(&self, tokens: Tokens) {
        drop(self.order(Write::Tokens(tokens), IfItFails::Owe));
    }

    /// Keeps what the manager that acts has told, or refuses it. It is safe once it is on this disk.
    pub(crate) fn take(&self, write: Write) -> Saved {
        self.send(write, IfItFails::Refuse, Whose::Told)
    }

    /// Writes what is owed, if there is room by now.
    pub(crate) fn settle(&self) -> Saved {
        self.send(Write::Forget(Vec::new()), IfItFails::Refuse, Whose::Told)
    }

    fn order(&self, write: Write, if_it_fails: IfItFails) -> Saved {
        self.send(write, if_it_fails, Whose::Own)
    }

    fn send(&self, write: Write, if_it_fails: IfItFails, whose: Whose) -> Saved {
        let (done, wait) = oneshot::channel();
        let order = Order {
            write,
            if_it_fails,
            whose,
            done,
        };
        // Without a thread the answer is that nobody answers.
        let _ = self.orders.send(order);
        Saved(wait)
    }
}

impl Saved {
    /// Waits until it is safe.
    pub(crate) async fn safe(self) -> Result<(), SaveError> {
        self.0.await.unwrap_or(Err(SaveError::Stopped))
    }
}

/// Opens a database, or makes it, and looks at all that is in it.
fn open_whole(path: &Path) -> Result<Database, OpenStoreError> {
    let mut database = opened(path, configured().create(path))?;
    match database.check_integrity() {
        Ok(true) => {}
        Ok(false) => {
            let path = path.display();
            tracing::warn!(%path, "the manager's store was not closed properly, and has been repaired");
        }
        Err(error) => return Err(unusable(path, error)),
    }
    Ok(database)
}

fn configured() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn opened(
    path: &Path,
    opened: Result<Database, redb::DatabaseError>,
) -> Result<Database, OpenStoreError> {
    match opened {
        Ok(database) => Ok(database),
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
            let path = path.to_owned();
            Err(OpenStoreError::InUse { path })
        }
        Err(error) => Err(unusable(path, error)),
    }
}

/// Makes all of it safe together.
fn commit<'a>(
    database: &Database,
    writes: impl Iterator<Item = &'a Write>,
    sizes: &mut Sizes,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    {
        let mut jobs = transaction.open_table(JOBS)?;
        let mut tokens = transaction.open_table(TOKENS)?;
        let mut lives = transaction.open_table(LIVES)?;
        // What a job that ends here has recorded before need not be written.
        let mut records = BTreeMap::<JobId, Vec<&Recorded>>::new();
        let mut foreign = BTreeMap::<GlobalJobId, (u64, Vec<&Recorded>)>::new();
        for write in writes {
            match write {
                Write::Job(record) => {
                    let bytes = encode(record.as_ref())?;
                    jobs.insert(record.status.id.0, &bytes[..])?;
                    if record.status.state.has_ended() {
                        records.remove(&record.status.id);
                        records::remove(&transaction, &mut sizes.own, record.status.id)?;
                        pins::remove(&transaction, record.status.id)?;
                    }
                }
                Write::Forget(old) => {
                    for id in old {
                        jobs.remove(id.0)?;
                    }
                }
                Write::Tokens(all) => {
                    tokens.insert((), &encode(all)?[..])?;
                }
                Write::Records(job, entries) => {
                    records.entry(*job).or_default().extend(entries);
                }
                Write::Pins(job, all) => pins::insert(&transaction, *job, all)?,
                Write::ForeignRecords(id, at_ms, entries) => {
                    let (last_ms, pending) = foreign.entry(*id).or_default();
                    *last_ms = *at_ms;
                    pending.extend(entries);
                }
                Write::EndForeign(id) => {
                    foreign.remove(id);
                    foreign::remove(&transaction, &mut sizes.foreign, *id)?;
                }
                Write::TidyForeign(at_ms, known) => {
                    foreign::tidy(&transaction, &mut sizes.foreign, *at_ms, known)?;
                }
                Write::Life(life) => {
                    lives.insert((), life)?;
                }
                Write::Everything(all) => {
                    jobs.retain(|_, _| false)?;
                    records.clear();
                    records::clear(&transaction, &mut sizes.own)?;
                    foreign.clear();
                    foreign::clear(&transaction, &mut sizes.foreign)?;
                    pins::clear(&transaction)?;
                    for record in &all.jobs {
                        jobs.insert(record.status.id.0, &encode(record)?[..])?;
                    }
                    tokens.insert((), &encode(&all.tokens)?[..])?;
                    lives.insert((), all.life)?;
                }
            }
        }
        for (job, entries) in records {
            records::insert(&transaction, &mut sizes.own, job, &entries)?;
        }
        for (id, (at_ms, entries)) in foreign {
            foreign::insert(&transaction, &mut sizes.foreign, (id, at_ms), &entries)?;
        }
    }
    Ok(transaction.commit()?)
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, redb::Error> {
    postcard::to_stdvec(value).map_err(|error| redb::Error::Io(std::io::Error::other(error)))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the database's errors are many, and not exhaustive"
)]
fn unusable(path: &Path, error: impl Into<redb::Error>) -> OpenStoreError {
    let (path, source) = (path.to_owned(), Box::new(error.into()));
    let damage = match &*source {
        redb::Error::Corrupted(_) => true,
        // What is too short to be a store, or begins with something else.
        redb::Error::Io(error) => DAMAGE.contains(&error.kind()),
        _ => false,
    };
    if damage {
        OpenStoreError::Damaged { path, source }
    } else {
        OpenStoreError::Database { path, source }
    }
}

const JOBS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("jobs");
const TOKENS: TableDefinition<'_, (), &[u8]> = TableDefinition::new("tokens");
const LIVES: TableDefinition<'_, (), u64> = TableDefinition::new("lives");
const FILE: &str = "manager.redb";
/// Results in one message to a standby.
const RECORDS_PIECE: usize = 64;
/// Versions in one message to a standby.
const PINS_PIECE: usize = 256;
/// What the database says of a file that is not, or not all of, a store.
const DAMAGE: [std::io::ErrorKind; 2] = [
    std::io::ErrorKind::InvalidData,
    std::io::ErrorKind::UnexpectedEof,
];
/// Some thousand jobs; all that is read at a start.
const CACHE_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::jobs::JobRecord;
    use atlas_proto::control::{JobState, JobStatus};

    pub(super) fn record(id: u64) -> JobRecord {
        JobRecord {
            status: JobStatus {
                id: JobId(id),
                name: format!("job {id}"),
                args: vec!["argument".repeat(20)],
                state: JobState::Waiting,
                submitted_ms: id,
                elapsed: std::time::Duration::ZERO,
                closures: 0,
                work: std::time::Duration::ZERO,
                servers: 0,
                workers: 0,
                output_bytes: [0; 2],
                files: None,
            },
            engine: "native".into(),
            global_id: GlobalJobId(id.into()),
            artifact: [7; 32],
            options: vec![1; 100],
            root: vec![2; 50],
            needs: Vec::new(),
            left: Vec::new(),
        }
    }

    impl Saved {
        pub(super) fn blocking(self) -> Result<(), SaveError> {
            self.0.blocking_recv().unwrap_or(Err(SaveError::Stopped))
        }
    }

    fn filled(folder: &Path, jobs: u64) {
        let store = Store::open(folder).unwrap();
        for id in 1..=jobs {
            store.save_new_job(record(id)).blocking().unwrap();
        }
    }

    /// The writer's thread has the file a moment longer.
    pub(super) fn reopened(folder: &Path) -> Result<Store, OpenStoreError> {
        loop {
            match Store::open(folder) {
                Err(OpenStoreError::InUse { .. }) => std::thread::yield_now(),
                opened => return opened,
            }
        }
    }

    #[test]
    fn each_life_has_a_larger_number_though_the_clock_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let lives = [1000, 1000, 400, 2000].map(|clock| {
            let store = reopened(folder.path()).unwrap();
            store.begin_life(clock).unwrap()
        });
        assert_eq!(lives, [1000, 1001, 1002, 2000]);
    }

    #[test]
    fn what_has_changed_on_the_disk_is_found_and_named_or_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 40);
        drop(reopened(folder.path()).unwrap());
        let path = folder.path().join(FILE);
        let whole = loop {
            if let Ok(store) = reopened(folder.path()) {
                let jobs = store.jobs().unwrap();
                drop(store);
                break (fs::read(&path).unwrap(), jobs);
            }
        };
        let (bytes, jobs) = whole;
        let mut refused = 0;
        for place in (0..bytes.len()).step_by(bytes.len() / 97) {
            let mut changed = bytes.clone();
            changed[place] ^= 0x55;
            fs::write(&path, &changed).unwrap();
            match reopened(folder.path()) {
                Ok(store) => assert_eq!(store.jobs().unwrap(), jobs, "byte {place} has changed"),
                Err(error) => {
                    assert!(error.to_string().contains(FILE), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "nothing of what was changed was in use");
    }

    #[test]
    fn a_store_that_is_cut_or_something_else_is_named() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 40);
        drop(reopened(folder.path()).unwrap());
        let path = folder.path().join(FILE);
        let bytes = fs::read(&path).unwrap();
        for length in [1, 100, 4096, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = reopened(folder.path()).unwrap_err().to_string();
            assert!(error.contains(FILE), "{length}: {error}");
        }
        fs::write(&path, b"no store at all").unwrap();
        let error = reopened(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
    }
}
