//! How much processor time a process has used, as Linux tells; elsewhere nothing is known.

use std::time::Duration;

/// The processor time of a process, all its threads together, to a hundredth of a second.
pub(crate) fn time_of(process: u32) -> Option<Duration> {
    if process == 0 {
        return None;
    }
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    parse(&stat)
}

/// Fields 14 and 15 of `stat`, see proc_pid_stat(5). The second one may hold spaces and parentheses.
fn parse(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_S))
}

/// What Linux has told programs on every architecture for twenty years, whatever the kernel counts by itself.
const TICKS_PER_S: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_nasty() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 90 0 0 0 150 25 0 0 20 0 1 0 9 1 1";
        assert_eq!(parse(stat), Some(Duration::from_millis(1750)));
        assert_eq!(parse("7 (a"), None);
    }

    #[test]
    fn this_process_has_used_some() {
        let own = time_of(std::process::id());
        assert_eq!(own.is_some(), cfg!(target_os = "linux"));
        assert_eq!(time_of(0), None);
    }
}
