//! [`Unserved`]: a mount that is there, and that nobody answers for yet.
//!
//! What a mount costs is what answers for it: threads, a store, a way to the web. All of that can wait until somebody wants a file:
//! the kernel keeps the first call until it is answered.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once, OnceLock};
use std::thread;

use fuser::Session;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::options::MountOptions;
use super::read_ahead::Device;
use super::serve::Serve;
use super::shared::Shared;
use crate::url::Source;

/// A mount that is to have its files from a source that is not there yet. Dropped, all calls end with `ENOTCONN`.
#[derive(Debug)]
pub struct Unserved<S: Source> {
    session: Session<Serve<S>>,
    shared: Arc<OnceLock<Arc<Shared<S>>>>,
    passthrough: Arc<AtomicBool>,
    options: MountOptions,
    pub(super) device: Option<Device>,
}

impl<S: Source> Unserved<S> {
    /// With a session that has greeted the kernel.
    pub(super) fn new(
        options: MountOptions,
        begin: impl FnOnce(Serve<S>) -> io::Result<Session<Serve<S>>>,
    ) -> io::Result<Self> {
        // For each thread that reads the kernel's calls, and for its greeting, the library has 16 MiB, of which it needs some bytes.
        BUFFERS.call_once(atlas_core::map_large_memory);
        let shared = Arc::default();
        let passthrough = Arc::new(AtomicBool::new(options.passthrough));
        let session = begin(Serve {
            shared: Arc::clone(&shared),
            passthrough: Arc::clone(&passthrough),
        })?;
        Ok(Self {
            session,
            shared,
            passthrough,
            options,
            device: None,
        })
    }

    /// Waits until somebody wants something of it; not so if it ends before that. On a runtime with I/O.
    ///
    /// # Errors
    ///
    /// It cannot be waited for.
    pub async fn touched(&self) -> io::Result<bool> {
        let calls = self.session.as_fd().try_clone_to_owned()?;
        let either = Interest::READABLE | Interest::ERROR;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for the sake of values whose descriptor changes, which an `OwnedFd` is not"
        )]
        let calls = AsyncFd::with_interest(calls, either)?;
        let ready = calls.ready(either).await?.ready();
        Ok(ready.is_readable())
    }

    /// Answers from now on, on threads of its own; what takes long runs on the runtime that this is called on. Tells when it has
    /// ended.
    ///
    /// # Errors
    ///
    /// There can be no more threads.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn serve(self, source: S) -> io::Result<watch::Receiver<bool>> {
        let Self {
            session,
            shared,
            passthrough,
            options,
            device,
        } = self;
        let all = Shared::new(source, options, Handle::current(), passthrough);
        // Nobody else sets it.
        let _ = shared.set(Arc::new(all));
        let (end, ended) = watch::channel(false);
        let run = move || {
            if let Err(error) = session.run() {
                tracing::warn!("the mount has ended: {error}");
            }
            let _ = end.send(true);
        };
        thread::Builder::new()
            .name("atlas-mount".into())
            .spawn(run)?;
        let widened = device.map_or(Ok(()), Device::widen);
        if let Err(error) = widened {
            tracing::debug!("the kernel reads ahead by its default: {error}");
        }
        Ok(ended)
    }
}

/// It holds for the process.
static BUFFERS: Once = Once::new();
