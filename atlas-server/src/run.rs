//! What the loop does with each event, for one membership after the other.

use std::sync::Arc;
use std::time::Duration;

use atlas_fs::Turns;
use atlas_fs::daemon::{Clock, begin_life, incarnation};
use atlas_fs::url::FileService;
use atlas_fs::url::above::Managers;
use atlas_net::{Connection, Endpoint};
use atlas_proto::domain::Domain;
use atlas_proto::ids::NodeId;
use atlas_proto::time::Time;
use atlas_proto::{Server, ServerConfig};
use tokio::sync::{mpsc, watch};

use crate::engine::{EngineSaid, Engines, JobFiles, SharedBlobs, Surroundings};
use crate::links::Links;
use crate::node::{Event, ServerOptions, Stop};
use crate::progress::ProgressReport;
use crate::rival_log::RivalLog;
use crate::steal_log::StealLog;

/// Everything that the loop owns.
struct Loop {
    machine: Server,
    manager: NodeId,
    /// Whose manager that is.
    domain: Domain,
    /// The connection to it, for all that belong to this membership.
    manager_is: watch::Sender<Option<Connection>>,
    clock: Clock,
    links: Links,
    engines: Engines,
    progress: ProgressReport,
    steals: StealLog,
    rivals: RivalLog,
}

/// What each membership's loop is made of.
pub(crate) struct Parts {
    pub(crate) options: ServerOptions,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) tell: mpsc::Sender<Event>,
    pub(crate) said: mpsc::Sender<EngineSaid>,
}

/// What the loop hears.
pub(crate) struct News {
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) engines_say: mpsc::Receiver<EngineSaid>,
}

/// Why the loop ends.
enum End {
    /// The server is to end.
    Stopped(Stop),
    /// Another manager is to be served from now on: of the same domain, or of another.
    OtherManager(Connection),
}

/// Serves one manager after the other, until the server is to end.
pub(crate) async fn live(
    parts: &Parts,
    news: &mut News,
    stopped: &mut mpsc::Receiver<Stop>,
) -> Stop {
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
                Some(stop) = stopped.recv() => return stop,
            },
        };
        let mut this = Loop::new(parts, &connection);
        this.handle(Event::Manager(connection));
        match this.run(news, stopped).await {
            End::Stopped(stop) => {
                if stop.leaves {
                    this.leave(&mut news.events, None).await;
                } else {
                    this.engines.stop().await;
                }
                return stop;
            }
            End::OtherManager(connection) => {
                next = if this.is_left_behind(&connection) {
                    tracing::info!(manager = %connection.peer(), "giving all work back, to serve another domain");
                    this.leave(&mut news.events, Some(connection)).await
                } else {
                    tracing::warn!(manager = %connection.peer(), "beginning anew with another manager");
                    this.engines.stop().await;
                    Some(connection)
                };
            }
        }
    }
}

impl Loop {
    fn new(parts: &Parts, connection: &Connection) -> Self {
        let options = &parts.options;
        let peer = connection.peer();
        let (manager_is, manager) = watch::channel(None);
        let mut urls = options.urls.clone();
        urls.above = Some(Arc::new(Managers::new(manager.clone())));
        let client_files = Arc::new(JobFiles::new(manager.clone()));
        urls.clients = Some(client_files.clone());
        let surroundings = Surroundings {
            folder: options.folder.clone(),
            store: options.store.clone(),
            blobs_bytes_max: options.blobs_bytes_max,
            turns: Turns::default(),
            shared: SharedBlobs::default(),
            files: Arc::new(FileService::new(urls)),
            mount_at: options.mount_at.clone(),
            client_files,
            workers_max: options.workers,
            nice: options.nice,
            engine_timeout: options.engine_timeout,
            inherit_environment: options.inherit_environment,
            manager: manager.clone(),
            said: parts.said.clone(),
        };
        let links = Links::new(
            parts.endpoint.clone(),
            options.store.clone(),
            manager.clone(),
            parts.tell.clone(),
        );
        Self {
            machine: machine(options, peer.node),
            manager: peer.node,
            domain: peer.domain.clone(),
            manager_is,
            clock: Clock::start(),
            links,
            engines: Engines::new(surroundings),
            progress: ProgressReport::new(manager),
            steals: StealLog::default(),
            rivals: RivalLog::default(),
        }
    }

    async fn run(&mut self, news: &mut News, stopped: &mut mpsc::Receiver<Stop>) -> End {
        loop {
            let due = self.due();
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
                () = self.clock.wait_for(due) => self.handle_timeout(),
                Some(stop) = stopped.recv() => return End::Stopped(stop),
            }
        }
    }

    fn due(&self) -> Option<Time> {
        let look = self.progress.next_look().map(|at| self.clock.time(at));
        self.machine.poll_timeout().into_iter().chain(look).min()
    }

    fn handle(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            // It came before the manager was found not to act.
            Event::Packet { from, .. } if from == self.manager && !self.links.is_up(from) => {}
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
                self.manager_is.send_replace(Some(connection.clone()));
                self.links.manager_is(connection);
                self.machine.handle_reached(now);
            }
            Event::NoManager => {
                self.manager_is.send_replace(None);
                self.links.manager_is_gone(self.manager);
            }
            Event::Sibling(way) => {
                self.machine.handle_path(now, way.peer(), way.path());
                self.links.sibling_is(way);
            }
            Event::NoWay(peer, epoch) => self.links.give_up(peer, epoch),
            Event::Over(peer, id) => self.links.forget(peer, id),
        }
        self.carry_out();
    }

    fn handle_engine(&mut self, said: EngineSaid) {
        if let Some(event) = self.engines.hear(said) {
            self.steals.note_event(&event);
            self.machine.handle_engine(self.clock.now(), event);
            self.carry_out();
        }
    }

    fn handle_timeout(&mut self) {
        let now = self.clock.now();
        if self.machine.poll_timeout().is_some_and(|due| due <= now) {
            self.machine.handle_timeout(now);
        }
        self.progress.look(&self.engines);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        // Engines first: a steal waits for them at both ends, and what else is to be sent costs as much as that.
        while let Some(command) = self.machine.poll_engine() {
            self.steals.note_command(&command);
            self.engines.obey(command);
        }
        while let Some(transmit) = self.machine.poll_transmit() {
            self.steals.note_sent(&transmit);
            self.links.send(transmit);
        }
        self.progress.note(&self.engines);
        self.rivals.note(self.machine.stats());
    }

    /// The manager that was served so far is there, and is to hear that this server goes to another domain.
    fn is_left_behind(&self, next: &Connection) -> bool {
        next.peer().domain != self.domain && self.links.is_up(self.manager)
    }

    /// Gives all back. Gives whom to serve `next`, who may have gone or come meanwhile.
    async fn leave(
        mut self,
        events: &mut mpsc::Receiver<Event>,
        mut next: Option<Connection>,
    ) -> Option<Connection> {
        self.machine.leave(self.clock.now());
        self.carry_out();
        let told = async {
            while !self.machine.has_left() {
                let due = self.due();
                tokio::select! {
                    Some(event) = events.recv() => {
                        // What is said of managers is of the next one, if there is one.
                        if let Event::Manager(other) = &event
                            && other.peer().node != self.manager
                        {
                            next = Some(other.clone());
                        } else if next.is_some() && matches!(event, Event::NoManager) {
                            next = None;
                        } else {
                            self.handle(event);
                        }
                    }
                    () = self.clock.wait_for(due) => self.handle_timeout(),
                }
            }
        };
        // A manager that does not answer hears it from the silence.
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, told).await;
        self.engines.stop().await;
        self.links.shut_down().await;
        next
    }
}

fn machine(options: &ServerOptions, manager: NodeId) -> Server {
    let incarnation = begin_life(&options.folder.join(LIFE)).unwrap_or_else(|error| {
        let folder = options.folder.display();
        tracing::warn!(%folder, %error, "cannot count this server's lives: if the clock was set back, the manager will not know it");
        incarnation()
    });
    let config = ServerConfig {
        node: options.identity.peer().node,
        manager,
        workers: options.workers.max(1),
        incarnation,
    };
    let seed = config.node.0 ^ config.incarnation;
    Server::new(config, seed, Time::ZERO)
}

/// Where the number of the last life is kept, beside the engines' folders.
const LIFE: &str = "life";
/// Leaving takes a round trip.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
