//! How an engine is started: with files by URL mounted for it alone, where this server may do that.
//!
//! A mount that only one process sees is made by the thread that starts it, which has mounts of its own for that, and ends. Nobody answers for
//! the mount before somebody wants a file of it, so that an engine without such files pays less than half a millisecond.

use std::io;
use std::path::PathBuf;
use std::thread;

use atlas_fs::daemon::chain;
use atlas_fs::url::Files;
use atlas_fs::url::mount::{Apart, MountOptions, Unserved};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Where, and how.
#[derive(Debug)]
pub(super) struct Mount {
    /// Where programs look for it.
    pub(super) wanted: PathBuf,
    /// Where it is if there is something else.
    pub(super) otherwise: PathBuf,
    pub(super) options: MountOptions,
}

/// A process that has been started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) child: Child,
    /// What it sees mounted, if anything.
    pub(super) mounted: Option<(Apart, Unserved<Files>)>,
}

/// Starts the process, with a mount or without.
pub(super) async fn start(mut command: Command, mount: Mount) -> io::Result<Started> {
    command.env_remove(atlas_engine::MOUNT_VARIABLE);
    if !Apart::may_be() {
        let child = command.spawn()?;
        return Ok(Started {
            child,
            mounted: None,
        });
    }
    let runtime = Handle::current();
    let (tell, told) = oneshot::channel();
    // Not one of the runtime's threads: no other work must come to see these mounts.
    let thread = thread::Builder::new().name("atlas-start".to_owned());
    thread.spawn(move || {
        let _runtime = runtime.enter();
        // If nobody waits for it any more, it is stopped.
        let _ = tell.send(start_apart(command, mount));
    })?;
    told.await.map_err(io::Error::other)?
}

fn start_apart(mut command: Command, mount: Mount) -> io::Result<Started> {
    let mounted = Apart::start(&mount.wanted, &mount.otherwise, mount.options);
    let mounted = match mounted {
        Ok(mounted) => {
            command.env(atlas_engine::MOUNT_VARIABLE, mounted.0.folder());
            Some(mounted)
        }
        Err(error) => {
            let error = chain(&error);
            tracing::info!(error, "a job finds no files by URL mounted");
            None
        }
    };
    let child = command.spawn()?;
    Ok(Started { child, mounted })
}
