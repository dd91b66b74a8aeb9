//! Jobs that run at the same time on one server: each has its share of the workers, which changes as others come and go.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;
use std::path::PathBuf;

use atlas_testbed::{Cluster, Running, ServerOptions, Shell, program, wait_for, wait_until};

/// A job that keeps busy what it is given.
struct Burning {
    number: u64,
    running: Running,
    folder: PathBuf,
}

impl Burning {
    fn begin(shell: &Shell, number: u64) -> Self {
        let folder = shell.here().join(number.to_string());
        fs::create_dir(&folder).unwrap();
        let line = ["burn", folder.to_str().unwrap()];
        Self {
            number,
            running: shell.begin_submit(program("testbed-job"), line),
            folder,
        }
    }

    /// How many workers it has, by what its manager says.
    fn workers(&self, shell: &Shell) -> u64 {
        let jobs = shell.json(["ps"]);
        let job = jobs.iter().find(|job| job["job"] == self.number);
        job.map_or(0, |job| job["workers"].as_u64().unwrap())
    }

    /// Its process, once it runs.
    fn process(&self) -> u32 {
        wait_for("the job runs", || {
            let entry = fs::read_dir(&self.folder).unwrap().next()?;
            entry.unwrap().file_name().to_str()?.parse().ok()
        })
    }

    fn end(self) {
        fs::write(self.folder.join("go"), "").unwrap();
        let ended = self.running.wait();
        let said = String::from_utf8(ended.stdout).unwrap();
        assert!(said.ends_with(" tasks\n"), "{said}");
    }
}

/// The processor time that a process has used, in ticks of the kernel's: `utime` and `stime`, counted from the state.
fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = after_name.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_jobs_share_changes_when_another_comes_and_when_it_ends() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let two = ServerOptions {
        workers: 2,
        ..ServerOptions::default()
    };
    let _server = cluster.server(&manager, two);
    manager.wait_for_workers(2);
    let shell = cluster.login(&manager);

    let first = Burning::begin(&shell, 1);
    wait_until("the first job has both workers", || {
        first.workers(&shell) == 2
    });
    let second = Burning::begin(&shell, 2);
    let both = [&first, &second];
    wait_until("each has one", || {
        both.map(|job| job.workers(&shell)) == [1, 1]
    });

    let processes = both.map(Burning::process);
    let begun = processes.map(ticks);
    let used = || [0, 1].map(|job| ticks(processes[job]) - begun[job]);
    wait_until("a second's work", || used().iter().sum::<u64>() >= TICKS);
    let used = used();
    let least = TICKS / 4;
    assert!(used.iter().all(|&used| used >= least), "{used:?}");

    second.end();
    wait_until("the first has both again", || first.workers(&shell) == 2);
    first.end();
}

/// A second, as `/proc` counts it.
const TICKS: u64 = 100;
