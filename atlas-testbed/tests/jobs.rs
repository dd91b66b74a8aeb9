//! What a job is given and what it gives, in one domain: arguments, inputs, output, exit codes, files; and jobs beside each other.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use atlas_testbed::{Cluster, Manager, Server, ServerOptions, Shell, code, program, wait_until};

/// A domain with so many servers of one worker each, and somebody who is logged in.
struct Domain {
    shell: Shell,
    servers: Vec<Server>,
    manager: Manager,
    cluster: Cluster,
}

impl Domain {
    fn new(servers: u64) -> Self {
        let cluster = Cluster::new();
        let manager = cluster.root("example.edu");
        Self {
            servers: cluster.servers(&manager, servers),
            shell: cluster.login(&manager),
            manager,
            cluster,
        }
    }

    /// A folder where tasks meet.
    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.shell.here().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn wait_for_tasks(&self, folder: &std::path::Path, tasks: usize) {
        wait_until("the tasks run", || {
            fs::read_dir(folder).unwrap().count() >= tasks
        });
    }
}

fn job() -> PathBuf {
    program("testbed-job")
}

fn bytes_of_all_kinds(step: u8) -> Vec<u8> {
    (0..=u8::MAX)
        .map(|byte| byte.wrapping_mul(3).wrapping_add(step))
        .collect()
}

#[test]
fn output_arrives_byte_by_byte() {
    let domain = Domain::new(1);
    let printed = domain.shell.submit(job(), ["print"]);
    assert_eq!(code(&printed), 0);
    let lines: String = (0..1000).map(|number| format!("line {number}\n")).collect();
    let out = [&bytes_of_all_kinds(0)[..], lines.as_bytes(), b"nor here"].concat();
    assert!(
        printed.stdout == out,
        "{:?}",
        String::from_utf8_lossy(&printed.stdout)
    );
    let err = [&bytes_of_all_kinds(1)[..], b"no newline at the end"].concat();
    assert!(
        printed.stderr == err,
        "{:?}",
        String::from_utf8_lossy(&printed.stderr)
    );

    // Again for who asks later.
    let again = domain.shell.run(["output", "1"]);
    assert!(again.stdout == out && again.stderr == err);
}

#[test]
fn however_main_ends_the_shell_ends() {
    let Domain { shell, .. } = &Domain::new(1);
    for given in [0, 1, 7, 77, 255] {
        let ended = shell.submit(job(), ["code", &given.to_string()]);
        assert_eq!(code(&ended), given);
    }
    let left = shell.submit(job(), ["exit", "7"]);
    assert_eq!(
        (code(&left), &left.stdout[..]),
        (7, &b"about to leave\n"[..])
    );
    let error = shell.submit(job(), ["error"]);
    assert_eq!(code(&error), 1);
    assert_eq!(error.stderr, b"Error: \"main returns this error\"\n");
    assert_eq!(shell.job(1)["exit_code"], 0);
    assert_eq!(shell.job(6)["exit_code"], 7);
}

#[test]
fn inputs_arrive_read_only_under_their_last_names() {
    let Domain { shell, .. } = &Domain::new(1);
    let one = shell.write("data/one.txt", "first\n");
    shell.write("folder/deep/two.txt", "second\n");
    shell.write("folder/three.bin", [0xff, 0x00, b'\n']);
    let folder = shell.here().join("folder");
    let (one, folder) = (one.to_str().unwrap(), folder.to_str().unwrap());
    let job = job();
    let program = job.to_str().unwrap();
    let line = [
        "submit", "--quiet", "--input", one, "--input", folder, program, "--",
    ];
    let files = ["one.txt", "folder/deep/two.txt", "folder/three.bin"];
    let read = shell.run([&line[..], &["read"], &files[..]].concat());
    let error = String::from_utf8_lossy(&read.stderr).into_owned();
    assert_eq!(code(&read), 0, "{error}");
    let expected =
        b"one.txt 444 first\nfolder/deep/two.txt 444 second\nfolder/three.bin 444 \xff\0\n";
    assert!(
        read.stdout == expected,
        "{}",
        String::from_utf8_lossy(&read.stdout)
    );
    // Whoever submits keeps what they had.
    let mode = fs::metadata(one).unwrap().permissions().mode();
    assert_ne!(mode & 0o200, 0);
    let back: Vec<_> = fs::read_dir(shell.here()).unwrap().flatten().collect();
    assert_eq!(back.len(), 2, "{back:?}");
}

#[test]
fn files_come_back() {
    let Domain { shell, .. } = &Domain::new(1);
    assert_eq!(code(&shell.submit(job(), ["files"])), 0);
    let read = |name: &str| fs::read(shell.here().join(name)).unwrap();
    assert_eq!(read("made/deep/bytes"), bytes_of_all_kinds(0));
    assert_eq!(read("made/empty"), b"");
    assert_eq!(read("top.txt"), b"made by the job\n");
}

#[test]
fn who_detaches_comes_back_for_the_result() {
    let Domain { shell, .. } = &Domain::new(1);
    let number = shell.detach(&["--name", "my files"], job(), ["files"]);
    let waited = shell.wait(number);
    assert_eq!(code(&waited), 0);
    let text = String::from_utf8(waited.stdout).unwrap();
    assert_eq!(text, format!("job {number} (my files): done\n"));
    assert_eq!(fs::read_dir(shell.here()).unwrap().count(), 0);
    shell.ok(["output", &number.to_string(), "--to", "here"]);
    let top = fs::read_to_string(shell.here().join("here/top.txt"));
    assert_eq!(top.unwrap(), "made by the job\n");
    assert_eq!(shell.job(number)["files"]["count"], 3);

    let failing = shell.detach(&[], job(), ["code", "9"]);
    assert_eq!(code(&shell.wait(failing)), 9);
}

#[test]
fn a_killed_job_ends_and_its_workers_are_free() {
    let domain = Domain::new(2);
    let shell = &domain.shell;
    let folder = domain.folder("held");
    let held = ["hold", "2", folder.to_str().unwrap()];
    let number = shell.detach(&[], job(), held);
    domain.wait_for_tasks(&folder, 2);
    assert_eq!(shell.job(number)["state"], "running");
    shell.ok(["kill", &number.to_string()]);
    assert_eq!(code(&shell.wait(number)), 137);
    assert_eq!(shell.job(number)["state"], "killed");
    // Both workers are needed.
    let folder = domain.folder("met");
    let met = shell.submit(job(), ["meet", "2", folder.to_str().unwrap()]);
    assert_eq!(met.stdout, b"sum 3, 2 processes\n");
    let unknown = shell.run(["kill", "99"]);
    assert_eq!(code(&unknown), 77);
    let error = String::from_utf8(unknown.stderr).unwrap();
    assert!(error.contains("no job 99"), "{error}");
}

#[test]
fn jobs_share_a_server() {
    let cluster = Cluster::new();
    let manager = cluster.root("example.edu");
    let options = ServerOptions {
        workers: 3,
        ..ServerOptions::default()
    };
    let _server = cluster.server(&manager, options);
    manager.wait_for_workers(3);
    let shells = [(); 3].map(|()| cluster.login(&manager));
    // Each has a worker of its own while all three wait.
    let folder = shells[0].here().join("all");
    fs::create_dir(&folder).unwrap();
    let held = ["hold", "1", folder.to_str().unwrap()];
    let jobs = shells
        .each_ref()
        .map(|shell| shell.begin_submit(job(), held));
    wait_until("all jobs run", || {
        fs::read_dir(&folder).unwrap().count() == 3
    });
    assert_eq!(manager.metrics().get("jobs_running"), 3);
    fs::write(folder.join("go"), "").unwrap();
    for job in jobs {
        assert_eq!(job.wait().stdout, b"sum 1, 1 processes\n");
    }
    assert_eq!(manager.metrics().get("jobs_ended"), 3);
}

#[test]
fn a_job_that_fails_says_why_and_harms_no_other() {
    let domain = Domain::new(2);
    let shell = &domain.shell;
    let folder = domain.folder("held");
    let other = domain.cluster.login(&domain.manager);
    let held = other.begin_submit(job(), ["hold", "1", folder.to_str().unwrap()]);
    domain.wait_for_tasks(&folder, 1);

    for (how, why) in [
        ("panic", &["main panics with this message"][..]),
        (
            "panic-in-task",
            &["a task panics with this message", "fail"],
        ),
        (
            "abort-in-task",
            &["testbed-job was killed by signal 6 (abort)"],
        ),
    ] {
        let failed = shell.submit(job(), [how]);
        assert_eq!(code(&failed), 70, "{how}");
        let error = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(why.iter().all(|why| error.contains(why)), "{how}: {error}");
    }
    let failed = shell.json(["ps", "--all"]);
    let failed = failed.iter().filter(|job| job["state"] == "failed");
    assert_eq!(failed.count(), 3);

    fs::write(folder.join("go"), "").unwrap();
    assert_eq!(held.wait().stdout, b"sum 1, 1 processes\n");
    assert_eq!(domain.manager.metrics().get("servers"), 2);
    assert_eq!(domain.manager.metrics().get("peers_lost_total"), 0);
    assert_eq!(domain.servers.len(), 2);
}

#[test]
fn a_process_that_crashes_once_is_replaced() {
    let domain = Domain::new(1);
    let folder = domain.folder("once");
    let line = ["abort-once", folder.to_str().unwrap()];
    let ended = domain.shell.submit(job(), line);
    let error = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(code(&ended), 0, "{error}");
    // Both processes print it. Whether the first one's had left before it died or not, it arrives once.
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "once\n42\n");
}

/// Of what a daemon runs for a job it has little use afterwards.
#[test]
fn daemons_at_rest_give_back_their_code() {
    let domain = Domain::new(1);
    let pids = [domain.manager.pid(), domain.servers[0].pid()];
    let code_in_memory = |pid: u32| -> u64 {
        let mappings = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let is_code = |line: &&str| line.contains(" r-xp ") && line.contains("/atlas-");
        let mut lines = mappings.lines().skip_while(|line| !is_code(line));
        let held = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        held.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let before = pids.map(code_in_memory);
    let done = domain.shell.submit(job(), ["code", "0"]);
    assert_eq!(code(&done), 0);
    for (pid, before) in pids.into_iter().zip(before) {
        wait_until("a daemon gives its code back", || {
            code_in_memory(pid) < before * 9 / 10
        });
    }
}
