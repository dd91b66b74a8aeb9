//! [`Blobs`]: what travels with a job and what comes back, in a store that is gone with the command.
//!
//! A program is read for its name alone until the manager asks for it: most are there already, and a short job is not to wait for
//! copies. Inputs are copied at once, so that a job finds them all as they were. All are packed while they are sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use anyhow::{Context as _, bail};
use atlas_fs::{AddAs, BlobName, FileTree, ReceiveError, Store};
use atlas_net::Stream;
use tempfile::TempDir;
use tokio::io::AsyncWrite;

/// A store of a command's own. Clones are the same store, which is removed with the last of them.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Store,
    /// The manager has this store, too: nothing needs to be sent.
    shared: bool,
    sent: Arc<AtomicU64>,
    added: Arc<AtomicU64>,
    /// Those that are named and not in the store yet.
    programs: Arc<Mutex<BTreeMap<[u8; 32], PathBuf>>>,
    _folder: Arc<TempDir>,
}

/// What was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The blob by which it is found.
    pub hash: [u8; 32],
    /// The length of all that is to travel, before it is packed.
    pub bytes: u64,
}

impl Blobs {
    /// An empty store, in the folder for temporary files.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("atlas-shell-").tempdir();
        let folder = folder.with_context(|| {
            let at = std::env::temp_dir();
            format!(
                "cannot make a folder in {}: name another one in TMPDIR",
                at.display()
            )
        })?;
        Ok(Self {
            store: Store::open(folder.path())?,
            shared: false,
            sent: Arc::default(),
            added: Arc::default(),
            programs: Arc::default(),
            _folder: Arc::new(folder),
        })
    }

    /// A store that others use, too, in a folder that is removed with the last of them.
    #[must_use]
    pub fn within(store: Store, folder: Arc<TempDir>) -> Self {
        Self {
            store,
            shared: true,
            sent: Arc::default(),
            added: Arc::default(),
            programs: Arc::default(),
            _folder: folder,
        }
    }

    /// Adds the program of a job. It must stay as it is until it was sent.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub async fn add_program(&self, path: &Path) -> anyhow::Result<Added> {
        if self.shared {
            let added = self.store.add_file_async(path.into(), AddAs::Plain).await?;
            return Ok(Added {
                hash: added.name.0,
                bytes: added.bytes,
            });
        }
        let program = path.to_owned();
        let added = blocking(move || {
            let mut hasher = blake3::Hasher::new();
            let read = File::open(&program).and_then(|file| hasher.update_reader(file).map(drop));
            read.with_context(|| format!("cannot read {}", program.display()))?;
            Ok(Added {
                hash: hasher.finalize().into(),
                bytes: hasher.count(),
            })
        });
        let added = added.await?;
        self.programs().insert(added.hash, path.to_owned());
        self.added.fetch_add(added.bytes, Ordering::Relaxed);
        Ok(added)
    }

    /// Adds the files and folders that a job is to find in its working directory, each under its last name, and their tree.
    ///
    /// # Errors
    ///
    /// One of them cannot be read or sent, or there is no room for it.
    pub async fn add_inputs(&self, paths: &[PathBuf]) -> anyhow::Result<Added> {
        let (store, paths) = (self.store.clone(), paths.to_vec());
        let added = blocking(move || {
            let gathered = FileTree::of_inputs(&paths, &store, AddAs::Plain)?;
            let tree = gathered.tree.to_bytes();
            Ok(Added {
                hash: store.add_bytes(&tree)?.0,
                bytes: gathered.tree.bytes() + tree.len() as u64,
            })
        })
        .await?;
        self.added.fetch_add(added.bytes, Ordering::Relaxed);
        Ok(added)
    }

    /// The tree in a blob that is here.
    ///
    /// # Errors
    ///
    /// It is not here, or no tree.
    pub async fn tree(&self, hash: [u8; 32]) -> anyhow::Result<FileTree> {
        let store = self.store.clone();
        blocking(move || {
            let bytes = store.read(BlobName(hash), FileTree::BYTES_MAX as u64)?;
            Ok(FileTree::from_bytes(&bytes)?)
        })
        .await
    }

    /// Writes the files of a tree, whose blobs are here, into a folder; files that are there are replaced.
    ///
    /// # Errors
    ///
    /// A blob is missing, or the folder cannot be written to.
    pub async fn copy_out(&self, tree: FileTree, to: &Path) -> anyhow::Result<()> {
        let (store, folder) = (self.store.clone(), to.to_owned());
        let copied = blocking(move || Ok(tree.copy_out(&store, &folder)?)).await;
        copied.with_context(|| format!("cannot put files into {}", to.display()))
    }

    /// Whether a blob is here.
    #[must_use]
    pub fn has(&self, hash: [u8; 32]) -> bool {
        self.store.has(BlobName(hash))
    }

    /// How many bytes may have to be sent, before they are packed.
    #[must_use]
    pub fn added(&self) -> u64 {
        self.added.load(Ordering::Relaxed)
    }

    /// How many bytes were sent, as they travel.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Answers a peer that wants a blob: with the packed blob, or by breaking off.
    ///
    /// # Errors
    ///
    /// It is not here, cannot be read, or the stream breaks.
    pub async fn answer(&self, hash: [u8; 32], mut stream: Stream) -> anyhow::Result<()> {
        let sent = self.send(hash, &mut stream).await;
        if sent.is_err() {
            let _ = stream.send.reset(NOT_HERE.into());
        }
        sent
    }

    async fn send(&self, hash: [u8; 32], stream: &mut Stream) -> anyhow::Result<()> {
        let program = self.programs().get(&hash).cloned();
        if let Some(program) = program {
            let added = self
                .store
                .add_file_async(program.clone(), AddAs::Plain)
                .await?;
            if added.name.0 != hash {
                bail!(
                    "{} was changed since it was submitted: submit it again",
                    program.display()
                );
            }
        }
        let mut counting = Counting {
            to: &mut stream.send,
            bytes: &self.sent,
        };
        self.store.send(BlobName(hash), &mut counting).await?;
        Ok(stream.finish()?)
    }

    fn programs(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], PathBuf>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives a blob with at most so many bytes of content.
    ///
    /// # Errors
    ///
    /// Something else comes, the stream breaks, or there is no room.
    pub async fn receive(
        &self,
        hash: [u8; 32],
        bytes_max: u64,
        mut stream: Stream,
    ) -> Result<(), ReceiveError> {
        let name = BlobName(hash);
        self.store
            .receive_packed(name, &mut stream.recv, bytes_max)
            .await?;
        Ok(())
    }
}

/// Counts what is written.
struct Counting<'a, W> {
    to: &'a mut W,
    bytes: &'a AtomicU64,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Counting<'_, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.to).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = written {
            self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.to).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.to).poll_shutdown(context)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.context("reading and writing files was broken off")?
}

/// What a stream is reset with: the peer only sees that it was.
const NOT_HERE: u32 = 0;
