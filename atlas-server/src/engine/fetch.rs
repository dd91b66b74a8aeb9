//! Programs, inputs, shared values and large results of jobs, from the manager, who has them or fetches them from where the job came from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlas_fs::exchange::{self, BLOB_BYTES_MAX, FetchBlobError};
use atlas_fs::{BlobName, FileTree};
use atlas_proto::ids::JobAlias;
use tokio::time::timeout;

use super::Surroundings;
use super::output::connected;

/// Fetches for one job.
pub(super) struct Fetch {
    surroundings: Arc<Surroundings>,
    job: JobAlias,
}

/// A blob cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("a file of the job cannot be had from the manager")]
    Blob(#[from] FetchBlobError),
    #[error("the manager was not reached within {} seconds for a file of the job", MANAGER_TIMEOUT.as_secs())]
    NoManager,
    #[error("a file of the job cannot be kept on this server")]
    File(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the list of the job's inputs is none")]
    Tree(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Fetch {
    pub(super) fn new(surroundings: &Arc<Surroundings>, job: JobAlias) -> Self {
        Self {
            surroundings: surroundings.clone(),
            job,
        }
    }

    /// Where the blob is on this machine, once it is.
    pub(super) async fn plain(
        &self,
        name: BlobName,
        executable: bool,
    ) -> Result<PathBuf, FetchError> {
        self.plain_within(name, executable, BLOB_BYTES_MAX).await
    }

    async fn plain_within(
        &self,
        name: BlobName,
        executable: bool,
        bytes_max: u64,
    ) -> Result<PathBuf, FetchError> {
        let store = &self.surroundings.store;
        if store.has(name) {
            return self.file(name, executable).await;
        }
        let _turn = self.surroundings.turns.take(name).await;
        if store.has(name) {
            return self.file(name, executable).await;
        }
        let mut manager = self.surroundings.manager.clone();
        let mut attempts = 0;
        loop {
            let connection = timeout(MANAGER_TIMEOUT, connected(&mut manager)).await;
            let connection = connection.map_err(|_| FetchError::NoManager)?;
            attempts += 1;
            let fetched =
                exchange::fetch_plain(store, &connection, name, self.job, executable, bytes_max);
            match fetched.await {
                Ok(()) => return self.file(name, executable).await,
                // The next connection may do better.
                Err(error) if error.is_broken_off() && attempts < ATTEMPTS_MAX => {
                    tracing::debug!(%error, %name, "fetching a blob again");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A shared value, under another name. It may be on its way to the manager still.
    pub(super) async fn shared(&self, name: BlobName, place: PathBuf) -> Result<(), FetchError> {
        self.shared_within(name, BLOB_BYTES_MAX, place).await
    }

    /// The same, if it has no more than so many bytes.
    pub(super) async fn shared_within(
        &self,
        name: BlobName,
        bytes_max: u64,
        place: PathBuf,
    ) -> Result<(), FetchError> {
        let began = Instant::now();
        loop {
            match self.plain_within(name, false, bytes_max).await {
                Ok(_) => break,
                Err(FetchError::Blob(error))
                    if error.is_broken_off() && began.elapsed() < SHARED_TIMEOUT => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        // Several closures may wait for it.
        let _turn = self.surroundings.turns.take(name).await;
        if place.exists() {
            return Ok(());
        }
        let store = self.surroundings.store.clone();
        let placed = tokio::task::spawn_blocking(move || store.place(name, &place)).await;
        let placed = placed.map_err(|error| FetchError::File(error.into()))?;
        placed.map_err(|error| FetchError::File(error.into()))
    }

    /// A tree, with all that is in it here.
    pub(super) async fn tree(&self, name: BlobName) -> Result<FileTree, FetchError> {
        let path = self.plain(name, false).await?;
        let bytes = tokio::fs::read(path).await;
        let bytes = bytes.map_err(|error| FetchError::Tree(error.into()))?;
        let tree = FileTree::from_bytes(&bytes).map_err(|error| FetchError::Tree(error.into()))?;
        for (_, file) in tree.files() {
            self.plain(file.blob, file.executable).await?;
        }
        Ok(tree)
    }

    async fn file(&self, name: BlobName, executable: bool) -> Result<PathBuf, FetchError> {
        let store = self.surroundings.store.clone();
        let file = tokio::task::spawn_blocking(move || store.plain_file(name, executable)).await;
        let file = file.map_err(|error| FetchError::File(error.into()))?;
        file.map_err(|error| FetchError::File(error.into()))
    }
}

/// As long as a manager takes to be started anew.
const MANAGER_TIMEOUT: Duration = Duration::from_secs(60);
/// A closure overtakes the values that it names by what these take from its lender's server to the managers: that is their length,
/// once, at each of the managers between. Who waits longer in vain does without the closure. A transfer is not cut short.
pub(super) const SHARED_TIMEOUT: Duration = Duration::from_secs(120);
const ATTEMPTS_MAX: u32 = 5;
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
