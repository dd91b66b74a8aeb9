//! A manager within a process, whether it acts or stands by. What it does as long as it acts is its loop: all that can wake that is
//! one [`Event`]; each goes into the machine or the table of jobs, and what follows is carried out before the next.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use atlas_fs::url::{Figures, FileService};
use atlas_net::identity::{AuthorityError, DomainAuthority, Identity, Role, Tokens};
use atlas_net::{Arrival, BindError, Connection, Endpoint, EndpointOptions};
use atlas_proto::ids::NodeId;
use atlas_proto::message::Packet;
use atlas_proto::path::Path;
use atlas_proto::policy::{Policy, PolicyError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::ask::{Ask, Asker};
use crate::blobs::Blobs;
use crate::client_files::ClientFileWays;
use crate::clients::Clients;
use crate::core::Core;
use crate::http;
use crate::local::{self, ListenError};
use crate::nodes;
use crate::others;
use crate::phase::Phases;
use crate::replica::{self, DomainPart};
use crate::standing;
use crate::state::StateFolder;
use crate::store::{OpenStoreError, Store};

/// What a manager needs.
#[derive(Debug)]
pub struct ManagerOptions {
    /// Signs for the domain; none for a standby that has not followed its manager yet.
    pub authority: Option<DomainAuthority>,
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
    /// How files by URL are fetched for the servers and domains below, and kept; none leaves that to them.
    pub urls: Option<atlas_fs::url::Options>,
    /// Where output of jobs is kept, and the socket for administrators.
    pub folder: PathBuf,
    /// Where metrics are served; nowhere, if none.
    pub http: Option<SocketAddr>,
    /// The administrator's socket is served.
    pub local: bool,
    /// Where it keeps its certificates up to date, and how it stands; nowhere, if none: then it has no standby.
    pub state: Option<StateFolder>,
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
    /// What it remembers of how it stands.
    #[error("cannot read how the manager stands from {}: see that this user owns it", folder.display())]
    Standing {
        /// Where.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The domain's authority.
    #[error("the domain's authority cannot be used")]
    Authority(#[from] AuthorityError),
    /// The policy.
    #[error("the domain's policy cannot be used")]
    Policy(#[from] PolicyError),
    /// A standby that lacks what it needs to act.
    #[error(
        "this manager stands by and has not heard from the one that acts: see that it reaches that one"
    )]
    NoAuthority,
    /// A folder for output.
    #[error("the folder {} for jobs' output cannot be used: see that its disk is neither full nor read-only", folder.display())]
    Output {
        /// Which.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A part of it that runs as long as it does.
    #[error("{0} has ended: a bug, of which the log says more")]
    Ended(&'static str),
}

/// A manager that runs. Dropped, it ends at once.
#[derive(Debug)]
pub struct ManagerNode {
    address: SocketAddr,
    http: Option<SocketAddr>,
    acts: bool,
    stop: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), StartError>>,
}

/// What the tasks of a manager share as long as it acts.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) domain: atlas_proto::domain::Domain,
    pub(crate) authority: RwLock<DomainAuthority>,
    pub(crate) tokens: Mutex<Tokens>,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) core: Arc<Core>,
    pub(crate) asker: Asker,
    /// Files by URL, for those below.
    pub(crate) urls: Option<FileService>,
    /// The ways to those that clients serve.
    pub(crate) client_files: Arc<ClientFileWays>,
}

impl Shared {
    pub(crate) fn new(
        core: &Arc<Core>,
        authority: DomainAuthority,
        asker: Asker,
        (urls, client_files): (Option<FileService>, Arc<ClientFileWays>),
    ) -> Result<Self, OpenStoreError> {
        Ok(Self {
            domain: core.domain.clone(),
            authority: RwLock::new(authority),
            tokens: Mutex::new(core.store.tokens()?),
            store: core.store.clone(),
            blobs: core.blobs.clone(),
            core: core.clone(),
            asker,
            urls,
            client_files,
        })
    }

    /// What has become of the files by URL that those below have asked for.
    pub(crate) fn url_figures(&self) -> Figures {
        let urls = self.urls.as_ref();
        urls.map(FileService::figures).unwrap_or_default()
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
    /// The domain above is not managed by this node any more, as far as is known here.
    NoParent(NodeId),
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
        let identity = options.identity.clone();
        let endpoint = Endpoint::bind(options.listen, identity, &EndpointOptions::manager())?;
        let endpoint = Arc::new(endpoint);
        let address = endpoint.local_address().unwrap_or(options.listen);
        let mut tasks = JoinSet::new();
        let core = core(&options, address, &mut tasks)?;
        let http = match options.http {
            Some(address) => Some(http::serve(address, core.clone(), &mut tasks).await?),
            None => None,
        };
        if options.local {
            local::listen(&options.folder, core.clone(), &mut tasks)?;
        }
        let mut phases = Phases::new(core.clone(), endpoint.clone());
        let acts = core.standing.state().borrow().holds();
        if acts {
            phases.begin().await?;
        }
        tasks.spawn(accept(endpoint.clone(), core.clone()));
        if let Some(state) = options.state {
            tasks.spawn(others::keep(core.clone(), endpoint.clone()));
            tasks.spawn(others::keep_renewed(core.clone(), endpoint, state));
            tasks.spawn(replica::follow(core));
        }
        let (stop, stopped) = mpsc::channel(1);
        let task = tokio::spawn(phases.run(stopped, tasks));
        Ok(Self {
            address,
            http,
            acts,
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

    /// It has begun to act at once; otherwise it stands by, at first.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.acts
    }

    /// Waits until it ends though nobody has stopped it, and says why: it is to act and cannot, or not any more. Another may act by then.
    pub async fn ended(&mut self) -> StartError {
        match (&mut self.task).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => StartError::Ended("the task that begins and ends what acts"),
        }
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

fn core(
    options: &ManagerOptions,
    address: SocketAddr,
    tasks: &mut JoinSet<()>,
) -> Result<Arc<Core>, StartError> {
    let own = if options.public.is_empty() {
        vec![address.to_string()]
    } else {
        options.public.clone()
    };
    let peer = options.identity.peer().clone();
    let folder = options.folder.clone();
    let kept = options.state.as_ref().map(|state| state.path().to_owned());
    let standing = standing::start(peer.node, kept, own, tasks);
    let standing = standing.map_err(|source| StartError::Standing {
        folder: folder.clone(),
        source,
    })?;
    options.store.tell(standing.journal());
    let part = options.authority.as_ref().map(|authority| DomainPart {
        authority: authority.to_secret(),
        parent: options.parent.clone(),
        inflow: options.policy.inflow().to_vec(),
        outflow: options.policy.outflow().to_vec(),
        blobs_bytes_max: options.blobs_bytes_max,
    });
    let blobs = Blobs::new(options.blobs.clone(), options.blobs_bytes_max);
    let kept = (options.store.clone(), blobs);
    let core = Core::new(
        peer.domain,
        folder,
        options.state.clone(),
        kept,
        standing,
        (part, options.urls.clone()),
    );
    Ok(Arc::new(core))
}

/// Takes in whoever comes.
async fn accept(endpoint: Arc<Endpoint>, core: Arc<Core>) {
    while let Some(arrival) = endpoint.accept().await {
        match arrival {
            Ok(Arrival::Node(connection)) => match connection.peer().role {
                Role::Client | Role::Admin => {
                    tokio::spawn(Clients::serve(connection, core.clone()));
                }
                Role::Server | Role::Manager | Role::Standby => {
                    tokio::spawn(others::serve(connection, core.clone()));
                }
            },
            Ok(Arrival::Enrolment(enrolment)) => match core.shared() {
                Some(shared) => {
                    tokio::spawn(nodes::enrol(enrolment, shared));
                }
                // It asks at the next address of its token.
                None => {
                    tracing::info!(from = %enrolment.remote_address(), "a standby enrols nobody")
                }
            },
            Err(error) => tracing::info!(%error, "somebody was turned away"),
        }
    }
}
