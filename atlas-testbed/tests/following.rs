//! Who follows a job on a real cluster: what is said of its progress, and what Ctrl-C does.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use atlas_testbed::{
    Cluster, Manager, Running, Server, Shell, Signal, code, parent, program, wait_for, wait_until,
};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A domain with servers of one worker, and somebody who is logged in.
struct Domain {
    shell: Shell,
    _servers: Vec<Server>,
    manager: Manager,
    _cluster: Cluster,
}

impl Domain {
    fn new(servers: u64) -> Self {
        let cluster = Cluster::new();
        let manager = cluster.root("example.edu");
        Self {
            shell: cluster.login(&manager),
            _servers: cluster.servers(&manager, servers),
            manager,
            _cluster: cluster,
        }
    }

    /// A job that is held, once its task runs. Also gives the folder where it is released.
    fn held(&self) -> (Running, PathBuf) {
        let folder = self.shell.here().join("held");
        fs::create_dir(&folder).unwrap();
        let held = ["hold", "1", folder.to_str().unwrap()];
        let job = self.shell.begin_submit(program("testbed-job"), held);
        wait_for_tasks(&folder, 1);
        (job, folder)
    }
}

fn wait_for_tasks(folder: &std::path::Path, tasks: usize) {
    wait_until("the tasks run", || {
        fs::read_dir(folder).unwrap().count() >= tasks
    });
}

fn interrupt(job: &Running, until_it_says: &str) {
    job.signal(Signal::INT);
    wait_until(until_it_says, || {
        String::from_utf8_lossy(&job.stderr()).contains(until_it_says)
    });
}

#[test]
fn ctrl_c_once_leaves_the_job_running_and_its_result_to_be_fetched() {
    let domain = Domain::new(1);
    let (job, folder) = domain.held();
    interrupt(&job, "press Ctrl-C again to kill it");
    let left = job.wait();
    assert_eq!(code(&left), 130);
    let said = String::from_utf8_lossy(&left.stderr).into_owned();
    assert!(said.ends_with("job 1 goes on detached\n"), "{said}");

    let shell = &domain.shell;
    assert_eq!(shell.job(1)["state"], "running");
    let waiting = shell.begin(["wait", "1"]);
    fs::write(folder.join("go"), "").unwrap();
    assert_eq!(code(&waiting.wait()), 0);
    assert_eq!(shell.ok(["output", "1"]), "sum 1, 1 processes\n");
}

#[test]
fn ctrl_c_twice_kills_the_job_on_its_servers() {
    let domain = Domain::new(1);
    let (job, folder) = domain.held();
    let engine = engine(&folder);
    interrupt(&job, "press Ctrl-C again to kill it");
    job.signal(Signal::INT);
    let killed = job.wait();
    assert_eq!(code(&killed), 137);
    let said = String::from_utf8_lossy(&killed.stderr).into_owned();
    assert!(said.contains("killing job 1\n"), "{said}");
    assert_eq!(domain.shell.job(1)["state"], "killed");
    assert_eq!(domain.manager.metrics().get("jobs_running"), 0);
    wait_until("its process is gone", || parent(engine).is_none());
}

/// The process that runs the one task that is held.
fn engine(folder: &std::path::Path) -> u32 {
    let held = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    let name = held.file_name().into_string().unwrap();
    name.strip_prefix("1-").unwrap().parse().unwrap()
}

#[test]
fn ctrl_c_kills_a_job_that_cannot_go_on_without_the_shell() {
    let cluster = Cluster::new();
    let home = cluster.stranger().here();
    let folder = home.join("held");
    fs::create_dir(&folder).unwrap();
    let job = program("testbed-job");
    let line = format!("exec atlas-shell submit {} -- hold 1 held", job.display());
    let line = line.replace(" held", &format!(" {}", folder.display()));
    let job = cluster.begin_line(&home, &line);
    wait_for_tasks(&folder, 1);
    let engine = engine(&folder);
    job.signal(Signal::INT);
    let killed = job.wait();
    assert_eq!(code(&killed), 137);
    let said = String::from_utf8_lossy(&killed.stderr).into_owned();
    assert!(said.contains("killing job 1\n"), "{said}");
    assert!(!said.contains("detached"), "{said}");
    wait_until("its process is gone", || parent(engine).is_none());
}

#[test]
fn who_is_logged_in_nowhere_is_told_so_once_and_has_all_processors() {
    let processors = thread::available_parallelism().unwrap();
    let cluster = Cluster::new();
    let home = cluster.stranger().here();
    let folder = home.join("met");
    fs::create_dir(&folder).unwrap();
    let line = format!(
        "exec atlas-shell submit {} -- meet {processors} {}",
        program("testbed-job").display(),
        folder.display()
    );
    let met = cluster.begin_line(&home, &line).wait();
    assert_eq!(
        String::from_utf8_lossy(&met.stderr),
        "atlas-shell: nobody is logged in: the job runs on an embedded cluster, this machine alone\n"
    );
    assert_eq!(code(&met), 0);
    let sum: usize = (1..=processors.get()).sum();
    let expected = format!("sum {sum}, 1 processes\n");
    assert_eq!(String::from_utf8_lossy(&met.stdout), expected);
}

/// A command at a terminal: what it writes to standard error is shown there.
struct AtTerminal {
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl AtTerminal {
    fn start(mut command: Command, stdout: File) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let here = openpt(flags).unwrap();
        grantpt(&here).unwrap();
        unlockpt(&here).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 200,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&here, size).unwrap();
        let terminal: OwnedFd = ioctl_tiocgptpeer(&here, flags).unwrap();
        let child = command.stdout(stdout).stderr(Stdio::from(terminal)).spawn();
        // What is left of the command would keep the terminal open.
        drop(command);
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let to = shown.clone();
        thread::spawn(move || {
            let (mut here, mut buffer) = (File::from(here), [0; 4096]);
            // An error is the end, once nobody has the other side.
            while let Ok(bytes @ 1..) = here.read(&mut buffer) {
                to.lock().unwrap().extend(&buffer[..bytes]);
            }
        });
        Self {
            child: child.unwrap(),
            shown,
        }
    }

    /// All lines of progress so far: what the job has done, where, and how fast.
    fn progress(&self) -> Vec<Progress> {
        let shown = self.shown.lock().unwrap();
        let text = String::from_utf8_lossy(&shown).into_owned();
        text.split(['\r', '\n', '\u{1b}'])
            .filter_map(Progress::read)
            .collect()
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a line like `job 1: 2s, 1234 closures, 2 servers, 2 workers, speed-up 1.9` says.
#[derive(Clone, Debug, PartialEq)]
struct Progress {
    closures: u64,
    servers: u64,
    workers: u64,
    speedup: Option<f64>,
}

impl Progress {
    fn read(line: &str) -> Option<Self> {
        let (_, after) = line.trim_end().split_once("job 1: ")?;
        let parts: Vec<_> = after.split(", ").collect();
        let number = |part: &str| part.split_once(' ')?.0.parse().ok();
        let [_, closures, servers, workers, ref rest @ ..] = parts[..] else {
            return None;
        };
        let speedup = rest.first().and_then(|part| part.strip_prefix("speed-up "));
        Some(Self {
            closures: number(closures)?,
            servers: number(servers)?,
            workers: number(workers)?,
            speedup: speedup.and_then(|speedup| speedup.parse().ok()),
        })
    }
}

#[test]
fn the_line_of_progress_says_what_is_done_by_how_many_and_how_fast() {
    let domain = Domain::new(2);
    let shell = &domain.shell;
    let folder = shell.here().join("burns");
    fs::create_dir(&folder).unwrap();
    let job = program("testbed-job");
    let line = [
        "submit",
        job.to_str().unwrap(),
        "--",
        "burn",
        folder.to_str().unwrap(),
    ];
    let stdout = File::create(shell.here().join("stdout")).unwrap();
    let mut at_terminal = AtTerminal::start(shell.command(line), stdout);
    let both = wait_for("both servers at work", || {
        let progress = at_terminal.progress().into_iter();
        let mut both = progress.filter(|now| now.servers == 2);
        both.find(|now| now.speedup.is_some_and(|speedup| speedup > 0.0))
    });
    assert_eq!(both.workers, 2);
    let more = wait_for("more closures", || {
        let progress = at_terminal.progress();
        progress
            .into_iter()
            .find(|now| now.closures > both.closures)
    });
    // Two workers are no faster than two.
    let speedups = at_terminal.progress().into_iter();
    let fastest = speedups.filter_map(|now| now.speedup).fold(0.0, f64::max);
    assert!(fastest < 2.5, "{fastest}");

    fs::write(folder.join("go"), "").unwrap();
    let ended = wait_for("its end", || at_terminal.child.try_wait().unwrap());
    assert!(ended.success());
    let said = fs::read_to_string(shell.here().join("stdout")).unwrap();
    assert!(said.ends_with(" tasks\n"), "{said}");
    let all = shell.job(1)["closures"].as_u64().unwrap();
    assert!(all >= more.closures, "{more:?}, {all} in the end");
}
