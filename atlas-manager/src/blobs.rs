//! The blobs of the domain: each is fetched once, however many ask for it, and shared from here.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use atlas_fs::exchange::{self, FetchBlobError};
use atlas_fs::{BlobName, FileTree, Store, Turns};
use atlas_net::Connection;
use atlas_proto::ids::JobAlias;

/// The store, and who is fetching what.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    store: Store,
    bytes_max: u64,
    turns: Turns,
    fetched: Arc<Fetched>,
    trimmed: Arc<Mutex<Option<Instant>>>,
}

/// What was fetched since the manager was started.
#[derive(Debug, Default)]
struct Fetched {
    blobs: AtomicU64,
    bytes: AtomicU64,
}

/// A tree with what is in it cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchTreeError {
    #[error(transparent)]
    Blob(#[from] FetchBlobError),
    #[error("the list of files {name} cannot be read: {what}")]
    Tree { name: BlobName, what: String },
}

impl Blobs {
    pub(crate) fn new(store: Store, bytes_max: u64) -> Self {
        Self {
            store,
            bytes_max,
            turns: Turns::default(),
            fetched: Arc::default(),
            trimmed: Arc::default(),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Makes sure that a blob is here, from whoever has it.
    pub(crate) async fn fetch(
        &self,
        from: &Connection,
        job: JobAlias,
        name: BlobName,
    ) -> Result<(), FetchBlobError> {
        if self.store.has(name) {
            return Ok(());
        }
        let _turn = self.turns.take(name).await;
        if self.store.has(name) {
            return Ok(());
        }
        let bytes = exchange::fetch_packed(&self.store, from, name, job).await?;
        self.fetched.blobs.fetch_add(1, Ordering::Relaxed);
        self.fetched.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a blob is here, once it is not on its way any more.
    pub(crate) async fn comes(&self, name: BlobName) -> bool {
        if !self.store.has(name) {
            self.turns.pass(name, ARRIVAL_TIMEOUT).await;
        }
        self.store.has(name)
    }

    /// How many blobs were fetched, and the length of their contents.
    pub(crate) fn fetched(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.fetched.blobs), count(&self.fetched.bytes))
    }

    /// A tree and all that is in it; gives their names, too.
    pub(crate) async fn fetch_tree(
        &self,
        from: &Connection,
        job: JobAlias,
        name: BlobName,
    ) -> Result<(FileTree, Vec<BlobName>), FetchTreeError> {
        self.fetch(from, job, name).await?;
        let damaged = |what: String| FetchTreeError::Tree { name, what };
        let store = self.store.clone();
        let read = tokio::task::spawn_blocking(move || store.read(name, TREE_BYTES_MAX)).await;
        let bytes = read.map_err(|error| damaged(error.to_string()))?;
        let bytes = bytes.map_err(|error| damaged(error.to_string()))?;
        let tree = FileTree::from_bytes(&bytes).map_err(|error| damaged(error.to_string()))?;
        let mut names = vec![name];
        for (_, file) in tree.files() {
            self.fetch(from, job, file.blob).await?;
            names.push(file.blob);
        }
        Ok((tree, names))
    }

    /// Removes what was not used for longest and nobody wants, down to the quota; now and then. What is wanted is asked only
    /// then; as long as that is not known, nothing is removed.
    pub(crate) fn trim(&self, now: Instant, wanted: impl FnOnce() -> Option<HashSet<BlobName>>) {
        let mut trimmed = self.trimmed.lock().unwrap_or_else(PoisonError::into_inner);
        if trimmed.is_some_and(|at| now.duration_since(at) < TRIM_INTERVAL) {
            return;
        }
        *trimmed = Some(now);
        let Some(wanted) = wanted() else {
            return;
        };
        let (store, bytes_max) = (self.store.clone(), self.bytes_max);
        tokio::task::spawn_blocking(move || {
            match store.trim(bytes_max, |name| wanted.contains(name)) {
                Ok(done) if done.files_removed > 0 => {
                    tracing::info!(
                        files = done.files_removed,
                        bytes = done.bytes_removed,
                        "old blobs are removed"
                    );
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "old blobs cannot be removed"),
            }
        });
    }
}

/// Who asks for a blob asks again after this.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Looking at all blobs takes its time.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);
const TREE_BYTES_MAX: u64 = FileTree::BYTES_MAX as u64;
