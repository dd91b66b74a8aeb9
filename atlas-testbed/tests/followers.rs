//! Who waits for jobs, and who reads what they print, to their end, whatever becomes of the manager meanwhile.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;

use atlas_testbed::{Cluster, Manager, Running, Server, Shell, code, program, wait_until};

fn domain() -> (Cluster, Manager, Vec<Server>, Shell) {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let servers = cluster.servers(&manager, 1);
    let shell = cluster.login(&manager);
    (cluster, manager, servers, shell)
}

/// A job that prints so many lines, one after the other, while others look.
fn steps(shell: &Shell, count: u64) -> (u64, String) {
    let args = ["steps", &count.to_string(), "100"];
    let number = shell.detach(&[], program("testbed-job"), args);
    let lines = (0..count).map(|index| format!("step {index}: {}\n", 4 * index + 1));
    (number, lines.collect())
}

fn wait_for_line(running: &Running, line: &str) {
    wait_until(line, || {
        String::from_utf8(running.stdout()).unwrap().contains(line)
    });
}

/// It has gone well, and printed this.
fn assert_printed(ended: Running, expected: &str) -> String {
    let ended = ended.wait();
    let error = String::from_utf8(ended.stderr.clone()).unwrap();
    assert_eq!(code(&ended), 0, "{error}");
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), expected);
    error
}

#[test]
fn output_is_followed_to_the_jobs_end() {
    let (_cluster, _manager, _servers, shell) = domain();
    let (number, lines) = steps(&shell, 40);
    let followed = shell.begin(["output", &number.to_string(), "--follow"]);
    // That far, the job is not at its end.
    wait_for_line(&followed, "step 1: 5\n");
    assert_eq!(shell.job(number)["state"], "running");
    // Who does not follow is told what there is now.
    let now = shell.ok(["output", &number.to_string()]);
    assert!(
        now.starts_with("step 0: 1\n") && lines.starts_with(&now) && now != lines,
        "{now}"
    );
    assert_printed(followed, &lines);
    assert_eq!(shell.job(number)["state"], "exited");
    assert_eq!(shell.ok(["output", &number.to_string()]), lines);
    // Of a job that has ended, there is nothing to follow.
    let followed = shell.begin(["output", &number.to_string(), "--follow"]);
    assert_printed(followed, &lines);
}

#[test]
fn output_is_followed_beyond_the_managers_end() {
    let (_cluster, mut manager, _servers, shell) = domain();
    let (number, lines) = steps(&shell, 30);
    let followed = shell.begin(["output", &number.to_string(), "--follow", "--to", "left"]);
    wait_for_line(&followed, "step 1: 5\n");
    manager.kill();
    manager.restart();
    wait_for_line(&followed, "step 6: 25\n");
    // It says goodbye.
    manager.stop();
    manager.restart();
    let said = assert_printed(followed, &lines);
    assert_eq!(said.matches("connected again").count(), 2, "{said}");
    assert!(said.contains("has left no files"), "{said}");
}

#[test]
fn jobs_are_waited_for_beyond_the_managers_end() {
    let (_cluster, mut manager, _servers, shell) = domain();
    let job = program("testbed-job");
    let ended = shell.detach(&[], &job, ["code", "0"]);
    let folder = shell.here().join("held");
    fs::create_dir(&folder).unwrap();
    let held = shell.detach(&[], &job, ["hold", "1", folder.to_str().unwrap()]);
    wait_until("the job runs", || {
        fs::read_dir(&folder).unwrap().count() == 1
    });
    let waiting = shell.begin(["wait", &ended.to_string(), &held.to_string()]);
    // It waits for the second one then.
    wait_for_line(&waiting, &format!("job {ended} (testbed-job): done\n"));
    manager.kill();
    manager.restart();
    manager.stop();
    manager.restart();
    fs::write(folder.join("go"), "").unwrap();
    let lines = [ended, held].map(|number| format!("job {number} (testbed-job): done\n"));
    assert_printed(waiting, &lines.concat());

    // With no patience, it is as it was.
    let folder = shell.here().join("second");
    fs::create_dir(&folder).unwrap();
    let held = shell.detach(&[], &job, ["hold", "1", folder.to_str().unwrap()]);
    wait_until("the job runs", || {
        fs::read_dir(&folder).unwrap().count() == 1
    });
    let line = ["wait", "--reconnect", "0s"];
    let numbers = [ended, held].map(|number| number.to_string());
    let waiting = shell.begin(line.into_iter().chain(numbers.iter().map(String::as_str)));
    wait_for_line(&waiting, &format!("job {ended} (testbed-job): done\n"));
    manager.kill();
    let ended = waiting.wait();
    let error = String::from_utf8(ended.stderr.clone()).unwrap();
    assert_eq!(code(&ended), 69, "{error}");
    assert!(error.contains(&format!("job {held}")), "{error}");
}
