//! Wall clocks that are set while daemons run and between their lives: nobody is taken for an earlier life, and certificates hold.
//!
//! The clock of the cluster's processes is the machine's and what a file says ([`shift.c`](clocks/shift.c)).
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use atlas_testbed::{Cluster, TokenOptions, code, entries, wait_until};

/// A clock that differs from the machine's.
struct Clock {
    folder: tempfile::TempDir,
}

impl Clock {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clocks/shift.c");
        // Whoever builds programs in Rust has what links them.
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("shift.so"))
            .arg(source)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{said}");
        let this = Self { folder };
        this.set(0);
        this
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("seconds")
    }

    /// So many seconds before or behind the machine's.
    fn set(&self, seconds: i64) {
        let new = self.file().with_extension("new");
        fs::write(&new, seconds.to_string()).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn cluster(&self) -> Cluster {
        let library = self.folder.path().join("shift.so");
        Cluster::with_environment([
            ("LD_PRELOAD", library.into()),
            ("CLOCK_SHIFT", self.file().into()),
        ])
    }
}

/// In milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_millis().try_into().unwrap()
}

#[test]
fn a_clock_that_is_set_back_by_an_hour_costs_no_job_and_keeps_nobody_out() {
    let clock = Clock::new();
    let cluster = clock.cluster();
    let mut manager = cluster.root("example.edu");
    let mut servers = cluster.servers(&manager, 2);
    let shell = cluster.login(&manager);
    let (job, folder) = shell.begin_held("held", 2);
    let before = manager.token(&TokenOptions::default());

    clock.set(-HOUR);
    // With what was made before and what is made now.
    let after = manager.token(&TokenOptions::default());
    for token in [&before, &after] {
        let enrolled = cluster.enrol_server(token);
        let said = String::from_utf8_lossy(&enrolled.stderr);
        assert!(enrolled.status.success(), "{said}");
    }
    // New lives of those who know each other from an hour later.
    manager.kill();
    manager.restart();
    manager.wait_for_workers(2);
    wait_until("both tasks run again", || entries(&folder) == 4);
    servers[0].kill();
    servers[0].restart();
    manager.wait_for_workers(2);
    servers.extend(cluster.servers(&manager, 1));
    let other = cluster.login(&manager);
    other.assert_works();
    let submitted = shell.job(2)["submitted_ms"].as_u64().unwrap();
    let behind = now() - submitted;
    assert!(behind.abs_diff(3_600_000) < 600_000, "{behind}");

    fs::write(folder.join("go"), "").unwrap();
    let ended = job.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(code(&ended), 0, "{error}");
    assert!(ended.stdout.starts_with(b"sum 3, "), "{error}");
    let jobs = shell.json(["ps", "--all"]);
    let exited = jobs.iter().filter(|job| job["exit_code"] == 0);
    assert_eq!((jobs.len(), exited.count()), (2, 2));

    // And forth again.
    clock.set(0);
    shell.assert_works();
    manager.stop();
    manager.restart();
    manager.wait_for_workers(3);
    shell.assert_works();
    assert!(servers.iter_mut().all(|server| server.is_running()));
}

const HOUR: i64 = 3600;
