//! Daemons that are killed or frozen at moments that nobody has chosen, again and again: the answer is that of a quiet run, and
//! output arrives once.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::thread::sleep;
use std::time::{Duration, Instant};

use atlas_testbed::{
    Cluster, Metrics, RECOMPUTED_MAX, Relay, Running, Server, ServerOptions, Shell, Steps,
    TokenOptions, assert_steps, code, parent, program, wait_for, wait_until,
};

/// Moments that are the same in each run of a test (Marsaglia's xorshift).
struct Moments(u64);

impl Moments {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn within(&mut self, time: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(time.as_millis()).unwrap().max(1)))
    }
}

/// A program, and what it is to leave behind: standard output up to where a time may stand, and a file.
struct Program {
    name: &'static str,
    args: &'static [&'static str],
    file: Option<&'static str>,
}

const PROGRAMS: [Program; 3] = [
    Program {
        name: "nqueens",
        args: &["12"],
        file: None,
    },
    Program {
        name: "uts",
        args: &["t3"],
        file: None,
    },
    Program {
        name: "raytrace",
        args: &[
            "--width",
            "64",
            "--height",
            "48",
            "--samples",
            "8",
            "--quiet",
            "--out",
            "picture.png",
        ],
        file: Some("picture.png"),
    },
];

fn left(shell: &Shell, program: &Program, ended: &Output) -> (String, Option<Vec<u8>>) {
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(code(ended), 0, "{}: {error}", program.name);
    let printed = String::from_utf8(ended.stdout.clone()).unwrap();
    let file = program.file.map(|file| {
        let path = shell.here().join(file);
        let content = fs::read(&path).unwrap();
        fs::remove_file(path).unwrap();
        content
    });
    (printed, file)
}

#[test]
fn any_server_may_be_killed_at_any_moment() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let mut servers = cluster.servers(&manager, 4);
    let shell = cluster.login(&manager);
    let mut moments = Moments(0x2545_f491_4f6c_dd1d);
    let quiet = PROGRAMS.each_ref().map(|one| {
        let start = Instant::now();
        let ended = shell.submit(program(one.name), one.args);
        (left(&shell, one, &ended), start.elapsed())
    });
    for run in 0..RUNS {
        let (one, (expected, took)) = (&PROGRAMS[run % 3], &quiet[run % 3]);
        let job = shell.begin_submit(program(one.name), one.args);
        sleep(moments.within(*took));
        let place = usize::try_from(moments.below(4)).unwrap();
        servers[place].kill();
        let ended = job.wait();
        assert!(
            left(&shell, one, &ended) == *expected,
            "run {run}: {} leaves something else, such as {:?}",
            one.name,
            String::from_utf8_lossy(&ended.stdout)
        );
        servers[place].restart();
        manager.wait_for_workers(4);
    }
}

/// How often each task was begun that notes so in the folder, and how many were in each process.
fn begun(folder: &Path) -> (BTreeMap<u64, u64>, BTreeMap<u32, u64>) {
    let (mut tasks, mut processes) = (BTreeMap::new(), BTreeMap::new());
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if let Some((task, process)) = name.split_once('-') {
            *tasks.entry(task.parse().unwrap()).or_default() += 1;
            *processes.entry(process.parse().unwrap()).or_default() += 1;
        }
    }
    (tasks, processes)
}

/// A job of many tasks that each note in a folder, which is made, that they have begun.
fn begin_weighing(shell: &Shell, folder: &Path) -> Running {
    fs::create_dir(folder).unwrap();
    let (count, ms) = (WEIGHED.to_string(), WEIGHED_MS.to_string());
    let line = ["weigh-halves", &count, "8", &ms, folder.to_str().unwrap()];
    shell.begin_submit(program("testbed-job"), line)
}

/// The one whose engine this process is.
fn server_of(servers: &mut [Server], process: u32) -> &mut Server {
    let daemon = parent(process).unwrap();
    let mut servers = servers.iter_mut();
    servers.find(|server| server.pid() == daemon).unwrap()
}

/// What a server had done is recorded but for an interval, and what its borrowers did until it was missed is kept.
#[test]
fn what_is_done_again_after_a_servers_death_is_bounded() {
    // The one where most was done has `main`.
    for (run, most) in [("with main", true), ("without", false)] {
        let cluster = Cluster::new();
        let manager = cluster.root("example.edu");
        let mut servers = cluster.servers(&manager, 4);
        let shell = cluster.login(&manager);
        let folder = shell.here().join(run);
        let job = begin_weighing(&shell, &folder);
        let processes = wait_for("most tasks are begun, in several processes", || {
            let (tasks, processes) = begun(&folder);
            let most = tasks.len() as u64 >= WEIGHED * 7 / 10;
            (most && processes.len() > 1).then_some(processes)
        });
        let mut by_tasks: Vec<_> = processes.into_iter().collect();
        by_tasks.sort_by_key(|(_, tasks)| *tasks);
        let chosen = if most {
            by_tasks.last()
        } else {
            by_tasks.first()
        };
        server_of(&mut servers, chosen.unwrap().0).kill();
        let ended = job.wait();
        let error = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(code(&ended), 0, "{error}");
        assert_eq!(
            String::from_utf8_lossy(&ended.stdout),
            format!("{WEIGHED} right\n")
        );
        let (tasks, _) = begun(&folder);
        assert_eq!(tasks.len() as u64, WEIGHED);
        let again: u64 = tasks.values().map(|times| times - 1).sum();
        let again = Duration::from_millis(again * WEIGHED_MS);
        println!("the server {run}: {again:?} of work is done again");
        assert!(again <= RECOMPUTED_MAX, "the server {run}: {again:?}");
    }
}

/// Others had their ways to the dead process, and asked for work there until that was silent for long.
#[test]
fn regression_a_server_that_was_killed_and_is_back_is_taken_from() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let mut servers = cluster.servers(&manager, 2);
    let shell = cluster.login(&manager);
    let begin = |life: &str| {
        let folder = shell.here().join(life);
        let job = begin_weighing(&shell, &folder);
        let processes = wait_for("a part of the tasks is begun", || {
            let (tasks, processes) = begun(&folder);
            (tasks.len() as u64 >= WEIGHED / 2).then_some(processes)
        });
        assert_eq!(processes.len(), 2, "{life} life: {processes:?}");
        (job, processes)
    };
    let (job, processes) = begin("first");
    let by_tasks = processes.into_iter().max_by_key(|(_, tasks)| *tasks);
    let killed = server_of(&mut servers, by_tasks.unwrap().0);
    killed.kill();
    assert_eq!(code(&job.wait()), 0);
    killed.restart();
    manager.wait_for_workers(2);
    let (job, _) = begin("second");
    assert_eq!(code(&job.wait()), 0);
}

/// When a manager is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The jobs run, and nothing else happens.
    Quiet,
    /// It was started just now, and its servers come back.
    Rejoining,
    /// One more job is being submitted.
    Submitting,
    /// That one is about to end.
    Ending,
}

impl Moment {
    /// It is somewhere in this time.
    fn lasts(self) -> Duration {
        Duration::from_millis(match self {
            Self::Quiet => 2500,
            Self::Rejoining => 700,
            Self::Submitting => 500,
            Self::Ending => 100,
        })
    }
}

/// A job whose last step waits for a file in the folder.
fn begin_short(shell: &Shell, folder: &Path) -> Running {
    let steps = SHORT_STEPS.to_string();
    let line = ["steps", &steps, "20", folder.to_str().unwrap()];
    shell.begin_submit(program("testbed-job"), line)
}

/// The job has made all its steps but the last. Who has lost the manager before anything was asked of it says so, and is to try again.
fn submitted(shell: &Shell, folder: &Path, mut job: Running) -> Running {
    let mut again = 0;
    wait_until("all steps are made but the last", || {
        let said = String::from_utf8_lossy(&job.stderr()).into_owned();
        if !said.is_empty() {
            assert!(!said.contains("cannot submit"), "{said}");
            again += 1;
            job = begin_short(shell, folder);
        }
        job.stdout().ends_with(b"step 1: 5\n")
    });
    println!("who submits has tried {again} times again");
    job
}

/// Three jobs run all the time, and one more is submitted and ends between kills, again and again: none is lost, none is there twice, and
/// nor is what they print.
#[test]
fn a_manager_may_be_killed_again_and_again() {
    let cluster = Cluster::new();
    let mut manager = cluster.root("example.edu");
    // More than three jobs need, so that one more can run.
    let options = ServerOptions {
        workers: 4,
        ..ServerOptions::default()
    };
    let _servers = [(); 3].map(|()| cluster.server(&manager, options));
    manager.wait_for_workers(12);
    let shell = cluster.login(&manager);
    let mut moments = Moments(0x9e37_79b9_7f4a_7c15);
    let jobs = ["first", "second", "third"].map(|name| shell.begin_steps(name));
    wait_until("three jobs run", || {
        jobs.iter().all(|job| !job.processes().is_empty())
    });
    let (mut short, mut longest) = (None, Duration::ZERO);
    for kill in 0..KILLS {
        let moment = MOMENTS[kill % MOMENTS.len()];
        let folder = shell.here().join(format!("short {}", kill / MOMENTS.len()));
        match moment {
            Moment::Quiet | Moment::Rejoining => {}
            Moment::Submitting => {
                fs::create_dir(&folder).unwrap();
                short = Some(begin_short(&shell, &folder));
            }
            Moment::Ending => fs::write(folder.join("go"), "").unwrap(),
        }
        sleep(moments.within(moment.lasts()));
        manager.kill();
        let before = jobs.each_ref().map(Steps::processes);
        let restarted = Instant::now();
        manager.restart();
        if matches!(moment, Moment::Quiet) {
            continue;
        }
        // What the old processes had begun may go on for a while: it is new ones that work for this life of the manager.
        let begins = |(job, before): (&Steps, _)| !job.processes().is_subset(before);
        let goes_on = |metrics: &Metrics| {
            metrics.get("jobs_running") >= 3 && jobs.iter().zip(&before).all(begins)
        };
        wait_until("new processes begin tasks of all jobs", || {
            goes_on(&manager.metrics())
        });
        let took = restarted.elapsed();
        manager.wait_for_workers(12);
        let all = restarted.elapsed();
        println!("{moment:?}: at work after {took:?}, all servers after {all:?}");
        assert!(took <= BACK_AT_WORK, "{moment:?}: {took:?}");
        longest = longest.max(took);
        short = match (moment, short) {
            (Moment::Submitting, Some(job)) => Some(submitted(&shell, &folder, job)),
            (Moment::Ending, Some(job)) => {
                assert_steps(&job.wait(), SHORT_STEPS);
                None
            }
            (_, short) => short,
        };
    }
    println!("at most {longest:?}");
    for job in jobs {
        job.end();
    }
    let ended = shell.json(["ps", "--all"]);
    let exited = ended.iter().filter(|job| job["exit_code"] == 0);
    let all = 3 + KILLS / MOMENTS.len();
    assert_eq!((ended.len(), exited.count()), (all, all));
}

/// The numbers of the steps that each process has made.
fn climbed(folder: &Path) -> BTreeMap<u32, Vec<u64>> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let climbed = entries.map(|entry| {
        let process = entry.file_name().to_str().unwrap().parse().unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        // The last line may be in the middle of being written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let steps = whole.lines().map(|line| line.parse().unwrap());
        (process, steps.collect())
    });
    climbed.collect()
}

#[test]
fn a_long_task_goes_on_at_another_server_from_where_it_has_said_that_it_was() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let mut servers = cluster.servers(&manager, 2);
    let shell = cluster.login(&manager);
    let folder = shell.here().join("climbed");
    fs::create_dir(&folder).unwrap();
    let line = ["climb", "600", "10", folder.to_str().unwrap()];
    let job = shell.begin_submit(program("testbed-job"), line);
    let steps = |process| climbed(&folder).remove(&process).unwrap_or_default();
    let process = wait_for("the task runs", || climbed(&folder).into_keys().next());
    wait_until("a third is done", || steps(process).len() >= 200);
    // Those that it hears of next may be on their way, those after them are not.
    let recorded = || manager.metrics().get("results_recorded_total");
    let before = recorded();
    wait_until("its manager knows of it", || recorded() >= before + 4);
    server_of(&mut servers, process).kill();

    let ended = job.wait();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(code(&ended), 0, "{error}");
    let sum: u64 = (0..600).sum();
    assert_eq!(
        String::from_utf8_lossy(&ended.stdout),
        format!("sum {sum}\n")
    );
    let mut all = climbed(&folder);
    let first = all.remove(&process).unwrap();
    let [next] = &all.into_values().collect::<Vec<_>>()[..] else {
        panic!("one other process has gone on");
    };
    let (from, end) = (next[0], first.len() as u64);
    println!("{end} steps, and then from {from} on");
    assert!(first.iter().copied().eq(0..end) && end < 600, "{first:?}");
    assert!(next.iter().copied().eq(from..600), "{next:?}");
    assert!((200..=end).contains(&from), "from {from} after {end}");
}

#[test]
fn a_manager_that_hangs_for_a_minute_costs_no_job() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let _servers = cluster.servers(&manager, 2);
    let shell = cluster.login(&manager);
    let job = shell.begin_submit(program("testbed-job"), ["steps", "150", "100"]);
    wait_until("the job prints", || !job.stdout().is_empty());
    manager.freeze();
    // Its servers miss it after ten seconds, in the middle of the job; connections are given up after fifteen, also by who waits.
    sleep(Duration::from_secs(60));
    assert!(job.stdout().iter().filter(|byte| **byte == b'\n').count() < 150);
    manager.thaw();
    assert_steps(&job.wait(), 150);
    manager.wait_for_workers(2);
}

#[test]
fn a_server_whose_files_are_damaged_fetches_them_anew() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let mut server = cluster.server(&manager, ServerOptions::default());
    manager.wait_for_workers(1);
    let shell = cluster.login(&manager);
    let queens = || shell.submit(program("nqueens"), ["6"]).stdout;
    assert_eq!(queens(), b"6 queens: 4 ways\n");
    server.kill();
    let damaged = damage(&server.state().join("blobs"));
    assert!(damaged > 0, "the server has kept nothing");
    server.restart();
    manager.wait_for_workers(1);
    assert_eq!(queens(), b"6 queens: 4 ways\n");
    assert!(server.is_running());
}

/// Changes a byte in the middle of each file of a folder, and gives how many there are.
fn damage(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let changed = entries.map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return damage(&path);
        }
        let mut bytes = fs::read(&path).unwrap();
        let Some(middle) = bytes.len().checked_div(2).filter(|_| !bytes.is_empty()) else {
            return 0;
        };
        bytes[middle] ^= 0xff;
        // Blobs are read-only, and may be linked to from elsewhere.
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        1
    });
    changed.sum()
}

#[test]
fn a_way_that_loses_every_tenth_datagram_is_slow_and_no_more() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let relay = Relay::losing(manager.address(), 10).unwrap();
    let address = relay.address().to_string();
    let mut servers: Vec<Server> = Vec::new();
    for _ in 0..2 {
        let server = cluster.server(&manager, ServerOptions::default());
        servers.push(server);
    }
    manager.wait_for_workers(2);
    // One of them reaches its manager by the bad way alone.
    servers[0].stop();
    fs::write(servers[0].state().join("manager"), format!("{address}\n")).unwrap();
    servers[0].restart();
    manager.wait_for_workers(2);
    let shell = cluster.login(&manager);
    let job = shell.begin_submit(program("testbed-job"), ["steps", "40", "50"]);
    assert_steps(&job.wait(), 40);
    let queens = shell.submit(program("nqueens"), ["11"]);
    assert_eq!(queens.stdout, b"11 queens: 2680 ways\n");
}

#[test]
fn who_has_gone_away_fetches_the_output_at_another_machine() {
    let cluster = Cluster::new();
    let mut manager = cluster.root("example.edu");
    let _server = cluster.server(&manager, ServerOptions::default());
    manager.wait_for_workers(1);
    let shell = cluster.login(&manager);
    let job = shell.detach(&[], program("testbed-job"), ["steps", "5", "50"]);
    assert_eq!(code(&shell.wait(job)), 0);
    let elsewhere = shell.elsewhere();
    drop(shell);
    manager.kill();
    manager.restart();
    let printed = elsewhere.ok(["output", &job.to_string()]);
    assert_eq!(printed.lines().count(), 5);
    assert!(printed.ends_with("step 4: 17\n"), "{printed}");
}

#[test]
fn a_store_that_is_torn_is_named_and_a_copy_of_it_serves() {
    let cluster = Cluster::new();
    let mut manager = cluster.root("example.edu");
    let _server = cluster.server(&manager, ServerOptions::default());
    manager.wait_for_workers(1);
    let shell = cluster.login(&manager);
    assert_eq!(
        shell.submit(program("nqueens"), ["6"]).stdout,
        b"6 queens: 4 ways\n"
    );
    assert!(manager.stop().success());
    let store = manager.state().join("manager.redb");
    let whole = fs::read(&store).unwrap();
    fs::write(&store, &whole[..whole.len() / 2]).unwrap();
    let refused = manager.administer(["run", "--listen", "127.0.0.1:0", "--http", "none"]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(
        error.contains("manager.redb") && error.contains("put back a copy"),
        "{error}"
    );
    fs::write(&store, &whole).unwrap();
    manager.restart();
    manager.wait_for_workers(1);
    assert_eq!(shell.job(1)["state"], "exited");
    // Tokens are made as before.
    assert!(!manager.token(&TokenOptions::default()).is_empty());
}

/// Each takes as long as a server's loss is not noticed.
const RUNS: usize = 10;
const KILLS: usize = 20;
const SHORT_STEPS: u64 = 3;
/// Tasks that take so much of a processor each, and together far more than may be done again.
const WEIGHED: u64 = 240;
const WEIGHED_MS: u64 = 50;
/// Each is followed by the next; after the first, nothing is waited for.
const MOMENTS: [Moment; 4] = [
    Moment::Quiet,
    Moment::Rejoining,
    Moment::Submitting,
    Moment::Ending,
];
/// From the moment that its process is started again.
const BACK_AT_WORK: Duration = Duration::from_secs(3);
