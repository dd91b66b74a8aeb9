//! How far the kernel reads ahead: by its default, 128 KiB, each call of ours costs as much as what it brings.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// The number under which the kernel knows what is mounted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    major: u32,
    minor: u32,
}

impl Device {
    /// Of what is mounted there, of which nothing is asked: nobody may be there to answer yet.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let known = statx(CWD, folder, AtFlags::STATX_DONT_SYNC, StatxFlags::empty())?;
        Ok(Self {
            major: known.stx_dev_major,
            minor: known.stx_dev_minor,
        })
    }

    /// Lets the kernel read further ahead in it. Only root may say so.
    pub(super) fn widen(self) -> io::Result<()> {
        let Self { major, minor } = self;
        let file = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        fs::write(file, READ_AHEAD_KIB.to_string())
    }
}

/// Of one request. Twice as much may be asked for, but then what is copied for an answer no longer fits into a core's cache.
const READ_AHEAD_KIB: u32 = 512;
