//! For tests: the surroundings of engines on a server whose manager is away.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use atlas_engine::SharedName;
use atlas_fs::url::{FileService, Options};
use atlas_fs::{BlobName, Store, Turns};
use atlas_net::Connection;
use atlas_proto::ids::JobAlias;
use tokio::sync::{mpsc, watch};

use super::{JobFiles, Life, SharedBlobs, Surroundings, Teller};

pub(super) struct Stage {
    pub(super) surroundings: Arc<Surroundings>,
    folder: tempfile::TempDir,
    _manager: watch::Sender<Option<Connection>>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (manager_is, manager) = watch::channel(None);
        let (said, _) = mpsc::channel(1);
        let surroundings = Arc::new(Surroundings {
            folder: folder.path().into(),
            store: Store::open(folder.path().join("blobs")).unwrap(),
            blobs_bytes_max: 0,
            turns: Turns::default(),
            shared: SharedBlobs::default(),
            files: Arc::new(FileService::new(Options::new(folder.path()))),
            mount_at: folder.path().join("atlas"),
            client_files: Arc::new(JobFiles::new(manager.clone())),
            workers_max: 1,
            nice: None,
            engine_timeout: None,
            inherit_environment: false,
            manager,
            said,
        });
        fs::create_dir(folder.path().join("shared")).unwrap();
        Self {
            surroundings,
            folder,
            _manager: manager_is,
        }
    }

    /// Of the one engine.
    pub(super) fn teller(&self) -> Teller {
        Teller {
            job: JobAlias(7),
            life: Life(1),
            said: self.surroundings.said.clone(),
        }
    }

    /// Where the engine's values and results lie.
    pub(super) fn shared(&self) -> PathBuf {
        self.folder.path().join("shared")
    }

    pub(super) fn file(&self, name: SharedName) -> PathBuf {
        self.shared().join(name.to_string())
    }
}

pub(super) fn name(content: &[u8]) -> SharedName {
    SharedName(BlobName::of(content).0)
}
