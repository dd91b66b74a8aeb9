//! What a process holds of the machine, as the kernel tells.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Memory, in MB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Resident: its own, and pages of files, which it may share with others.
    pub resident: f64,
    /// Of that, its own.
    pub own: f64,
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
    Ok(Memory {
        resident: own + files,
        own,
        peak: megabytes(&status, "VmHWM:"),
    })
}

/// The processor time that the threads of a process have used, without those that have ended.
///
/// # Errors
/// If it is gone, or the kernel does not say.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/task");
    let mut nanos = 0;
    for thread in fs::read_dir(&path).context(path)? {
        let stat = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let used = stat.split(' ').next().and_then(|used| used.parse().ok());
        nanos += used.unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_something() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.own > 0.0 && memory.peak >= memory.own, "{memory:?}");
        crate::spin::busy_wait(Duration::from_millis(5));
        assert!(cpu_time(std::process::id()).unwrap() > Duration::ZERO);
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
