//! A task that ends its process each time: its job fails soon, and says of what; other jobs go on.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::collections::BTreeSet;
use std::fs;

use atlas_testbed::{Cluster, code, program, wait_until};

#[test]
fn a_task_that_ends_its_process_each_time_fails_after_three_on_two_servers() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    // Two for each job.
    let servers = cluster.servers(&manager, 4);
    let (shell, other) = (cluster.login(&manager), cluster.login(&manager));
    let going_on = other.begin_steps("steps");
    wait_until("the other job runs", || going_on.shown() > 0);
    let marks = shell.here().join("marks");
    fs::create_dir(&marks).unwrap();

    let before = going_on.shown();
    let line = ["poison", "1000", marks.to_str().unwrap()];
    let failed = shell.submit(program("testbed-job"), line);
    let error = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(code(&failed), 70, "{error}");
    for why in [
        "::poison`",
        "has ended 3 processes",
        "testbed-job was killed by signal 6 (abort)",
    ] {
        assert!(error.contains(why), "{why}: {error}");
    }
    let bytes = error.split(" bytes of arguments").next().unwrap();
    let bytes: usize = bytes.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((1000..1500).contains(&bytes), "{error}");
    // Each process that it ended has left a file, which names its server.
    let entries = fs::read_dir(&marks).unwrap().flatten();
    let died_at = entries.map(|mark| fs::read_to_string(mark.path()).unwrap());
    let died_at: Vec<u32> = died_at.map(|server| server.parse().unwrap()).collect();
    assert_eq!(died_at.len(), 3, "{error}");
    let at: BTreeSet<u32> = died_at.iter().copied().collect();
    let all: BTreeSet<u32> = servers.iter().map(|server| server.pid()).collect();
    assert!(
        at.len() >= 2 && at.is_subset(&all),
        "{died_at:?} of {all:?}"
    );

    // The three may have died within one step of the other job, which has not lost it.
    wait_until("the other job goes on", || going_on.shown() > before);
    going_on.end();
    assert_eq!(manager.metrics().get("peers_lost_total"), 0);
}
