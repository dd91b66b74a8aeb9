//! What a process holds of the machine, as the kernel tells.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use atlas_testbed::children;

/// Memory, in MB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Resident: its own, and pages of files, which it may share with others.
    pub resident: f64,
    /// Of that, its own.
    pub own: f64,
    /// Resident, where a page that several processes share counts in parts for each.
    pub shared_out: f64,
    /// The most that was ever resident.
    pub peak: f64,
}

/// The memory of a process.
///
/// # Errors
/// If it is gone, or the kernel does not say.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).context(path)?;
    let (own, files) = (
        megabytes(&status, "RssAnon:"),
        megabytes(&status, "RssFile:"),
    );
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    Ok(Memory {
        resident: own + files,
        own,
        shared_out: megabytes(&rollup, "Pss:"),
        peak: megabytes(&status, "VmHWM:"),
    })
}

/// The processor time of threads by their numbers.
pub type Threads = BTreeMap<OsString, Duration>;

/// The threads of a process.
///
/// # Errors
/// If it is gone, or the kernel does not say.
pub fn threads(pid: u32) -> Result<Threads> {
    let path = format!("/proc/{pid}/task");
    let mut threads = Threads::new();
    for thread in fs::read_dir(&path).context(path)? {
        let thread = thread?;
        let stat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let nanos = stat.split(' ').next().and_then(|used| used.parse().ok());
        threads.insert(thread.file_name(), Duration::from_nanos(nanos.unwrap_or(0)));
    }
    Ok(threads)
}

/// The processor time that threads have used between two looks. What one did since the first and has ended before the second
/// is not counted.
#[must_use]
pub fn used_between(before: &Threads, after: &Threads) -> Duration {
    let used = after.iter().map(|(thread, used)| {
        let before = before.get(thread).copied().unwrap_or_default();
        used.saturating_sub(before)
    });
    used.sum()
}

/// The processor time of a process, of all that it has started, and of what those have.
#[must_use]
pub fn family_time(pid: u32) -> Duration {
    let own = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let of_children = children(pid).into_iter().map(family_time);
    ticks(&own) + of_children.sum::<Duration>()
}

/// What a process has used, and those that it has started and that have ended.
fn ticks(stat: &str) -> Duration {
    let Some((_, fields)) = stat.rsplit_once(") ") else {
        return Duration::ZERO;
    };
    let times = fields.split(' ').skip(TIMES_AT).take(4);
    let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_S)
}

/// The datagrams that all processes of this machine have sent.
///
/// # Errors
/// If the kernel does not say.
pub fn datagrams_sent() -> Result<u64> {
    let snmp = fs::read_to_string(SNMP).context(SNMP)?;
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let mut fields = names.split(' ').zip(values.split(' '));
    let sent = fields.find(|(name, _)| *name == "OutDatagrams");
    let (_, sent) = sent.with_context(|| format!("{SNMP} has no OutDatagrams"))?;
    Ok(sent.parse()?)
}

fn megabytes(status: &str, name: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0 / 1e6
}

const SNMP: &str = "/proc/net/snmp";
/// Of the fields after a process's name in its `stat`, the four times (`man 5 proc`: fields 14 to 17, the name is the second).
const TIMES_AT: usize = 11;
/// What Linux tells times in, on all that Atlas runs on.
const TICKS_PER_S: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_something() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.own > 0.0 && memory.peak >= memory.own, "{memory:?}");
        let before = threads(std::process::id()).unwrap();
        crate::spin::busy_wait(Duration::from_millis(50));
        let after = threads(std::process::id()).unwrap();
        assert!(used_between(&before, &after) > Duration::ZERO);
    }

    #[test]
    fn a_family_has_used_what_its_members_have() {
        let stat = "7 (a (strange) name) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0";
        assert_eq!(ticks(stat), Duration::from_millis(43_300));
        let before = family_time(std::process::id());
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let child = std::process::Command::new("sh").args(["-c", busy]).status();
        assert!(child.unwrap().success());
        assert!(family_time(std::process::id()) > before);
    }

    #[test]
    fn threads_that_have_ended_take_nothing_away() {
        let ms = Duration::from_millis;
        let before = Threads::from([("1".into(), ms(7)), ("2".into(), ms(100))]);
        let after = Threads::from([("1".into(), ms(8)), ("3".into(), ms(4))]);
        assert_eq!(used_between(&before, &after), ms(5));
    }

    #[test]
    fn fields_are_found() {
        assert_eq!(
            megabytes("VmHWM:\t    1000 kB\nRssAnon:\t 500 kB\n", "RssAnon:"),
            0.512
        );
        assert_eq!(megabytes("", "RssAnon:"), 0.0);
    }
}
