//! The binary as people and scripts use it, against a manager on this machine.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use atlas_net::identity::{LEAF_LIFETIME, Role};
use atlas_shell::state::StateFolder;
use serde_json::Value;
use support::{FakeManager, Shell};

fn logged_in(manager: &FakeManager) -> Shell {
    let shell = Shell::new();
    let said = shell.ok(&["login", &manager.token(Role::Client)]);
    assert!(
        said.starts_with("logged in to cs.example.edu as client "),
        "{said}"
    );
    shell
}

fn objects(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn one_logs_in_submits_and_looks() {
    let manager = FakeManager::start();
    let shell = logged_in(&manager);
    let program = shell.program();
    let program = program.to_str().unwrap();
    let submitted = shell.run(&["submit", program, "--", "exit=3", "--json"]);
    assert_eq!(submitted.status.code(), Some(3));
    assert_eq!(submitted.stdout, b"ran exit=3 --json\n");
    assert_eq!(submitted.stderr, [0xff, 0, b'\n', 0xfe]);
    assert_eq!(
        shell.ok(&["submit", "--detach", "--name", "second", "./program"]),
        "2\n"
    );

    let jobs = objects(&shell.ok(&["ps", "--all", "--json"]));
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0]["name"], "program");
    assert_eq!(jobs[0]["args"], serde_json::json!(["exit=3", "--json"]));
    assert_eq!(
        (&jobs[0]["state"], &jobs[0]["exit_code"]),
        (&"exited".into(), &3.into())
    );
    assert_eq!(jobs[1]["name"], "second");
    assert_eq!(shell.ok(&["ps", "--json"]), "");
    let table = shell.ok(&["ps", "-a"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(
        table.contains("program exit=3 --json") && table.contains("exited with 3"),
        "{table}"
    );

    let output = shell.run(&["output", "1"]);
    assert_eq!(output.stdout, b"ran exit=3 --json\n");
    assert_eq!(output.stderr, [0xff, 0, b'\n', 0xfe]);
    assert!(
        shell
            .ok(&["servers"])
            .contains("00000000000000ab  -       not connected")
    );
    assert_eq!(
        objects(&shell.ok(&["domains", "--json"]))[0]["domain"],
        "cs.example.edu"
    );
}

#[test]
fn events_of_a_job_are_json_lines() {
    let manager = FakeManager::start();
    let shell = logged_in(&manager);
    shell.program();
    let events = objects(&shell.ok(&["submit", "--json", "./program", "--", "a"]));
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(kinds.first(), Some(&"accepted"));
    assert_eq!(kinds.last(), Some(&"ended"));
    let out = events.iter().filter(|event| event["stream"] == "stdout");
    let out: String = out.map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(out, "ran a\n");
    assert!(events.iter().any(|event| event["base64"].is_string()));
    assert_eq!(events.last().unwrap()["state"], "exited");
}

#[test]
fn programs_get_one_object_a_line_from_every_command() {
    let manager = FakeManager::start();
    let shell = Shell::new();
    let ask = |args: &[&str]| objects(&shell.ok(&[args, &["--json"]].concat()));
    let login = &ask(&["login", &manager.token(Role::Admin)])[0];
    assert_eq!(login["domain"], "cs.example.edu");
    assert_eq!(login["node"].as_str().unwrap().len(), 16);
    assert!(login["addresses"][0].is_string());

    shell.program();
    fs::write(shell.here().join("two"), "two").unwrap();
    shell.ok(&["submit", "-d", "./program", "--input", "two", "--", "a"]);
    let waited = ask(&["wait", "1"]);
    assert_eq!(waited.len(), 1);
    assert_eq!(
        (&waited[0]["job"], &waited[0]["state"]),
        (&1.into(), &"exited".into())
    );
    assert_eq!(waited[0]["exit_code"], 0);
    let output = ask(&["output", "1", "--to", "back"]);
    assert_eq!(output[0]["event"], "output");
    assert_eq!(
        (&output[0]["stream"], &output[0]["offset"]),
        (&"stdout".into(), &0.into())
    );
    let printed = output.iter().filter(|event| event["stream"] == "stdout");
    let printed: String = printed.filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(printed, "ran a\n");
    let file = output.last().unwrap();
    assert_eq!(
        (&file["event"], &file["path"]),
        (&"file".into(), &"back/two".into())
    );
    shell.ok(&["submit", "-d", "./program", "--", "hang"]);
    let killed = &ask(&["kill", "2"])[0];
    assert_eq!(
        (&killed["job"], &killed["state"]),
        (&2.into(), &"killed".into())
    );
    assert!(killed["exit_code"].is_null());

    let server = &ask(&["servers"])[0];
    assert_eq!(server["server"], "00000000000000ab");
    assert!(server["address"].is_null() && server["connected"] == false);
    assert!(server["domain"].is_null(), "{server}");
    for load in ["workers", "hungry", "surplus", "surplus_work_ms"] {
        assert!(server[load].is_u64(), "{server}");
    }
    assert_eq!(
        ask(&["token", "--uses", "7", "--role", "server"])[0]["token"],
        "a token for a server, for 7"
    );
    assert_eq!(ask(&["logout"])[0]["was_logged_in"], true);
    assert_eq!(ask(&["logout"])[0]["was_logged_in"], false);
}

#[test]
fn shells_complete_subcommands() {
    let shell = Shell::new();
    for kind in ["bash", "zsh", "fish"] {
        let script = shell.ok(&["completions", kind]);
        assert!(
            script.contains("atlas-shell") && script.contains("submit"),
            "{kind}: {script}"
        );
    }
}

#[test]
fn files_travel_there_and_back() {
    let manager = FakeManager::start();
    let shell = logged_in(&manager);
    shell.program();
    let here = shell.here();
    fs::create_dir_all(here.join("data/deep")).unwrap();
    fs::write(here.join("data/deep/one"), vec![b'x'; 300_000]).unwrap();
    fs::write(here.join("two"), "two").unwrap();
    shell.ok(&[
        "submit",
        "./program",
        "--input",
        "data",
        "--input",
        "two",
        "--to",
        "back",
    ]);
    assert_eq!(
        fs::read(here.join("back/data/deep/one")).unwrap().len(),
        300_000
    );
    assert_eq!(fs::read(here.join("back/two")).unwrap(), b"two");
    shell.ok(&["output", "1", "--to", "again"]);
    assert_eq!(fs::read(here.join("again/two")).unwrap(), b"two");
    let (code, error) = shell.fails(&["submit", "./program", "--input", "three"]);
    assert!(code == 1 && error.contains("three"), "{code}: {error}");
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let manager = FakeManager::start();
    let shell = logged_in(&manager);
    shell.program();
    let (code, error) = shell.fails(&["submit", "./program", "--", "fail"]);
    assert!(
        code == 70 && error.contains("failed: it panicked"),
        "{code}: {error}"
    );
    let (code, error) = shell.fails(&["submit", "./program", "--name", "refused"]);
    assert!(
        code == 77 && error.contains("no job of this name is let in"),
        "{code}: {error}"
    );
    assert_eq!(
        shell.ok(&["submit", "-d", "./program", "--", "hang"]),
        "2\n"
    );
    let (code, error) = shell.fails(&["kill", "99", "2"]);
    assert!(
        code == 77 && error.contains("cannot kill job 99"),
        "{code}: {error}"
    );
    assert_eq!(shell.fails(&["wait", "2"]).0, 137);
    let lose = ["submit", "--reconnect", "0s", "./program", "--", "lose"];
    let (code, error) = shell.fails(&lose);
    assert!(
        code == 69 && error.contains("atlas-shell output 3 --follow"),
        "{code}: {error}"
    );
    let (code, error) = shell.fails(&["submit", "./nothing"]);
    assert!(
        code == 2 && error.contains("nothing is not there"),
        "{code}: {error}"
    );
    assert_eq!(shell.fails(&["submit"]).0, 2);
    assert_eq!(shell.fails(&["token"]).0, 77);
    drop(manager);
}

#[test]
fn an_administrator_asks_for_tokens_as_on_the_managers_machine() {
    let manager = FakeManager::start();
    let shell = Shell::new();
    let login = shell.ok(&["login", "--json", &manager.token(Role::Admin)]);
    assert_eq!(objects(&login)[0]["role"], "admin");
    assert_eq!(shell.ok(&["token"]), "a token for a server, for 1\n");
    let line = ["token", "--role", "client", "--ttl", "5min", "--uses", "7"];
    assert_eq!(shell.ok(&line), "a token for a client, for 7\n");
    // It is as a client else.
    shell.program();
    shell.ok(&["submit", "./program"]);
}

#[test]
fn who_is_not_logged_in_is_told_what_to_do() {
    let shell = Shell::new();
    for command in [
        &["ps"][..],
        &["output", "1"],
        &["wait", "1"],
        &["kill", "1"],
        &["servers"],
    ] {
        let (code, error) = shell.fails(command);
        assert!(
            code == 77 && error.contains("atlas-shell login TOKEN"),
            "{code}: {error}"
        );
    }
    shell.program();
    let (code, error) = shell.fails(&["submit", "--detach", "./program"]);
    assert!(
        code == 2 && error.contains("embedded cluster"),
        "{code}: {error}"
    );
    let (code, error) = shell.fails(&["login", "hello"]);
    assert!(
        code == 1 && error.contains("this is no join token"),
        "{code}: {error}"
    );
    let manager = FakeManager::start();
    let (code, error) = shell.fails(&["login", &manager.token(Role::Server)]);
    assert!(
        code == 1 && error.contains("lets in a server"),
        "{code}: {error}"
    );
    let token = manager.token(Role::Client);
    shell.ok(&["login", &token]);
    let (code, error) = shell.fails(&["login", &token]);
    assert!(code == 77 && error.contains("used up"), "{code}: {error}");
    // The first login is still there.
    shell.ok(&["ps"]);
    assert_eq!(shell.ok(&["logout"]), "logged out\n");
    assert_eq!(shell.fails(&["ps"]).0, 77);
}

#[test]
fn a_login_is_renewed_when_it_is_time() {
    let manager = FakeManager::start();
    let shell = Shell::new();
    let state = shell.folder.path().join("state/shell");
    let folder = StateFolder::find(Some(state), |_| None).unwrap();
    let age = LEAF_LIFETIME * 3 / 4;
    folder.save(&manager.login(age)).unwrap();
    let old = folder.load(std::time::SystemTime::now()).unwrap().identity;
    shell.ok(&["ps"]);
    assert_eq!(*manager.shared.renewals.lock().unwrap(), 1);
    let new = folder.load(std::time::SystemTime::now()).unwrap().identity;
    assert_eq!(new.peer(), old.peer());
    assert!(new.ends_at() > old.ends_at() + LEAF_LIFETIME / 2);
    shell.ok(&["ps"]);
    assert_eq!(*manager.shared.renewals.lock().unwrap(), 1);
}

/// When the login that is saved ends.
fn login_ends(folder: &StateFolder) -> SystemTime {
    let login = folder.load(SystemTime::now()).unwrap();
    login.identity.ends_at()
}

#[test]
fn commands_that_go_on_outlive_the_certificate_that_they_began_with() {
    // Long enough for a slow machine to renew in the last third of it.
    let manager = FakeManager::start_with(Duration::from_secs(9));
    let shell = Shell::new();
    let folder = shell.folder.path().join("state/shell");
    let folder = StateFolder::find(Some(folder), |_| None).unwrap();
    folder.save(&manager.login(Duration::ZERO)).unwrap();
    let first = login_ends(&folder);
    let (submit, mut out) = followed(&shell);
    let begin = |line: &[&str]| {
        let mut command = shell.command(line);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let others = [begin(&["wait", "1"]), begin(&["output", "1", "--follow"])];
    let mut children: Vec<Child> = [submit].into_iter().chain(others).collect();
    while SystemTime::now() < first + Duration::from_secs(3) {
        let still = children
            .iter_mut()
            .all(|child| child.try_wait().unwrap().is_none());
        assert!(still, "one of them has given up");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Nobody else has connected since.
    assert!(login_ends(&folder) > first);
    assert!(*manager.shared.renewals.lock().unwrap() >= 1);
    shell.ok(&["kill", "1"]);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let ended = said(children);
    let codes: Vec<_> = ended.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [Some(137), Some(137), Some(0)], "{ended:?}");
    for (_, error) in &ended {
        assert!(error.contains("connected again"), "{ended:?}");
    }
}

/// What they ended with and said to people, once they have ended.
fn said(children: Vec<Child>) -> Vec<(Option<i32>, String)> {
    let ended = children.into_iter().map(|child| {
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), error)
    });
    ended.collect()
}

#[test]
fn a_job_is_not_looked_for_in_another_domain() {
    let (manager, other) = (
        FakeManager::start(),
        FakeManager::start_in("bio.example.edu"),
    );
    let shell = logged_in(&manager);
    let (child, _out) = followed(&shell);
    shell.ok(&["login", &other.token(Role::Client)]);
    drop(manager);
    let ended = said(vec![child]);
    let (code, error) = &ended[0];
    assert_eq!(*code, Some(77), "{error}");
    assert!(
        error.contains("logged in to bio.example.edu now, and no longer to cs.example.edu"),
        "{error}"
    );
}

/// A job that goes on, once it has printed something.
fn followed(shell: &Shell) -> (Child, BufReader<std::process::ChildStdout>) {
    shell.program();
    let mut command = shell.command(&["submit", "./program", "--", "hang"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ran hang\n");
    (child, out)
}

fn interrupt(child: &Child) {
    let kill = format!("kill -INT {}", child.id());
    let killed = Command::new("sh").args(["-c", &kill]).status();
    assert!(killed.unwrap().success());
}

#[test]
fn ctrl_c_twice_kills_the_job() {
    let manager = FakeManager::start();
    let shell = logged_in(&manager);
    let (mut child, _out) = followed(&shell);
    interrupt(&child);
    let mut error = BufReader::new(child.stderr.take().unwrap());
    let mut said = Vec::new();
    while !said.ends_with(b"--follow`\n") {
        assert_ne!(error.read_until(b'\n', &mut said).unwrap(), 0);
    }
    interrupt(&child);
    error.read_to_end(&mut said).unwrap();
    assert_eq!(
        child.wait().unwrap().code(),
        Some(137),
        "{}",
        String::from_utf8_lossy(&said)
    );
    let jobs = objects(&shell.ok(&["ps", "-a", "--json"]));
    assert_eq!(jobs[0]["state"], "killed");
}

#[test]
fn ctrl_c_once_detaches() {
    let manager = FakeManager::start();
    let shell = logged_in(&manager);
    let (mut child, _out) = followed(&shell);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let jobs = objects(&shell.ok(&["ps", "--json"]));
    assert_eq!(jobs[0]["state"], "running");
}

#[test]
fn a_job_is_followed_over_a_broken_connection() {
    let manager = FakeManager::start();
    let shell = logged_in(&manager);
    shell.program();
    let output = shell.run(&["submit", "./program", "--", "lose"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "ran lose\nand more\n"
    );
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("connecting again") && error.contains("connected again"),
        "{error}"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn regression_a_job_whose_answer_was_lost_is_asked_for_again_and_is_the_same() {
    let manager = FakeManager::start();
    let shell = logged_in(&manager);
    shell.program();
    let output = shell.run(&["submit", "./program", "--", "lose-answer"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(error.contains("connected again"), "{error}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ran lose-answer\n");
    assert_eq!(objects(&shell.ok(&["ps", "--all", "--json"])).len(), 1);
    // Another one is another job, though all else is the same.
    shell.ok(&["submit", "./program", "--", "lose-answer"]);
    assert_eq!(objects(&shell.ok(&["ps", "--all", "--json"])).len(), 2);
    // Who has no patience is told.
    let line = [
        "submit",
        "--reconnect",
        "0s",
        "./program",
        "--",
        "lose-answer",
    ];
    let (code, error) = shell.fails(&line);
    assert!(
        code == 69 && error.contains("cannot submit program"),
        "{code}: {error}"
    );
}

#[test]
fn a_job_whose_output_nobody_reads_is_left_to_itself() {
    let manager = FakeManager::start();
    let shell = logged_in(&manager);
    shell.program();
    let mut command = shell.command(&["submit", "./program", "--", "hang"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let jobs = objects(&shell.ok(&["ps", "--json"]));
    assert_eq!(jobs[0]["state"], "running");
}
