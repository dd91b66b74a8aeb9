//! Reports for people: one row for each number, one column for each policy.

use std::fmt;

use super::{JobReport, Report};
use crate::topology::LEVELS_MAX;

/// Reports beside each other, one column each.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a>(pub &'a [Report]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self.0.iter().map(rows).collect();
        let Some(first) = columns.first() else {
            return Ok(());
        };
        for (index, (name, _)) in first.iter().enumerate() {
            write!(f, "{name:<34}")?;
            for column in &columns {
                write!(f, "{:>16}", column[index].1)?;
            }
            writeln!(f)?;
        }
        self.0
            .iter()
            .try_for_each(|report| write_traffic(f, report))
    }
}

/// Every report has the same rows.
fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("policy", format!("{:?}", report.policy).to_lowercase()),
        (
            "servers, levels",
            format!("{}, {}", report.servers, report.levels),
        ),
    ];
    rows.extend(job_rows(report.job.as_ref()));
    let moved = report.steals.iter().zip(MOVED);
    rows.extend(moved.map(|(&closures, name)| (name, thousands(closures.unsigned_abs()))));
    rows.extend([
        (
            "messages per server and second",
            format!("{:.2}", report.messages_per_server_s),
        ),
        (
            "bytes per server and second",
            thousands_f(report.bytes_per_server_s),
        ),
        (
            "busiest manager, messages/s",
            format!("{:.1}", report.busiest_manager_per_s),
        ),
        (
            "  in its busiest second",
            thousands(report.busiest_manager_peak),
        ),
        ("events", thousands(report.events)),
        (
            "  after the faults",
            or_dash(report.events_after_heal, thousands),
        ),
        ("real time", or_dash(report.real_s, |s| format!("{s:.2} s"))),
        (
            "peak memory",
            or_dash(report.peak_memory_mib, |mib| format!("{mib} MiB")),
        ),
    ]);
    rows
}

fn job_rows(job: Option<&JobReport>) -> Vec<(&'static str, String)> {
    let of = |text: &dyn Fn(&JobReport) -> String| or_dash(job, text);
    let seconds = |value: Option<f64>| or_dash(value, |s| format!("{s:.2} s"));
    vec![
        ("efficiency, T1 / (P x TP)", of(&|job| efficiency(job))),
        (
            "  of the servers that were there",
            of(&|job| or_dash(job.efficiency_of_present, |e| format!("{e:.3}"))),
        ),
        ("result", of(&|job| String::from(verdict(job)))),
        ("work T1", of(&|job| format!("{:.1} s", job.work_s))),
        (
            "  of the longest chain, at least",
            of(&|job| format!("{:.1} s", job.chain_s)),
        ),
        ("makespan TP", of(&|job| format!("{:.2} s", job.makespan_s))),
        ("closures", of(&|job| thousands(job.closures))),
        (
            "work done again",
            of(&|job| format!("{:.1} s", job.rerun_work_s)),
        ),
        (
            "work not done by those there",
            of(&|job| or_dash(job.idle_work_s, |s| format!("{s:.1} s"))),
        ),
        (
            "first work, median server",
            of(&|job| seconds(job.first_work_median_s)),
        ),
        (
            "first work, last server",
            of(&|job| seconds(job.first_work_last_s)),
        ),
        (
            "servers that never had work",
            of(&|job| job.without_work.to_string()),
        ),
    ]
}

/// Of a job that has not ended, no more than this can come.
fn efficiency(job: &JobReport) -> String {
    let bound = if job.finished { "" } else { "< " };
    format!("{bound}{:.3}", job.efficiency)
}

fn verdict(job: &JobReport) -> &'static str {
    match (job.finished, job.correct) {
        (false, _) => "not finished",
        (true, false) => "WRONG",
        (true, true) => "correct",
    }
}

fn write_traffic(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    writeln!(f, "\nmessages of {:?}", report.policy)?;
    for (kind, traffic) in &report.traffic {
        let (messages, bytes) = (thousands(traffic.messages), thousands(traffic.bytes));
        writeln!(f, "  {kind:<20}{messages:>16}{bytes:>20} bytes")?;
    }
    for (name, count) in &report.counts {
        writeln!(f, "  {name:<20}{:>16}", thousands(*count))?;
    }
    Ok(())
}

fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| String::from("-"), text)
}

/// With a gap at every third digit.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float saturates"
)]
fn thousands_f(number: f64) -> String {
    thousands(number.round() as u64)
}

/// By level, as many as there can be.
const MOVED: [&str; LEVELS_MAX as usize] = [
    "closures moved within a domain",
    "  across 1 level of domains",
    "  across 2 levels of domains",
    "  across 3 levels of domains",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(123), "123");
        assert_eq!(thousands(1_234), "1,234");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
