//! Where an engine asks for files by URL, and where it finds them mounted.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use atlas_fs::url::mount::{Apart, OnDemand, Unserved};
use atlas_fs::url::{FileService, Files, Pins};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// A socket, and a mount, that are there as long as this is. The socket's folder is this user's alone. To be dropped where blocking is
/// allowed, and before the engine's folder.
#[derive(Debug)]
pub(super) struct FilesDoor {
    folder: TempDir,
    place: Arc<OnDemand>,
    /// What the engine alone sees mounted.
    apart: Option<Apart>,
    tasks: Vec<JoinHandle<()>>,
}

impl FilesDoor {
    /// Lets in whoever knows the path. All read the versions that are pinned for the job, and have them mounted at `mount` if they
    /// ask for that.
    pub(super) fn open(service: &Arc<FileService>, pins: Pins, mount: PathBuf) -> io::Result<Self> {
        // Not in the engine's folder, whose path may be longer than that of a socket can be.
        let folder = tempfile::Builder::new().prefix("atlas-files-").tempdir()?;
        let listener = UnixListener::bind(folder.path().join(SOCKET))?;
        let place = Arc::new(OnDemand::new(mount));
        let task = tokio::spawn(let_in(listener, service.clone(), pins, place.clone()));
        Ok(Self {
            folder,
            place,
            apart: None,
            tasks: vec![task],
        })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// Answers for what the engine alone sees mounted.
    pub(super) fn attend(
        &mut self,
        service: &Arc<FileService>,
        (apart, mount): (Apart, Unserved<Files>),
    ) {
        self.place.is_at(apart.folder());
        self.apart = Some(apart);
        let service = service.clone();
        self.tasks.push(tokio::spawn(async move {
            if let Err(error) = service.attend(mount).await {
                tracing::warn!(%error, "a job's mounted files cannot be read");
            }
        }));
    }
}

impl Drop for FilesDoor {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.place.end();
    }
}

async fn let_in(
    listener: UnixListener,
    service: Arc<FileService>,
    pins: Pins,
    place: Arc<OnDemand>,
) {
    loop {
        let served = match listener.accept().await {
            Ok((stream, _)) => stream
                .into_std()
                .and_then(|stream| service.serve(stream, pins.clone(), Some(place.clone()))),
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
