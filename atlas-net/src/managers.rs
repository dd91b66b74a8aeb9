//! A child's connections to the managers of its domain, or of one above: to each that it knows of, all the time, so that
//! it hears who acts, and can vote for another when that one is gone.
//!
//! [`keep`] owns the child's [`Witness`]: it carries what that says, and tells which connection leads to the manager that
//! acts. Whatever the others say counts for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlas_proto::control::{
    ABOVE_MAX, Above, FRAME_BYTES_MAX, MANAGER_ADDRESSES_MAX, ManagerWord, WITNESS_TOPIC,
};
use atlas_proto::ids::NodeId;
use atlas_proto::standby::{StandbyMessage, Witness, WitnessRecord};
use atlas_proto::time::Time;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::identity::Expected;
use crate::redial::{Backoff, BackoffLimits, Redialler};
use crate::stream::StreamKind;
use crate::whole_file::replace;

/// Whose managers, and where.
#[derive(Clone, Debug)]
pub struct ManagersOptions {
    /// Where they may be reached, as `host:port`; whoever acts says where else.
    pub addresses: Vec<String>,
    /// The domain.
    pub expected: Expected,
    /// Where the child remembers for whom it has voted, and where managers are reached; nowhere, if none: then it is a child
    /// of a manager without a standby, or a guest.
    pub folder: Option<PathBuf>,
    /// The child is of a domain below, and here as long as that has no manager: it votes for nobody.
    pub guest: bool,
    /// For the waits.
    pub seed: u64,
}

/// Where managers are, as far as a child knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Those of the domain.
    pub addresses: Vec<String>,
    /// Those of the domains above that may have the child, if it is a server, as a guest: the nearest first.
    pub above: Vec<Above>,
}

/// Keeps the connections up, says which leads to the manager that acts, and what that says of where managers are. Does not return:
/// let it run as a task of its own.
pub async fn keep(
    endpoint: Arc<Endpoint>,
    options: ManagersOptions,
    acting: watch::Sender<Option<Connection>>,
    known: watch::Sender<Known>,
) {
    let memory = Memory(options.folder.clone());
    let (tell, mut news) = mpsc::channel(NEWS_MAX);
    let began = Instant::now();
    let mut this = Managers {
        witness: if options.guest {
            Witness::guest(Time::ZERO)
        } else {
            Witness::new(memory.record(), Time::ZERO)
        },
        memory,
        endpoint,
        tell,
        up: BTreeMap::new(),
        last_id: 0,
        dialled: BTreeMap::new(),
        tasks: JoinSet::new(),
        acting,
        known,
        options,
    };
    let mut addresses = this.options.addresses.clone();
    addresses.extend(this.memory.addresses());
    let mut above = this.memory.above();
    let own = &this.options.expected.domain;
    above.retain(|above| own.is_below(&above.domain));
    let known = Known {
        addresses: addresses.clone(),
        above,
    };
    this.known.send_replace(known);
    this.dial(addresses);
    while let Some(event) = news.recv().await {
        let now = Time(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        this.handle(now, event).await;
        this.announce();
        while this.tasks.try_join_next().is_some() {}
    }
}

/// What [`keep`] owns.
struct Managers {
    witness: Witness,
    memory: Memory,
    endpoint: Arc<Endpoint>,
    tell: mpsc::Sender<Event>,
    up: BTreeMap<NodeId, Up>,
    last_id: u64,
    dialled: BTreeMap<String, AbortHandle>,
    tasks: JoinSet<()>,
    acting: watch::Sender<Option<Connection>>,
    known: watch::Sender<Known>,
    options: ManagersOptions,
}

/// A manager that is connected.
struct Up {
    id: u64,
    connection: Connection,
    say: mpsc::Sender<StandbyMessage>,
    /// It has said on this connection that it acts.
    has_led: bool,
}

enum Event {
    /// A manager is connected. If there is another connection to it, that one comes back.
    Connected(Connection, oneshot::Sender<Option<Connection>>),
    Heard(NodeId, u64, ManagerWord),
    Lost(NodeId, u64),
}

impl Managers {
    async fn handle(&mut self, now: Time, event: Event) {
        match event {
            Event::Connected(connection, answer) => {
                let node = connection.peer().node;
                let known = self.up.get(&node).map(|up| up.connection.clone());
                let is_new = known.is_none();
                // Whoever dialled may be gone, with the address.
                if answer.send(known).is_ok() && is_new {
                    self.begin(connection);
                }
            }
            Event::Lost(node, id) => {
                if self.up.get(&node).is_some_and(|up| up.id == id) {
                    self.up.remove(&node);
                }
            }
            Event::Heard(node, id, word) => {
                let Some(up) = self.up.get_mut(&node).filter(|up| up.id == id) else {
                    return;
                };
                match word {
                    ManagerWord::Standby(message) => {
                        up.has_led |= matches!(message, StandbyMessage::LeadDomain { .. });
                        self.witness.handle_message(now, node, &message);
                        self.carry_out().await;
                    }
                    ManagerWord::Addresses(told) if self.heeds(node) => self.learn(told),
                    ManagerWord::Above(told) if self.heeds(node) => self.learn_above(told),
                    ManagerWord::Addresses(_) | ManagerWord::Above(_) => {}
                }
            }
        }
    }

    fn heeds(&self, node: NodeId) -> bool {
        self.witness.heeds().map(|heeds| heeds.0) == Some(node)
    }

    /// What the witness remembers is on the disk before anybody hears of it.
    async fn carry_out(&mut self) {
        if let Some(record) = self.witness.poll_save()
            && let Err(error) = self.memory.save(record).await
        {
            tracing::error!(%error, "cannot keep for whom this node has voted, and so it does not: see that the disk is not full");
            while self.witness.poll_send().is_some() {}
            return;
        }
        while let Some((to, message)) = self.witness.poll_send() {
            if let Some(up) = self.up.get(&to) {
                // A manager that reads nothing hears nothing.
                let _ = up.say.try_send(message);
            }
        }
    }

    /// Tells which connection leads to the manager that acts, when that has changed.
    fn announce(&self) {
        let heeded = self.witness.heeds().and_then(|heeds| self.up.get(&heeds.0));
        let heeded = heeded.filter(|up| up.has_led).map(|up| &up.connection);
        self.acting.send_if_modified(|told| {
            let changed = !Connection::are_same(heeded, told.as_ref());
            if changed {
                *told = heeded.cloned();
                match told {
                    Some(manager) => tracing::info!(manager = %manager.peer(), "this manager acts"),
                    None => {
                        tracing::warn!("no manager of the domain acts, as far as is known here")
                    }
                }
            }
            changed
        });
    }

    fn begin(&mut self, connection: Connection) {
        self.last_id += 1;
        let id = self.last_id;
        let node = connection.peer().node;
        let (say, to_say) = mpsc::channel(WORDS_MAX);
        let up = Up {
            id,
            connection: connection.clone(),
            say,
            has_led: false,
        };
        self.up.insert(node, up);
        let tell = self.tell.clone();
        self.tasks.spawn(async move {
            talk(&connection, id, to_say, &tell).await;
            let _ = tell.send(Event::Lost(node, id)).await;
        });
    }

    /// Whoever acts has said where the domain's managers are.
    fn learn(&mut self, mut told: Vec<String>) {
        told.truncate(MANAGER_ADDRESSES_MAX);
        if let Err(error) = self.memory.save_addresses(&told) {
            tracing::warn!(%error, "cannot keep where the managers of the domain are");
        }
        told.extend(self.options.addresses.clone());
        self.known.send_if_modified(|known| {
            let is_new = known.addresses != told;
            known.addresses.clone_from(&told);
            is_new
        });
        self.dial(told);
    }

    /// Whoever acts has said who may have this child as a guest.
    fn learn_above(&mut self, mut told: Vec<Above>) {
        let own = &self.options.expected.domain;
        told.retain(|above| own.is_below(&above.domain));
        told.truncate(ABOVE_MAX);
        for above in &mut told {
            let is_one_word = |text: &String| !text.contains(char::is_whitespace);
            above.addresses.retain(is_one_word);
            above.addresses.truncate(MANAGER_ADDRESSES_MAX);
        }
        let is_new = self.known.borrow().above != told;
        if is_new {
            if let Err(error) = self.memory.save_above(&told) {
                tracing::warn!(%error, "cannot keep where the managers of the domains above are");
            }
            self.known.send_modify(|known| known.above = told);
        }
    }

    /// From now on managers are looked for at these addresses, and no others.
    fn dial(&mut self, addresses: Vec<String>) {
        let addresses: BTreeSet<String> = addresses.into_iter().collect();
        self.dialled.retain(|address, task| {
            let stays = addresses.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for address in addresses {
            if self.dialled.contains_key(&address) {
                continue;
            }
            let backoff = Backoff::new(LIMITS, self.options.seed);
            let expected = self.options.expected.clone();
            let redialler = Redialler::new([&address], expected, backoff);
            let task = keep_one(self.endpoint.clone(), redialler, self.tell.clone());
            self.dialled.insert(address, self.tasks.spawn(task));
        }
    }
}

/// Keeps up a connection to whoever is at one address.
async fn keep_one(endpoint: Arc<Endpoint>, mut redialler: Redialler, tell: mpsc::Sender<Event>) {
    loop {
        let connection = redialler.connect(&endpoint).await;
        let (answer, known) = oneshot::channel();
        let told = tell
            .send(Event::Connected(connection.clone(), answer))
            .await;
        let Ok(known) = known.await else { return };
        if told.is_err() {
            return;
        }
        // One connection to each manager, however many addresses it has.
        let waits_for = known.unwrap_or(connection);
        let lost = waits_for.closed().await;
        tracing::warn!(manager = %waits_for.peer(), %lost, "the connection to a manager is lost");
    }
}

async fn talk(
    connection: &Connection,
    id: u64,
    mut to_say: mpsc::Receiver<StandbyMessage>,
    tell: &mpsc::Sender<Event>,
) {
    let node = connection.peer().node;
    let kind = StreamKind::Request {
        topic: WITNESS_TOPIC,
    };
    let Ok(stream) = connection.open_stream(kind).await else {
        return;
    };
    let (mut sender, mut receiver) = stream.split();
    let hear = async {
        while let Ok(Some(word)) = receiver.recv(FRAME_BYTES_MAX).await {
            if tell.send(Event::Heard(node, id, word)).await.is_err() {
                return;
            }
        }
    };
    let say = async {
        // The stream is there for the other side when something has been said on it.
        let mut said = sender.send(&HELLO).await;
        while said.is_ok()
            && let Some(message) = to_say.recv().await
        {
            said = sender.send(&message).await;
        }
    };
    tokio::select! {
        () = hear => {}
        () = say => {}
        _ = connection.closed() => {}
    }
    // A manager that does not speak of who acts is of no use: perhaps it is when it is dialled again.
    connection.close(crate::CloseCode::Done, "nothing is heard of who acts");
}

/// What a child remembers, in its state folder.
struct Memory(Option<PathBuf>);

impl Memory {
    /// What is damaged is as if it was never there: then the child waits before it votes, and hears of lists anew.
    fn record(&self) -> WitnessRecord {
        let read = |folder: &PathBuf| std::fs::read(folder.join(WITNESS_FILE)).ok();
        let bytes = self.0.as_ref().and_then(read);
        let record = bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok());
        record.unwrap_or_default()
    }

    async fn save(&self, record: WitnessRecord) -> std::io::Result<()> {
        let Some(folder) = self.0.clone() else {
            return Ok(());
        };
        let bytes = postcard::to_stdvec(&record).map_err(std::io::Error::other)?;
        let saved =
            tokio::task::spawn_blocking(move || replace(&folder.join(WITNESS_FILE), &bytes));
        saved.await.map_err(std::io::Error::other)?
    }

    fn addresses(&self) -> Vec<String> {
        let read = |folder: &PathBuf| std::fs::read_to_string(folder.join(ADDRESSES_FILE)).ok();
        let text = self.0.as_ref().and_then(read).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn save_addresses(&self, addresses: &[String]) -> std::io::Result<()> {
        match &self.0 {
            Some(folder) if self.addresses() != addresses => {
                let text = addresses.join("\n");
                replace(&folder.join(ADDRESSES_FILE), text.as_bytes())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn above(&self) -> Vec<Above> {
        let read = |folder: &PathBuf| std::fs::read_to_string(folder.join(ABOVE_FILE)).ok();
        let text = self.0.as_ref().and_then(read).unwrap_or_default();
        let above = text.lines().filter_map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            let domain = words.next()?.parse().ok()?;
            let addresses = words.collect();
            Some(Above { domain, addresses })
        });
        above.collect()
    }

    fn save_above(&self, above: &[Above]) -> std::io::Result<()> {
        let Some(folder) = &self.0 else { return Ok(()) };
        let line = |above: &Above| format!("{} {}\n", above.domain, above.addresses.join(" "));
        let text: String = above.iter().map(line).collect();
        replace(&folder.join(ABOVE_FILE), text.as_bytes())
    }
}

/// What a state folder has of an earlier domain is forgotten.
///
/// # Errors
///
/// A file cannot be removed.
pub fn forget(folder: &Path) -> std::io::Result<()> {
    for name in [WITNESS_FILE, ADDRESSES_FILE, ABOVE_FILE] {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// For whom this node has voted.
const WITNESS_FILE: &str = "witness";
/// Where the managers of the domain are, as the last one that acted has said.
const ADDRESSES_FILE: &str = "managers";
/// Where the managers of the domains above are: a line for each domain, the nearest first, with its name and addresses.
const ABOVE_FILE: &str = "above";
/// It says nothing; a manager that acts answers whoever begins a stream.
const HELLO: StandbyMessage = StandbyMessage::GrantVote {
    term: atlas_proto::standby::Term(0),
    beat: 0,
    binding: false,
};
/// News that wait; who has more to tell waits as well.
const NEWS_MAX: usize = 64;
/// Words to one manager that wait: an answer to each of its beats, which come twice a second.
const WORDS_MAX: usize = 16;
/// As for one manager, but no longer than people wait for one that comes back.
const LIMITS: BackoffLimits = BackoffLimits {
    first: Duration::from_millis(250),
    max: Duration::from_secs(10),
    stable: Duration::from_secs(1),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_domains_above_is_read_again_and_damage_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory(Some(folder.path().into()));
        assert_eq!(memory.above(), []);
        let above = |domain: &str, addresses: &[&str]| Above {
            domain: domain.parse().unwrap(),
            addresses: addresses.iter().map(|&text| text.into()).collect(),
        };
        let all = [
            above("cs.example.edu", &["10.0.0.1:7117", "[::1]:7117"]),
            above("example.edu", &["head.example.edu:7117"]),
        ];
        memory.save_above(&all).unwrap();
        assert_eq!(memory.above(), all);
        let file = folder.path().join(ABOVE_FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("-no domain- x\n{text}")).unwrap();
        assert_eq!(memory.above(), all);
        memory.save_above(&[]).unwrap();
        assert_eq!(memory.above(), []);
        forget(folder.path()).unwrap();
        assert!(!file.exists());
    }
}
