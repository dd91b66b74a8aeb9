//! Daemons that end, gently or not, while jobs run: every job ends right all the same.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use atlas_testbed::{
    Cluster, Manager, Running, Server, ServerOptions, Shell, TokenOptions, code, parent, program,
    wait_until,
};

/// A domain with servers of one worker each, and a job that is held.
struct Held {
    job: Option<Running>,
    folder: PathBuf,
    shell: Shell,
    servers: Vec<Server>,
    manager: Manager,
    cluster: Cluster,
}

impl Held {
    /// So many tasks run on as many servers, and wait.
    fn new(servers: u64) -> Self {
        Self::begin(servers, &["hold"])
    }

    /// As [`Held::new`], and what the tasks do is said by these words.
    fn begin(servers: u64, words: &[&str]) -> Self {
        let cluster = Cluster::new();
        let manager = cluster.root("example.edu");
        let lent = cluster.servers(&manager, servers);
        let shell = cluster.login(&manager);
        let folder = shell.here().join("held");
        fs::create_dir(&folder).unwrap();
        let count = servers.to_string();
        let line = [words, &[&count, folder.to_str().unwrap()]].concat();
        let job = shell.begin_submit(program("testbed-job"), line);
        let tasks = usize::try_from(servers).unwrap();
        wait_until("all tasks run", || {
            fs::read_dir(&folder).unwrap().count() >= tasks
        });
        Self {
            job: Some(job),
            folder,
            shell,
            servers: lent,
            manager,
            cluster,
        }
    }

    /// Waits for the end of the job's shell.
    fn wait(&mut self) -> Output {
        self.job.take().unwrap().wait()
    }

    fn release(&self) {
        fs::write(self.folder.join("go"), "").unwrap();
    }
}

/// The server whose engine runs the task, and the others.
fn part_by_task(servers: Vec<Server>, folder: &Path, task: u32) -> (Server, Vec<Server>) {
    let names = fs::read_dir(folder).unwrap().flatten();
    let names = names.map(|entry| entry.file_name().into_string().unwrap());
    let engine = names.filter_map(|name| {
        let (index, process) = name.split_once('-')?;
        (index == task.to_string()).then(|| process.parse().unwrap())
    });
    let daemon = engine.last().and_then(parent).unwrap();
    let (mut of_task, others): (Vec<_>, Vec<_>) = servers
        .into_iter()
        .partition(|server| server.pid() == daemon);
    (of_task.pop().unwrap(), others)
}

#[test]
fn a_servers_sudden_end_costs_its_tasks_a_second_run() {
    let mut held = Held::new(3);
    // The first task runs where `main` does, the last one elsewhere.
    let servers = std::mem::take(&mut held.servers);
    let (mut victim, _others) = part_by_task(servers, &held.folder, 3);
    victim.kill();
    held.release();
    let ended = held.wait();
    assert_eq!(
        code(&ended),
        0,
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.starts_with("sum 6, "), "{said}");
    // The manager may find out later than who waited for the task.
    held.manager.wait_for_workers(2);
    assert_eq!(held.manager.metrics().get("peers_lost_total"), 1);
    assert_eq!(held.shell.job(1)["state"], "exited");
}

#[test]
fn the_sudden_end_of_the_server_that_runs_main_costs_a_second_run() {
    let mut held = Held::new(2);
    let (mut victim, _other) = part_by_task(std::mem::take(&mut held.servers), &held.folder, 1);
    victim.kill();
    held.release();
    let ended = held.wait();
    assert_eq!(
        code(&ended),
        0,
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(ended.stdout.starts_with(b"sum 3, "));
    // A new life of the server is a member as before.
    victim.restart();
    held.manager.wait_for_workers(2);
}

#[test]
fn a_shared_value_is_there_after_the_sudden_end_of_who_made_it() {
    let mut held = Held::begin(3, &["share", "10000000"]);
    let (mut victim, _others) = part_by_task(std::mem::take(&mut held.servers), &held.folder, 1);
    victim.kill();
    held.release();
    let ended = held.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(code(&ended), 0, "{error}");
    // Each task looks at the value.
    assert!(ended.stdout.starts_with(b"sum 6, "));
    let bytes = held.manager.metrics().get("blob_bytes_fetched_total");
    assert!(bytes > 10_000_000, "{bytes}");
}

/// How often tasks have begun: each has noted itself, and its process.
fn runs(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().flatten();
    names.filter(|entry| entry.file_name() != "go").count()
}

#[test]
fn large_results_come_from_other_servers_and_are_computed_once() {
    let mut held = Held::begin(2, &["large", "8000000"]);
    let program = fs::metadata(program("testbed-job")).unwrap().len();
    held.release();
    let ended = held.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.stdout, b"6 right, 2 processes\n", "{error}");
    assert_eq!(runs(&held.folder), 6);
    let metrics = held.manager.metrics();
    let blobs = metrics.get("blobs_fetched_total");
    let bytes = metrics.get("blob_bytes_fetched_total");
    // The program, and what came from where `main` does not run.
    assert!((2..=6).contains(&blobs), "{blobs}");
    assert!(bytes >= program + (blobs - 1) * 8_000_000, "{bytes}");
    assert_eq!(metrics.get("peers_lost_total"), 0);
}

#[test]
fn large_results_are_right_after_the_sudden_end_of_who_made_some() {
    let mut held = Held::begin(3, &["large", "8000000"]);
    let main = fs::read_to_string(held.folder.with_extension("main")).unwrap();
    let home = parent(main.parse().unwrap()).unwrap();
    let borrowers = held
        .servers
        .iter_mut()
        .filter(|server| server.pid() != home);
    let victim = borrowers.last().unwrap();
    fs::write(held.folder.join("go"), "").unwrap();
    // One is there, and others are under way or have not begun.
    wait_until("a result comes to the manager", || {
        held.manager.metrics().get("blobs_fetched_total") >= 2
    });
    victim.kill();
    let ended = held.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(code(&ended), 0, "{error}");
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.starts_with("9 right, "), "{said}");
}

#[test]
fn a_server_that_is_stopped_gives_its_work_back() {
    let mut held = Held::new(2);
    let (mut victim, _other) = part_by_task(std::mem::take(&mut held.servers), &held.folder, 2);
    assert!(victim.stop().success());
    // At once: nobody has to find out.
    assert_eq!(held.manager.metrics().get("servers"), 1);
    held.release();
    let ended = held.wait();
    assert_eq!(
        code(&ended),
        0,
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(ended.stdout.starts_with(b"sum 3, "));
    victim.restart();
    held.manager.wait_for_workers(2);
}

/// A manager that was away has its finished jobs and finishes the others.
fn manager_comes_back(end: impl Fn(&mut Manager)) {
    let mut held = Held::new(2);
    let other = held.cluster.login(&held.manager);
    // There is no worker for it before the end of the first.
    let waiting = other.detach(&[], program("nqueens"), ["7"]);
    assert_eq!(other.job(waiting)["exit_code"], serde_json::Value::Null);
    end(&mut held.manager);
    held.release();
    held.manager.restart();
    held.manager.wait_for_workers(2);

    // The shell that follows the job comes back as well.
    let followed = held.wait();
    let error = String::from_utf8_lossy(&followed.stderr).into_owned();
    assert_eq!(code(&followed), 0, "{error}");
    assert!(followed.stdout.starts_with(b"sum 3, "), "{error}");
    assert_eq!(code(&other.wait(waiting)), 0);
    assert_eq!(other.ok(["output", "2"]), "7 queens: 40 ways\n");

    // What has ended stays, with its output, and numbers go on.
    assert!(held.manager.stop().success());
    held.manager.restart();
    held.manager.wait_for_workers(2);
    let jobs = held.shell.json(["ps", "--all"]);
    let state = |job: &serde_json::Value| (job["job"].as_u64(), job["exit_code"].as_u64());
    let states: Vec<_> = jobs.iter().map(state).collect();
    assert_eq!(states, [(Some(1), Some(0)), (Some(2), Some(0))]);
    assert_eq!(other.ok(["output", "2"]), "7 queens: 40 ways\n");
    assert_eq!(other.detach(&[], program("nqueens"), ["5"]), 3);
    assert_eq!(code(&other.wait(3)), 0);
}

#[test]
fn a_manager_that_was_stopped_goes_on() {
    manager_comes_back(|manager| assert!(manager.stop().success()));
}

#[test]
fn a_manager_that_was_killed_goes_on() {
    manager_comes_back(|manager| {
        manager.kill();
    });
}

#[test]
fn a_domain_below_outlives_the_one_above() {
    let cluster = Cluster::new();
    let mut root = cluster.root("example.edu");
    let below = cluster.below(&root, "cs.example.edu");
    let _server = cluster.server(&below, ServerOptions::default());
    root.wait_for_workers(1);
    let shell = cluster.login(&below);
    assert!(root.stop().success());
    let alone = shell.submit(program("nqueens"), ["7"]);
    assert_eq!(alone.stdout, b"7 queens: 40 ways\n");
    root.restart();
    root.wait_for_workers(1);
}

/// The tables of a sub-domain's manager are on its disk: its parent is told nothing of what is so large.
#[test]
fn a_manager_below_that_was_killed_has_what_its_domain_recorded() {
    let cluster = Cluster::new();
    let root = cluster.root("example.edu");
    let mut below = cluster.below(&root, "cs.example.edu");
    let mut server = cluster.server(&below, ServerOptions::default());
    root.wait_for_workers(1);
    let shell = cluster.login(&root);
    let folder = shell.here().join("weighed");
    fs::create_dir(&folder).unwrap();
    let line = ["weigh", "5", "600000", "500", folder.to_str().unwrap()];
    let job = shell.begin_submit(program("testbed-job"), line);
    wait_until("all tasks run", || runs(&folder) == 10);
    let recorded = |manager: &Manager| manager.metrics().get("results_recorded_total");
    wait_until("some are recorded", || recorded(&below) >= 3);
    // What was recorded before a token is made is on the disk with it.
    let known = recorded(&below);
    drop(below.token(&TokenOptions::default()));
    assert_eq!(recorded(&root), 0, "the parent has it from nobody");
    below.kill();
    server.kill();
    fs::write(folder.join("go"), "").unwrap();
    below.restart();
    server.restart();

    let ended = job.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(code(&ended), 0, "{error}");
    assert_eq!(ended.stdout, b"10 right\n", "{error}");
    let restored = below.metrics().get("results_restored_total");
    let again = runs(&folder) - 10;
    println!("{known} results were recorded, {restored} restored, and {again} tasks run again");
    assert!(restored >= known, "{restored} of {known}");
    assert!(again <= 10 - usize::try_from(known).unwrap(), "{again}");
}

#[test]
fn a_job_without_servers_waits_and_says_so_until_one_comes_back() {
    let mut held = Held::new(2);
    for server in &mut held.servers {
        server.kill();
    }
    wait_until("the job waits", || held.shell.job(1)["state"] == "waiting");
    assert_eq!(held.manager.metrics().get("jobs_waiting"), 1);
    held.release();
    held.servers[0].restart();
    let ended = held.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(code(&ended), 0, "{error}");
    assert!(ended.stdout.starts_with(b"sum 3, "));
    assert_eq!(held.shell.job(1)["state"], "exited");
}
