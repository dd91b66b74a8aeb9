//! Processes that daemons have started.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
#[cfg(target_os = "linux")]
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

/// The parent of a process; none if it is gone.
#[must_use]
pub fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(") ")?;
    after.split(' ').nth(1)?.parse().ok()
}

/// Sends a signal to a process, which may be gone.
pub fn signal(process: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Bounds the length of the files that a process writes; none takes the bound away.
#[cfg(target_os = "linux")]
#[track_caller]
pub(crate) fn limit_files(process: u32, bytes_max: Option<u64>) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let limit = Rlimit {
        current: bytes_max,
        maximum: getrlimit(Resource::Fsize).maximum,
    };
    let limited = prlimit(pid, Resource::Fsize, limit);
    limited.expect("a user may put up the soft limits of their own processes");
}

/// The processes that a process has started and that have not ended.
#[must_use]
pub fn children(process: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|&other| parent(other) == Some(process))
        .collect()
}
