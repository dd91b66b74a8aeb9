//! Listing folders: one request for a folder, and none for the files whose sizes the listing has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::{
    Errno, FileHandle, FileType, FopenFlags, Generation, INodeNo, ReplyDirectory,
    ReplyDirectoryPlus, ReplyOpen,
};
use url::Url;

use super::failure::Failure;
use super::handles::OpenFolder;
use super::nodes::{Facts, Items, Nodes, Place};
use super::shared::{Shared, item_place};
use crate::url::{Kind, Source};

impl<S: Source> Shared<S> {
    pub(super) fn handle_opendir(self: &Arc<Self>, ino: u64, reply: ReplyOpen) {
        let folder = {
            let nodes = self.nodes();
            let Some(node) = nodes.find(ino) else {
                return reply.error(Errno::ESTALE);
            };
            let now = Instant::now();
            match &node.place {
                Place::File(_) => return reply.error(Errno::ENOTDIR),
                Place::Root | Place::Scheme(_) => {
                    let children = nodes.children(ino);
                    let handle = self.handles.add_folder(OpenFolder::Own(children));
                    return reply.opened(FileHandle(handle), FopenFlags::empty());
                }
                Place::Host(url) | Place::Folder(url) => {
                    if let Some(items) = node.items.clone().filter(|items| items.until > now) {
                        drop(nodes);
                        return self.handle_listed(ino, items, reply);
                    }
                    Arc::clone(url)
                }
            }
        };
        let (shared, asked) = (Arc::clone(self), Arc::clone(&folder));
        let work = async move { shared.list(ino, &asked).await };
        let shared = Arc::clone(self);
        self.answer(
            format!("listing {folder}"),
            None,
            work,
            move |listed| match listed {
                Ok(items) => shared.handle_listed(ino, items, reply),
                Err(failure) => reply.error(failure.errno()),
            },
        );
    }

    async fn list(&self, ino: u64, folder: &Url) -> Result<Arc<Items>, Failure> {
        let listing = self.source.list(folder, &self.pins()).await?;
        let until = Instant::now() + self.listed_for();
        let items = Arc::new(Items::new(&listing, until));
        if let Some(node) = self.nodes().find_mut(ino) {
            node.items = Some(Arc::clone(&items));
        }
        Ok(items)
    }

    fn handle_listed(&self, ino: u64, items: Arc<Items>, reply: ReplyOpen) {
        let mut flags = FopenFlags::FOPEN_CACHE_DIR;
        if let Some(node) = self.nodes().find_mut(ino) {
            let is_kept = node
                .kept
                .as_ref()
                .is_some_and(|kept| Arc::ptr_eq(kept, &items));
            if is_kept {
                flags |= FopenFlags::FOPEN_KEEP_CACHE;
            }
            node.kept = Some(Arc::clone(&items));
        }
        let handle = self.handles.add_folder(OpenFolder::Listed(items));
        reply.opened(FileHandle(handle), flags);
    }

    pub(super) fn handle_readdirplus(
        &self,
        ino: u64,
        handle: u64,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let Some(folder) = self.handles.folder(handle) else {
            return reply.error(Errno::EBADF);
        };
        let mut nodes = self.nodes();
        let now = Instant::now();
        let parent = nodes.find(ino).map_or(ino, |node| node.parent);
        for at in offset.. {
            let Some((name, child)) = self.entry(&mut nodes, &folder, [ino, parent], at, now)
            else {
                break;
            };
            let (facts, kind, holds) = match nodes.find(child) {
                Some(node) => {
                    let holds = node.fresh_for(now, self.is_pinned());
                    (node.facts.clone(), node.kind(), holds.unwrap_or_default())
                }
                None => (Facts::default(), Kind::Folder, Duration::ZERO),
            };
            let attr = self.owner.attr(child, kind, &facts);
            let number = INodeNo(child);
            if reply.add(number, at + 1, name, &holds, &attr, Generation(0)) {
                break;
            }
            // The kernel does not count itself told of these two.
            if at >= DOTS {
                nodes.remember(child, 1);
            }
        }
        drop(nodes);
        reply.ok();
    }

    pub(super) fn handle_readdir(
        &self,
        ino: u64,
        handle: u64,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Some(folder) = self.handles.folder(handle) else {
            return reply.error(Errno::EBADF);
        };
        let mut nodes = self.nodes();
        let now = Instant::now();
        let parent = nodes.find(ino).map_or(ino, |node| node.parent);
        for at in offset.. {
            let Some((name, child)) = self.entry(&mut nodes, &folder, [ino, parent], at, now)
            else {
                break;
            };
            let kind = nodes.find(child).map_or(Kind::Folder, |node| node.kind());
            let kind = match kind {
                Kind::File => FileType::RegularFile,
                Kind::Folder => FileType::Directory,
            };
            if reply.add(INodeNo(child), at + 1, kind, name) {
                break;
            }
        }
        drop(nodes);
        reply.ok();
    }

    /// The name and the node of the entry at this place: first come the folder itself and the one that it is in.
    fn entry<'a>(
        &self,
        nodes: &mut Nodes,
        folder: &'a OpenFolder,
        [ino, parent]: [u64; 2],
        at: u64,
        now: Instant,
    ) -> Option<(&'a str, u64)> {
        let at = match at {
            0 => return Some((".", ino)),
            1 => return Some(("..", parent)),
            at => usize::try_from(at - DOTS).ok()?,
        };
        let items = match folder {
            OpenFolder::Own(children) => {
                return children.get(at).map(|(name, ino)| (name.as_str(), *ino));
            }
            OpenFolder::Listed(items) => items,
        };
        let item = items.items.get(at)?;
        let known = nodes.child(ino, &item.name);
        let is_fresh = known
            .and_then(|child| nodes.find(child))
            .is_some_and(|node| {
                node.kind() == item.kind && node.fresh_for(now, self.is_pinned()).is_some()
            });
        let child = match known {
            Some(child) if is_fresh => child,
            Some(_) | None => {
                let url = Arc::clone(nodes.find(ino)?.folder()?);
                let place = item_place(&url, item.kind, &item.name)?;
                nodes.settle(ino, &item.name, place, item.facts.clone(), items.until)
            }
        };
        Some((&item.name, child))
    }
}

/// `.` and `..`.
const DOTS: u64 = 2;
