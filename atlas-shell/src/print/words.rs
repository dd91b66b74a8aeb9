//! Quantities and names as people read them.

use std::time::Duration;

use atlas_proto::control::{JobState, JobStatus};
use atlas_proto::ids::NodeId;
use bytesize::ByteSize;

/// With the precision that matters: milliseconds below ten seconds, then seconds.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let rounded = if duration < Duration::from_secs(10) {
        Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(duration.as_secs())
    };
    humantime::format_duration(rounded).to_string()
}

/// As [`duration`], but the two largest units alone: for what is long ago.
#[must_use]
pub fn age(age: Duration) -> String {
    let all = duration(age);
    let largest: Vec<_> = all.split(' ').take(2).collect();
    largest.join(" ")
}

/// `1.5 KiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// `1 file`, `2 files`.
#[must_use]
pub fn count(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    }
}

/// A node's identity, as its certificate has it.
#[must_use]
pub fn node(node: NodeId) -> String {
    format!("{:016x}", node.0)
}

/// Processor time per time: how many times faster than on one processor a job is or was; none while nothing is known.
#[must_use]
pub fn speedup(job: &JobStatus) -> Option<f64> {
    let known = !job.elapsed.is_zero() && !job.work.is_zero();
    known.then(|| job.work.as_secs_f64() / job.elapsed.as_secs_f64())
}

/// What has become of a job, in a word or a sentence.
#[must_use]
pub fn state(state: &JobState) -> String {
    match state {
        JobState::Waiting => "waiting".into(),
        JobState::Running => "running".into(),
        JobState::Exited { code: 0 } => "done".into(),
        JobState::Exited { code } => format!("exited with {code}"),
        JobState::Failed { message } => format!("failed: {}", printable(message)),
        JobState::Killed => "killed".into(),
    }
}

/// What others have chosen, without what terminals obey.
#[must_use]
pub fn printable(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).collect()
}

/// The beginning of what may be long.
#[must_use]
pub fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.into();
    }
    let kept = text.chars().take(chars_max.saturating_sub(1));
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_the_precision_that_matters() {
        assert_eq!(duration(Duration::from_micros(2_500_900)), "2s 500ms");
        assert_eq!(duration(Duration::from_millis(3_723_400)), "1h 2m 3s");
        assert_eq!(duration(Duration::ZERO), "0s");
        assert_eq!(age(Duration::from_secs(3 * 86_400 + 3_723)), "3days 1h");
        assert_eq!(age(Duration::from_secs(59)), "59s");
        assert_eq!(bytes(1536), "1.5 KiB");
    }

    #[test]
    fn a_speedup_is_work_per_time_once_there_is_some() {
        let mut job = crate::print::example();
        assert_eq!(speedup(&job), Some(4.0));
        job.work = Duration::ZERO;
        assert_eq!(speedup(&job), None);
    }

    #[test]
    fn what_others_chose_moves_no_cursor() {
        let message = "a\u{1b}[2Jb\n".into();
        assert_eq!(state(&JobState::Failed { message }), "failed: a [2Jb ");
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("äbcd", 4), "äbcd");
    }
}
