//! What must survive: jobs and join tokens, in an embedded database (redb).
//!
//! One thread writes, so that the loop never waits for a disk; who must know that something is safe waits for the
//! thread's word. With a standby the thread's word alone is not enough: what is on this disk is then told to the
//! [`Journal`], which says when it is safe. A store in memory serves managers that live as long as one command.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};

use atlas_net::identity::Tokens;
use atlas_proto::control::JobId;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::jobs::JobRecord;

/// A manager's store. Clones share it.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
    writes: mpsc::Sender<(Write, oneshot::Sender<bool>)>,
    journal: Arc<OnceLock<Journal>>,
}

/// Hears of all that is on the disk, in its order, with whom to tell when it is safe.
pub(crate) type Journal = Box<dyn Fn(Write, oneshot::Sender<bool>) + Send + Sync>;

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
    /// It is damaged, of another version, or the disk does not serve.
    #[error("the manager's store {} cannot be used", path.display())]
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
    /// The number of a life of the domain's manager.
    Life(u64),
    /// In place of all that was there.
    Everything(Box<Everything>),
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
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&path)
            .map_err(|error| {
                if matches!(error, redb::DatabaseError::DatabaseAlreadyOpen) {
                    let path = path.clone();
                    return OpenStoreError::InUse { path };
                }
                damaged(&path, error)
            })?;
        Self::with(database, &path)
    }

    /// A store that ends with the process.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub fn in_memory() -> Result<Self, OpenStoreError> {
        let path = Path::new("memory");
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(redb::backends::InMemoryBackend::new())
            .map_err(|error| damaged(path, error))?;
        Self::with(database, path)
    }

    fn with(database: Database, path: &Path) -> Result<Self, OpenStoreError> {
        let begin = || -> Result<(), redb::Error> {
            let write = database.begin_write()?;
            write.open_table(JOBS)?;
            write.open_table(TOKENS)?;
            write.open_table(LIVES)?;
            Ok(write.commit()?)
        };
        begin().map_err(|error| damaged(path, error))?;
        let database = Arc::new(database);
        let (writes, todo) = mpsc::channel();
        let (writer, journal) = (database.clone(), Arc::new(OnceLock::new()));
        let told = journal.clone();
        let spawned = std::thread::Builder::new()
            .name("atlas-store".into())
            .spawn(move || write_all(&writer, &todo, &told));
        spawned.map_err(|error| damaged(path, redb::Error::Io(error)))?;
        Ok(Self {
            database,
            writes,
            journal,
        })
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
        let read = || -> Result<u64, redb::Error> {
            let table = self.database.begin_read()?.open_table(LIVES)?;
            Ok(table.get(())?.map_or(0, |life| life.value()))
        };
        read().map_err(|error| damaged(Path::new(FILE), error))
    }

    /// All jobs, oldest first.
    pub(crate) fn jobs(&self) -> Result<Vec<JobRecord>, OpenStoreError> {
        let read = || -> Result<Vec<(u64, Vec<u8>)>, redb::Error> {
            let table = self.database.begin_read()?.open_table(JOBS)?;
            let entries = table.iter()?.map(|entry| {
                let (id, record) = entry?;
                Ok((id.value(), record.value().to_vec()))
            });
            entries.collect()
        };
        let entries = read().map_err(|error| damaged(Path::new(FILE), error))?;
        let records = entries.into_iter().map(|(id, record)| {
            postcard::from_bytes(&record).map_err(|_| OpenStoreError::Record {
                what: format!("job {id}"),
            })
        });
        records.collect()
    }

    /// The tokens that let nodes in.
    pub(crate) fn tokens(&self) -> Result<Tokens, OpenStoreError> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let table = self.database.begin_read()?.open_table(TOKENS)?;
            Ok(table.get(())?.map(|tokens| tokens.value().to_vec()))
        };
        let tokens = read().map_err(|error| damaged(Path::new(FILE), error))?;
        let Some(tokens) = tokens else {
            return Ok(Tokens::default());
        };
        postcard::from_bytes(&tokens).map_err(|_| OpenStoreError::Record {
            what: "the list of tokens".into(),
        })
    }

    /// Keeps how a job stands. True once it is safe.
    pub(crate) fn save_job(&self, record: JobRecord) -> oneshot::Receiver<bool> {
        self.write(Write::Job(record.into()))
    }

    /// Forgets jobs.
    pub(crate) fn forget(&self, jobs: Vec<JobId>) {
        drop(self.write(Write::Forget(jobs)));
    }

    /// Keeps the tokens. True once they are safe.
    pub(crate) fn save_tokens(&self, tokens: Tokens) -> oneshot::Receiver<bool> {
        self.write(Write::Tokens(tokens))
    }

    /// Changes something. True once it is safe.
    pub(crate) fn write(&self, write: Write) -> oneshot::Receiver<bool> {
        let (done, wait) = oneshot::channel();
        // Without a thread the answer is that nobody answers.
        let _ = self.writes.send((write, done));
        wait
    }
}

/// Writes what there is, together: one commit makes all of it safe.
fn write_all(
    database: &Database,
    todo: &mpsc::Receiver<(Write, oneshot::Sender<bool>)>,
    journal: &OnceLock<Journal>,
) {
    while let Ok(first) = todo.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(todo.try_iter()).collect();
        let (writes, waiting): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let written = commit(database, &writes);
        if let Err(error) = &written {
            tracing::error!(%error, "the manager's store cannot be written: see that its disk is not full");
        }
        for (write, done) in writes.into_iter().zip(waiting) {
            match journal.get().filter(|_| written.is_ok()) {
                Some(journal) => journal(write, done),
                None => {
                    let _ = done.send(written.is_ok());
                }
            }
        }
    }
}

fn commit(database: &Database, writes: &[Write]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut jobs = transaction.open_table(JOBS)?;
        let mut tokens = transaction.open_table(TOKENS)?;
        let mut lives = transaction.open_table(LIVES)?;
        for write in writes {
            match write {
                Write::Job(record) => {
                    let bytes = encode(record.as_ref())?;
                    jobs.insert(record.status.id.0, &bytes[..])?;
                }
                Write::Forget(old) => {
                    for id in old {
                        jobs.remove(id.0)?;
                    }
                }
                Write::Tokens(all) => {
                    tokens.insert((), &encode(all)?[..])?;
                }
                Write::Life(life) => {
                    lives.insert((), life)?;
                }
                Write::Everything(all) => {
                    jobs.retain(|_, _| false)?;
                    for record in &all.jobs {
                        jobs.insert(record.status.id.0, &encode(record)?[..])?;
                    }
                    tokens.insert((), &encode(&all.tokens)?[..])?;
                    lives.insert((), all.life)?;
                }
            }
        }
    }
    Ok(transaction.commit()?)
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, redb::Error> {
    postcard::to_stdvec(value).map_err(|error| redb::Error::Io(std::io::Error::other(error)))
}

fn damaged(path: &Path, error: impl Into<redb::Error>) -> OpenStoreError {
    OpenStoreError::Database {
        path: path.to_owned(),
        source: Box::new(error.into()),
    }
}

const JOBS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("jobs");
const TOKENS: TableDefinition<'_, (), &[u8]> = TableDefinition::new("tokens");
const LIVES: TableDefinition<'_, (), u64> = TableDefinition::new("lives");
const FILE: &str = "manager.redb";
/// Some thousand jobs; all that is read at a start.
const CACHE_BYTES: usize = 4 << 20;
