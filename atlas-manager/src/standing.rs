//! The task that owns this manager's [`Standing`]: it carries what that says to children and to the domain's other manager, keeps
//! what it must not forget, and tells all others whether this manager acts, and until when.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atlas_fs::daemon::Clock;
use atlas_net::whole_file::replace;
use atlas_net::{Connection, Stream, StreamError};
use atlas_proto::control::{Above, FRAME_BYTES_MAX, MANAGER_ADDRESSES_MAX, ManagerWord};
use atlas_proto::ids::NodeId;
use atlas_proto::standby::{Link, StandbyMessage, Standing, StandingRecord, Stands, Term};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::store::{Done, Write};

/// What others know of this manager's standing.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// It acts in this term: until then, if that is not put off before; for ever, if none.
    pub(crate) acts: Option<(Term, Option<Instant>)>,
    /// Who acts, if it is another.
    pub(crate) manager: Option<(NodeId, Term)>,
    /// Who has everything and would take over.
    pub(crate) standby: Option<NodeId>,
    /// How many children may vote for it.
    pub(crate) voters: usize,
    /// Where the other managers of the domain are reached.
    pub(crate) others: Vec<String>,
}

/// Tells the task, and hears from it.
#[derive(Clone, Debug)]
pub(crate) struct StandingHandle {
    tell: mpsc::Sender<Said>,
    state: watch::Receiver<State>,
    own: Vec<String>,
}

/// What a standby is sent.
pub(crate) type Logged = (u64, std::sync::Arc<Write>);

enum Said {
    Connected(NodeId, Link, u64, mpsc::Sender<ManagerWord>),
    Heard(NodeId, ManagerWord),
    Gone(NodeId, u64),
    Written(Write, Done),
    Replica(NodeId, mpsc::Sender<Logged>, oneshot::Sender<u64>),
    Kept(NodeId, u64),
    Above(Vec<Above>),
}

/// What is kept in the state folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    record: StandingRecord,
    others: Vec<String>,
}

struct Task {
    machine: Standing,
    clock: Clock,
    folder: Option<PathBuf>,
    kept: Kept,
    own: Vec<String>,
    /// Whose guests this domain's servers may be, once that is known.
    above: Option<Vec<Above>>,
    /// Children that have come and were not told yet where managers are.
    untold: HashSet<NodeId>,
    links: HashMap<NodeId, Neighbour>,
    replica: Option<(NodeId, mpsc::Sender<Logged>)>,
    waiting: VecDeque<(u64, Done)>,
    state: watch::Sender<State>,
}

/// The ways to a child or another manager, the last one in use.
struct Neighbour {
    link: Link,
    ways: Vec<(u64, mpsc::Sender<ManagerWord>)>,
}

impl State {
    /// This manager acts now.
    pub(crate) fn holds(&self) -> bool {
        let until = self.acts.map(|(_, until)| until);
        until.is_some_and(|until| until.is_none_or(|until| Instant::now() < until))
    }

    /// The domain has no other manager, as far as is known here.
    pub(crate) fn is_only_one(&self) -> bool {
        self.standby.is_none() && self.others.is_empty()
    }
}

impl StandingHandle {
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Where the domain's managers are reached, this one first.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let mut all = self.own.clone();
        all.extend(self.state.borrow().others.iter().cloned());
        all.dedup();
        all
    }

    /// Speaks with a neighbour on this stream, for as long as it is there.
    pub(crate) async fn talk(&self, connection: &Connection, link: Link, stream: Stream) {
        let node = connection.peer().node;
        let id = next_id();
        let (say, mut to_say) = mpsc::channel(WORDS_MAX);
        let connected = Said::Connected(node, link, id, say);
        if self.tell.send(connected).await.is_err() {
            return;
        }
        let (mut sender, mut receiver) = stream.split();
        let hear = async {
            loop {
                let word = match link {
                    Link::Witness | Link::Guest => {
                        let word = receiver.recv::<StandbyMessage>(FRAME_BYTES_MAX).await;
                        word.map(|word| word.map(ManagerWord::Standby))
                    }
                    Link::Manager => receiver.recv::<ManagerWord>(FRAME_BYTES_MAX).await,
                };
                let Ok(Some(word)) = word else { return };
                if self.tell.send(Said::Heard(node, word)).await.is_err() {
                    return;
                }
            }
        };
        let speak = async {
            let mut said: Result<(), StreamError> = Ok(());
            if link == Link::Manager {
                said = sender.send(&ManagerWord::Addresses(self.own.clone())).await;
            }
            while said.is_ok()
                && let Some(word) = to_say.recv().await
            {
                said = sender.send(&word).await;
            }
        };
        tokio::select! {
            () = hear => {}
            () = speak => {}
            _ = connection.closed() => {}
        }
        let _ = self.tell.send(Said::Gone(node, id)).await;
    }

    /// A standby begins to take what is written from now on; gives the number of the last record before that. It takes no more
    /// when the receiver is gone.
    pub(crate) async fn replicate(
        &self,
        node: NodeId,
        logged: mpsc::Sender<Logged>,
    ) -> Option<u64> {
        let (begun, last) = oneshot::channel();
        let replica = Said::Replica(node, logged, begun);
        self.tell.send(replica).await.ok()?;
        last.await.ok()
    }

    /// The standby has all records up to this one.
    pub(crate) async fn kept(&self, node: NodeId, index: u64) {
        let _ = self.tell.send(Said::Kept(node, index)).await;
    }

    /// The servers of this domain may be guests of these domains, the nearest first, while it has no manager.
    pub(crate) async fn tell_above(&self, above: Vec<Above>) {
        let _ = self.tell.send(Said::Above(above)).await;
    }

    /// For the store's thread.
    pub(crate) fn journal(&self) -> crate::store::Journal {
        let tell = self.tell.clone();
        Box::new(move |write, done| {
            // Without a task nobody is told.
            let _ = tell.blocking_send(Said::Written(write, done));
        })
    }
}

/// Starts the task. A manager without a folder has no standby and remembers nothing.
pub(crate) fn start(
    node: NodeId,
    folder: Option<PathBuf>,
    own: Vec<String>,
    tasks: &mut tokio::task::JoinSet<()>,
) -> std::io::Result<StandingHandle> {
    let kept = match &folder {
        Some(folder) => load(folder, node)?,
        None => Kept::new(StandingRecord::first(node)),
    };
    let clock = Clock::start();
    let seed = node.0 ^ atlas_fs::daemon::incarnation();
    let machine = Standing::new(node, kept.record.clone(), seed, clock.now());
    let (tell, said) = mpsc::channel(SAID_MAX);
    let (state, watched) = watch::channel(State::default());
    let mut task = Task {
        machine,
        clock,
        folder,
        kept,
        own: own.clone(),
        above: None,
        untold: HashSet::new(),
        links: HashMap::new(),
        replica: None,
        waiting: VecDeque::new(),
        state,
    };
    task.announce();
    tasks.spawn(task.run(said));
    let state = watched;
    Ok(StandingHandle { tell, state, own })
}

/// Begins the folder of a manager that is to stand by, with the addresses of the one that acts.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn init_standby(
    folder: &Path,
    node: NodeId,
    others: Vec<String>,
) -> std::io::Result<()> {
    let record = StandingRecord::standby(node);
    save(folder, &Kept { record, others })
}

impl Kept {
    fn new(record: StandingRecord) -> Self {
        let others = Vec::new();
        Self { record, others }
    }
}

impl Task {
    async fn run(mut self, mut said: mpsc::Receiver<Said>) {
        loop {
            let due = self.machine.poll_timeout();
            tokio::select! {
                heard = said.recv() => match heard {
                    Some(heard) => self.handle(heard),
                    None => return,
                },
                () = self.clock.wait_for(due) => {
                    let now = self.clock.now();
                    self.machine.handle_timeout(now);
                }
            }
            self.carry_out().await;
        }
    }

    fn handle(&mut self, said: Said) {
        let now = self.clock.now();
        match said {
            Said::Connected(node, link, id, say) => {
                let new = || Neighbour {
                    link,
                    ways: Vec::new(),
                };
                let neighbour = self.links.entry(node).or_insert_with(new);
                neighbour.ways.push((id, say));
                self.machine.handle_connected(now, node, link);
                self.untold.insert(node);
            }
            Said::Gone(node, id) => {
                let Some(neighbour) = self.links.get_mut(&node) else {
                    return;
                };
                neighbour.ways.retain(|way| way.0 != id);
                if neighbour.ways.is_empty() {
                    self.links.remove(&node);
                    self.untold.remove(&node);
                    self.machine.handle_disconnected(now, node);
                }
            }
            Said::Heard(node, ManagerWord::Standby(message)) => {
                self.machine.handle_message(now, node, message);
            }
            Said::Heard(_, ManagerWord::Addresses(told)) => self.learn(told),
            // It is told by who acts, to children.
            Said::Heard(_, ManagerWord::Above(_)) => {}
            Said::Above(above) => {
                if self.above.as_ref() != Some(&above) {
                    self.above = Some(above);
                    self.tell_all();
                }
            }
            Said::Written(write, done) => self.log(write, done),
            Said::Replica(node, logged, begun) => {
                self.machine.handle_replica(now, node);
                self.replica = Some((node, logged));
                let _ = begun.send(self.machine.last());
            }
            Said::Kept(node, index) => self.machine.handle_kept(now, node, index),
        }
    }

    /// Something is on this manager's disk, and goes to the standby.
    fn log(&mut self, write: Write, done: Done) {
        let now = self.clock.now();
        if !matches!(self.machine.stands(), Stands::Acts { .. }) {
            // It was written as long as this manager acted, and another may act by now: nobody is told that it is safe.
            drop(done);
            return;
        }
        let index = self.machine.handle_record(now);
        self.waiting.push_back((index, done));
        if let Some((_, logged)) = &self.replica
            && logged.try_send((index, write.into())).is_err()
        {
            self.lose_replica();
        }
    }

    fn lose_replica(&mut self) {
        if let Some((node, _)) = self.replica.take() {
            let now = self.clock.now();
            self.machine.handle_replica_lost(now, node);
        }
    }

    /// What the machine wants: what it must not forget is on the disk before anybody hears of it.
    async fn carry_out(&mut self) {
        if self
            .replica
            .as_ref()
            .is_some_and(|replica| replica.1.is_closed())
        {
            self.lose_replica();
        }
        if let Some(record) = self.machine.poll_save() {
            self.kept.record = record;
            self.save().await;
        }
        while let Some((to, message)) = self.machine.poll_send() {
            self.say(to, ManagerWord::Standby(message));
        }
        // They believe whoever they heed, which they do from the last message on.
        for node in std::mem::take(&mut self.untold) {
            self.tell_one(node);
        }
        let safe = self.machine.safe();
        while self
            .waiting
            .front()
            .is_some_and(|waiting| waiting.0 <= safe)
        {
            if let Some((_, done)) = self.waiting.pop_front() {
                let _ = done.send(Ok(()));
            }
        }
        if !matches!(self.machine.stands(), Stands::Acts { .. }) {
            // Nobody is told that they are safe.
            self.waiting.clear();
            self.replica = None;
        }
        self.announce();
    }

    /// Until it is done: as long as it cannot be, this manager neither acts nor speaks.
    async fn save(&mut self) {
        let Some(folder) = self.folder.clone() else {
            return;
        };
        loop {
            let (folder, kept) = (folder.clone(), self.kept.clone());
            let saved = tokio::task::spawn_blocking(move || save(&folder, &kept)).await;
            match saved.map_err(std::io::Error::other).and_then(|saved| saved) {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(%error, "the manager cannot keep how it stands, and does nothing: see that its disk is not full");
                    tokio::time::sleep(SAVE_AGAIN).await;
                }
            }
        }
    }

    fn say(&self, to: NodeId, word: ManagerWord) {
        let neighbour = self.links.get(&to);
        if let Some((_, way)) = neighbour.and_then(|neighbour| neighbour.ways.last()) {
            // Who reads nothing hears nothing: what matters is said again.
            let _ = way.try_send(word);
        }
    }

    /// Another manager is reached there.
    fn learn(&mut self, told: Vec<String>) {
        let known = &mut self.kept.others;
        let own = &self.own;
        let new = told.into_iter().filter(|told| !own.contains(told));
        let mut new: Vec<String> = new.filter(|told| !known.contains(told)).collect();
        if new.is_empty() {
            return;
        }
        // The newest first: those that are out of date are forgotten.
        new.append(known);
        new.truncate(MANAGER_ADDRESSES_MAX / 2);
        *known = new;
        if let Some(folder) = &self.folder
            && let Err(error) = save(folder, &self.kept)
        {
            tracing::warn!(%error, "cannot keep where the other manager is");
        }
        self.tell_all();
    }

    /// Children look for a manager wherever there is one.
    fn tell_all(&self) {
        for node in self.links.keys() {
            self.tell_one(*node);
        }
    }

    /// Only whoever acts is believed.
    fn tell_one(&self, node: NodeId) {
        let Some(neighbour) = self.links.get(&node) else {
            return;
        };
        if !matches!(self.machine.stands(), Stands::Acts { .. }) {
            return;
        }
        if neighbour.link == Link::Manager {
            return;
        }
        if !self.kept.others.is_empty() {
            let all = self.own.iter().chain(&self.kept.others).cloned().collect();
            self.say(node, ManagerWord::Addresses(all));
        }
        // Guests hear from their own manager where else they may go.
        if let Some(above) = &self.above
            && neighbour.link == Link::Witness
        {
            self.say(node, ManagerWord::Above(above.clone()));
        }
    }

    fn announce(&mut self) {
        let (acts, manager) = match self.machine.stands() {
            Stands::Acts { term, until } => {
                let until = until.map(|until| self.clock.instant(until));
                (Some((term, until)), None)
            }
            Stands::Follows { manager } => (None, manager),
        };
        let new = State {
            acts,
            manager,
            standby: self.machine.standby(),
            voters: self.machine.voters(),
            others: self.kept.others.clone(),
        };
        let begins = new.acts.is_some() && self.state.borrow().acts.is_none();
        let changed = self.state.send_if_modified(|state| {
            let term = |state: &State| state.acts.map(|acts| acts.0);
            if term(state) != term(&new) || state.manager != new.manager {
                tell_change(&new);
            }
            if state.standby != new.standby {
                match new.standby {
                    Some(node) => tracing::info!(standby = %node, "the standby has everything, and would take over"),
                    None => tracing::warn!("there is no standby that would take over"),
                }
            }
            let same = (state.acts, state.manager, state.standby) == (new.acts, new.manager, new.standby);
            let changed = !same || state.others != new.others || state.voters != new.voters;
            *state = new;
            changed
        });
        if changed && begins {
            self.tell_all();
        }
    }
}

fn tell_change(new: &State) {
    match (new.acts, new.manager) {
        (Some((term, _)), _) => tracing::info!(%term, "this manager acts"),
        (None, Some((manager, term))) => tracing::info!(%manager, %term, "another manager acts"),
        (None, None) => tracing::warn!("no manager acts, as far as is known here"),
    }
}

fn load(folder: &Path, node: NodeId) -> std::io::Result<Kept> {
    match std::fs::read(folder.join(FILE)) {
        Ok(bytes) => postcard::from_bytes(&bytes).map_err(|error| {
            let path = folder.join(FILE);
            let path = path.display();
            std::io::Error::other(format!(
                "{path} is damaged ({error}): restore it from a copy; or, if no other manager of this domain has acted since, move it away"
            ))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Kept::new(StandingRecord::first(node)))
        }
        Err(error) => Err(error),
    }
}

fn save(folder: &Path, kept: &Kept) -> std::io::Result<()> {
    let bytes = postcard::to_stdvec(kept).map_err(std::io::Error::other)?;
    replace(&folder.join(FILE), &bytes)
}

fn next_id() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// How this manager stands, in its state folder.
const FILE: &str = "standing";
const SAVE_AGAIN: Duration = Duration::from_secs(1);
/// What waits for the task; who has more to say waits as well.
const SAID_MAX: usize = 1024;
/// Words to one neighbour that wait: a beat comes twice a second.
const WORDS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manager_remembers_is_read_again_and_named_where_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let node = NodeId(7);
        let kept = Kept::new(StandingRecord::first(node));
        save(folder.path(), &kept).unwrap();
        let read = load(folder.path(), NodeId(8)).unwrap();
        assert_eq!(format!("{read:?}"), format!("{kept:?}"));
        let file = folder.path().join(FILE);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        let error = load(folder.path(), node).unwrap_err().to_string();
        let named = format!("{} is damaged", file.display());
        assert!(error.contains(&named), "{error}");
    }
}
