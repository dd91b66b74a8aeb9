//! What a manager's process has in all its phases, whether it acts or stands by; what it has only as long as it acts is
//! [`Shared`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use atlas_fs::BlobName;
use atlas_net::Connection;
use atlas_net::identity::DomainAuthority;
use atlas_proto::control::JobId;
use atlas_proto::domain::Domain;
use atlas_proto::ids::NodeId;
use tokio::sync::watch;

use crate::blobs::Blobs;
use crate::node::Shared;
use crate::replica::DomainPart;
use crate::standing::StandingHandle;
use crate::state::{Parent, StateFolder};
use crate::store::Store;

/// Shared by all tasks of the process.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) domain: Domain,
    pub(crate) folder: PathBuf,
    pub(crate) state: Option<StateFolder>,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) standing: StandingHandle,
    /// How files by URL are kept, if they are.
    pub(crate) urls: Option<atlas_fs::url::Options>,
    /// What there is as long as this manager acts.
    pub(crate) acting: watch::Sender<Option<Arc<Shared>>>,
    /// What it needs to act; none as long as a standby has not heard it.
    part: Mutex<Option<DomainPart>>,
    /// Children that are connected; the loop of a manager that begins to act is told of them.
    children: Mutex<BTreeMap<u64, Connection>>,
    managers: Mutex<HashMap<NodeId, Vec<Connection>>>,
}

impl Core {
    pub(crate) fn new(
        domain: Domain,
        folder: PathBuf,
        state: Option<StateFolder>,
        (store, blobs): (Store, Blobs),
        standing: StandingHandle,
        (part, urls): (Option<DomainPart>, Option<atlas_fs::url::Options>),
    ) -> Self {
        Self {
            domain,
            folder,
            state,
            store,
            blobs,
            standing,
            urls,
            acting: watch::Sender::new(None),
            part: Mutex::new(part),
            children: Mutex::default(),
            managers: Mutex::default(),
        }
    }

    /// The manager as it acts; none if it does not.
    pub(crate) fn shared(&self) -> Option<Arc<Shared>> {
        self.acting.borrow().clone()
    }

    /// What is needed to act.
    pub(crate) fn known_part(&self) -> Option<DomainPart> {
        lock(&self.part).clone()
    }

    /// The same, with the authority as it is signed now.
    pub(crate) fn part(&self, shared: &Shared) -> DomainPart {
        let part = lock(&self.part).clone();
        let authority = shared.authority().to_secret();
        match part {
            Some(part) => DomainPart { authority, ..part },
            None => DomainPart {
                authority,
                parent: None,
                inflow: Vec::new(),
                outflow: Vec::new(),
                blobs_bytes_max: 0,
            },
        }
    }

    /// The manager that acts has this: it is kept as its own is, the authority for nobody else to read.
    pub(crate) async fn keep_part(&self, part: DomainPart) -> anyhow::Result<()> {
        let authority = DomainAuthority::from_secret(&part.authority, &self.domain)?;
        if let Some(state) = self.state.clone() {
            let told = part.clone();
            let kept = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
                authority.save(&state.authority_folder())?;
                let mut settings = state.settings()?;
                settings.parent = told
                    .parent
                    .map(|(domain, addresses)| Parent { domain, addresses });
                settings.inflow = told.inflow;
                settings.outflow = told.outflow;
                settings.blobs_bytes_max = told.blobs_bytes_max;
                state.save_settings(&settings)
            });
            kept.await??;
        }
        *lock(&self.part) = Some(part);
        Ok(())
    }

    /// A child is connected. Gives what to forget it by.
    pub(crate) fn child_comes(&self, connection: &Connection) -> u64 {
        let mut children = lock(&self.children);
        let id = children.last_key_value().map_or(0, |last| last.0 + 1);
        children.insert(id, connection.clone());
        id
    }

    pub(crate) fn child_goes(&self, id: u64) {
        lock(&self.children).remove(&id);
    }

    pub(crate) fn children(&self) -> Vec<Connection> {
        lock(&self.children).values().cloned().collect()
    }

    pub(crate) fn manager_comes(&self, connection: &Connection) {
        let mut managers = lock(&self.managers);
        let node = connection.peer().node;
        managers.entry(node).or_default().push(connection.clone());
    }

    pub(crate) fn manager_goes(&self, connection: &Connection) {
        let mut managers = lock(&self.managers);
        if let Some(ways) = managers.get_mut(&connection.peer().node) {
            ways.retain(|way| !way.is_same(connection));
        }
    }

    /// The last connection with another manager of the domain.
    pub(crate) fn manager(&self, node: NodeId) -> Option<Connection> {
        lock(&self.managers).get(&node)?.last().cloned()
    }

    /// A job has ended, as far as the store knows.
    pub(crate) fn has_ended(&self, id: JobId) -> bool {
        let jobs = self.store.jobs().unwrap_or_default();
        let mut jobs = jobs.iter().map(|record| &record.status);
        jobs.any(|status| status.id == id && status.state.has_ended())
    }

    /// As a manager that acts does; what is wanted is what the store says.
    pub(crate) fn trim_blobs(&self, now: Instant) {
        self.blobs.trim(now, || {
            // As long as the store cannot be read, all might be wanted.
            let jobs = self.store.jobs().ok()?;
            let wanted = jobs.into_iter().flat_map(|record| {
                let ended = record.status.state.has_ended();
                let needs = if ended { Vec::new() } else { record.needs };
                needs.into_iter().chain(record.left)
            });
            Some(wanted.map(BlobName).collect::<HashSet<_>>())
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
