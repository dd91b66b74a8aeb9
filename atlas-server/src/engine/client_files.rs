//! [`JobFiles`]: what the jobs that run here find under `atlas://client/`: their inputs, which are here, and what their clients serve, by way of the
//! manager.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atlas_fs::url::client::{
    ClientFiles, ClientWays, NoWay, Reached, ReachingClient, Shelf, Shelves,
};
use atlas_fs::{BlobName, FileTree, Store, exchange};
use atlas_net::Connection;
use atlas_proto::control::{FilesName, FilesOf};
use atlas_proto::ids::JobAlias;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::output::connected;

/// The files of the clients of all jobs.
#[derive(Debug)]
pub(crate) struct JobFiles {
    manager: watch::Receiver<Option<Connection>>,
    inputs: Shelves,
    engines: Mutex<BTreeMap<u64, Engine>>,
}

/// What one engine reads.
#[derive(Clone, Copy, Debug)]
struct Engine {
    job: JobAlias,
    served: Option<FilesName>,
    inputs: Option<FilesName>,
}

/// As long as this is there, an engine may read.
#[derive(Debug)]
pub(super) struct Reader {
    files: Arc<JobFiles>,
    number: u64,
}

impl JobFiles {
    pub(crate) fn new(manager: watch::Receiver<Option<Connection>>) -> Self {
        Self {
            manager,
            inputs: Shelves::default(),
            engines: Mutex::default(),
        }
    }

    /// An engine begins that reads its client's files, if they are called so, and its inputs.
    pub(super) fn begin(
        self: &Arc<Self>,
        job: JobAlias,
        served: Option<FilesName>,
        inputs: Option<(BlobName, Arc<FileTree>)>,
        store: &Store,
    ) -> (Reader, ClientFiles) {
        let mut files = ClientFiles::new(served);
        let mut engine = Engine {
            job,
            served,
            inputs: None,
        };
        if let Some((name, tree)) = inputs {
            let (with_inputs, inputs) = files.with_inputs(name, tree.clone());
            let shelf = Shelf::of_inputs(tree, store.clone());
            self.inputs.insert(inputs, shelf);
            (files, engine.inputs) = (with_inputs, Some(inputs));
        }
        let mut engines = self.engines();
        let number = engines.last_key_value().map_or(0, |(last, _)| last + 1);
        engines.insert(number, engine);
        let reader = Reader {
            files: self.clone(),
            number,
        };
        (reader, files)
    }

    fn end(&self, number: u64) {
        let mut engines = self.engines();
        let ended = engines.remove(&number);
        if let Some(inputs) = ended.and_then(|engine| engine.inputs)
            && engines.values().all(|engine| engine.inputs != Some(inputs))
        {
            self.inputs.remove(inputs);
        }
    }

    /// What the job is called to the manager whose client serves these.
    fn job(&self, files: FilesName) -> Option<JobAlias> {
        let engines = self.engines();
        // The last one knows the present name.
        let mut engines = engines.values().rev();
        let found = engines.find(|engine| engine.served == Some(files))?;
        Some(found.job)
    }

    async fn find(&self, files: FilesName) -> Result<Reached, NoWay> {
        if let Some(reached) = self.inputs.way(files) {
            return Ok(reached);
        }
        let job = self.job(files).ok_or_else(NoWay::none)?;
        let mut manager = self.manager.clone();
        let end = Instant::now() + PATIENCE;
        let away = || NoWay("the manager of the domain is not reached".to_owned());
        loop {
            let connection = timeout_at(end, connected(&mut manager)).await;
            let connection = connection.map_err(|_| away())?;
            let asked = exchange::ask_client_files(&connection, FilesOf::Job { job, files });
            let opened = timeout_at(end, asked).await;
            if let Ok(stream) = opened.map_err(|_| away())? {
                return Ok(Reached {
                    way: stream.into(),
                    is_client: false,
                });
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    fn engines(&self) -> MutexGuard<'_, BTreeMap<u64, Engine>> {
        // Each change is one call of the map.
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientWays for JobFiles {
    fn reach(&self, files: FilesName) -> ReachingClient<'_> {
        Box::pin(self.find(files))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.files.end(self.number);
    }
}

/// As long as a manager waits for a client.
const PATIENCE: Duration = atlas_proto::attendance::PATIENCE;
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
