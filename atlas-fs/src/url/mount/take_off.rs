//! How mounts are taken off: by this process where it may, otherwise by the helper that has mounted.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

/// Takes the topmost mount off a folder, unless files in it are open. Whether it is off.
pub(super) fn at_once(folder: &Path) -> io::Result<bool> {
    match unmount(folder, UnmountFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::BUSY) => Ok(false),
        // It does not say why not, and that files are open is likely.
        Err(Errno::PERM) => Ok(by_helper(folder, &["-u", "-q"]).is_ok()),
        Err(error) => Err(error.into()),
    }
}

/// Takes the topmost mount off a folder: files that are open stay so until they are closed.
pub(super) fn lazily(folder: &Path) -> io::Result<()> {
    match unmount(folder, UnmountFlags::DETACH) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => by_helper(folder, &["-u", "-q", "-z"]),
        Err(error) => Err(error.into()),
    }
}

fn by_helper(folder: &Path, how: &[&str]) -> io::Result<()> {
    let mut helper = Command::new(HELPER);
    helper.args(how).arg("--").arg(folder);
    helper.stdin(Stdio::null()).stdout(Stdio::null());
    let ended = helper.stderr(Stdio::null()).status()?;
    if ended.success() {
        return Ok(());
    }
    Err(Errno::PERM.into())
}

/// It lets who is not root mount, and take off what they have mounted.
const HELPER: &str = "fusermount3";
