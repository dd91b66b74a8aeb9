//! What must survive: jobs and join tokens, in an embedded database (redb).
//!
//! One thread writes, so that the loop never waits for a disk; who must know that something is safe waits for the
//! thread's word. A store in memory serves managers that live as long as one command.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use atlas_net::identity::Tokens;
use atlas_proto::control::JobId;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use crate::jobs::JobRecord;

/// A manager's store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    database: Arc<Database>,
    writes: mpsc::Sender<(Write, oneshot::Sender<bool>)>,
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

#[derive(Debug)]
enum Write {
    Job(Box<JobRecord>),
    Forget(Vec<JobId>),
    Tokens(Tokens),
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
            Ok(write.commit()?)
        };
        begin().map_err(|error| damaged(path, error))?;
        let database = Arc::new(database);
        let (writes, todo) = mpsc::channel();
        let writer = database.clone();
        let spawned = std::thread::Builder::new()
            .name("atlas-store".into())
            .spawn(move || write_all(&writer, &todo));
        spawned.map_err(|error| damaged(path, redb::Error::Io(error)))?;
        Ok(Self { database, writes })
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

    fn write(&self, write: Write) -> oneshot::Receiver<bool> {
        let (done, wait) = oneshot::channel();
        // Without a thread the answer is that nobody answers.
        let _ = self.writes.send((write, done));
        wait
    }
}

/// Writes what there is, together: one commit makes all of it safe.
fn write_all(database: &Database, todo: &mpsc::Receiver<(Write, oneshot::Sender<bool>)>) {
    while let Ok(first) = todo.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(todo.try_iter()).collect();
        let (writes, waiting): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let written = commit(database, &writes);
        if let Err(error) = &written {
            tracing::error!(%error, "the manager's store cannot be written: see that its disk is not full");
        }
        for done in waiting {
            let _ = done.send(written.is_ok());
        }
    }
}

fn commit(database: &Database, writes: &[Write]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut jobs = transaction.open_table(JOBS)?;
        let mut tokens = transaction.open_table(TOKENS)?;
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
const FILE: &str = "manager.redb";
/// Some thousand jobs; all that is read at a start.
const CACHE_BYTES: usize = 4 << 20;
