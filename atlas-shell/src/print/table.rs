//! Tables for people.

use atlas_proto::control::{DomainStatus, JobStatus, ServerStatus};
use atlas_proto::message::Load;
use comfy_table::{CellAlignment, Table};

use super::words;

/// Jobs, in the order given. `now_ms` is the time, in milliseconds since 1970.
#[must_use]
pub fn jobs(jobs: &[JobStatus], now_ms: u64) -> String {
    let head = [
        "JOB",
        "NAME",
        "STATE",
        "SUBMITTED",
        "ELAPSED",
        "WORK",
        "SPEED-UP",
        "SERVERS",
        "WORKERS",
        "OUTPUT",
        "FILES",
    ];
    let row = |job: &JobStatus| {
        let age = std::time::Duration::from_secs(now_ms.saturating_sub(job.submitted_ms) / 1000);
        let speedup = words::speedup(job).map_or(NOTHING.into(), |speedup| format!("{speedup:.1}"));
        let files = job.files.map_or(NOTHING.into(), |files| {
            format!("{} ({})", files.files, words::bytes(files.bytes))
        });
        vec![
            job.id.to_string(),
            command(job),
            words::shortened(&words::state(&job.state), STATE_CHARS_MAX),
            format!("{} ago", words::age(age)),
            words::duration(job.elapsed),
            words::duration(job.work),
            speedup,
            job.servers.to_string(),
            job.workers.to_string(),
            words::bytes(job.output_bytes.iter().sum()),
            files,
        ]
    };
    text(&head, jobs.iter().map(row), &[0, 6, 7, 8])
}

/// The servers of a domain.
#[must_use]
pub fn servers(servers: &[ServerStatus]) -> String {
    let head = [
        "SERVER", "DOMAIN", "ADDRESS", "WORKERS", "HUNGRY", "SURPLUS",
    ];
    let row = |server: &ServerStatus| {
        let address = server.address.map(|address| address.to_string());
        let address = address.unwrap_or_else(|| "not connected".into());
        let domain = server.domain.as_ref();
        let domain = domain.map_or_else(|| "-".into(), ToString::to_string);
        let mut row = vec![words::node(server.node), domain, address];
        row.extend(load(&server.load));
        row
    };
    text(&head, servers.iter().map(row), &[3, 4, 5])
}

/// A domain and those below it.
#[must_use]
pub fn domains(domains: &[DomainStatus]) -> String {
    let head = [
        "DOMAIN", "CHILDREN", "WORKERS", "HUNGRY", "SURPLUS", "MANAGER",
    ];
    let row = |domain: &DomainStatus| {
        let children = domain.children.map(|children| children.to_string());
        let manager = if domain.connected {
            "connected"
        } else {
            "not connected"
        };
        let mut row = vec![
            domain.domain.to_string(),
            children.unwrap_or(NOTHING.into()),
        ];
        row.extend(load(&domain.load));
        row.push(manager.into());
        row
    };
    text(&head, domains.iter().map(row), &[1, 2, 3, 4])
}

fn load(load: &Load) -> [String; 3] {
    [load.workers, load.hungry, load.surplus].map(|count| count.to_string())
}

/// The command line, as far as it is short.
fn command(job: &JobStatus) -> String {
    let words = std::iter::once(&job.name).chain(&job.args);
    let words: Vec<_> = words.map(|word| words::printable(word)).collect();
    words::shortened(&words.join(" "), COMMAND_CHARS_MAX)
}

pub(super) fn text(
    head: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
    numbers: &[usize],
) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(head.iter().copied());
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.to_string();
    let lines = lines.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

/// What is not known.
pub(super) const NOTHING: &str = "-";
/// So that a job's numbers are on the same line as its name on terminals of usual width.
const COMMAND_CHARS_MAX: usize = 32;
/// A reason in full is in the JSON, and on standard error of who waits.
const STATE_CHARS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atlas_proto::control::{Files, JobId, JobState};
    use atlas_proto::ids::NodeId;

    use super::*;
    use crate::print::example;

    fn some_load() -> Load {
        Load {
            version: 1,
            workers: 8,
            hungry: 2,
            surplus: 31,
            surplus_work: Duration::from_secs(1),
            reach: Duration::ZERO,
        }
    }

    #[test]
    fn jobs_are_one_line_each() {
        let mut failed = example();
        failed.id = JobId(12);
        failed.args = vec!["x\ny".into(), "a long argument that goes on".into()];
        failed.state = JobState::Failed {
            message: "no server of this domain runs native programs".into(),
        };
        failed.files = Some(Files {
            tree: [1; 32],
            files: 2,
            bytes: 4096,
        });
        failed.work = Duration::ZERO;
        let table = jobs(&[example(), failed], 1_700_000_065_000);
        let expected = "\
JOB  NAME                              STATE                                     SUBMITTED  ELAPSED   WORK  SPEED-UP  SERVERS  WORKERS  OUTPUT   FILES
  7  fib 24                            done                                      1m 5s ago  2s 500ms  10s        4.0        2        8  2.0 KiB  -
 12  fib x y a long argument that go…  failed: no server of this domain runs n…  1m 5s ago  2s 500ms  0s           -        2        8  2.0 KiB  2 (4.0 KiB)
";
        assert_eq!(table, expected, "\n{table}");
    }

    #[test]
    fn servers_and_domains_are_one_line_each() {
        let away = ServerStatus {
            node: NodeId(0xab),
            domain: None,
            address: None,
            load: some_load(),
        };
        let here = ServerStatus {
            domain: Some("cs.example.edu".parse().unwrap()),
            address: Some("10.0.0.7:7117".parse().unwrap()),
            ..away.clone()
        };
        let table = servers(&[here, away]);
        let expected = "\
SERVER            DOMAIN          ADDRESS        WORKERS  HUNGRY  SURPLUS
00000000000000ab  cs.example.edu  10.0.0.7:7117        8       2       31
00000000000000ab  -               not connected        8       2       31
";
        assert_eq!(table, expected, "\n{table}");

        let domain = DomainStatus {
            domain: "cs.example.edu".parse().unwrap(),
            load: some_load(),
            children: Some(3),
            connected: true,
        };
        let below = DomainStatus {
            domain: "lab.cs.example.edu".parse().unwrap(),
            children: None,
            connected: false,
            ..domain.clone()
        };
        let table = domains(&[domain, below]);
        let expected = "\
DOMAIN              CHILDREN  WORKERS  HUNGRY  SURPLUS  MANAGER
cs.example.edu             3        8       2       31  connected
lab.cs.example.edu         -        8       2       31  not connected
";
        assert_eq!(table, expected, "\n{table}");
    }
}
