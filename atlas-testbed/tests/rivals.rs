//! Engines that hang while their server is well: what they have is done by others.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use atlas_testbed::{Cluster, ServerOptions, code, program, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// A process that does nothing until this is dropped.
struct Hangs(Pid);

impl Hangs {
    fn new(process: i32) -> Self {
        let process = Pid::from_raw(process).unwrap();
        kill_process(process, Signal::STOP).unwrap();
        Self(process)
    }
}

impl Drop for Hangs {
    fn drop(&mut self) {
        // It may have been killed by its server.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// How many naps each process has had, and which runs `main`.
fn naps(folder: &Path) -> (BTreeMap<i32, usize>, Option<i32>) {
    let (mut naps, mut main) = (BTreeMap::new(), None);
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap();
        match entry.file_name().to_str().unwrap().parse() {
            Ok(process) => drop(naps.insert(process, text.lines().count())),
            Err(_) => main = text.parse().ok(),
        }
    }
    (naps, main)
}

#[test]
fn a_hanging_engine_holds_nothing_up() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let _servers = cluster.servers(&manager, 2);
    manager.wait_for_workers(2);
    let shell = cluster.login(&manager);
    let folder = shell.here().join("naps");
    fs::create_dir(&folder).unwrap();
    let line = ["naps", "64", "200", folder.to_str().unwrap()];
    let job = shell.begin_submit(program("testbed-job"), line);
    let begun = || {
        let (naps, main) = naps(&folder);
        naps.len() == 2 && main.is_some() && naps.values().sum::<usize>() >= 20
    };
    wait_until("a third is done", begun);
    let (so_far, main) = naps(&folder);
    let other = so_far.keys().find(|process| Some(**process) != main);
    let hangs = Hangs::new(*other.unwrap());
    let at = Instant::now();
    let ended = job.wait();
    let took = at.elapsed();
    drop(hangs);
    let error = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(
        (code(&ended), &ended.stdout[..]),
        (0, &b"64 naps\n"[..]),
        "{error}"
    );
    // What is left takes one worker nine seconds.
    assert!(took < Duration::from_secs(20), "{took:?}");
    let (all, _) = naps(&folder);
    let all: usize = all.values().sum();
    println!("{took:?} after the other hung, {} naps twice", all - 64);
    assert!(all <= 64 + 3, "{all} naps");
}

/// Of what ran in it nothing was measured, so that nobody takes it for late.
#[test]
fn regression_an_engine_that_gives_no_sign_of_life_is_ended() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let options = || ServerOptions {
        engine_timeout: Some(2),
        log: Some("warn"),
        ..ServerOptions::default()
    };
    let servers = [(); 2].map(|()| cluster.server(&manager, options()));
    manager.wait_for_workers(2);
    let shell = cluster.login(&manager);
    let folder = shell.here().join("naps");
    fs::create_dir(&folder).unwrap();
    let line = ["naps", "3", "3000", folder.to_str().unwrap()];
    let job = shell.begin_submit(program("testbed-job"), line);
    let begun = || {
        let (naps, main) = naps(&folder);
        naps.len() == 2 && main.is_some()
    };
    wait_until("each has had one", begun);
    let (so_far, main) = naps(&folder);
    let other = so_far.keys().find(|process| Some(**process) != main);
    // Its result, and the third nap, may be with either: whoever hangs is missed.
    let _hangs = [*other.unwrap(), main.unwrap()].map(Hangs::new);
    let ended = job.wait();
    let error = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(
        (code(&ended), &ended.stdout[..]),
        (0, &b"3 naps\n"[..]),
        "{error}"
    );
    for server in &servers {
        let log = server.log();
        assert!(log.contains("has given no sign of life"), "{log}");
    }
}
