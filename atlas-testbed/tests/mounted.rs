//! Jobs that read files by URL by their paths. Where nothing can be mounted, these tests say so and do nothing.
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

mod origin;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use atlas_testbed::{
    Cluster, Manager, Running, Server, ServerOptions, Shell, Signal, code, program, signal, told,
    wait_until,
};
use origin::{COUNTED, Origin, books, noise};
use tempfile::TempDir;

/// A domain with one server.
struct Bed {
    manager: Manager,
    server: Server,
    shell: Shell,
    meeting: PathBuf,
    cluster: Cluster,
}

/// A job that has read the beginnings of some files by their paths, and waits.
struct Held {
    job: Running,
    process: u32,
    mount: PathBuf,
}

impl Bed {
    fn new() -> Self {
        let cluster = Cluster::new();
        let manager = cluster.root("example.edu");
        let server = cluster.server(&manager, ServerOptions::default());
        manager.wait_for_workers(1);
        let shell = cluster.login(&manager);
        let meeting = shell.here().join("meeting");
        fs::create_dir(&meeting).unwrap();
        Self {
            manager,
            server,
            shell,
            meeting,
            cluster,
        }
    }

    /// None, with a note, where nothing can be mounted for the job alone.
    fn begin(&self, urls: &[String]) -> Option<Held> {
        let mut line = vec!["paths".to_owned(), self.meeting.display().to_string()];
        line.extend(urls.iter().cloned());
        let job = self.shell.begin_submit(program("testbed-job"), line);
        let (process, mount) = self.arrived();
        if mount == self.server.mount_at() {
            return Some(Held {
                job,
                process,
                mount,
            });
        }
        let why = fs::read_to_string(self.meeting.join("read")).unwrap_or_default();
        eprintln!("skipped: nothing can be mounted here for one job alone ({why})");
        self.go();
        job.wait();
        None
    }

    /// Waits until the job has read, and tells in which process, and where.
    fn arrived(&self) -> (u32, PathBuf) {
        let read = self.meeting.join("read");
        wait_until("the job has begun to read", || read.exists());
        let note = fs::read_to_string(&read).unwrap();
        let (process, mount) = note.split_once(' ').unwrap_or(("0", ""));
        (process.parse().unwrap(), mount.into())
    }

    /// Forgets that it has read.
    fn again(&self) {
        fs::remove_file(self.meeting.join("read")).unwrap();
    }

    fn go(&self) {
        fs::write(self.meeting.join("go"), "").unwrap();
    }

    /// Lets the job go on: it has read this in all ways, and nothing is left of it.
    fn reads_all(&self, job: Running, content: &[u8]) {
        self.go();
        let seen = told(content);
        let expected = format!("open: {seen}\npath: {seen}\nurl: {seen}\n");
        assert_eq!(said(&job.wait()), expected);
        wait_until("nothing is left of the job", || self.is_clean());
    }

    /// Of this test's process, below the cluster's folder.
    fn mounts(&self) -> Vec<String> {
        mounts("self", self.cluster.folder())
    }

    /// Nothing is mounted, and there is no folder of an engine.
    fn is_clean(&self) -> bool {
        let engines = fs::read_dir(self.server.state().join("engines")).unwrap();
        let engines = engines.map(|entry| entry.unwrap().file_name());
        let left = engines.filter(|name| name.to_string_lossy().starts_with("engine-"));
        left.count() == 0 && self.mounts().is_empty()
    }
}

/// The mounts of files by URL that a process sees below a folder; none if it is gone.
fn mounts(process: &str, below: &Path) -> Vec<String> {
    let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
    let ours = mounts.lines().filter(|line| line.contains(" fuse.atlas "));
    let places = ours.filter_map(|line| line.split(' ').nth(4));
    let places = places.filter(|place| Path::new(place).starts_with(below));
    places.map(str::to_owned).collect()
}

fn is_there(process: u32) -> bool {
    // What nobody has waited for is a zombie, without a command line.
    fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(output), 0, "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_job_reads_by_paths_what_nobody_else_sees() {
    let content = noise(3_000_000);
    let origin = Origin::new([("/x", content.clone()), ("/a b", b"with a blank".to_vec())]);
    let bed = Bed::new();
    let Some(held) = bed.begin(&[origin.url("/x")]) else {
        return;
    };
    let (process, here) = (held.process.to_string(), bed.cluster.folder());
    assert_eq!(mounts(&process, here), [held.mount.display().to_string()]);
    // To all others there is an empty folder.
    assert_eq!(bed.mounts(), [""; 0]);
    assert_eq!(mounts(&bed.server.pid().to_string(), here), [""; 0]);
    assert_eq!(fs::read_dir(&held.mount).unwrap().count(), 0);
    bed.reads_all(held.job, &content);
    assert!(!is_there(held.process));
}

#[test]
fn a_file_that_changes_stays_what_it_was_for_the_job_that_has_begun_to_read_it() {
    let (small, large) = (noise(20_000), noise(16 << 20));
    let origin = Origin::new([("/small", small.clone()), ("/large", large.clone())]);
    let bed = Bed::new();
    let Some(held) = bed.begin(&[origin.url("/small"), origin.url("/large")]) else {
        return;
    };
    origin.replace("/small", b"another version");
    origin.replace("/large", &noise((16 << 20) - 1));
    bed.go();
    let said = said(&held.job.wait());
    let (small, large) = (told(&small), told(&large));
    let lines: Vec<&str> = said.lines().collect();
    let expected = ["open", "path", "url"].map(|by| format!("{by}: {small}"));
    assert_eq!(lines[..3], expected, "{said}");
    // Of what nobody has whole, some is gone.
    for (line, by) in lines[3..].iter().zip(["open", "path", "url"]) {
        let whole = format!("{by}: {large}");
        let stale = format!("{by}: StaleNetworkFileHandle");
        assert!(*line == whole || *line == stale, "{said}");
    }
    assert_eq!(lines.len(), 6, "{said}");
}

#[test]
fn an_engine_that_is_killed_leaves_nothing_and_the_next_reads_what_it_has_read() {
    let content = noise(20_000);
    let origin = Origin::new([("/x", content.clone())]);
    let bed = Bed::new();
    let Some(held) = bed.begin(&[origin.url("/x")]) else {
        return;
    };
    bed.again();
    origin.replace("/x", b"another version");
    signal(held.process, Signal::KILL);
    let (next, mount) = bed.arrived();
    assert_ne!(next, held.process);
    assert_eq!(mount, held.mount);
    assert!(!is_there(held.process));
    assert_eq!(bed.mounts(), [""; 0]);
    bed.reads_all(held.job, &content);
}

#[test]
fn a_server_that_is_killed_leaves_no_mount_and_the_next_removes_its_folders() {
    let content = noise(20_000);
    let origin = Origin::new([("/x", content.clone())]);
    let mut bed = Bed::new();
    let Some(held) = bed.begin(&[origin.url("/x")]) else {
        return;
    };
    bed.again();
    bed.server.kill();
    wait_until("the engine ends with its server", || {
        !is_there(held.process)
    });
    assert_eq!(bed.mounts(), [""; 0]);
    assert!(!bed.is_clean(), "its folder is there");
    bed.server.restart();
    wait_until("what it has left is removed", || bed.is_clean());
    bed.manager.wait_for_workers(1);
    bed.arrived();
    bed.reads_all(held.job, &content);
}

#[test]
fn a_folder_that_holds_something_is_not_covered() {
    let origin = Origin::new([("/x", b"read by its path".to_vec())]);
    let bed = Bed::new();
    let at = bed.server.mount_at();
    fs::create_dir(&at).unwrap();
    fs::write(at.join("data"), "of somebody else").unwrap();
    bed.go();
    let line = ["paths", bed.meeting.to_str().unwrap(), &origin.url("/x")];
    let said = said(&bed.shell.submit(program("testbed-job"), line));
    let (_, mount) = bed.arrived();
    if mount.as_os_str().is_empty() {
        eprintln!("skipped: {said}");
        return;
    }
    assert_ne!(mount, at);
    assert!(mount.starts_with(bed.server.state().join("engines")));
    let seen = told(b"read by its path");
    assert_eq!(said, format!("open: {seen}\npath: {seen}\nurl: {seen}\n"));
    assert_eq!(fs::read(at.join("data")).unwrap(), b"of somebody else");
    wait_until("nothing is left of the job", || bed.is_clean());
}

#[test]
fn words_are_counted_by_paths_on_several_servers() {
    let origin = Origin::new(books());
    let bed = Bed::new();
    let _other = bed.cluster.server(&bed.manager, ServerOptions::default());
    bed.manager.wait_for_workers(2);
    let folder = origin.url("/books/").replacen("http://", "/atlas/http/", 1);
    let line = ["--mounted", &folder, "--top", "5"];
    let counted = bed.shell.submit(program("wordcount"), line);
    let error = String::from_utf8_lossy(&counted.stderr);
    if error.contains("in no folder here") {
        eprintln!("skipped: nothing can be mounted here: {error}");
        return;
    }
    assert_eq!(said(&counted), COUNTED);
}

/// A mount of a shell's, for whoever has its files; it ends with this.
struct Mount {
    shell: Child,
    folder: TempDir,
    _cache: TempDir,
}

impl Mount {
    /// None, with a note, where nothing can be mounted.
    fn new() -> Option<Self> {
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut command = Command::new(program("atlas-shell"));
        command
            .args(["mount", "--json", "--cache"])
            .arg(cache.path());
        let mut shell = command
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(shell.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        if line.is_empty() {
            shell.wait().unwrap();
            eprintln!("skipped: nothing can be mounted here");
            return None;
        }
        Some(Self {
            shell,
            folder,
            _cache: cache,
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        signal(self.shell.id(), Signal::TERM);
        let _ = self.shell.wait();
    }
}

#[test]
fn a_program_that_runs_alone_counts_by_the_paths_of_a_mount() {
    let origin = Origin::new(books());
    let Some(mount) = Mount::new() else { return };
    let books = origin.url("/books/").replacen("://", "/", 1);
    let mut count = Command::new(program("wordcount"));
    count.arg("--mounted").arg(mount.folder.path().join(books));
    let counted = count.args(["--top", "5"]).stdin(Stdio::null());
    assert_eq!(said(&counted.output().unwrap()), COUNTED);
}
