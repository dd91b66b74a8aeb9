//! The manager's loop: all that can wake it is one [`Event`]; each goes into the machine or the table of jobs, and what
//! follows is carried out before the next.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use atlas_fs::daemon::{Clock, incarnation};
use atlas_net::enrol::{Lifetimes, keep_authority_renewed, keep_own_renewed};
use atlas_net::identity::{DomainAuthority, Expected, Identity, Role, Tokens};
use atlas_net::redial::{Backoff, BackoffLimits, Redialler};
use atlas_net::{Arrival, BindError, Connection, Endpoint, EndpointOptions};
use atlas_proto::ids::NodeId;
use atlas_proto::message::Packet;
use atlas_proto::path::Path;
use atlas_proto::policy::Policy;
use atlas_proto::time::Time;
use atlas_proto::{Manager, ManagerConfig};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::ask::{Ask, Asker};
use crate::blobs::Blobs;
use crate::clients::Clients;
use crate::http;
use crate::jobs::JobTable;
use crate::local::{self, ListenError};
use crate::nodes;
use crate::peers::Peers;
use crate::relayed::Relayed;
use crate::run::Loop;
use crate::shared_values::SharedValues;
use crate::store::{OpenStoreError, Store};

/// What a manager needs.
#[derive(Debug)]
pub struct ManagerOptions {
    /// Signs for the domain.
    pub authority: DomainAuthority,
    /// The manager's own certificate.
    pub identity: Identity,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where join tokens say that it is reached, as `host:port`; where it listens, if empty.
    pub public: Vec<String>,
    /// The manager of the enclosing domain, if there is one, and where it is reached.
    pub parent: Option<(atlas_proto::domain::Domain, Vec<String>)>,
    /// Whose work may run here, and where that of this domain may go.
    pub policy: Policy,
    /// Jobs and tokens.
    pub store: Store,
    /// Blobs.
    pub blobs: atlas_fs::Store,
    /// How many bytes of blobs are kept, beyond those that jobs at hand need or have left.
    pub blobs_bytes_max: u64,
    /// Where output of jobs is kept, and the socket for administrators.
    pub folder: PathBuf,
    /// Where metrics are served; nowhere, if none.
    pub http: Option<SocketAddr>,
    /// The administrator's socket is served.
    pub local: bool,
    /// Where the certificates are kept up to date; nowhere, if none.
    pub certificates: Option<CertificateFolders>,
}

/// Where a manager's certificates are.
#[derive(Clone, Debug)]
pub struct CertificateFolders {
    /// Its own.
    pub identity: PathBuf,
    /// Those of the domain's authority.
    pub authority: PathBuf,
}

/// Why a manager does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    /// The administrator's socket.
    #[error(transparent)]
    Local(#[from] ListenError),
    /// The port for metrics.
    #[error("cannot listen at {address} for metrics: choose another address with --http")]
    Http {
        /// What was asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A folder for output.
    #[error("the folder {} for jobs' output cannot be used: see that its disk is not full", folder.display())]
    Output {
        /// Which.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A manager that runs. Dropped, it ends at once.
#[derive(Debug)]
pub struct ManagerNode {
    address: SocketAddr,
    http: Option<SocketAddr>,
    stop: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// What the tasks of a manager share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) domain: atlas_proto::domain::Domain,
    pub(crate) authority: RwLock<DomainAuthority>,
    pub(crate) tokens: Mutex<Tokens>,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    /// Where join tokens say that the manager is reached.
    pub(crate) public: Vec<String>,
    pub(crate) asker: Asker,
}

impl Shared {
    fn new(
        options: &ManagerOptions,
        address: SocketAddr,
        asker: Asker,
    ) -> Result<Self, OpenStoreError> {
        let public = if options.public.is_empty() {
            vec![address.to_string()]
        } else {
            options.public.clone()
        };
        Ok(Self {
            domain: options.identity.peer().domain.clone(),
            authority: RwLock::new(options.authority.clone()),
            tokens: Mutex::new(options.store.tokens()?),
            store: options.store.clone(),
            blobs: Blobs::new(options.blobs.clone(), options.blobs_bytes_max),
            public,
            asker,
        })
    }

    /// The authority as it is signed now.
    pub(crate) fn authority(&self) -> DomainAuthority {
        let authority = self.authority.read();
        authority.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All that can wake the loop.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node has said something.
    Packet {
        /// Who.
        from: NodeId,
        /// What.
        packet: Packet,
        /// The way it came, if that was measured anew.
        path: Option<Path>,
    },
    /// A child is connected.
    Child(Connection),
    /// The parent is reached.
    Parent(Connection),
    /// A connection is over.
    Over(NodeId, u64),
    /// Somebody asks.
    Ask(Ask),
}

impl ManagerNode {
    /// Starts a manager. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// A port, the store or a folder cannot be had.
    pub async fn start(options: ManagerOptions) -> Result<Self, StartError> {
        let endpoint = Endpoint::bind(
            options.listen,
            options.identity.clone(),
            &EndpointOptions::manager(),
        )?;
        let address = endpoint.local_address().unwrap_or(options.listen);
        let (tell, events) = mpsc::channel(EVENTS_MAX);
        let asker = Asker::new(tell.clone());
        let mut tasks = JoinSet::new();
        let http = match options.http {
            Some(address) => Some(http::serve(address, asker.clone(), &mut tasks).await?),
            None => None,
        };
        let shared = Arc::new(Shared::new(&options, address, asker)?);
        if options.local {
            local::listen(&options.folder, Clients::new(shared.clone()), &mut tasks)?;
        }
        let endpoint = Arc::new(endpoint);
        let mut this = Loop {
            machine: machine(
                &options.identity,
                &options.policy,
                options.store.begin_life(incarnation())?,
            ),
            clock: Clock::start(),
            peers: Peers::default(),
            jobs: JobTable::default(),
            relayed: Relayed::default(),
            values: SharedValues::default(),
            last_job: 0,
            folder: options.folder.clone(),
            shared,
            tell: tell.clone(),
        };
        this.restore()?;
        let (above_is, above) = watch::channel(None);
        if let Some((domain, addresses)) = options.parent {
            let expected = Expected::manager_of(domain);
            let backoff = Backoff::new(BackoffLimits::default(), options.identity.peer().node.0);
            let redialler = Redialler::new(addresses, expected, backoff);
            let keep = keep_parent(
                endpoint.clone(),
                redialler,
                this.shared.clone(),
                tell.clone(),
                above_is,
            );
            tasks.spawn(keep);
        }
        if let Some(folders) = options.certificates {
            keep_certificates(&endpoint, &this.shared, folders, above, &mut tasks);
        }
        tasks.spawn(accept(endpoint.clone(), this.shared.clone(), tell));
        let (stop, stopped) = mpsc::channel(1);
        let task = tokio::spawn(this.run(endpoint, events, stopped, tasks));
        Ok(Self {
            address,
            http,
            stop,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves metrics.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Ends it. Its jobs go on when it is started again.
    pub async fn stop(mut self) {
        let (done, wait) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
            let _ = wait.await;
        }
        let _ = (&mut self.task).await;
    }
}

impl Drop for ManagerNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn machine(identity: &Identity, policy: &Policy, incarnation: u64) -> Manager {
    let peer = identity.peer();
    let config = ManagerConfig {
        node: peer.node,
        domain: peer.domain.clone(),
        parent: None,
        policy: policy.clone(),
        incarnation,
    };
    Manager::new(config, peer.node.0 ^ incarnation, Time::ZERO)
}

/// Keeps up the connection to the parent.
async fn keep_parent(
    endpoint: Arc<Endpoint>,
    mut redialler: Redialler,
    shared: Arc<Shared>,
    tell: mpsc::Sender<Event>,
    above: watch::Sender<Option<Connection>>,
) {
    loop {
        let connection = redialler.connect(&endpoint).await;
        above.send_replace(Some(connection.clone()));
        tokio::spawn(nodes::serve(connection.clone(), shared.clone()));
        if tell.send(Event::Parent(connection.clone())).await.is_err() {
            return;
        }
        let lost = connection.closed().await;
        above.send_replace(None);
        tracing::warn!(%lost, "the connection to the parent is lost");
    }
}

/// Renews what the manager shows others, and what signs it, before they end.
fn keep_certificates(
    endpoint: &Arc<Endpoint>,
    shared: &Arc<Shared>,
    folders: CertificateFolders,
    above: watch::Receiver<Option<Connection>>,
    tasks: &mut JoinSet<()>,
) {
    let CertificateFolders {
        identity,
        authority,
    } = folders;
    let (endpoint, signing) = (endpoint.clone(), shared.clone());
    tasks.spawn(async move {
        let lifetimes = Lifetimes::default();
        keep_own_renewed(&endpoint, &signing.authority, &lifetimes, &identity).await;
    });
    let shared = shared.clone();
    tasks.spawn(async move {
        let above = || above.borrow().clone();
        keep_authority_renewed(above, &shared.authority, &authority).await;
    });
}

/// Takes in whoever comes.
async fn accept(endpoint: Arc<Endpoint>, shared: Arc<Shared>, tell: mpsc::Sender<Event>) {
    while let Some(arrival) = endpoint.accept().await {
        match arrival {
            Ok(Arrival::Node(connection)) => match connection.peer().role {
                Role::Client => {
                    tokio::spawn(Clients::new(shared.clone()).serve(connection));
                }
                Role::Server | Role::Manager => {
                    tokio::spawn(nodes::serve(connection.clone(), shared.clone()));
                    if tell.send(Event::Child(connection)).await.is_err() {
                        return;
                    }
                }
            },
            Ok(Arrival::Enrolment(enrolment)) => {
                tokio::spawn(nodes::enrol(enrolment, shared.clone()));
            }
            Err(error) => tracing::info!(%error, "somebody was turned away"),
        }
    }
}

/// Events that wait; who has more to tell waits as well.
const EVENTS_MAX: usize = 4096;
