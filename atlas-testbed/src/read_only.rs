//! Folders that are read-only for one daemon: it runs where what is mounted is its own business, and the folder is mounted over itself
//! there. Root may write whatever the permissions say, and this binds root, too. **What the daemon has open it may still write**: for that there
//! is [`Daemon::limit_files`](crate::Daemon::limit_files).

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::geteuid;

/// Whether this machine lets this user mount a folder for one process alone. If not, it says so on standard error, for a test that is skipped.
#[must_use]
pub fn may_mount() -> bool {
    let folder = tempfile::tempdir().expect("the system's temporary folder can be written to");
    let mut command = Command::new("/usr/bin/env");
    command.args(alone()).args(read_only(folder.path()));
    match output(command.arg("true")) {
        Ok(output) if output.status.success() => true,
        other => {
            eprintln!("skipped: nothing can be mounted here for one process alone: {other:?}");
            false
        }
    }
}

/// What comes before a command so that what is mounted is its own business.
pub(crate) fn alone() -> &'static [&'static str] {
    if geteuid().is_root() {
        &["unshare", "--mount", "--"]
    } else {
        &["unshare", "--map-root-user", "--mount", "--"]
    }
}

/// What comes before a command so that it finds the folder read-only, as do others who see what it sees.
pub(crate) fn read_only(folder: &Path) -> [&OsStr; 4] {
    [
        OsStr::new("/bin/sh"),
        OsStr::new("-c"),
        OsStr::new(MAKE_READ_ONLY),
        folder.as_os_str(),
    ]
}

/// Makes a folder read-only for a process that was started [alone](alone), or writable again.
#[track_caller]
pub(crate) fn change(process: u32, folder: &Path, is_read_only: bool) {
    let mut command = Command::new("nsenter");
    command.args(["--target", &process.to_string()]);
    if !geteuid().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.args(["--mount", "--"]);
    if is_read_only {
        command.args(read_only(folder)).arg("true");
    } else {
        // Whatever is open there stays so.
        command.args(["umount", "--lazy"]).arg(folder);
    }
    let changed = output(&mut command);
    let done = changed
        .as_ref()
        .is_ok_and(|changed| changed.status.success());
    assert!(done, "{} stays as it is: {changed:?}", folder.display());
}

fn output(command: &mut Command) -> std::io::Result<Output> {
    command.stdin(Stdio::null()).output()
}

/// Of the folder that comes next, for the command after that. Nobody sees the mount before it is read-only: it could not become so while somebody
/// writes there.
const MAKE_READ_ONLY: &str = r#"at=$(mktemp -d) && mount --bind "$0" "$at" && mount -o remount,bind,ro "$at" &&
    mount --move "$at" "$0" && rmdir "$at" && exec "$@""#;
