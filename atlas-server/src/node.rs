//! The server's loop: all that can wake it is one [`Event`]; each goes into the machine, and what the machine wants then
//! is carried out before the next.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use atlas_fs::Store;
use atlas_net::enrol::keep_renewed;
use atlas_net::identity::{Expected, Identity};
use atlas_net::redial::{Backoff, BackoffLimits, Redialler};
use atlas_net::{Arrival, BindError, Connection, Endpoint, EndpointOptions};
use atlas_proto::ids::NodeId;
use atlas_proto::message::Packet;
use atlas_proto::path::Path;
use atlas_proto::time::Time;
use atlas_proto::{Server, ServerConfig};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep_until;

use crate::engine::{EngineSaid, Engines, Surroundings};
use crate::links::Links;
use crate::progress::ProgressReport;
use crate::steal_log::StealLog;

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
    /// The priority of engines, as of `nice`; none leaves it as this process's.
    pub nice: Option<i32>,
    /// Engines see this process's environment, rather than only what any program needs.
    pub inherit_environment: bool,
    /// Where the certificate is kept up to date; none if somebody else does.
    pub identity_folder: Option<PathBuf>,
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
    stop: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
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
    /// There is a connection to the manager.
    Manager(Connection),
    /// There is a way to a sibling.
    Sibling(crate::links::Way),
    /// There is none.
    NoWay(NodeId),
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
        made.map_err(|source| StartError::Folder { folder, source })?;
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
    pub async fn stop(mut self) {
        let (done, wait) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
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

/// Everything that the loop owns.
struct Loop {
    machine: Server,
    manager: NodeId,
    started: Instant,
    links: Links,
    engines: Engines,
    progress: ProgressReport,
    steals: StealLog,
}

async fn serve(
    options: ServerOptions,
    endpoint: Arc<Endpoint>,
    mut stopped: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let (tell, events) = mpsc::channel(EVENTS_MAX);
    let (said, engines_say) = mpsc::channel(EVENTS_MAX);
    let (manager_is, manager) = watch::channel(None);
    let mut tasks = JoinSet::new();
    let expected = Expected::manager_of(options.identity.peer().domain.clone());
    let backoff = Backoff::new(BackoffLimits::default(), options.identity.peer().node.0);
    let redialler = Redialler::new(options.manager.clone(), expected, backoff);
    let keep = keep_manager(endpoint.clone(), redialler, manager_is, tell.clone());
    tasks.spawn(keep);
    tasks.spawn(accept(endpoint.clone(), tell.clone()));
    if let Some(folder) = options.identity_folder.clone() {
        let (endpoint, manager) = (endpoint.clone(), manager.clone());
        tasks.spawn(async move {
            let connection = || manager.borrow().clone();
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
        manager,
        tell,
        said,
    };
    let done = live(&parts, &mut news, &mut stopped).await;
    tasks.shutdown().await;
    endpoint.close("the server has been stopped").await;
    let _ = done.send(());
}

/// What each membership's loop is made of.
struct Parts {
    options: ServerOptions,
    endpoint: Arc<Endpoint>,
    manager: watch::Receiver<Option<Connection>>,
    tell: mpsc::Sender<Event>,
    said: mpsc::Sender<EngineSaid>,
}

/// What the loop hears.
struct News {
    events: mpsc::Receiver<Event>,
    engines_say: mpsc::Receiver<EngineSaid>,
}

/// Serves one manager after the other, until the server is to end.
async fn live(
    parts: &Parts,
    news: &mut News,
    stopped: &mut mpsc::Receiver<oneshot::Sender<()>>,
) -> oneshot::Sender<()> {
    let mut next = None;
    loop {
        let connection = match next.take() {
            Some(connection) => connection,
            None => tokio::select! {
                Some(event) = news.events.recv() => {
                    // Siblings are met as a member.
                    let Event::Manager(connection) = event else { continue };
                    connection
                }
                Some(done) = stopped.recv() => return done,
            },
        };
        let mut this = Loop::new(parts, connection.peer().node);
        this.handle(Event::Manager(connection));
        match this.run(news, stopped).await {
            End::Stopped(done) => {
                this.leave(&mut news.events).await;
                return done;
            }
            End::OtherManager(connection) => {
                tracing::warn!("the domain has another manager: beginning anew with it");
                this.engines.stop().await;
                next = Some(connection);
            }
        }
    }
}

/// Why the loop ends.
enum End {
    /// The server is to end.
    Stopped(oneshot::Sender<()>),
    /// The domain is managed by another node from now on.
    OtherManager(Connection),
}

fn machine(options: &ServerOptions, manager: NodeId) -> Server {
    let config = ServerConfig {
        node: options.identity.peer().node,
        manager,
        workers: options.workers.max(1),
        incarnation: incarnation(),
    };
    let seed = config.node.0 ^ config.incarnation;
    Server::new(config, seed, Time::ZERO)
}

impl Loop {
    fn new(parts: &Parts, manager: NodeId) -> Self {
        let options = &parts.options;
        let surroundings = Surroundings {
            folder: options.folder.clone(),
            store: options.store.clone(),
            blobs_bytes_max: options.blobs_bytes_max,
            workers_max: options.workers,
            nice: options.nice,
            inherit_environment: options.inherit_environment,
            manager: parts.manager.clone(),
            said: parts.said.clone(),
        };
        let links = Links::new(
            parts.endpoint.clone(),
            options.store.clone(),
            parts.manager.clone(),
            parts.tell.clone(),
        );
        Self {
            machine: machine(options, manager),
            manager,
            started: Instant::now(),
            links,
            engines: Engines::new(surroundings),
            progress: ProgressReport::new(parts.manager.clone()),
            steals: StealLog::default(),
        }
    }

    async fn run(
        &mut self,
        news: &mut News,
        stopped: &mut mpsc::Receiver<oneshot::Sender<()>>,
    ) -> End {
        loop {
            let deadline = self.deadline();
            tokio::select! {
                Some(event) = news.events.recv() => {
                    if let Event::Manager(connection) = &event
                        && connection.peer().node != self.manager
                    {
                        return End::OtherManager(connection.clone());
                    }
                    self.handle(event);
                }
                Some(said) = news.engines_say.recv() => self.handle_engine(said),
                () = sleep_until(deadline.into()) => self.handle_timeout(),
                Some(done) = stopped.recv() => return End::Stopped(done),
            }
        }
    }

    fn now(&self) -> Time {
        let nanos = self.started.elapsed().as_nanos();
        Time(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn deadline(&self) -> Instant {
        let due = self.machine.poll_timeout();
        let due = due.map(|at| self.started + Duration::from_nanos(at.0));
        let look = self.progress.next_look();
        let far = || Instant::now() + FAR;
        due.into_iter().chain(look).min().unwrap_or_else(far)
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Packet { from, packet, path } => {
                if let Some(path) = path {
                    self.machine.handle_path(now, from, path);
                }
                self.steals.note_heard(&packet);
                self.machine.handle_packet(now, from, packet);
            }
            Event::Manager(connection) => {
                let peer = connection.peer().node;
                self.machine.handle_path(now, peer, connection.path());
                self.links.manager_is(connection);
                // What was due while there was no connection is due now.
                self.machine.handle_timeout(now);
            }
            Event::Sibling(way) => {
                self.machine.handle_path(now, way.peer(), way.path());
                self.links.sibling_is(way);
            }
            Event::NoWay(peer) => self.links.give_up(peer),
            Event::Over(peer, id) => self.links.forget(peer, id),
        }
        self.carry_out();
    }

    fn handle_engine(&mut self, said: EngineSaid) {
        if let Some(event) = self.engines.hear(said) {
            self.steals.note_event(&event);
            self.machine.handle_engine(self.now(), event);
            self.carry_out();
        }
    }

    fn handle_timeout(&mut self) {
        let now = self.now();
        if self.machine.poll_timeout().is_some_and(|due| due <= now) {
            self.machine.handle_timeout(now);
        }
        self.progress.look(&self.engines);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(transmit) = self.machine.poll_transmit() {
            self.steals.note_sent(&transmit);
            self.links.send(transmit);
        }
        while let Some(command) = self.machine.poll_engine() {
            self.steals.note_command(&command);
            self.engines.obey(command);
        }
        self.progress.note(&self.engines);
    }

    async fn leave(mut self, events: &mut mpsc::Receiver<Event>) {
        self.machine.leave(self.now());
        self.carry_out();
        let told = async {
            while !self.machine.has_left() {
                let deadline = self.deadline();
                tokio::select! {
                    Some(event) = events.recv() => self.handle(event),
                    () = sleep_until(deadline.into()) => self.handle_timeout(),
                }
            }
        };
        // A manager that does not answer hears it from the silence.
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, told).await;
        self.engines.stop().await;
        self.links.shut_down().await;
    }
}

/// Keeps up the connection to the manager, and says when there is a new one.
async fn keep_manager(
    endpoint: Arc<Endpoint>,
    mut redialler: Redialler,
    manager: watch::Sender<Option<Connection>>,
    tell: mpsc::Sender<Event>,
) {
    loop {
        let connection = redialler.connect(&endpoint).await;
        manager.send_replace(Some(connection.clone()));
        if tell.send(Event::Manager(connection.clone())).await.is_err() {
            return;
        }
        let lost = connection.closed().await;
        manager.send_replace(None);
        tracing::warn!(%lost, "the connection to the manager is lost");
    }
}

/// Takes in siblings that dial.
async fn accept(endpoint: Arc<Endpoint>, tell: mpsc::Sender<Event>) {
    while let Some(arrival) = endpoint.accept().await {
        match arrival {
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

/// Larger in each life: tenths of a second since 1970.
fn incarnation() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis() / 100).unwrap_or(0)
    })
}

/// Events that wait; who has more to tell waits as well.
const EVENTS_MAX: usize = 1024;
/// A loop that waits for nothing looks up once in a while all the same.
const FAR: Duration = Duration::from_secs(3600);
/// Leaving takes a round trip.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
