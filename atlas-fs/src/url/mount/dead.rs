//! Mounts that a killed process has left behind: the kernel keeps them, and answers `ENOTCONN` for all in them.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::take_off;

/// What is mounted at a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    /// Nothing.
    Nothing,
    /// A mount of ours, whose process is gone.
    Dead,
    /// A mount of ours, whose process answers.
    Alive,
}

/// Takes dead mounts of ours off a folder, of which there may be several, one on the other. Whether there were any.
///
/// # Errors
///
/// One cannot be taken off, or the system does not tell what is mounted.
pub(super) fn clean(folder: &Path) -> io::Result<(bool, There)> {
    let mut cleaned = false;
    // More than these were not left by accident.
    for _ in 0..DEAD_MAX {
        let there = there(folder)?;
        if there != There::Dead {
            return Ok((cleaned, there));
        }
        take_off::lazily(folder)?;
        cleaned = true;
    }
    Ok((cleaned, there(folder)?))
}

/// Whether a mount of ours is there, dead or alive. Nothing is asked of it.
pub(super) fn is_mounted(folder: &Path) -> bool {
    fs::read(MOUNTS).is_ok_and(|mounts| is_ours(&mounts, folder))
}

/// What is mounted there. Only a mount of ours is asked anything.
pub(super) fn there(folder: &Path) -> io::Result<There> {
    let mounts = fs::read(MOUNTS)?;
    if !is_ours(&mounts, folder) {
        return Ok(There::Nothing);
    }
    match rustix::fs::statfs(folder) {
        Err(Errno::NOTCONN | Errno::CONNABORTED) => Ok(There::Dead),
        _ => Ok(There::Alive),
    }
}

/// The folder's absolute path. Its own last name is not looked at, since a dead mount cannot be.
pub(super) fn absolute(folder: &Path) -> io::Result<PathBuf> {
    if let Ok(whole) = folder.canonicalize() {
        return Ok(whole);
    }
    let folder = std::path::absolute(folder)?;
    match (folder.parent(), folder.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
        _ => Ok(folder),
    }
}

/// Whether the topmost mount at this path is one of ours.
fn is_ours(mountinfo: &[u8], folder: &Path) -> bool {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    let topmost = lines.filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let mount_point = PathBuf::from(std::ffi::OsString::from_vec(unescaped(fields.nth(4)?)));
        // Optional fields end with a dash: then type and source.
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        let (kind, source) = (rest.next()?, rest.next()?);
        (mount_point == folder).then_some((kind, source))
    });
    topmost
        .reduce(|_, above| above)
        .is_some_and(|(kind, source)| kind.starts_with(b"fuse") && source == SOURCE.as_bytes())
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, behind @ ..] = rest {
        let escaped = (*first == b'\\')
            .then(|| behind.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() {
            &behind[3..]
        } else {
            behind
        };
    }
    bytes
}

/// Of this thread, which may have others than the process.
const MOUNTS: &str = "/proc/thread-self/mountinfo";
/// The name under which our mounts stand in the system's table.
pub(super) const SOURCE: &str = "atlas";
const DEAD_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &[u8] = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n\
40 22 0:40 / /mnt/a\\040b ro,nosuid shared:1 - fuse atlas ro\n\
41 22 0:41 / /mnt/c ro - fuse rclone ro\n\
42 22 0:42 / /mnt/d ro - fuse atlas ro\n\
43 42 0:43 / /mnt/d rw - tmpfs tmpfs rw\n\
44 22 0:44 / /mnt/e ro - fuse.atlas atlas ro\n";

    #[test]
    fn only_the_topmost_mount_counts_and_only_ours() {
        for (folder, ours) in [
            ("/mnt/a b", true),
            ("/mnt/a\\040b", false),
            ("/mnt/c", false),
            ("/mnt/d", false),
            ("/mnt/e", true),
            ("/mnt", false),
            ("/", false),
        ] {
            assert_eq!(is_ours(MOUNTINFO, Path::new(folder)), ours, "{folder}");
        }
    }

    #[test]
    fn nothing_is_mounted_at_a_plain_folder() {
        let folder = tempfile::tempdir().unwrap();
        let there = clean(folder.path()).unwrap();
        assert_eq!(there, (false, There::Nothing));
    }
}
