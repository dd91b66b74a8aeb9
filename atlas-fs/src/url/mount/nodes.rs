//! [`Nodes`]: what the kernel has been told of, by inode number. Pure: the time is handed in.
//!
//! **An inode is one version of one file**: a file that has changed gets another inode under its name, and the old one stays what it was
//! as long as somebody has it open. A node lives as long as the kernel remembers it (`lookups`); numbers are not used again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use url::Url;

use super::opened::Opened;
use crate::url::path::{self, PathError};
use crate::url::{Entry, Kind, Listing, Metadata, UrlFile, Version};

/// All that the kernel knows.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: HashMap<u64, Node>,
    next: u64,
}

/// What there is under an inode number.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: u64,
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) facts: Facts,
    /// Until when the facts need not be asked for again.
    pub(super) until: Instant,
    /// The version that this inode is, from its first open on.
    pub(super) version: Option<Version>,
    /// The version that was found when another one was to be opened: who opens this inode next takes it.
    pub(super) found: Option<Arc<UrlFile>>,
    pub(super) opened: Opened,
    /// What was last listed, of a folder.
    pub(super) items: Option<Arc<Items>>,
    /// The listing that the kernel keeps, of a folder.
    pub(super) kept: Option<Arc<Items>>,
    children: HashMap<String, u64>,
    lookups: u64,
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The mount itself.
    Root,
    /// `/http`, `/https` and `/atlas`.
    Scheme(&'static str),
    /// The root folder of a host.
    Host(Arc<Url>),
    /// A folder, with its URL.
    Folder(Arc<Url>),
    /// A file in the folder of this URL.
    File(Arc<Url>),
}

/// What is known of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) size: Option<u64>,
    pub(super) modified: Option<SystemTime>,
    pub(super) etag: Option<String>,
    pub(super) stale: bool,
    /// A listing said so, which knows minutes where the file's own answer knows seconds.
    pub(super) listed: bool,
}

/// A folder's listing.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) items: Vec<Item>,
    by_name: HashMap<String, usize>,
    pub(super) until: Instant,
    /// The origin could not be asked.
    pub(super) stale: bool,
}

/// An entry of a listing, by its file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) facts: Facts,
}

impl Nodes {
    /// The root and the schemes.
    pub(super) fn new(now: Instant) -> Self {
        let mut nodes = Self {
            nodes: HashMap::new(),
            next: ROOT,
        };
        nodes.add(ROOT, "", Place::Root, Facts::default(), now);
        for scheme in path::SCHEMES {
            let ino = nodes.add(ROOT, scheme, Place::Scheme(scheme), Facts::default(), now);
            // They never go.
            nodes.remember(ino, 1);
        }
        nodes
    }

    pub(super) fn find(&self, ino: u64) -> Option<&Node> {
        self.nodes.get(&ino)
    }

    pub(super) fn find_mut(&mut self, ino: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&ino)
    }

    pub(super) fn child(&self, parent: u64, name: &str) -> Option<u64> {
        self.find(parent)?.children.get(name).copied()
    }

    /// The names below, of who needs no listing.
    pub(super) fn children(&self, parent: u64) -> Vec<(String, u64)> {
        let children = self.find(parent).map(|node| &node.children);
        let children = children.into_iter().flatten();
        let mut children: Vec<_> = children.map(|(name, ino)| (name.clone(), *ino)).collect();
        children.sort();
        children
    }

    /// The node under this name with these facts: the one that is there if it can be the same version, or a new one in its place.
    pub(super) fn settle(
        &mut self,
        parent: u64,
        name: &str,
        place: Place,
        facts: Facts,
        until: Instant,
    ) -> u64 {
        if let Some(ino) = self.child(parent, name)
            && let Some(node) = self.nodes.get_mut(&ino)
            && node.place == place
            && node.facts.may_be(&facts)
        {
            node.facts.learn(facts);
            node.until = until;
            return ino;
        }
        self.add(parent, name, place, facts, until)
    }

    /// The name has another version, or nothing: who has the old one open keeps it.
    pub(super) fn supersede(&mut self, ino: u64) {
        let Some(node) = self.nodes.get(&ino) else {
            return;
        };
        let (parent, name) = (node.parent, node.name.clone());
        if self.child(parent, &name) == Some(ino)
            && let Some(parent) = self.nodes.get_mut(&parent)
        {
            parent.children.remove(&name);
        }
        self.sweep(ino);
    }

    /// The kernel was told of it so many times more.
    pub(super) fn remember(&mut self, ino: u64, times: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups += times;
        }
    }

    /// The kernel has forgotten that it was told of it so many times.
    pub(super) fn forget(&mut self, ino: u64, times: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(times);
        }
        self.sweep(ino);
    }

    /// One who had it open has closed it.
    pub(super) fn close(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.opened.close();
        }
        self.sweep(ino);
    }

    /// Removes a node that nobody knows. One without `lookups` may be about to be told of: it stays as long as its name leads to it and it was never told.
    fn sweep(&mut self, ino: u64) {
        let known = |node: &Node| node.lookups > 0 || node.opened.is_open();
        if ino == ROOT || self.nodes.get(&ino).is_none_or(known) {
            return;
        }
        if let Some(node) = self.nodes.remove(&ino)
            && let Some(parent) = self.nodes.get_mut(&node.parent)
            && parent.children.get(&node.name) == Some(&ino)
        {
            parent.children.remove(&node.name);
        }
    }

    fn add(&mut self, parent: u64, name: &str, place: Place, facts: Facts, until: Instant) -> u64 {
        let ino = self.next;
        self.next += 1;
        let node = Node {
            parent,
            name: name.to_owned(),
            place,
            facts,
            until,
            version: None,
            found: None,
            opened: Opened::default(),
            items: None,
            kept: None,
            children: HashMap::new(),
            lookups: 0,
        };
        self.nodes.insert(ino, node);
        if ino != ROOT
            && let Some(parent) = self.nodes.get_mut(&parent)
        {
            parent.children.insert(name.to_owned(), ino);
        }
        ino
    }
}

impl Node {
    /// Its URL, if it is of the web.
    pub(super) fn url(&self) -> Option<Url> {
        match &self.place {
            Place::Root | Place::Scheme(_) => None,
            Place::Host(url) | Place::Folder(url) => Some(Url::clone(url)),
            Place::File(folder) => path::child(folder, &self.name, Kind::File).ok(),
        }
    }

    /// The URL that names in it are relative to, if it is a folder of the web.
    pub(super) fn folder(&self) -> Option<&Arc<Url>> {
        match &self.place {
            Place::Host(url) | Place::Folder(url) => Some(url),
            Place::Root | Place::Scheme(_) | Place::File(_) => None,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self.place {
            Place::File(_) => Kind::File,
            Place::Root | Place::Scheme(_) | Place::Host(_) | Place::Folder(_) => Kind::Folder,
        }
    }

    /// For how long what is known of it need not be asked for again; none if it must be.
    pub(super) fn fresh_for(&self, now: Instant, pinned: bool) -> Option<Duration> {
        match &self.place {
            Place::Root | Place::Scheme(_) | Place::Host(_) => Some(FOR_EVER),
            Place::File(_) if self.facts.size.is_none() => None,
            Place::File(_) | Place::Folder(_) if pinned => Some(FOR_EVER),
            Place::File(_) | Place::Folder(_) => {
                let left = self.until.saturating_duration_since(now);
                (!left.is_zero()).then_some(left)
            }
        }
    }
}

impl Facts {
    /// What the file's own answer says.
    pub(super) fn of_answer(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size,
            modified: metadata.modified,
            etag: metadata.etag.clone(),
            stale: metadata.stale,
            listed: false,
        }
    }

    /// What an open version says.
    pub(super) fn of_file(file: &UrlFile) -> Self {
        let version = file.version();
        let modified = version.modified.as_deref();
        Self {
            size: Some(file.len()),
            modified: modified.and_then(|date| httpdate::parse_http_date(date).ok()),
            etag: version.etag.clone(),
            stale: file.stale(),
            listed: false,
        }
    }

    /// Whether both may be said of one version.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        let dates =
            self.listed != other.listed || agree(self.modified.as_ref(), other.modified.as_ref());
        dates
            && agree(self.size.as_ref(), other.size.as_ref())
            && agree(self.etag.as_ref(), other.etag.as_ref())
    }

    pub(super) fn learn(&mut self, other: Self) {
        // What the file's own answer said is more exact than its folder's listing.
        if other.listed && !self.listed {
            self.size = self.size.or(other.size);
            return;
        }
        self.size = other.size.or(self.size);
        self.modified = other.modified.or(self.modified);
        self.etag = other.etag.or(self.etag.take());
        self.stale = other.stale;
        self.listed = other.listed;
    }
}

impl Items {
    /// The listing of which these are the entries; names that can be no file's are not in it.
    pub(super) fn new(listing: &Listing, until: Instant) -> Self {
        let item = |entry: &Entry| {
            let name = path::file_name(&entry.name)?;
            Ok::<_, PathError>(Item {
                name,
                kind: entry.kind,
                facts: Facts {
                    size: entry.size,
                    modified: entry.modified,
                    listed: true,
                    ..Facts::default()
                },
            })
        };
        let items: Vec<_> = listing
            .iter()
            .filter_map(|entry| item(entry).ok())
            .collect();
        let names = items.iter().enumerate();
        let by_name = names.map(|(at, item)| (item.name.clone(), at)).collect();
        Self {
            items,
            by_name,
            until,
            stale: listing.stale,
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&Item> {
        self.by_name.get(name).map(|at| &self.items[*at])
    }
}

/// The kernel's number for what is mounted.
pub(super) const ROOT: u64 = 1;
/// A year: longer than anything runs.
pub(super) const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(size: u64, etag: Option<&str>) -> Facts {
        Facts {
            size: Some(size),
            etag: etag.map(str::to_owned),
            ..Facts::default()
        }
    }

    fn host(nodes: &mut Nodes, now: Instant) -> (u64, Arc<Url>) {
        let url = Arc::new(Url::parse("https://example.org/").unwrap());
        let scheme = nodes.child(ROOT, "https").unwrap();
        let place = Place::Host(Arc::clone(&url));
        (
            nodes.settle(scheme, "example.org", place, Facts::default(), now),
            url,
        )
    }

    #[test]
    fn another_version_is_another_inode_and_the_open_one_stays() {
        let now = Instant::now();
        let mut nodes = Nodes::new(now);
        let (host, url) = host(&mut nodes, now);
        let settle = |nodes: &mut Nodes, facts| {
            let place = Place::File(Arc::clone(&url));
            nodes.settle(host, "x", place, facts, now)
        };
        let first = settle(&mut nodes, sized(5, Some("a")));
        nodes.remember(first, 1);
        assert_eq!(settle(&mut nodes, sized(5, None)), first);
        assert_eq!(settle(&mut nodes, sized(5, Some("a"))), first);
        let second = settle(&mut nodes, sized(5, Some("b")));
        assert_ne!(second, first);
        assert_eq!(nodes.child(host, "x"), Some(second));
        assert_eq!(nodes.find(first).unwrap().facts.etag.as_deref(), Some("a"));
        nodes.forget(first, 1);
        assert!(nodes.find(first).is_none());
        assert_eq!(nodes.child(host, "x"), Some(second));
        let third = settle(&mut nodes, sized(6, None));
        assert!(third > second);
        assert_eq!(
            nodes.find(third).unwrap().url().unwrap().as_str(),
            "https://example.org/x"
        );
    }

    #[test]
    fn a_listings_date_does_not_contradict_the_files_own() {
        let at = |secs| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
        let own = Facts {
            modified: at(61),
            ..sized(5, Some("a"))
        };
        let listed = |secs| Facts {
            modified: at(secs),
            listed: true,
            ..sized(5, None)
        };
        assert!(own.may_be(&listed(60)));
        assert!(!listed(0).may_be(&listed(60)));
        let mut known = own.clone();
        known.learn(listed(60));
        assert_eq!(known, own);
        let mut known = listed(60);
        known.learn(own.clone());
        assert_eq!(known, own);
    }

    #[test]
    fn what_the_kernel_forgets_is_gone_but_for_what_never_goes() {
        let now = Instant::now();
        let mut nodes = Nodes::new(now);
        let (host, _) = host(&mut nodes, now);
        nodes.remember(host, 2);
        nodes.forget(host, 1);
        assert!(nodes.find(host).is_some());
        nodes.forget(host, 7);
        assert!(nodes.find(host).is_none());
        let scheme = nodes.child(ROOT, "https").unwrap();
        assert_eq!(nodes.child(scheme, "example.org"), None);
        nodes.remember(scheme, 3);
        nodes.forget(scheme, 3);
        nodes.forget(ROOT, 9);
        assert!(nodes.find(scheme).is_some() && nodes.find(ROOT).is_some());
        assert_eq!(nodes.children(ROOT).len(), path::SCHEMES.len());
    }

    #[test]
    fn a_file_is_fresh_while_its_facts_are_and_for_ever_if_pinned() {
        let now = Instant::now();
        let mut nodes = Nodes::new(now);
        let (host, url) = host(&mut nodes, now);
        let until = now + Duration::from_secs(5);
        let ino = nodes.settle(host, "x", Place::File(url), sized(1, None), until);
        let node = nodes.find_mut(ino).unwrap();
        assert_eq!(node.fresh_for(now, false), Some(Duration::from_secs(5)));
        assert_eq!(node.fresh_for(until, false), None);
        assert_eq!(node.fresh_for(until, true), Some(FOR_EVER));
        node.facts.size = None;
        assert_eq!(node.fresh_for(now, true), None);
    }
}
