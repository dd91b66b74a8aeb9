//! Where an engine asks for files by URL.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use atlas_fs::url::{FileService, Pins};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// A socket that is there as long as this is. Its folder is this user's alone.
#[derive(Debug)]
pub(super) struct FilesDoor {
    folder: TempDir,
    task: JoinHandle<()>,
}

impl FilesDoor {
    /// Lets in whoever knows the path. All read the versions that are pinned for the job.
    pub(super) fn open(service: &Arc<FileService>, pins: Pins) -> io::Result<Self> {
        // Not in the engine's folder, whose path may be longer than that of a socket can be.
        let folder = tempfile::Builder::new().prefix("atlas-files-").tempdir()?;
        let listener = UnixListener::bind(folder.path().join(SOCKET))?;
        let task = tokio::spawn(let_in(listener, service.clone(), pins));
        Ok(Self { folder, task })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }
}

impl Drop for FilesDoor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn let_in(listener: UnixListener, service: Arc<FileService>, pins: Pins) {
    loop {
        let served = match listener.accept().await {
            Ok((stream, _)) => stream
                .into_std()
                .and_then(|stream| service.serve(stream, pins.clone())),
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            // As of descriptors that are used up: the program sees its connection end, or waits.
            tracing::warn!(%error, "a program that asks for files by URL cannot be answered");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

const SOCKET: &str = "s";
/// What was refused once would be refused at once.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
