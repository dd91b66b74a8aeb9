//! [`Apart`]: files by URL mounted for one process and its children, whom nobody else sees mount.
//!
//! A thread may have mounts of its own (`unshare`), and what it starts has them from it. So the mount needs no name of its own, is
//! in nobody's way, and ends with the last process that has it, however that one ends. What the system mounts later is seen there as everywhere.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use fuser::Session;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::process::{getgid, getuid};
use rustix::thread::{CapabilitySet, capabilities};

use super::options::MountOptions;
use super::read_ahead::Device;
use super::unserved::Unserved;
use super::{MountError, config, dead};
use crate::url::Source;

/// A mount that only the processes see that were started where it was made. Dropped, it is taken off, whatever of it is open.
#[derive(Debug)]
pub struct Apart {
    folder: PathBuf,
    /// The mounts of those processes.
    namespace: File,
}

impl Apart {
    /// Whether it is worth trying: without this right no process may have mounts of its own.
    #[must_use]
    pub fn may_be() -> bool {
        let rights = capabilities(None);
        rights.is_ok_and(|rights| rights.effective.contains(CapabilitySet::SYS_ADMIN))
    }

    /// Mounts for what this thread starts from now on: at the folder that is wanted, which is made if it is not there, or, if there is
    /// something, at another one. **The thread is of no use for anything else**, whether this succeeds or not.
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub fn start<S: Source>(
        wanted: &Path,
        otherwise: &Path,
        options: MountOptions,
    ) -> Result<(Self, Unserved<S>), MountError> {
        let system = |folder: &Path| {
            let folder = folder.into();
            |source| MountError::System { folder, source }
        };
        let device = File::options().read(true).write(true).open(DEVICE);
        let device = device.map_err(system(wanted))?;
        let namespace = leave().map_err(MountError::NotApart)?;
        let folder = if may_cover(wanted) { wanted } else { otherwise };
        if folder == otherwise && !otherwise.is_dir() {
            fs::create_dir(otherwise).map_err(|source| MountError::Folder {
                folder: otherwise.into(),
                source,
            })?;
        }
        let unserved = mount_unserved(device.into(), folder, options);
        let unserved = unserved.map_err(system(folder))?;
        let folder = folder.into();
        Ok((Self { folder, namespace }, unserved))
    }

    /// Where those who see it find it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn take_off(&self) -> io::Result<()> {
        // Threads have it in common with each other, and whoever enters other mounts must not.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&self.namespace, CloneFlags::CLONE_NEWNS)?;
        match unmount(&self.folder, UnmountFlags::FORCE | UnmountFlags::DETACH) {
            // Somebody has done so.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // What those processes have started may go on, and keep it. This thread is to stay where it is.
        let taken_off = thread::scope(|scope| {
            let thread = thread::Builder::new().spawn_scoped(scope, || self.take_off())?;
            thread.join().unwrap_or(Ok(()))
        });
        if let Err(error) = taken_off {
            tracing::debug!("a mount stays until the last process that sees it ends: {error}");
        }
    }
}

/// Gives this thread mounts of its own. What the system mounts and unmounts later happens here, too, but not the other way round.
fn leave() -> io::Result<File> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let downstream = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", downstream)?;
    File::open("/proc/thread-self/ns/mnt")
}

/// Nothing is lost to who sees a mount in the place of this folder: it is empty, or has all files by URL.
fn may_cover(folder: &Path) -> bool {
    if fs::create_dir(folder).is_ok() || dead::is_mounted(folder) {
        return true;
    }
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

fn mount_unserved<S: Source>(
    device: OwnedFd,
    folder: &Path,
    options: MountOptions,
) -> io::Result<Unserved<S>> {
    let words = format!(
        "fd={},rootmode=40755,user_id={},group_id={},default_permissions,allow_other",
        device.as_raw_fd(),
        getuid().as_raw(),
        getgid().as_raw()
    );
    let words = CString::new(words)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    let kind = format!("fuse.{}", dead::SOURCE);
    mount(dead::SOURCE, folder, kind, flags, words.as_c_str())?;
    let config = config(&options);
    let begun = Unserved::new(options, |serve| {
        Session::from_fd(serve, device, config.acl, config.clone())
    });
    match begun {
        Ok(mut unserved) => {
            unserved.device = Device::of(folder).ok();
            Ok(unserved)
        }
        Err(error) => {
            // What this thread starts should find nothing rather than what is dead.
            let _ = unmount(folder, UnmountFlags::DETACH);
            Err(error)
        }
    }
}

/// Over which the kernel's calls come.
const DEVICE: &str = "/dev/fuse";
