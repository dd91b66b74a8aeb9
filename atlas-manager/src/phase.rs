//! The phases of a manager's process: what there is as long as it acts begins and ends here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atlas_fs::daemon::{Clock, incarnation};
use atlas_fs::url::FileService;
use atlas_fs::url::above::Managers;
use atlas_net::enrol::{Lifetimes, keep_authority_renewed, keep_own_renewed};
use atlas_net::identity::{DomainAuthority, Expected};
use atlas_net::managers::{self, Known, ManagersOptions};
use atlas_net::{Connection, Endpoint};
use atlas_proto::control::Above;
use atlas_proto::domain::Domain;
use atlas_proto::policy::Policy;
use atlas_proto::time::Time;
use atlas_proto::{Manager, ManagerConfig};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::ask::Asker;
use crate::client_files::ClientFileWays;
use crate::core::Core;
use crate::jobs::JobTable;
use crate::node::{Event, Shared, StartError};
use crate::nodes;
use crate::peers::Peers;
use crate::relayed::Relayed;
use crate::run::Loop;
use crate::shared_values::SharedValues;
use crate::state::StateFolder;
use crate::submit::Newcomers;
use crate::url_pins::UrlPins;

/// Begins and ends what belongs to acting.
#[derive(Debug)]
pub(crate) struct Phases {
    core: Arc<Core>,
    endpoint: Arc<Endpoint>,
    acting: Option<Acting>,
}

#[derive(Debug)]
struct Acting {
    stop: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Acting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Phases {
    pub(crate) fn new(core: Arc<Core>, endpoint: Arc<Endpoint>) -> Self {
        let acting = None;
        Self {
            core,
            endpoint,
            acting,
        }
    }

    /// Follows how this manager stands, until it is to end.
    ///
    /// # Errors
    ///
    /// It is to act and cannot, or not any more. It has fallen silent then, so that another can.
    pub(crate) async fn run(
        mut self,
        mut stopped: mpsc::Receiver<oneshot::Sender<()>>,
        mut tasks: JoinSet<()>,
    ) -> Result<(), StartError> {
        let mut standing = self.core.standing.state();
        let done = loop {
            let acts = standing.borrow_and_update().acts.is_some();
            if acts && self.acting.is_none() {
                if let Err(error) = self.begin().await {
                    break Err(error);
                }
            } else if !acts && self.acting.is_some() {
                self.end().await;
            }
            tokio::select! {
                Some(done) = stopped.recv() => break Ok(done),
                changed = standing.changed() => if changed.is_err() {
                    break Err(StartError::Ended("the task that knows how it stands"));
                },
                () = ended(&mut self.acting) => {
                    self.acting = None;
                    break Err(StartError::Ended("its loop"));
                }
            }
        };
        self.end().await;
        tasks.shutdown().await;
        self.endpoint.close("the manager has been stopped").await;
        // What could not be written is lost with the process. Whether it can be now is in the log.
        let _ = timeout(SETTLE_TIMEOUT, self.core.store.settle().safe()).await;
        if let Err(error) = &done {
            let error = atlas_fs::daemon::chain(error);
            tracing::error!(error, "this manager ends, so that another can act");
        }
        // Who has asked for it may not wait for it.
        let _ = done?.send(());
        Ok(())
    }

    /// From now on this manager acts.
    pub(crate) async fn begin(&mut self) -> Result<(), StartError> {
        let core = &self.core;
        let part = core.known_part().ok_or(StartError::NoAuthority)?;
        let authority = DomainAuthority::from_secret(&part.authority, &core.domain)?;
        let policy = Policy::new(part.inflow, part.outflow)?;
        let lends = lends_servers(&policy, authority.topmost().as_ref());
        let (tell, events) = mpsc::channel(EVENTS_MAX);
        let (above_is, above) = watch::channel(None);
        let asker = Asker::new(tell.clone());
        let client_files = Arc::new(ClientFileWays::new(asker.clone()));
        let urls = core.urls.clone().map(|mut options| {
            options.clients = Some(client_files.clone());
            if part.parent.is_some() {
                options.above = Some(Arc::new(Managers::new(above.clone())));
            }
            FileService::new(options)
        });
        let files = (urls, client_files);
        let shared = Arc::new(Shared::new(core, authority, asker, files)?);
        let life = core.store.begin_life(incarnation())?;
        core.store.save_life(life);
        let mut this = Loop {
            machine: machine(&self.endpoint, policy, life),
            clock: Clock::start(),
            peers: Peers::default(),
            jobs: JobTable::default(),
            newcomers: Newcomers::default(),
            thrift: atlas_fs::daemon::Thrift::default(),
            relayed: Relayed::default(),
            values: SharedValues::default(),
            pins: UrlPins::default(),
            last_job: 0,
            tidy_at: Instant::now(),
            folder: core.folder.clone(),
            shared: shared.clone(),
            tell: tell.clone(),
            standing: core.standing.state(),
        };
        this.restore()?;
        let mut tasks = JoinSet::new();
        if let Some(parent) = part.parent {
            let known = watch::Sender::new(Known::default());
            if lends {
                let (domain, known) = (parent.0.clone(), known.subscribe());
                tasks.spawn(tell_above(core.clone(), domain, known));
            } else {
                core.standing.tell_above(Vec::new()).await;
            }
            let ways = (above_is, known);
            keep_parent(&self.endpoint, core, parent, ways, &tell, &mut tasks);
        } else {
            core.standing.tell_above(Vec::new()).await;
        }
        if let Some(state) = &core.state {
            keep_certificates(&self.endpoint, &shared, state, above, &mut tasks);
        }
        let (stop, stopped) = mpsc::channel(1);
        let task = tokio::spawn(this.run(events, stopped, tasks));
        core.acting.send_replace(Some(shared));
        // Those who come from now on are told by themselves.
        for child in core.children() {
            let _ = tell.send(Event::Child(child)).await;
        }
        self.acting = Some(Acting { stop, task });
        Ok(())
    }

    async fn end(&mut self) {
        let Some(mut acting) = self.acting.take() else {
            return;
        };
        self.core.acting.send_replace(None);
        let (done, wait) = oneshot::channel();
        if acting.stop.send(done).await.is_ok() {
            let _ = wait.await;
        }
        let _ = (&mut acting.task).await;
    }
}

/// What acts has ended though nobody has stopped it.
async fn ended(acting: &mut Option<Acting>) {
    match acting {
        Some(acting) => drop((&mut acting.task).await),
        None => std::future::pending().await,
    }
}

fn machine(endpoint: &Endpoint, policy: Policy, incarnation: u64) -> Manager {
    let identity = endpoint.identity();
    let peer = identity.peer();
    let config = ManagerConfig {
        node: peer.node,
        domain: peer.domain.clone(),
        parent: None,
        policy,
        incarnation,
    };
    Manager::new(config, peer.node.0 ^ incarnation, Time::ZERO)
}

/// The servers of a domain may be guests elsewhere while it has no manager, if they may run whatever they could be given there: all
/// that comes from the tree. Nobody there asks this domain's policy.
fn lends_servers(policy: &Policy, topmost: Option<&Domain>) -> bool {
    topmost.is_some_and(|topmost| policy.allows_inflow_from_all_of(topmost))
}

/// Tells children which domains above may have this one's servers as guests. Does not return.
async fn tell_above(core: Arc<Core>, parent: Domain, mut known: watch::Receiver<Known>) {
    while known.changed().await.is_ok() {
        let Known { addresses, above } = known.borrow_and_update().clone();
        let domain = parent.clone();
        let parent = Above { domain, addresses };
        let all = std::iter::once(parent).chain(above).collect();
        core.standing.tell_above(all).await;
    }
}

/// Keeps up the connections to the managers of the domain above, and tells which of them is the parent.
fn keep_parent(
    endpoint: &Arc<Endpoint>,
    core: &Arc<Core>,
    (domain, addresses): (Domain, Vec<String>),
    (above_is, known): (watch::Sender<Option<Connection>>, watch::Sender<Known>),
    tell: &mpsc::Sender<Event>,
    tasks: &mut JoinSet<()>,
) {
    let options = ManagersOptions {
        addresses,
        expected: Expected::manager_of(domain),
        folder: core.state.as_ref().map(|state| state.path().to_owned()),
        seed: endpoint.identity().peer().node.0,
        guest: false,
    };
    let mut above = above_is.subscribe();
    tasks.spawn(managers::keep(endpoint.clone(), options, above_is, known));
    let (core, tell) = (core.clone(), tell.clone());
    tasks.spawn(async move {
        let mut before = None;
        while above.changed().await.is_ok() {
            let now = above.borrow_and_update().clone();
            let event = match &now {
                Some(connection) => {
                    tokio::spawn(nodes::serve(connection.clone(), core.clone()));
                    Event::Parent(connection.clone())
                }
                None => match before {
                    Some(node) => Event::NoParent(node),
                    None => continue,
                },
            };
            before = now.map(|connection| connection.peer().node);
            if tell.send(event).await.is_err() {
                return;
            }
        }
    });
}

/// Renews what the manager shows others, and what signs it, before they end.
fn keep_certificates(
    endpoint: &Arc<Endpoint>,
    shared: &Arc<Shared>,
    state: &StateFolder,
    above: watch::Receiver<Option<Connection>>,
    tasks: &mut JoinSet<()>,
) {
    let (identity, authority) = (state.identity_folder(), state.authority_folder());
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

/// For a disk that takes what is owed; one that does not is slower than people who wait for a daemon to end.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Events that wait; who has more to tell waits as well.
const EVENTS_MAX: usize = 4096;
