//! The kernel's calls, each answered at once or handed to the runtime: **no thread that answers the kernel waits for an origin.**

use std::ffi::OsStr;
use std::sync::Arc;

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
pub(super) struct Serve<S>(pub(super) Arc<Shared<S>>);

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
        let passes = self.0.options.passthrough
            && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && config.set_max_stack_depth(1).is_ok();
        self.0
            .passthrough
            .store(passes, std::sync::atomic::Ordering::Relaxed);
        let _ = config.set_max_background(BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let Some(name) = name.to_str() else {
            return reply.error(Errno::EINVAL);
        };
        if let Some(known) = self.0.known(parent.0, name) {
            return self.entry(known, reply);
        }
        let (shared, asked) = (Arc::clone(&self.0), name.to_owned());
        let work = async move { shared.resolve(parent.0, asked).await };
        let serve = Self(Arc::clone(&self.0));
        self.0
            .answer(format!("looking up {name}"), work, move |told| {
                serve.entry(told, reply);
            });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, times: u64) {
        self.0.nodes().forget(ino.0, times);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        if let Some(Told { attr, holds }) = self.0.told(ino.0, false) {
            return reply.attr(&holds, &attr);
        }
        let shared = Arc::clone(&self.0);
        let work = async move { shared.refresh(ino.0).await };
        self.0
            .answer("asking for a file".into(), work, |told| match told {
                Ok(Told { attr, holds }) => reply.attr(&holds, &attr),
                Err(failure) => reply.error(failure.errno()),
            });
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.0.handle_open(ino.0, reply);
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
        self.0.handle_read(fh.0, offset, size, reply);
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
        self.0.handle_release(ino.0, fh.0);
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.0.handle_opendir(ino.0, reply);
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.0.handle_readdir(ino.0, fh.0, offset, reply);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.0.handle_readdirplus(ino.0, fh.0, offset, reply);
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.0.handles.close_folder(fh.0);
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let disk = self.0.options.cache.as_deref();
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
        self.0.handle_getxattr(ino.0, name, size, reply);
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.0.handle_listxattr(ino.0, size, reply);
    }
}

impl<S: Source> Serve<S> {
    fn entry(&self, told: Result<Told, Failure>, reply: ReplyEntry) {
        match told {
            Ok(Told { attr, holds }) => reply.entry(&holds, &attr, Generation(0)),
            // Number 0: there is nothing, and that holds for a while.
            Err(Failure::Url(UrlError::NotFound { .. })) => {
                let attr = self.0.owner.attr(0, Kind::File, &Facts::default());
                reply.entry(&self.0.options.missing_for, &attr, Generation(0));
            }
            Err(failure) => reply.error(failure.errno()),
        }
    }
}

/// The kernel reads ahead by so many requests at once; origins and disks are kept busy by fewer.
const BACKGROUND_MAX: u16 = 64;
/// The longest name.
const NAME_MAX: u32 = 255;
