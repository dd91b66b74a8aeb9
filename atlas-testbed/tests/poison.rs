//! A task that ends its process each time: its job fails soon, and says of what; other jobs go on.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;

use atlas_testbed::{Cluster, code, program, wait_until};

#[test]
fn a_task_that_ends_its_process_each_time_fails_after_three() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    // One for the job that goes on, and two.
    let _servers = cluster.servers(&manager, 3);
    manager.wait_for_workers(3);
    let (shell, other) = (cluster.login(&manager), cluster.login(&manager));
    let folder = |name: &str| {
        let folder = shell.here().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let (held, marks) = (folder("held"), folder("marks"));
    let line = ["hold", "1", held.to_str().unwrap()];
    let going_on = other.begin_submit(program("testbed-job"), line);
    wait_until("the other job runs", || {
        fs::read_dir(&held).unwrap().count() == 1
    });

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
    assert_eq!(fs::read_dir(&marks).unwrap().count(), 3, "{error}");

    fs::write(held.join("go"), "").unwrap();
    assert_eq!(going_on.wait().stdout, b"sum 1, 1 processes\n");
    assert_eq!(manager.metrics().get("peers_lost_total"), 0);
}
