//! How far the kernel reads ahead: by its default, 128 KiB, each call of ours costs as much as what it brings.

use std::fs;
use std::io;
use std::path::Path;

/// Lets the kernel read further ahead in what is mounted there. Only root may say so.
pub(super) fn widen(folder: &Path) -> io::Result<()> {
    let device = rustix::fs::stat(folder)?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let file = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    fs::write(file, READ_AHEAD_KIB.to_string())
}

/// Of one request. Twice as much may be asked for, but then what is copied for an answer no longer fits into a core's cache.
const READ_AHEAD_KIB: u32 = 512;
