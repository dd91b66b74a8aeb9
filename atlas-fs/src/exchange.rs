//! Blobs between two nodes that are connected: who lacks one opens a stream for it, and who has it sends it packed.
//!
//! The opener says nothing but which blob it wants. Who is asked resets the stream if it does not have it.
//!
//! A shared value of a job is a blob that comes to be while the job runs: who has it says so ([`announce`]), and is asked for it.

use atlas_net::{Connection, Stream, StreamError, StreamKind};
use atlas_proto::control::{
    FILES_TOPIC, FRAME_BYTES_MAX, FilesOf, NODE_TOPIC, NodeAnswer, NodeRequest,
};
use atlas_proto::ids::JobAlias;

use crate::name::BlobName;
use crate::receive::ReceiveError;
use crate::store::Store;

/// A blob was not fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchBlobError {
    /// The connection is over.
    #[error("the other side is gone: blob {name} is to be asked for again")]
    Stream {
        /// What was asked for.
        name: BlobName,
        /// Why.
        source: StreamError,
    },
    /// What came cannot be kept, or nothing came.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
}

impl FetchBlobError {
    /// The way broke, or the other side does not have the blob: another attempt may end otherwise. What was wrong with what
    /// came, or with this side's disk, stays wrong.
    #[must_use]
    pub fn is_broken_off(&self) -> bool {
        matches!(
            self,
            Self::Stream { .. } | Self::Receive(ReceiveError::Stream { .. })
        )
    }
}

impl Store {
    /// The blob is there in some form, and can be sent.
    #[must_use]
    pub fn has(&self, name: BlobName) -> bool {
        self.has_packed(name) || self.has_plain(name)
    }
}

/// Fetches a blob of a job from the other side of a connection, and keeps it packed. Gives the length of its content.
///
/// # Errors
///
/// It does not come, or cannot be kept.
pub async fn fetch_packed(
    store: &Store,
    from: &Connection,
    name: BlobName,
    job: JobAlias,
) -> Result<u64, FetchBlobError> {
    let mut stream = open(from, name, job).await?;
    let received = store.receive_packed(name, &mut stream.recv, BLOB_BYTES_MAX);
    Ok(received.await?)
}

/// As [`fetch_packed`], and keeps it as a file to be used. One with more than so many bytes is not let in.
///
/// # Errors
///
/// It does not come, or cannot be kept.
pub async fn fetch_plain(
    store: &Store,
    from: &Connection,
    name: BlobName,
    job: JobAlias,
    executable: bool,
    bytes_max: u64,
) -> Result<(), FetchBlobError> {
    let mut stream = open(from, name, job).await?;
    store
        .receive_plain(name, &mut stream.recv, executable, bytes_max)
        .await?;
    Ok(())
}

/// Answers a stream of kind [`StreamKind::Blob`].
pub async fn answer(store: Store, name: BlobName, mut stream: Stream) {
    match store.send(name, &mut stream.send).await {
        Ok(_) => {
            let _ = stream.finish();
            // Until the other side has it all.
            let _ = stream.send.stopped().await;
        }
        Err(error) => {
            tracing::info!(%name, %error, "a blob is not sent");
            let _ = stream.send.reset(0_u32.into());
        }
    }
}

/// Tells a manager that there is a shared value of a job here, and waits until it has fetched that.
///
/// # Errors
///
/// The connection is over before it says so.
pub async fn announce(
    to: &Connection,
    job: JobAlias,
    name: BlobName,
) -> Result<NodeAnswer, StreamError> {
    let kind = StreamKind::Request { topic: NODE_TOPIC };
    let mut stream = to.open_stream(kind).await?;
    let name = name.0;
    stream.send_frame(&NodeRequest::Share { job, name }).await?;
    stream.finish()?;
    let answer = stream.recv_frame(FRAME_BYTES_MAX).await?;
    answer.ok_or(StreamError::BrokenOff)
}

/// Asks for files of a client: what follows on the stream is one question of the caches for such a file, and its answer.
///
/// # Errors
///
/// The connection is over.
pub async fn ask_client_files(of: &Connection, files: FilesOf) -> Result<Stream, StreamError> {
    let kind = StreamKind::Request { topic: FILES_TOPIC };
    let mut stream = of.open_stream(kind).await?;
    stream.send_frame(&files).await?;
    Ok(stream)
}

async fn open(from: &Connection, name: BlobName, job: JobAlias) -> Result<Stream, FetchBlobError> {
    let kind = StreamKind::Blob {
        hash: name.0,
        job: job.0,
    };
    let opened = from.open_stream(kind).await;
    opened.map_err(|source| FetchBlobError::Stream { name, source })
}

/// A terabyte: what is larger is a mistake.
pub const BLOB_BYTES_MAX: u64 = 1 << 40;
