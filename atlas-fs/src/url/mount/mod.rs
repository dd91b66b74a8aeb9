//! [`Mounted`]: files by URL for programs that only know paths. `DIR/https/example.org/data/x` is `https://example.org/data/x`, read-only.
//!
//! ```text
//! kernel -- serve --+-- nodes        what it has been told of
//!                   +-- shared       names: node, listing, the file's own answer
//!                   +-- folders      listings, whole, with what `stat` wants
//!                   +-- files        passthrough, or by way of here
//!                   +-- Source       whatever knows the web
//! ```
//!
//! - **An inode is one version of one file.** Reads never mix two: who has a file open goes on reading its version, or is told `ESTALE`.
//! - **No call takes longer than [`MountOptions::timeout`]**, and no origin keeps another's files waiting.
//! - **A mount ends with its process**, if that can do anything about it: [`Mounted`] takes it off when it is dropped. One that a killed
//!   process has left is taken off by the next that mounts there.
//! - [`Apart`] mounts for one process and its children alone; such a mount ends with the last of them. [`Unserved`] is one that costs
//!   next to nothing until somebody wants a file of it, [`OnDemand`] one that is not there before.
//! - The kernel forgets by time: what it is told holds for as long as the origin allows, or the mount's options, or for ever if pinned.

mod apart;
mod attr;
mod dead;
mod failure;
mod files;
mod folders;
mod handles;
mod nodes;
mod on_demand;
mod opened;
mod options;
mod read_ahead;
mod serve;
mod shared;
mod take_off;
mod unserved;
mod xattr;

use std::io;
use std::path::{Path, PathBuf};

use fuser::{Config, MountOption, Session, SessionACL};
use rustix::io::Errno;
use tokio::sync::watch;

pub use apart::Apart;
pub use on_demand::OnDemand;
pub use options::{MountOptions, Progress, TellProgress};
pub use unserved::Unserved;

use self::attr::Owner;
use self::dead::There;
use self::read_ahead::Device;
use super::Source;

/// Why nothing could be mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// There is something.
    #[error("files by URL are mounted at {} already: unmount them first", .0.display())]
    Mounted(PathBuf),
    /// It cannot be mounted on.
    #[error("{} cannot be mounted on: make a folder there, or name another one", folder.display())]
    Folder {
        /// Where.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What a killed process has left there cannot be taken off.
    #[error("a dead mount at {} cannot be taken off: try `umount -l`", folder.display())]
    Dead {
        /// Where.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A process that is started cannot be given mounts of its own.
    #[error(
        "this process may not have mounts that others do not see: only root may, and not in every container"
    )]
    NotApart(#[source] io::Error),
    /// The system does not mount.
    #[error(
        "cannot mount at {}: /dev/fuse must be there, and who is not root needs fusermount3",
        folder.display()
    )]
    System {
        /// Where.
        folder: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
}

/// Files by URL, mounted. Dropped, they are unmounted.
#[derive(Debug)]
pub struct Mounted {
    folder: PathBuf,
    cleaned: bool,
    /// Nothing is left to take off: what is there later is another's.
    is_off: bool,
    ended: watch::Receiver<bool>,
}

impl Mounted {
    /// Mounts what a source has at a folder that is there; a mount that a killed process has left there is taken off first. What takes long runs on
    /// the runtime that this is called on.
    ///
    /// # Errors
    ///
    /// There is no such folder, something is mounted there, or the system does not let us.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn start(
        source: impl Source,
        folder: &Path,
        options: MountOptions,
    ) -> Result<Self, MountError> {
        let not_there = |source| MountError::Folder {
            folder: folder.into(),
            source,
        };
        let folder = &dead::absolute(folder).map_err(not_there)?;
        let (cleaned, there) = dead::clean(folder).map_err(|source| MountError::Dead {
            folder: folder.into(),
            source,
        })?;
        if there == There::Alive {
            return Err(MountError::Mounted(folder.into()));
        }
        let system = |source| MountError::System {
            folder: folder.into(),
            source,
        };
        if !folder.is_dir() {
            return Err(not_there(Errno::NOTDIR.into()));
        }
        let config = config(&options);
        let mount = Unserved::new(options, |serve| Session::new(serve, folder, &config));
        let mut mount = mount.map_err(system)?;
        mount.device = Device::of(folder).ok();
        // If this fails, the session is dropped, and with it the mount.
        let ended = mount.serve(source).map_err(system)?;
        Ok(Self {
            folder: folder.into(),
            cleaned,
            is_off: false,
            ended,
        })
    }

    /// Where.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a mount was there that a killed process had left.
    #[must_use]
    pub fn has_cleaned(&self) -> bool {
        self.cleaned
    }

    /// Waits until it is unmounted, by whomever.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error is the end, too: who would say so is gone.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Unmounts: at once, or, if files in it are open, when they are closed, or this process ends. Whether it was at once.
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub fn unmount(mut self) -> io::Result<bool> {
        self.take_off()
    }

    fn take_off(&mut self) -> io::Result<bool> {
        // Somebody else may have mounted something in its place since.
        if self.is_off || *self.ended.borrow() || dead::there(&self.folder)? == There::Nothing {
            return Ok(true);
        }
        let at_once = take_off::at_once(&self.folder)?;
        if !at_once {
            take_off::lazily(&self.folder)?;
        }
        self.is_off = true;
        Ok(at_once)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.take_off() {
            tracing::warn!("{} is still mounted: {error}", self.folder.display());
        }
    }
}

/// Takes off what a killed process has left mounted at a folder. Whether there was anything.
///
/// # Errors
///
/// It cannot be taken off.
pub fn take_off_dead(folder: &Path) -> io::Result<bool> {
    dead::clean(folder).map(|(cleaned, _)| cleaned)
}

fn config(options: &MountOptions) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::FSName(dead::SOURCE.into()),
        MountOption::Subtype(dead::SOURCE.into()),
        MountOption::DefaultPermissions,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
    ];
    // Others than root may let others in only where the system's administrator says so.
    config.acl = if Owner::of_this_process().is_root() {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = true;
    config
}
