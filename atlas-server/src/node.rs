//! A server within a process, and the tasks around its loop: the connection to the manager, siblings that dial.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atlas_fs::Store;
use atlas_net::enrol::keep_renewed;
use atlas_net::identity::{Expected, Identity, Relation};
use atlas_net::managers::ManagersOptions;
use atlas_net::{Arrival, BindError, Connection, Endpoint, EndpointOptions};
use atlas_proto::ids::{Epoch, NodeId};
use atlas_proto::message::Packet;
use atlas_proto::path::Path;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::engine::{Leftover, find_leftovers};
use crate::run::{News, Parts, live};
use crate::whereabouts;

/// What a server needs.
#[derive(Debug)]
pub struct ServerOptions {
    /// Who it is.
    pub identity: Identity,
    /// Where the manager of its domain is reached, as `host:port`.
    pub manager: Vec<String>,
    /// Where it listens for siblings; port zero lets the system choose.
    pub listen: SocketAddr,
    /// How many workers it lends, at least one.
    pub workers: u32,
    /// Where engines have their folders.
    pub folder: PathBuf,
    /// Where programs and inputs are kept.
    pub store: Store,
    /// How many bytes of them are kept for jobs to come.
    pub blobs_bytes_max: u64,
    /// How files by URL are fetched for programs, and kept.
    pub urls: atlas_fs::url::Options,
    /// Where programs that only know paths find them, where this process may mount for its engines alone. The folder is made if it
    /// is not there.
    pub mount_at: PathBuf,
    /// The priority of engines, as of `nice`; none leaves it as this process's.
    pub nice: Option<i32>,
    /// An engine that gives no sign of life for so long is ended; none is, if none.
    pub engine_timeout: Option<Duration>,
    /// Engines see this process's environment, rather than only what any program needs.
    pub inherit_environment: bool,
    /// Where the certificate is kept up to date; none if it lasts as long as the server.
    pub identity_folder: Option<PathBuf>,
    /// Where it remembers for which manager it has voted; none if its manager never has a standby.
    pub state_folder: Option<PathBuf>,
    /// It is a guest of a domain above when its own has had no manager for so long; never, if none.
    pub guest_after: Option<Duration>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The folder for engines.
    #[error("cannot make the folder {} for engines: see that its disk is not full and that this user may write there", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A server that runs. Dropped, it ends at once, and its engines with it.
#[derive(Debug)]
pub struct ServerNode {
    address: SocketAddr,
    stop: mpsc::Sender<Stop>,
    task: JoinHandle<()>,
}

/// That the server is to end.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Its manager and siblings live on and are to know.
    pub(crate) leaves: bool,
    pub(crate) done: oneshot::Sender<()>,
}

/// All that can wake the loop.
#[derive(Debug)]
pub(crate) enum Event {
    /// A neighbour has said something.
    Packet {
        /// Who.
        from: NodeId,
        /// What.
        packet: Packet,
        /// The way it came, if that was measured anew.
        path: Option<Path>,
    },
    /// There is a connection to the manager that is to be served.
    Manager(Connection),
    /// There is none, or none is known to act.
    NoManager,
    /// There is a way to a sibling.
    Sibling(crate::links::Way),
    /// There is none to this membership of it, nor to earlier ones.
    NoWay(NodeId, Epoch),
    /// A way to a sibling is over.
    Over(NodeId, u64),
}

impl ServerNode {
    /// Starts a server: it joins as soon as its manager is reached, and tries for ever. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The port or the folder cannot be had.
    pub async fn start(options: ServerOptions) -> Result<Self, StartError> {
        let folder = options.folder.clone();
        let made = std::fs::create_dir_all(&folder);
        let left = made.and_then(|()| find_leftovers(&folder));
        let left = left.map_err(|source| StartError::Folder { folder, source })?;
        if !left.is_empty() {
            tokio::task::spawn_blocking(move || remove(left));
        }
        let endpoint = Endpoint::bind(
            options.listen,
            options.identity.clone(),
            &EndpointOptions::default(),
        )?;
        let address = endpoint.local_address().unwrap_or(options.listen);
        let (stop, stopped) = mpsc::channel(1);
        let task = tokio::spawn(serve(options, Arc::new(endpoint), stopped));
        Ok(Self {
            address,
            stop,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives all work back, leaves the domain, stops the engines.
    pub async fn stop(self) {
        self.end(true).await;
    }

    /// Stops the engines and ends, without a word to anybody: for who ends the manager, too.
    pub async fn stop_alone(self) {
        self.end(false).await;
    }

    async fn end(mut self, leaves: bool) {
        let (done, wait) = oneshot::channel();
        if self.stop.send(Stop { leaves, done }).await.is_ok() {
            let _ = wait.await;
        }
        let _ = (&mut self.task).await;
    }
}

impl Drop for ServerNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Removes what a server that was killed has left.
fn remove(left: Vec<Leftover>) {
    for leftover in left {
        let folder = leftover.folder().to_owned();
        if let Err(error) = leftover.remove() {
            tracing::warn!(folder = %folder.display(), %error, "what a killed server has left cannot be removed");
        }
    }
}

async fn serve(options: ServerOptions, endpoint: Arc<Endpoint>, mut stopped: mpsc::Receiver<Stop>) {
    let (tell, events) = mpsc::channel(EVENTS_MAX);
    let (said, engines_say) = mpsc::channel(EVENTS_MAX);
    let own_is = watch::Sender::new(None);
    let own = own_is.subscribe();
    let mut tasks = JoinSet::new();
    let managers = ManagersOptions {
        addresses: options.manager.clone(),
        expected: Expected::manager_of(options.identity.peer().domain.clone()),
        folder: options.state_folder.clone(),
        seed: options.identity.peer().node.0,
        guest: false,
    };
    tasks.spawn(whereabouts::keep(
        endpoint.clone(),
        managers,
        options.guest_after,
        own_is,
        tell.clone(),
    ));
    tasks.spawn(accept(endpoint.clone(), tell.clone()));
    if let Some(folder) = options.identity_folder.clone() {
        let endpoint = endpoint.clone();
        tasks.spawn(async move {
            // Nobody else can.
            let connection = || own.borrow().clone();
            keep_renewed(&endpoint, connection, &folder).await;
        });
    }
    let mut news = News {
        events,
        engines_say,
    };
    let parts = Parts {
        options,
        endpoint: endpoint.clone(),
        tell,
        said,
    };
    let stop = live(&parts, &mut news, &mut stopped).await;
    tasks.shutdown().await;
    if stop.leaves {
        endpoint.close("the server has been stopped").await;
    }
    let _ = stop.done.send(());
}

/// Takes in siblings that dial.
async fn accept(endpoint: Arc<Endpoint>, tell: mpsc::Sender<Event>) {
    while let Some(arrival) = endpoint.accept().await {
        match arrival {
            // Managers have the way that their servers dial.
            Ok(Arrival::Node(connection)) if connection.relation() == Relation::Host => {}
            Ok(Arrival::Node(connection)) => {
                let way = crate::links::Way::direct(connection);
                if tell.send(Event::Sibling(way)).await.is_err() {
                    return;
                }
            }
            // This endpoint enrols nobody.
            Ok(Arrival::Enrolment(_)) => {}
            Err(error) => tracing::info!(%error, "somebody was turned away"),
        }
    }
}

/// Events that wait; who has more to tell waits as well.
const EVENTS_MAX: usize = 1024;
