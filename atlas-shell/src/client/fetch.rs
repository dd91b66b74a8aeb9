//! Blobs from the manager: each on a stream that this side opens.

use atlas_fs::FileTree;
use atlas_net::{Connection, StreamKind};
use tokio::task::JoinSet;

use super::{Client, ClientError};
use crate::blobs::Blobs;

impl Client {
    /// Gets a blob with at most so many bytes from the manager, unless it is here already.
    ///
    /// # Errors
    ///
    /// The manager does not have it, or is gone.
    pub async fn fetch(
        &self,
        hash: [u8; 32],
        bytes_max: u64,
        blobs: &Blobs,
    ) -> Result<(), ClientError> {
        fetch(self.connection.clone(), hash, bytes_max, blobs.clone()).await
    }

    /// Gets the blobs of all files of a tree, some at a time.
    ///
    /// # Errors
    ///
    /// The manager does not have one of them, or is gone.
    pub async fn fetch_files(&self, tree: &FileTree, blobs: &Blobs) -> Result<(), ClientError> {
        let mut wanted: Vec<_> = tree
            .files()
            .map(|(_, file)| (file.blob.0, file.bytes))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut fetching = JoinSet::new();
        for (hash, bytes) in wanted {
            if fetching.len() >= FETCHES_MAX
                && let Some(fetched) = fetching.join_next().await
            {
                fetched.unwrap_or(Ok(()))?;
            }
            fetching.spawn(fetch(self.connection.clone(), hash, bytes, blobs.clone()));
        }
        while let Some(fetched) = fetching.join_next().await {
            fetched.unwrap_or(Ok(()))?;
        }
        Ok(())
    }
}

async fn fetch(
    connection: Connection,
    hash: [u8; 32],
    bytes_max: u64,
    blobs: Blobs,
) -> Result<(), ClientError> {
    if blobs.has(hash) {
        return Ok(());
    }
    let kind = StreamKind::Blob { hash, job: NO_JOB };
    let stream = connection.open_stream(kind).await;
    let received = blobs
        .receive(hash, bytes_max, stream.map_err(ClientError::Lost)?)
        .await;
    received.map_err(|source| ClientError::NoBlob {
        hash: blake3::Hash::from_bytes(hash),
        source: source.into(),
    })
}

/// Blobs of results are asked for by name alone.
const NO_JOB: u64 = 0;
/// So many blobs are fetched at a time: small files come one after the other without a round trip between them, and large
/// ones do not hold up all.
const FETCHES_MAX: usize = 16;
