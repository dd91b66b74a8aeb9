//! The testbed itself: what it starts works, and nothing of it stays.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;
use std::path::Path;

use atlas_testbed::{Cluster, ServerOptions, code, program, wait_until};

/// Some process has the folder in its command line.
fn is_named_by_a_process(folder: &Path) -> bool {
    let folder = folder.to_string_lossy();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.map(|process| fs::read(process.path().join("cmdline")));
    lines.any(|line| String::from_utf8_lossy(&line.unwrap_or_default()).contains(&*folder))
}

#[test]
fn what_is_dropped_leaves_no_process_and_no_file() {
    let cluster = Cluster::new();
    let folder = cluster.folder().to_owned();
    let manager = cluster.root("example.edu");
    let server = cluster.server(&manager, ServerOptions::default());
    manager.wait_for_workers(1);
    let shell = cluster.login(&manager);
    let party = shell.here().join("party");
    fs::create_dir(&party).unwrap();
    let held = program("testbed-job");
    let job = shell.begin_submit(held, ["hold", "1", party.to_str().unwrap()]);
    wait_until("the job runs", || {
        fs::read_dir(&party).unwrap().count() == 1
    });
    assert!(is_named_by_a_process(&folder));
    drop((job, shell, server, manager, cluster));
    wait_until("all processes are gone", || !is_named_by_a_process(&folder));
    assert!(!folder.exists());
}

#[test]
fn a_program_gives_its_exit_code_and_output() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let _servers = cluster.servers(&manager, 1);
    let shell = cluster.login(&manager);
    let output = shell.submit(program("nqueens"), ["6"]);
    assert_eq!(code(&output), 0);
    assert_eq!(output.stdout, b"6 queens: 4 ways\n");
    let jobs = shell.json(["ps", "--all"]);
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0]["state"], "exited");
    assert_eq!(manager.metrics().get("jobs_ended"), 1);
    assert_eq!(manager.http("/healthz").as_deref(), Some("ok\n"));
}
