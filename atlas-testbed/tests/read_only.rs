//! State folders that are read-only, from the start or from some moment on: what needs them is refused with an error that names the
//! folder and what to do, daemons that run stay up, and go on by themselves when the folder can be written again.
//!
//! Where nothing can be mounted for one process alone, these tests say so and do nothing.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

mod origin;

use std::fs;
use std::path::Path;

use atlas_testbed::{
    Cluster, Manager, ManagerOptions, ServerOptions, TokenOptions, code, may_mount, program,
    refusal, told, wait_until,
};
use origin::{Origin, noise};

/// It names something in the folder, and says what is the matter.
fn assert_names(said: &str, folder: &Path) {
    assert!(said.contains(folder.to_str().unwrap()), "{said}");
    // In the words of this program, not of the system.
    assert!(said.contains("read-only"), "{said}");
}

fn run_read_only(cluster: &Cluster, daemon: &str, state: &Path) -> String {
    let line = ["run", "--listen", "127.0.0.1:0"];
    let mut line = [&line[..], &["--state", state.to_str().unwrap()]].concat();
    if daemon == "atlas-manager" {
        line.extend(["--http", "none"]);
    }
    let ended = cluster.begin_read_only(state, program(daemon), line).wait();
    assert_eq!(code(&ended), 1);
    refusal(&ended)
}

#[test]
fn a_folder_that_is_read_only_at_the_start_is_named() {
    if !may_mount() {
        return;
    }
    let cluster = Cluster::new();
    let mut manager = cluster.root("example.edu");
    let mut server = cluster.server(&manager, ServerOptions::default());
    manager.wait_for_workers(1);
    let shell = cluster.login(&manager);
    let standby = cluster.new_standby(&manager);
    let said = run_read_only(&cluster, "atlas-manager", &standby);
    assert_names(&said, &standby);
    server.stop();
    let said = run_read_only(&cluster, "atlas-server", server.state());
    assert_names(&said, server.state());
    manager.stop();
    let said = run_read_only(&cluster, "atlas-manager", manager.state());
    assert_names(&said, manager.state());

    // Nothing has happened to what is there.
    manager.restart();
    server.restart();
    manager.wait_for_workers(1);
    shell.assert_works();
}

/// What a node has joined with is of no use to another.
#[test]
fn regression_a_folder_that_is_read_only_uses_up_no_token() {
    if !may_mount() {
        return;
    }
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    for (role, daemon) in [
        ("server", "atlas-server"),
        ("manager", "atlas-manager"),
        ("standby", "atlas-manager"),
    ] {
        let token = manager.token(&TokenOptions {
            role,
            ..TokenOptions::default()
        });
        let state = cluster.folder().join(role);
        fs::create_dir(&state).unwrap();
        let mut line = match role {
            "standby" => vec!["standby", &token],
            _ => vec!["join", &token],
        };
        if role == "manager" {
            line.extend(["--domain", "lab.example.edu"]);
        }
        line.extend(["--state", state.to_str().unwrap()]);
        let joining = cluster.begin_read_only(&state, program(daemon), line.clone());
        assert_names(&refusal(&joining.wait()), &state);
        let joined = cluster.begin(program(daemon), line).wait();
        let said = String::from_utf8_lossy(&joined.stderr);
        assert!(joined.status.success(), "{role}: {said}");
    }
}

/// All that is written fails: what is opened, since the folder is read-only, and what is open, since no file may become any larger.
fn make_read_only(manager: &Manager) {
    manager.make_read_only(manager.state());
    manager.limit_files(Some(OPEN_FILES_BYTES));
}

#[test]
fn regression_a_manager_whose_folder_becomes_read_only_says_so_and_goes_on_by_itself() {
    if !may_mount() {
        return;
    }
    let cluster = Cluster::new();
    let options = ManagerOptions {
        file_bytes_max: Some(ROOMY_BYTES),
        alone: true,
    };
    let line = ["init", "--domain", "example.edu"];
    let mut manager = cluster.manager(&line, "example.edu", &options);
    let mut servers = cluster.servers(&manager, 2);
    let shell = cluster.login(&manager);
    // The program is there.
    shell.assert_works();
    let (job, folder) = shell.begin_held("held", 2);

    make_read_only(&manager);
    // As often as one likes, whether the program is known or not.
    for (name, args) in [("nqueens", "6"), ("uts", "t1"), ("nqueens", "6")] {
        let said = refusal(&shell.submit(program(name), [args]));
        assert_names(&said, manager.state());
    }
    let line = ["token", "create", "--role", "server"];
    for _ in 0..2 {
        let said = refusal(&manager.administer(line));
        assert!(said.contains("read-only"), "{said}");
    }
    let trouble = manager.trouble().unwrap_or_default();
    assert!(trouble.contains("HTTP/1.1 503"), "{trouble}");
    assert_names(&trouble, &manager.state().join("manager.redb"));
    // What runs goes on.
    assert_eq!(shell.job(2)["state"], "running");
    fs::write(folder.join("go"), "").unwrap();
    let ended = job.wait();
    let error = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(code(&ended), 0, "{error}");
    assert_eq!(ended.stdout, b"sum 3, 2 processes\n", "{error}");
    assert!(manager.is_running());

    manager.make_writable(manager.state());
    manager.limit_files(None);
    shell.assert_works();
    manager.wait_for_health("ok\n");
    let token = manager.token(&TokenOptions::default());
    assert!(cluster.enrol_server(&token).status.success());
    assert!(servers.iter_mut().all(|server| server.is_running()));
    assert_eq!(manager.metrics().get("peers_lost_total"), 0);
    let told = shell.json(["ps", "--all"]);
    manager.kill();
    manager.restart();
    manager.wait_for_workers(2);
    assert_eq!(shell.json(["ps", "--all"]), told);
}

#[test]
fn regression_a_server_whose_folder_becomes_read_only_fails_nobody_and_goes_on_by_itself() {
    if !may_mount() {
        return;
    }
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let alone = ServerOptions {
        alone: true,
        ..ServerOptions::default()
    };
    let mut server = cluster.server(&manager, alone);
    manager.wait_for_workers(1);
    let shell = cluster.login(&manager);
    let content = noise(20_000);
    let origin = Origin::new([("/x", content.clone())]);
    let folder = shell.here().join("meeting");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("go"), "").unwrap();
    let (folder, url) = (folder.to_str().unwrap(), origin.url("/x"));
    let read = || {
        let line = ["urls", folder, &url];
        shell.submit(program("testbed-job"), line)
    };

    // Before anything was read by URL.
    let urls = server.state().join("urls");
    fs::create_dir(&urls).unwrap();
    server.make_read_only(&urls);
    assert_names(&refusal(&read()), &urls);
    server.make_read_only(server.state());
    // It is the only one, and has tried several times.
    assert_names(&refusal(&read()), server.state());

    // It has nothing to do, and could have each job at once; what others can do waits for them, also while they are busy.
    let mut well = cluster.servers(&manager, 1);
    for _ in 0..5 {
        shell.assert_works();
    }
    let naps = shell.here().join("naps");
    fs::create_dir(&naps).unwrap();
    let line = ["naps", "1", "3000", naps.to_str().unwrap()];
    let busy = shell.begin_submit(program("testbed-job"), line);
    wait_until("the other is busy", || naps.join("main").exists());
    shell.assert_works();
    assert_eq!(code(&busy.wait()), 0);
    assert!(well[0].stop().success());
    manager.wait_for_workers(1);

    server.make_writable(server.state());
    server.make_writable(&urls);
    let (read, seen) = (read(), told(&content));
    let error = String::from_utf8_lossy(&read.stderr);
    assert_eq!(code(&read), 0, "{error}");
    let said = String::from_utf8_lossy(&read.stdout).into_owned();
    assert_eq!(said, format!("open: {seen}\nagain: {seen}\n"));
    assert!(server.is_running());
}

/// As files of the manager are bounded at first: not at all.
const ROOMY_BYTES: u64 = 1 << 40;
/// Less than any store, and more than what most jobs print.
const OPEN_FILES_BYTES: u64 = 4 << 10;
