//! A folder of this user's, from which a job reads as `atlas://client/..`: the manager asks for it on streams that it opens on this connection.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use atlas_fs::url::client::{Shelf, answer, name_of};
use atlas_net::identity::Secret;
use atlas_net::{Connection, Stream, StreamKind};
use atlas_proto::control::{
    ClientAnswer, ClientRequest, FILES_TOPIC, FRAME_BYTES_MAX, FilesKey, FilesName, FilesOf, JobId,
};
use tokio::task::JoinHandle;

use super::{Client, ClientError};

/// A folder that is served to one job. Clones are the same.
#[derive(Clone, Debug)]
pub struct ServedFolder {
    shelf: Arc<Shelf>,
    key: FilesKey,
}

/// A folder is served as long as this is there, and the connection.
#[derive(Debug)]
pub struct Serving(JoinHandle<()>);

impl ServedFolder {
    /// This one. With `is_near` all who ask are on this machine, and keep no copies of it.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or the system gives no random numbers.
    pub fn new(folder: &Path, is_near: bool) -> anyhow::Result<Self> {
        let shelf = if is_near {
            Shelf::of_own_folder(folder)
        } else {
            Shelf::of_folder(folder)
        };
        let secret = Secret::generate().context("no key for the served files")?;
        Ok(Self {
            shelf: Arc::new(shelf?),
            key: FilesKey(secret.to_bytes()),
        })
    }

    /// What the job calls it, and nobody else.
    #[must_use]
    pub fn name(&self) -> FilesName {
        name_of(self.key)
    }

    /// How many bytes of files were given.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shelf.sent()
    }
}

impl Client {
    /// Serves a folder to a job that was submitted with its name. No job can be submitted on the same connection any more.
    ///
    /// # Errors
    ///
    /// The manager refuses, or is gone.
    pub async fn serve(&self, job: JobId, folder: &ServedFolder) -> Result<Serving, ClientError> {
        let key = folder.key;
        let mut answer = self.ask(&ClientRequest::Serve { job, key }).await?;
        let serving = Serving(tokio::spawn(serve(
            self.connection.clone(),
            job,
            folder.clone(),
        )));
        let ClientAnswer::Serving = answer.one().await? else {
            return Err(ClientError::Unexpected);
        };
        Ok(serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(connection: Connection, job: JobId, folder: ServedFolder) {
    while let Ok((kind, stream)) = connection.accept_stream().await {
        if kind == (StreamKind::Request { topic: FILES_TOPIC }) {
            tokio::spawn(serve_one(job, folder.clone(), stream));
        }
    }
}

async fn serve_one(job: JobId, folder: ServedFolder, mut stream: Stream) {
    let of = stream.recv_frame(FRAME_BYTES_MAX).await;
    if matches!(of, Ok(Some(FilesOf::Submitted(asked))) if asked == job) {
        // Whoever is gone asks again.
        let _ = answer(folder.shelf.clone(), folder.name(), stream.into()).await;
    }
}
