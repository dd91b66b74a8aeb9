//! The kernel's calls, each answered at once or handed to the runtime: **no thread that answers the kernel waits for an origin.**

use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use fuser::{
    Errno, FileHandle, Filesystem, Generation, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::failure::Failure;
use super::nodes::Facts;
use super::shared::{Shared, Told};
use crate::url::{Kind, Source, UrlError};

/// What fuser calls.
#[derive(Debug)]
pub(super) struct Serve<S> {
    /// There before the kernel's calls are read.
    pub(super) shared: Arc<OnceLock<Arc<Shared<S>>>>,
    /// Whether the kernel may read complete files itself; after its greeting, whether it does.
    pub(super) passthrough: Arc<AtomicBool>,
}

impl<S: Source> Filesystem for Serve<S> {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // What a kernel does not have costs speed alone.
        for capability in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
        ] {
            let _ = config.add_capabilities(capability);
        }
        let passes = self.passthrough.load(Ordering::Relaxed)
            && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && config.set_max_stack_depth(1).is_ok();
        self.passthrough.store(passes, Ordering::Relaxed);
        let _ = config.set_max_background(BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let Some(name) = name.to_str() else {
            return reply.error(Errno::EINVAL);
        };
        if let Some(known) = self.shared().known(parent.0, name) {
            return entry(self.shared(), known, reply);
        }
        let (shared, asked) = (Arc::clone(self.shared()), name.to_owned());
        let work = async move { shared.resolve(parent.0, asked).await };
        let shared = Arc::clone(self.shared());
        let (doing, of) = (
            format!("looking up {name}"),
            shared.url_below(parent.0, name),
        );
        self.shared().answer(doing, of, work, move |told| {
            entry(&shared, told, reply);
        });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, times: u64) {
        self.shared().nodes().forget(ino.0, times);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        if let Some(Told { attr, holds }) = self.shared().told(ino.0, false) {
            return reply.attr(&holds, &attr);
        }
        let shared = Arc::clone(self.shared());
        let work = async move { shared.refresh(ino.0).await };
        let (doing, of) = ("asking for a file".into(), self.shared().url_of(ino.0));
        self.shared().answer(doing, of, work, |told| match told {
            Ok(Told { attr, holds }) => reply.attr(&holds, &attr),
            Err(failure) => reply.error(failure.errno()),
        });
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.shared().handle_open(ino.0, reply);
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.shared().handle_read(fh.0, offset, size, reply);
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.shared().handle_release(ino.0, fh.0);
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.shared().handle_opendir(ino.0, reply);
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.shared().handle_readdir(ino.0, fh.0, offset, reply);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.shared().handle_readdirplus(ino.0, fh.0, offset, reply);
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.shared().handles.close_folder(fh.0);
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let disk = self.shared().options.cache.as_deref();
        let disk = disk.and_then(|folder| rustix::fs::statvfs(folder).ok());
        let Some(disk) = disk else {
            return reply.statfs(0, 0, 0, 0, 0, 4096, NAME_MAX, 4096);
        };
        let narrow = |bytes: u64| u32::try_from(bytes).unwrap_or(4096);
        let (size, unit) = (narrow(disk.f_bsize), narrow(disk.f_frsize));
        reply.statfs(
            disk.f_blocks,
            disk.f_bfree,
            disk.f_bavail,
            0,
            0,
            size,
            NAME_MAX,
            unit,
        );
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let name = name.to_str().unwrap_or_default();
        self.shared().handle_getxattr(ino.0, name, size, reply);
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.shared().handle_listxattr(ino.0, size, reply);
    }
}

impl<S> Serve<S> {
    fn shared(&self) -> &Arc<Shared<S>> {
        let shared = self.shared.get();
        shared.expect("it is set before the session runs")
    }
}

fn entry<S: Source>(shared: &Shared<S>, told: Result<Told, Failure>, reply: ReplyEntry) {
    match told {
        Ok(Told { attr, holds }) => reply.entry(&holds, &attr, Generation(0)),
        // Number 0: there is nothing, and that holds for a while.
        Err(Failure::Url(UrlError::NotFound { .. })) => {
            let attr = shared.owner.attr(0, Kind::File, &Facts::default());
            reply.entry(&shared.options.missing_for, &attr, Generation(0));
        }
        Err(failure) => reply.error(failure.errno()),
    }
}

/// The kernel reads ahead by so many requests at once; origins and disks are kept busy by fewer.
const BACKGROUND_MAX: u16 = 64;
/// The longest name.
const NAME_MAX: u32 = 255;
