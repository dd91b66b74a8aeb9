//! [`Shared`]: what all threads of a mount have in common, and how names are resolved.
//!
//! A name is resolved by the cheapest that knows it: the node that is there; the folder's listing, which costs one request for all its files; the file's
//! own answer. What has no slash at the end and is not there may be a folder whose listing is refused: then the same with a slash is asked.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fuser::FileAttr;
use tokio::runtime::Handle;
use url::Url;

use super::attr::Owner;
use super::failure::Failure;
use super::handles::Handles;
use super::nodes::{FOR_EVER, Facts, Items, Nodes, Place};
use super::options::MountOptions;
use crate::url::path::{self, PathError};
use crate::url::{Kind, Metadata, Pins, Source, UrlError};

/// A mount's state.
#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) source: S,
    pub(super) options: MountOptions,
    pub(super) runtime: Handle,
    pub(super) owner: Owner,
    pub(super) handles: Handles,
    /// Whether the kernel still takes backing files: that it does not shows at the first one.
    pub(super) passthrough: Arc<AtomicBool>,
    nodes: Mutex<Nodes>,
}

/// What the kernel is told of a node, and for how long that holds.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) attr: FileAttr,
    pub(super) holds: Duration,
}

/// What is asked for under a name.
#[derive(Clone, Debug)]
struct Asked {
    parent: u64,
    name: String,
    folder: Arc<Url>,
    items: Option<Arc<Items>>,
}

impl<S: Source> Shared<S> {
    pub(super) fn new(
        source: S,
        options: MountOptions,
        runtime: Handle,
        passthrough: Arc<AtomicBool>,
    ) -> Self {
        Self {
            source,
            passthrough,
            options,
            runtime,
            owner: Owner::of_this_process(),
            handles: Handles::default(),
            nodes: Mutex::new(Nodes::new(Instant::now())),
        }
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        // No call of it leaves it half changed.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.options.pins.is_some()
    }

    /// Does something that may take long, for a file if `of` says so, and hands the reply what came of it. No call takes longer than the
    /// options say.
    pub(super) fn answer<T: Send + 'static>(
        self: &Arc<Self>,
        doing: String,
        of: Option<Url>,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
        reply: impl FnOnce(Result<T, Failure>) + Send + 'static,
    ) {
        let (shared, after) = (Arc::clone(self), self.options.timeout);
        self.runtime.spawn(async move {
            let done = match tokio::time::timeout(after, work).await {
                Ok(done) => done,
                Err(_) => {
                    let so_far = of.and_then(|url| shared.source.under_way(&url, &shared.pins()));
                    Err(Failure::TimedOut {
                        doing,
                        after,
                        so_far,
                    })
                }
            };
            if let Err(failure) = &done {
                failure.tell();
            }
            reply(done);
        });
    }

    /// The URL of a file.
    pub(super) fn url_of(&self, ino: u64) -> Option<Url> {
        self.nodes().find(ino)?.url()
    }

    /// The URL of what is under a name, if it is a file.
    pub(super) fn url_below(&self, parent: u64, name: &str) -> Option<Url> {
        let folder = self.nodes().find(parent)?.folder().cloned()?;
        path::child(&folder, name, Kind::File).ok()
    }

    /// What can be told of a node without asking anybody. With `remember`, the kernel is told of it under its name.
    pub(super) fn told(&self, ino: u64, remember: bool) -> Option<Told> {
        let mut nodes = self.nodes();
        let node = nodes.find(ino)?;
        let is_open = node.opened.is_open() && !remember;
        let fresh = node.fresh_for(Instant::now(), self.is_pinned());
        let holds = match fresh {
            None if is_open && node.facts.size.is_some() => Duration::ZERO,
            fresh => fresh?,
        };
        let attr = self.owner.attr(ino, node.kind(), &node.facts);
        if remember {
            nodes.remember(ino, 1);
        }
        Some(Told { attr, holds })
    }

    /// What is under a name, if nobody needs to be asked: nodes that are fresh, hosts, and files of a listing that is.
    pub(super) fn known(&self, parent: u64, name: &str) -> Option<Result<Told, Failure>> {
        let mut nodes = self.nodes();
        let now = Instant::now();
        let folder = nodes.find(parent)?;
        let place = match &folder.place {
            Place::Root => None,
            Place::Scheme(scheme) => match path::host_url(scheme, name) {
                Ok(url) => Some((Place::Host(Arc::new(url)), Facts::default(), now)),
                Err(error) => return Some(Err(error.into())),
            },
            Place::File(_) => return Some(Err(Failure::WrongKind(fuser::Errno::ENOTDIR))),
            Place::Host(url) | Place::Folder(url) => {
                let child = nodes.child(parent, name).and_then(|ino| nodes.find(ino));
                let is_fresh =
                    child.is_some_and(|child| child.fresh_for(now, self.is_pinned()).is_some());
                let listed = folder.items.as_ref().filter(|items| items.until > now);
                let item = listed.and_then(|items| Some((items.find(name)?, items.until)));
                match item {
                    Some((item, until)) if !is_fresh => {
                        let place = item_place(url, item.kind, &item.name)?;
                        Some((place, item.facts.clone(), until))
                    }
                    _ => None,
                }
            }
        };
        let ino = match place {
            Some((place, facts, until)) => nodes.settle(parent, name, place, facts, until),
            None => match nodes.child(parent, name) {
                Some(ino) => ino,
                None if folder_is_root(&nodes, parent) => {
                    return Some(Err(PathError::Scheme(name.into()).into()));
                }
                None => return None,
            },
        };
        drop(nodes);
        self.told(ino, true).map(Ok)
    }

    /// What is under a name, by asking.
    pub(super) async fn resolve(&self, parent: u64, name: String) -> Result<Told, Failure> {
        let asked = self.asked(parent, name)?;
        let (place, facts, valid_for) = self.ask(&asked).await?;
        let until = Instant::now() + valid_for;
        let mut nodes = self.nodes();
        let ino = nodes.settle(asked.parent, &asked.name, place, facts, until);
        let node = nodes.find(ino).ok_or(Failure::Unknown)?;
        let holds = node.fresh_for(Instant::now(), self.is_pinned());
        let attr = self.owner.attr(ino, node.kind(), &node.facts);
        nodes.remember(ino, 1);
        let holds = holds.unwrap_or_default();
        Ok(Told { attr, holds })
    }

    fn asked(&self, parent: u64, name: String) -> Result<Asked, Failure> {
        let nodes = self.nodes();
        let now = Instant::now();
        let node = nodes.find(parent).ok_or(Failure::Unknown)?;
        let folder = node.folder().ok_or(Failure::Unknown)?;
        let folder = Arc::clone(folder);
        let items = node.items.clone().filter(|items| items.until > now);
        Ok(Asked {
            parent,
            name,
            folder,
            items,
        })
    }

    async fn ask(&self, asked: &Asked) -> Result<(Place, Facts, Duration), Failure> {
        let pins = self.pins();
        let as_folder = path::child(&asked.folder, &asked.name, Kind::Folder);
        let as_file = path::child(&asked.folder, &asked.name, Kind::File)?;
        let not_there = match self.source.metadata(&as_file, &pins).await {
            Ok(Metadata {
                kind: Kind::Folder, ..
            }) => {
                let place = Place::Folder(Arc::new(as_folder?));
                return Ok((place, Facts::default(), self.listed_for()));
            }
            Ok(metadata) => {
                let valid_for = metadata.valid_for;
                let facts = self.facts(&as_file, metadata, &pins).await?;
                let place = Place::File(Arc::clone(&asked.folder));
                return Ok((place, facts, valid_for));
            }
            Err(error @ (UrlError::NotFound { .. } | UrlError::Denied { .. })) => error,
            Err(error) => return Err(error.into()),
        };
        // A listing that does not have it has said enough.
        let (None, Ok(as_folder)) = (&asked.items, as_folder) else {
            return Err(not_there.into());
        };
        match self.source.metadata(&as_folder, &pins).await {
            // Folders whose listing is refused have files all the same.
            Ok(_) | Err(UrlError::Denied { .. }) => {
                let place = Place::Folder(Arc::new(as_folder));
                Ok((place, Facts::default(), self.listed_for()))
            }
            Err(_) => Err(not_there.into()),
        }
    }

    /// A file that tells no length is opened: then it is known.
    async fn facts(&self, url: &Url, metadata: Metadata, pins: &Pins) -> Result<Facts, UrlError> {
        if metadata.size.is_some() {
            return Ok(Facts::of_answer(&metadata));
        }
        let file = self.source.open(url, pins).await?;
        Ok(Facts::of_file(&file))
    }

    /// What there is to tell of a file of which it has become uncertain.
    pub(super) async fn refresh(&self, ino: u64) -> Result<Told, Failure> {
        let url = {
            let nodes = self.nodes();
            let node = nodes.find(ino).ok_or(Failure::Unknown)?;
            if node.kind() == Kind::Folder {
                let attr = self.owner.attr(ino, Kind::Folder, &node.facts);
                let holds = self.listed_for();
                return Ok(Told { attr, holds });
            }
            node.url().ok_or(Failure::Unknown)?
        };
        let pins = self.pins();
        let metadata = self.source.metadata(&url, &pins).await?;
        let valid_for = metadata.valid_for;
        let facts = self.facts(&url, metadata, &pins).await?;
        let mut nodes = self.nodes();
        let node = nodes.find_mut(ino).ok_or(Failure::Unknown)?;
        if node.version.is_some() && !node.facts.may_be(&facts) {
            // This inode stays the version that it is; its name leads to the other one, when it is looked up.
            let attr = self.owner.attr(ino, Kind::File, &node.facts);
            nodes.supersede(ino);
            let holds = Duration::ZERO;
            return Ok(Told { attr, holds });
        }
        node.facts = facts;
        node.until = Instant::now() + valid_for;
        let attr = self.owner.attr(ino, Kind::File, &node.facts);
        let holds = node.fresh_for(Instant::now(), self.is_pinned());
        let holds = holds.unwrap_or_default();
        Ok(Told { attr, holds })
    }

    /// The job's pins; without a job, whatever is there now will do.
    pub(super) fn pins(&self) -> Pins {
        match &self.options.pins {
            Some(pins) => pins.clone(),
            None => Pins::new().with_client(self.options.client.clone()),
        }
    }

    /// For how long a folder is one, and has what its listing says.
    pub(super) fn listed_for(&self) -> Duration {
        if self.is_pinned() {
            FOR_EVER
        } else {
            self.options.listed_for
        }
    }
}

/// Where an entry of a listing is; none if no URL leads there.
pub(super) fn item_place(folder: &Arc<Url>, kind: Kind, name: &str) -> Option<Place> {
    match kind {
        Kind::File => Some(Place::File(Arc::clone(folder))),
        Kind::Folder => {
            let url = path::child(folder, name, Kind::Folder).ok()?;
            Some(Place::Folder(Arc::new(url)))
        }
    }
}

fn folder_is_root(nodes: &Nodes, parent: u64) -> bool {
    nodes
        .find(parent)
        .is_some_and(|node| node.place == Place::Root)
}
