//! Opening and reading files: through the kernel to the file on disk if it is whole, else by way of here.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fuser::{BackingId, Errno, FileHandle, FopenFlags, ReplyData, ReplyOpen};
use url::Url;

use super::failure::Failure;
use super::handles::OpenFile;
use super::nodes::Facts;
use super::shared::Shared;
use crate::url::{Kind, Source, UrlFile};

impl<S: Source> Shared<S> {
    pub(super) fn handle_open(self: &Arc<Self>, ino: u64, reply: ReplyOpen) {
        let (url, open) = {
            let mut nodes = self.nodes();
            let now = Instant::now();
            let Some((node, url)) = nodes
                .find_mut(ino)
                .and_then(|node| node.url().map(|url| (node, url)))
            else {
                return reply.error(Errno::ESTALE);
            };
            if node.kind() == Kind::Folder {
                return reply.error(Errno::EISDIR);
            }
            let is_fresh = node.fresh_for(now, self.is_pinned()).is_some();
            let open = node.opened.file().cloned().or(node.found.take());
            (url, open.filter(|_| is_fresh))
        };
        if let Some(file) = open {
            return self.handle_opened(ino, url, file, reply);
        }
        let (shared, asked) = (Arc::clone(self), url.clone());
        let work = async move { shared.open(ino, &asked).await };
        let shared = Arc::clone(self);
        let (doing, of) = (format!("opening {url}"), Some(url.clone()));
        self.answer(doing, of, work, move |opened| match opened {
            Ok(file) => shared.handle_opened(ino, url, file, reply),
            Err(failure) => reply.error(failure.errno()),
        });
    }

    /// The version that the inode is. If the name has another one by now, that one gets an inode, and the kernel is to look again.
    async fn open(&self, ino: u64, url: &Url) -> Result<Arc<UrlFile>, Failure> {
        let file = self.source.open(url, &self.pins()).await?;
        let mut nodes = self.nodes();
        let node = nodes.find_mut(ino).ok_or(Failure::Unknown)?;
        let facts = Facts::of_file(&file);
        // The kernel knows the inode with this length, and may have pages of this version.
        let is_same = match &node.version {
            Some(version) => version == file.version(),
            None => node.facts.size == facts.size && node.facts.may_be(&facts),
        };
        if is_same {
            node.version = Some(file.version().clone());
            node.facts.learn(facts);
            return Ok(file);
        }
        let (parent, name, place) = (node.parent, node.name.clone(), node.place.clone());
        nodes.supersede(ino);
        // A listing that said so is out of date.
        if let Some(folder) = nodes.find_mut(parent) {
            folder.items = None;
        }
        let until = Instant::now() + FOUND_FOR;
        let new = nodes.settle(parent, &name, place, facts, until);
        if let Some(node) = nodes.find_mut(new) {
            node.version = Some(file.version().clone());
            node.found = Some(file);
        }
        Err(Failure::Superseded(Box::new(url.clone())))
    }

    fn handle_opened(&self, ino: u64, url: Url, file: Arc<UrlFile>, reply: ReplyOpen) {
        let mut nodes = self.nodes();
        let Some(node) = nodes.find_mut(ino) else {
            return reply.error(Errno::ESTALE);
        };
        let pass = |file: &UrlFile| self.pass(file, &reply);
        let id = node.opened.open(Arc::clone(&file), pass);
        drop(nodes);
        if id.is_some() {
            file.note_passed();
        }
        let is_kept = !file.is_transient();
        let handle = self.handles.add_file(OpenFile {
            url,
            file,
            whole: std::sync::OnceLock::new(),
            is_told: AtomicBool::new(false),
        });
        let (handle, flags) = (FileHandle(handle), FopenFlags::FOPEN_NOFLUSH);
        match id {
            // The kernel refuses any word of its cache beside this.
            Some(id) => reply.opened_passthrough(handle, flags, &id),
            // An inode is one version: what the kernel has of it stays right.
            None if is_kept => reply.opened(handle, flags | FopenFlags::FOPEN_KEEP_CACHE),
            None => reply.opened(handle, flags),
        }
    }

    /// The file's number among those that the kernel reads itself, if it is whole and the kernel does that.
    fn pass(&self, file: &UrlFile, reply: &ReplyOpen) -> Option<BackingId> {
        if !self.passthrough.load(Ordering::Relaxed) || file.len() == 0 {
            return None;
        }
        let whole = file.complete()?;
        match reply.open_backing(&whole) {
            Ok(id) => Some(id),
            Err(error) => {
                // Not allowed here, or not from this disk: the same for all other files.
                self.passthrough.store(false, Ordering::Relaxed);
                tracing::warn!("the kernel does not read files of the store itself: {error}");
                None
            }
        }
    }

    pub(super) fn handle_read(
        self: &Arc<Self>,
        handle: u64,
        offset: u64,
        size: u32,
        reply: ReplyData,
    ) {
        let Some(open) = self.handles.file(handle) else {
            return reply.error(Errno::EBADF);
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if let Some(whole) = open.whole() {
            self.tell_end(&open);
            return read_whole(whole, offset, size, reply);
        }
        if let Some(progress) = &self.options.progress {
            let to = offset.saturating_add(size as u64).min(open.file.len());
            (progress.0)(&open.url, to, open.file.len());
            // After it: who tells the end meanwhile would be followed by this.
            open.is_told.store(true, Ordering::Relaxed);
        }
        // The kernel takes less than it asks for as the end of the file.
        let size = open.file.readable(offset, size);
        let is_ready = {
            let _runtime = self.runtime.enter();
            open.file.is_ready(offset, size)
        };
        if is_ready {
            return copy(&open.file, offset, size, reply);
        }
        let doing = format!("reading {}", open.url);
        let file = Arc::clone(&open.file);
        let work = async move {
            if file.ready(offset, size).await? {
                return Ok(None);
            }
            let mut bytes = vec![0; size];
            file.pass(offset, &mut bytes).await?;
            Ok(Some(bytes))
        };
        self.answer(doing, None, work, move |came| match came {
            Ok(None) => copy(&open.file, offset, size, reply),
            Ok(Some(passed)) => reply.data(&passed),
            Err(failure) => reply.error(failure.errno()),
        });
    }

    pub(super) fn handle_release(&self, ino: u64, handle: u64) {
        if let Some(open) = self.handles.close_file(handle) {
            self.tell_end(&open);
        }
        self.nodes().close(ino);
    }

    /// Nothing more is told of it, if something was: it is stored as a whole, or closed.
    fn tell_end(&self, open: &OpenFile) {
        if let Some(progress) = &self.options.progress
            && open.is_told.swap(false, Ordering::Relaxed)
        {
            (progress.0)(&open.url, open.file.len(), open.file.len());
        }
    }
}

impl OpenFile {
    fn whole(&self) -> Option<&File> {
        if self.whole.get().is_none() {
            let whole = self.file.complete()?;
            let _ = self.whole.set(whole);
        }
        self.whole.get()
    }
}

/// Reads on this thread: the pages are in memory most of the time.
fn read_whole(file: &File, offset: u64, size: usize, reply: ReplyData) {
    with_buffer(size, |buffer| {
        let mut filled = 0;
        while filled < size {
            match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(came) => filled += came,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return reply.error(Errno::from(error)),
            }
        }
        reply.data(&buffer[..filled]);
    });
}

/// Bytes that are ready, on this thread, too: they have just come.
fn copy(file: &UrlFile, offset: u64, size: usize, reply: ReplyData) {
    with_buffer(size, |buffer| match file.copy(offset, buffer) {
        Ok(()) => reply.data(buffer),
        Err(error) => {
            let failure = Failure::from(error);
            failure.tell();
            reply.error(failure.errno());
        }
    });
}

/// A buffer that is there already, and in the processor's cache: a new one for each read would cost a pass over it that fills it with zeros.
fn with_buffer(size: usize, fill: impl FnOnce(&mut [u8])) {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        fill(&mut buffer[..size]);
    });
}

thread_local! {
    /// The kernel asks for a megabyte at most, so that this is what it grows to.
    static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// How long a version that was found by opening its file need not be asked for again: the kernel looks at once.
const FOUND_FOR: Duration = Duration::from_secs(5);
