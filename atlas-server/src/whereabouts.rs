//! Whom this server serves: the manager of its own domain, or as a guest that of a domain above while its own is away.
//!
//! One task owns the machine that decides ([`Whereabouts`]), keeps up the connections that it wants, and tells the loop which manager
//! to serve. Own managers are looked for all the time, also as a guest.

use std::sync::Arc;
use std::time::Duration;

use atlas_fs::daemon::Clock;
use atlas_net::managers::{self, Known, ManagersOptions};
use atlas_net::{Connection, Endpoint, Expected};
use atlas_proto::control::Above;
use atlas_proto::whereabouts::Whereabouts;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::node::Event;

/// What the task owns.
struct Looking {
    machine: Whereabouts,
    clock: Clock,
    endpoint: Arc<Endpoint>,
    own: ManagersOptions,
    /// The levels above that may be looked at, the nearest first.
    above: Vec<Above>,
    known: watch::Receiver<Known>,
    /// It goes anywhere at all.
    goes: bool,
    /// The levels that are looked at, the server's own first.
    levels: Vec<Level>,
    last_id: u64,
    news: mpsc::Sender<News>,
    /// The connection that the loop was told of.
    told: Option<Connection>,
    tell: mpsc::Sender<Event>,
}

/// A domain whose managers are looked for.
struct Level {
    id: u64,
    acting: Option<Connection>,
    _tasks: JoinSet<()>,
}

/// Who acts at a level, by the level's number.
type News = (u64, Option<Connection>);

/// Finds managers and tells the loop of them; `own_is` hears who acts in the server's own domain. The server becomes a guest when nobody
/// has for the time given, or never. Does not return: let it run as a task of its own.
pub(crate) async fn keep(
    endpoint: Arc<Endpoint>,
    own: ManagersOptions,
    guest_after: Option<Duration>,
    own_is: watch::Sender<Option<Connection>>,
    tell: mpsc::Sender<Event>,
) {
    let (clock, known_is) = (Clock::start(), watch::Sender::new(Known::default()));
    let known = known_is.subscribe();
    let patience = guest_after.unwrap_or(FAR);
    let (news, heard) = mpsc::channel(NEWS_MAX);
    let mut this = Looking {
        machine: Whereabouts::new(clock.now(), patience, 0),
        clock,
        endpoint,
        own: own.clone(),
        above: Vec::new(),
        known,
        goes: guest_after.is_some(),
        levels: Vec::new(),
        last_id: 0,
        news,
        told: None,
        tell,
    };
    this.look(own, own_is, known_is);
    this.run(heard).await;
}

impl Looking {
    async fn run(mut self, mut heard: mpsc::Receiver<News>) {
        loop {
            let due = self.machine.poll_timeout();
            tokio::select! {
                Some((id, acting)) = heard.recv() => self.hear(id, acting),
                // The sender lives as long as the first level does.
                Ok(()) = self.known.changed() => {}
                () = self.clock.wait_for(due) => self.machine.handle_timeout(self.clock.now()),
            }
            self.learn();
            if !self.carry_out().await {
                return;
            }
        }
    }

    fn hear(&mut self, id: u64, acting: Option<Connection>) {
        // A level that is looked at no more may still be heard of.
        let Some(index) = self.levels.iter().position(|level| level.id == id) else {
            return;
        };
        let managed = acting.is_some();
        self.levels[index].acting = acting;
        let now = self.clock.now();
        self.machine.handle_managed(now, index, managed);
    }

    /// Takes up what the own manager has said of domains above. A guest knows where it is, and takes it up at home.
    fn learn(&mut self) {
        if !self.goes || self.machine.serves_at() > 0 {
            return;
        }
        let above = self.known.borrow().above.clone();
        if above == self.above {
            return;
        }
        let now = self.clock.now();
        self.machine.handle_above(now, above.len());
        self.levels.truncate(1);
        self.above = above;
    }

    /// What the machine wants. False if nobody listens any more.
    async fn carry_out(&mut self) -> bool {
        while self.levels.len() <= self.machine.looks_at() {
            self.look_above(self.levels.len() - 1);
        }
        let serves_at = self.machine.serves_at();
        let serves = self.levels[serves_at].acting.clone();
        if !Connection::are_same(serves.as_ref(), self.told.as_ref()) {
            if let Some(manager) = &serves {
                self.log(serves_at, manager);
            }
            self.told.clone_from(&serves);
            let event = serves.map_or(Event::NoManager, Event::Manager);
            if self.tell.send(event).await.is_err() {
                return false;
            }
        }
        // The loop has its own handle of a connection that it still needs to say goodbye.
        self.levels.truncate(self.machine.looks_at() + 1);
        true
    }

    fn log(&self, serves_at: usize, manager: &Connection) {
        let domain = &manager.peer().domain;
        let before = self.told.as_ref().map(|told| &told.peer().domain);
        if before == Some(domain) {
            return;
        }
        if serves_at > 0 {
            let ends = self.endpoint.identity().ends_at();
            let hours = ends
                .elapsed()
                .err()
                .map(|left| left.duration().as_secs() / 3600);
            tracing::warn!(
                %domain,
                hours_at_most = hours,
                "this server is a guest of a domain above, since its own has no manager: only that can renew its certificate"
            );
        } else {
            tracing::info!(%domain, "this server serves its own domain");
        }
    }

    fn look_above(&mut self, index: usize) {
        let above = &self.above[index];
        tracing::info!(domain = %above.domain, "looking for managers of a domain above");
        let options = ManagersOptions {
            addresses: above.addresses.clone(),
            expected: Expected::manager_of(above.domain.clone()),
            folder: None,
            guest: true,
            ..self.own.clone()
        };
        let (acting, known) = (watch::Sender::new(None), watch::Sender::default());
        self.look(options, acting, known);
    }

    fn look(
        &mut self,
        options: ManagersOptions,
        acting: watch::Sender<Option<Connection>>,
        known: watch::Sender<Known>,
    ) {
        self.last_id += 1;
        let (id, news) = (self.last_id, self.news.clone());
        let mut tasks = JoinSet::new();
        let mut acts = acting.subscribe();
        tasks.spawn(managers::keep(
            self.endpoint.clone(),
            options,
            acting,
            known,
        ));
        tasks.spawn(async move {
            while acts.changed().await.is_ok() {
                let manager = acts.borrow_and_update().clone();
                if news.send((id, manager)).await.is_err() {
                    return;
                }
            }
        });
        let level = Level {
            id,
            acting: None,
            _tasks: tasks,
        };
        self.levels.push(level);
    }
}

/// News that wait; who has more to tell waits as well.
const NEWS_MAX: usize = 16;
/// The patience of a server that is nobody's guest.
const FAR: Duration = Duration::from_secs(3600);
