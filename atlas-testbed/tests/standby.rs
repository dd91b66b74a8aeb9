//! A domain with a second manager that stands by: work goes on when the first one dies, and nothing happens when the second does.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use atlas_testbed::{Cluster, Manager, Running, Server, Shell, code, entries, program, wait_until};
use rustix::process::Signal;

/// A domain whose manager has a standby, with two servers of one worker each, and somebody who is logged in.
struct Pair {
    manager: Manager,
    standby: Manager,
    shell: Shell,
    _servers: Vec<Server>,
    cluster: Cluster,
}

impl Pair {
    fn new() -> Self {
        let cluster = Cluster::new();
        let manager = cluster.root("example.edu");
        let standby = cluster.standby(&manager);
        let servers = cluster.servers(&manager, 2);
        manager.wait_for_health("stands by, and 2 children may vote for it");
        let shell = cluster.login(&manager);
        Self {
            manager,
            standby,
            shell,
            _servers: servers,
            cluster,
        }
    }
}

fn acts(manager: &Manager) -> bool {
    manager.health().starts_with("ok\nacts in term")
}

/// From the manager's end, which nobody starts again, until work goes on.
const TAKE_OVER: Duration = Duration::from_secs(5);

#[test]
fn work_goes_on_when_the_manager_dies() {
    let mut pair = Pair::new();
    let done = pair.shell.detach(&[], program("nqueens"), ["6"]);
    assert_eq!(code(&pair.shell.wait(done)), 0);
    let (job, folder) = pair.shell.begin_held("held", 2);

    let killed = Instant::now();
    pair.manager.kill();
    wait_until("the standby acts", || acts(&pair.standby));
    let elected = killed.elapsed();
    // Each engine that begins a task leaves a file.
    wait_until("both tasks run again", || entries(&folder) >= 4);
    let works = killed.elapsed();
    println!("the standby acts after {elected:?}, and work goes on after {works:?}");
    assert!(works <= TAKE_OVER, "{works:?}, elected after {elected:?}");

    fs::write(folder.join("go"), "").unwrap();
    let ended = job.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(code(&ended), 0, "{error}");
    assert_eq!(ended.stdout, b"sum 3, 2 processes\n", "{error}");
    // What ended before is remembered, with its output, and what ended now is told once.
    assert_eq!(pair.shell.ok(["output", "1"]), "6 queens: 4 ways\n");
    assert_eq!(pair.shell.ok(["output", "2"]), "sum 3, 2 processes\n");

    // The one that died does not act when it is back, but stands by in its turn.
    pair.manager.restart_standing_by();
    let follows = pair.manager.health();
    assert!(follows.contains("stands by"), "{follows}");
    pair.standby
        .wait_for_health("stands by, and 2 children may vote for it");
    assert_eq!(pair.manager.metrics().get("acting"), 0);
    assert_eq!(pair.standby.metrics().get("acting"), 1);
    // It lets nodes in, since it has the authority of the domain.
    let other = pair.cluster.login(&pair.standby);
    let again = other.submit(program("nqueens"), ["5"]);
    assert_eq!(again.stdout, b"5 queens: 10 ways\n");
    // And back again.
    pair.standby.kill();
    wait_until("the first one acts again", || acts(&pair.manager));
    let again = other.submit(program("nqueens"), ["7"]);
    assert_eq!(again.stdout, b"7 queens: 40 ways\n");
    assert_eq!(pair.shell.ok(["output", "2"]), "sum 3, 2 processes\n");
}

/// A job of steps that runs on until there is a file `go` in the folder, and what it prints.
fn begin_steps(pair: &Pair, folder: &Path) -> (Running, String) {
    fs::create_dir(folder).unwrap();
    let line = ["steps", "20", "25", folder.to_str().unwrap()];
    let job = pair.shell.begin_submit(program("testbed-job"), line);
    wait_until("the job prints", || !job.stdout().is_empty());
    let lines = (0..20).map(|index| format!("step {index}: {}\n", 4 * index + 1));
    (job, lines.collect())
}

/// A machine that stands still for a minute, and then goes on as if nothing had been: each of the two in its turn, once as soon as
/// the other acts, when nobody else has given it up and it has what was sent to it meanwhile, once after all have.
#[test]
fn a_manager_that_hangs_until_another_acts_does_not_act_any_more() {
    let pair = Pair::new();
    let (first, second) = (&pair.manager, &pair.standby);
    let here = pair.shell.here();
    for (hangs, acting, time, number) in [
        (first, second, Duration::ZERO, 1),
        (second, first, HANGS, 2),
    ] {
        let folder = here.join(number.to_string());
        let (job, expected) = begin_steps(&pair, &folder);
        let frozen = Instant::now();
        hangs.freeze();
        wait_until("the other one acts", || acts(acting));
        sleep(time.saturating_sub(frozen.elapsed()));
        hangs.thaw();
        hangs.wait_for_health("ok\nstands by; ");
        assert_eq!(hangs.metrics().get("acting"), 0);
        fs::write(folder.join("go"), "").unwrap();
        let ended = job.wait();
        let error = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(code(&ended), 0, "{error}");
        assert_eq!(String::from_utf8_lossy(&ended.stdout), expected, "{error}");
        acting.wait_for_health("stands by, and 2 children may vote for it");

        // Who knows only the one that has hung is led to the other.
        let led = pair.shell.elsewhere();
        led.know_only(hangs.address());
        assert_eq!(led.json(["servers"]).len(), 2);
        let jobs = led.json(["ps", "--all"]);
        let exited = jobs.iter().filter(|job| job["exit_code"] == 0);
        assert_eq!((jobs.len(), exited.count()), (number, number));
        assert_eq!(led.ok(["output", &number.to_string()]), expected);
        assert!(!acts(hangs) && acts(acting));
    }
    // The way back was the last one: nobody has begun to act since.
    assert!(first.health().starts_with("ok\nacts in term 3;"));
}

/// A connection is given up by both sides after fifteen seconds, a lease and a vote are over after two, a manager is missed by its
/// servers after ten: after a minute there is nothing that there is not after this.
const HANGS: Duration = Duration::from_secs(16);

#[test]
fn nothing_happens_when_the_standby_is_away() {
    let mut pair = Pair::new();
    let term = pair.manager.health();
    let term = term.split(';').next().unwrap_or_default().to_owned();
    pair.standby.signal(Signal::STOP);
    pair.manager.wait_for_health("nobody stands by");
    let alone = pair.shell.submit(program("nqueens"), ["7"]);
    assert_eq!(alone.stdout, b"7 queens: 40 ways\n");
    pair.standby.signal(Signal::CONT);
    pair.manager
        .wait_for_health("stands by, and 2 children may vote for it");
    pair.standby.kill();
    pair.manager.wait_for_health("nobody stands by");
    let alone = pair.shell.submit(program("nqueens"), ["6"]);
    assert_eq!(alone.stdout, b"6 queens: 4 ways\n");
    pair.standby.restart_standing_by();
    pair.manager
        .wait_for_health("stands by, and 2 children may vote for it");
    let health = pair.manager.health();
    assert!(health.contains(&term), "{health} after {term}");
    assert_eq!(pair.manager.metrics().get("peers_lost_total"), 0);
}

#[test]
fn a_manager_that_is_started_again_at_once_goes_on() {
    let mut pair = Pair::new();
    let (job, folder) = pair.shell.begin_held("held", 2);
    pair.manager.kill();
    pair.manager.restart_standing_by();
    fs::write(folder.join("go"), "").unwrap();
    let ended = job.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    // The second run finds that it need not wait, and may be done in one process.
    assert!(ended.stdout.starts_with(b"sum 3, "), "{error}");
    // Whichever it is, one of the two acts.
    wait_until("one of them acts", || {
        acts(&pair.manager) != acts(&pair.standby)
    });
}

/// As a silent process it would keep its store from a next one, and nobody would start it again.
#[test]
fn regression_a_manager_that_is_to_act_and_cannot_ends_and_says_why() {
    let mut pair = Pair::new();
    let done = pair.shell.detach(&[], program("nqueens"), ["6"]);
    assert_eq!(code(&pair.shell.wait(done)), 0);
    let jobs = pair.standby.state().join("jobs");
    wait_until("the standby has what the job printed", || jobs.exists());
    fs::remove_dir_all(&jobs).unwrap();
    fs::write(&jobs, "in the way").unwrap();
    pair.manager.kill();
    assert_eq!(pair.standby.wait_end().code(), Some(1));
    let log = pair.standby.log();
    let says = "this manager is to act, and cannot: mend that and start it again";
    assert!(log.contains(says), "{log}");
    assert!(log.contains("for jobs' output cannot be used"), "{log}");
    fs::remove_file(&jobs).unwrap();
    // It asks for votes anew.
    pair.standby.restart_standing_by();
    wait_until("the standby acts", || acts(&pair.standby));
    let again = pair.shell.submit(program("nqueens"), ["7"]);
    assert_eq!(again.stdout, b"7 queens: 40 ways\n");
}
