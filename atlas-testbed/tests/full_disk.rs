//! A manager whose disk is full says so, refuses what it cannot keep, and goes on by itself when there is room again; and so does
//! a server.
//!
//! The disk is a bound on the length of a daemon's files, which is put on and taken away while it runs.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;
use std::path::PathBuf;

use atlas_testbed::{
    Cluster, Manager, ManagerOptions, Running, Server, ServerOptions, Shell, TokenOptions, code,
    entries, program, refusal, wait_until,
};

/// A domain whose manager's disk has room, as yet, with servers of one worker each, and somebody who is logged in.
struct Domain {
    manager: Manager,
    servers: Vec<Server>,
    shell: Shell,
    cluster: Cluster,
}

impl Domain {
    fn new(servers: u64) -> Self {
        let cluster = Cluster::new();
        let bounded = ManagerOptions {
            file_bytes_max: Some(ROOMY_BYTES),
            ..ManagerOptions::default()
        };
        let line = ["init", "--domain", "example.edu"];
        let manager = cluster.manager(&line, "example.edu", &bounded);
        let servers = cluster.servers(&manager, servers);
        let shell = cluster.login(&manager);
        Self {
            manager,
            servers,
            shell,
            cluster,
        }
    }

    /// A folder for tasks that wait there.
    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.shell.here().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn make_room(&self) {
        self.manager.limit_files(None);
    }

    /// A job that ends while the manager can keep nothing.
    fn end_without_room(&self) -> Running {
        let (job, folder) = self.shell.begin_held("held", 1);
        self.manager.limit_files(Some(NO_BYTES));
        fs::write(folder.join("go"), "").unwrap();
        wait_until("the end cannot be kept", || {
            self.manager.trouble().is_some()
        });
        job
    }

    /// A submission that the manager cannot keep: what it has to remember of the arguments is more than there is room for.
    fn submit_in_vain(&self) -> String {
        let long = "x".repeat(ARGUMENT_BYTES);
        let line = ["print", &long];
        refusal(&self.shell.submit(program("testbed-job"), line))
    }
}

/// It names the disk and what to do.
fn assert_names_the_disk(said: &str) {
    assert!(said.contains("disk") && said.contains("room"), "{said}");
}

#[test]
fn regression_a_full_disk_of_the_manager_is_named_not_the_stream_that_it_breaks() {
    let domain = Domain::new(1);
    domain.manager.limit_files(Some(PROGRAM_BYTES));
    let said = refusal(&domain.shell.submit(program("nqueens"), ["6"]));
    assert!(
        said.contains("the manager cannot get the job's files"),
        "{said}"
    );
    assert!(said.contains("disk"), "{said}");
    // Its store has what it needs.
    assert_eq!(domain.manager.health(), "ok\n");
    domain.make_room();
    domain.shell.assert_works();
}

#[test]
fn a_full_disk_of_a_server_is_named() {
    let mut domain = Domain::new(0);
    let bounded = ServerOptions {
        file_bytes_max: Some(PROGRAM_BYTES),
        ..ServerOptions::default()
    };
    let server = domain.cluster.server(&domain.manager, bounded);
    domain.manager.wait_for_workers(1);
    let said = refusal(&domain.shell.submit(program("nqueens"), ["6"]));
    assert!(said.contains("disk"), "{said}");
    domain.servers.push(server);
    assert!(domain.servers[0].is_running());
    domain.servers[0].limit_files(None);
    domain.shell.assert_works();
}

#[test]
fn regression_a_manager_goes_on_by_itself_when_its_disk_has_room_again() {
    let mut domain = Domain::new(1);
    // The programs are there.
    domain.shell.assert_works();
    let printed = domain.shell.submit(program("testbed-job"), ["code", "0"]);
    assert_eq!(code(&printed), 0);
    assert_eq!(domain.manager.health(), "ok\n");

    domain.manager.limit_files(Some(FULL_BYTES));
    assert_names_the_disk(&domain.submit_in_vain());
    let trouble = domain.manager.trouble().unwrap_or_default();
    assert!(trouble.contains("HTTP/1.1 503"), "{trouble}");
    assert!(trouble.contains("manager.redb"), "{trouble}");
    assert_names_the_disk(&trouble);
    // As often as one likes.
    assert_names_the_disk(&domain.submit_in_vain());
    assert!(domain.manager.is_running());

    domain.make_room();
    domain.shell.assert_works();
    let token = domain.manager.token(&TokenOptions::default());
    assert!(domain.cluster.enrol_server(&token).status.success());
    assert_eq!(domain.manager.health(), "ok\n");
    let log = domain.manager.log();
    let said = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert!(said("manager.redb cannot be written") > 0, "{log}");
    assert!(said("the manager's store is written again") > 0, "{log}");

    // What was told is there in the next life, too.
    let told = domain.shell.json(["ps", "--all"]);
    domain.manager.kill();
    domain.manager.restart();
    domain.manager.wait_for_workers(1);
    assert_eq!(domain.shell.json(["ps", "--all"]), told);
    domain.shell.assert_works();
}

#[test]
fn regression_health_is_right_again_though_nobody_asks_for_anything() {
    let domain = Domain::new(0);
    domain.manager.limit_files(Some(NO_BYTES));
    let line = ["token", "create", "--role", "server"];
    assert_names_the_disk(&refusal(&domain.manager.administer(line)));
    assert_names_the_disk(&domain.manager.trouble().unwrap_or_default());
    domain.make_room();
    domain.manager.wait_for_health("ok\n");
}

#[test]
fn regression_a_job_that_is_refused_does_not_run() {
    let mut domain = Domain::new(1);
    let folder = domain.folder("held");
    let job = program("testbed-job");
    let first = domain.shell.submit(&job, ["code", "0"]);
    assert_eq!(code(&first), 0);
    let before = domain.shell.json(["ps", "--all"]);

    domain.manager.limit_files(Some(FULL_BYTES));
    let long = "x".repeat(ARGUMENT_BYTES);
    let held = folder.to_str().unwrap();
    // It leaves a file in the folder as soon as it runs.
    let line = ["hold", "1", held, &long];
    assert_names_the_disk(&refusal(&domain.shell.submit(&job, line)));
    assert_eq!(domain.shell.json(["ps", "--all"]), before);
    domain.make_room();

    // A job that is accepted runs after all that were submitted before.
    domain.shell.assert_works();
    assert_eq!(entries(&folder), 0);
    assert_eq!(domain.shell.json(["ps", "--all"]).len(), before.len() + 1);
    domain.manager.kill();
    domain.manager.restart();
    domain.manager.wait_for_workers(1);
    domain.shell.assert_works();
    assert_eq!(entries(&folder), 0);
    // Kept, the same would run.
    fs::write(folder.join("go"), "").unwrap();
    let line = ["hold", "1", held, &long];
    assert_eq!(code(&domain.shell.submit(&job, line)), 0);
    assert_eq!(entries(&folder), 2);
}

#[test]
fn regression_the_end_of_a_job_is_told_when_a_full_disk_has_room_again() {
    let domain = Domain::new(2);
    let _standby = domain.cluster.standby(&domain.manager);
    domain
        .manager
        .wait_for_health("stands by, and 2 children may vote for it");
    let job = domain.end_without_room();
    let [known] = &domain.shell.json(["ps", "--all"])[..] else {
        panic!("there is one job");
    };
    assert_eq!(known["state"], "running");

    domain.make_room();
    let ended = job.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(code(&ended), 0, "{error}");
    assert_eq!(ended.stdout, b"sum 1, 1 processes\n", "{error}");
    domain
        .manager
        .wait_for_health("stands by, and 2 children may vote for it");
    domain.shell.assert_works();
}

#[test]
fn regression_the_end_of_a_job_on_a_full_disk_is_kept_when_there_is_room_again() {
    let mut domain = Domain::new(1);
    let job = domain.end_without_room();
    domain.make_room();
    assert_eq!(code(&job.wait()), 0);
    domain.manager.wait_for_health("ok\n");
    let told = domain.shell.json(["ps", "--all"]);
    domain.manager.kill();
    domain.manager.restart();
    domain.manager.wait_for_workers(1);
    assert_eq!(domain.shell.json(["ps", "--all"]), told);
}

/// As somebody does it who has made room: at once, before the manager itself would try again.
#[test]
fn regression_the_end_of_a_job_on_a_full_disk_is_kept_by_a_manager_that_is_stopped() {
    let mut domain = Domain::new(1);
    let job = domain.end_without_room();
    assert_eq!(code(&job.wait()), 0);
    let told = domain.shell.json(["ps", "--all"]);
    domain.make_room();
    assert!(domain.manager.stop().success());
    domain.manager.restart();
    domain.manager.wait_for_workers(1);
    assert_eq!(domain.shell.json(["ps", "--all"]), told);
}

#[test]
fn regression_output_that_a_full_disk_does_not_take_ends_its_job_and_no_other() {
    let mut domain = Domain::new(2);
    let (loud, quiet) = (domain.folder("loud"), domain.folder("quiet"));
    let job = program("testbed-job");
    let line = ["print-much", OUTPUT_BYTES, loud.to_str().unwrap()];
    let printing = domain.shell.begin_submit(&job, line);
    let line = ["hold", "1", quiet.to_str().unwrap()];
    let other = domain.shell.begin_submit(&job, line);
    wait_until("both jobs run", || entries(&loud) + entries(&quiet) == 2);

    domain.manager.limit_files(Some(FULL_BYTES));
    fs::write(loud.join("go"), "").unwrap();
    let said = refusal(&printing.wait());
    assert_names_the_disk(&said);
    assert!(said.contains("the manager cannot keep"), "{said}");
    // Who follows the other one is not disturbed.
    fs::write(quiet.join("go"), "").unwrap();
    let ended = other.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.stdout, b"sum 1, 1 processes\n", "{error}");
    assert!(domain.manager.is_running());
    assert!(domain.servers.iter_mut().all(|server| server.is_running()));

    domain.make_room();
    domain.shell.assert_works();
    let folder = domain.folder("again");
    fs::write(folder.join("go"), "").unwrap();
    let line = ["print-much", OUTPUT_BYTES, folder.to_str().unwrap()];
    let printed = domain.shell.submit(&job, line);
    assert_eq!(printed.stdout.len().to_string(), OUTPUT_BYTES);
}

#[test]
fn regression_output_of_another_domain_that_a_full_disk_does_not_take_ends_its_job() {
    let domain = Domain::new(0);
    let below = domain.cluster.below(&domain.manager, "cs.example.edu");
    let _servers = domain.cluster.servers(&below, 1);
    domain.manager.wait_for_workers(1);
    let folder = domain.folder("loud");
    let job = program("testbed-job");
    let line = ["print-much", OUTPUT_BYTES, folder.to_str().unwrap()];
    let printing = domain.shell.begin_submit(&job, line);
    wait_until("the job runs", || entries(&folder) == 1);
    domain.manager.limit_files(Some(FULL_BYTES));
    fs::write(folder.join("go"), "").unwrap();
    let said = refusal(&printing.wait());
    assert!(said.contains("the manager cannot keep"), "{said}");
    domain.make_room();
    domain.shell.assert_works();
}

/// As files of the manager are bounded at first: not at all.
const ROOMY_BYTES: u64 = 1 << 40;
/// More than a manager's log in a test, and less than the record of a job with long arguments.
const FULL_BYTES: u64 = 128 << 10;
/// More than a manager's store, and less than a program.
const PROGRAM_BYTES: u64 = 4 << 20;
/// Less than any store, and more than what most jobs print; the log ends.
const NO_BYTES: u64 = 4 << 10;
/// Nearly as much as a command line may have; a manager keeps it for its engine, for its root and for people.
const ARGUMENT_BYTES: usize = 60 << 10;
/// Much more than is on its way to a manager that does not read.
const OUTPUT_BYTES: &str = "30000000";
