//! The shell of somebody who may be logged in: each command a process.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;

use crate::binaries::program;
use crate::folder::Folder;
use crate::running::Running;
use crate::steps::Steps;
use crate::wait::wait_until;

/// A user with a login and a current folder of their own.
#[derive(Debug)]
pub struct Shell {
    root: PathBuf,
    folder: Arc<Folder>,
}

impl Shell {
    pub(crate) fn new(folder: &Arc<Folder>) -> Self {
        let this = Self {
            root: folder.part("c"),
            folder: folder.clone(),
        };
        fs::create_dir(this.here()).expect("a new folder can be written to");
        this
    }

    /// The same user at another machine: with a copy of the login, and a current folder of its own.
    ///
    /// # Panics
    ///
    /// Nobody is logged in.
    #[must_use]
    #[track_caller]
    pub fn elsewhere(&self) -> Self {
        let other = Self::new(&self.folder);
        let copied = Command::new("cp")
            .arg("-a")
            .args([self.root.join("state"), other.root.join("state")])
            .status();
        assert!(copied.is_ok_and(|copied| copied.success()), "no login");
        other
    }

    /// From now on it looks for its domain's manager at this address alone, as one that has heard of no other.
    ///
    /// # Panics
    ///
    /// Nobody is logged in.
    #[track_caller]
    pub fn know_only(&self, manager: SocketAddr) {
        let file = self.root.join("state/shell/manager.toml");
        assert!(file.exists(), "no login");
        fs::write(file, format!("addresses = [\"{manager}\"]\n"))
            .expect("the cluster's own folder can be written to");
    }

    /// The current folder of all its commands.
    #[must_use]
    pub fn here(&self) -> PathBuf {
        self.root.join("here")
    }

    /// Writes a file in the current folder, and gives its path.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.here().join(name);
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).expect("the cluster's own folder can be written to");
        fs::write(&path, content).expect("the cluster's own folder can be written to");
        path
    }

    /// `atlas-shell ARGS`, which is not started yet.
    pub fn command<I>(&self, args: I) -> Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = self.folder.command(&program("atlas-shell"));
        command
            .args(args)
            .current_dir(self.here())
            .env("ATLAS_STATE", self.root.join("state"));
        command
    }

    /// Starts `atlas-shell ARGS`.
    #[track_caller]
    pub fn begin<I>(&self, args: I) -> Running
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        Running::start(self.command(args), &self.folder)
    }

    /// Runs `atlas-shell ARGS` to its end, however that is.
    #[track_caller]
    pub fn run<I>(&self, args: I) -> Output
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.begin(args).wait()
    }

    /// What `atlas-shell ARGS` prints.
    ///
    /// # Panics
    ///
    /// It fails.
    #[track_caller]
    pub fn ok<I>(&self, args: I) -> String
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {error}", output.status);
        String::from_utf8(output.stdout).expect("the shell prints text")
    }

    /// What `atlas-shell ARGS --json` prints, line by line, whatever it ends with.
    ///
    /// # Panics
    ///
    /// It prints something else.
    #[track_caller]
    pub fn json<I>(&self, args: I) -> Vec<Value>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = self.command(["--json"]);
        command.args(args);
        let output = Running::start(command, &self.folder).wait();
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().map(serde_json::from_str);
        let lines: Result<_, _> = lines.collect();
        lines.unwrap_or_else(|error| panic!("{error} in `{text}`"))
    }

    /// The domain does jobs.
    ///
    /// # Panics
    ///
    /// It does not.
    #[track_caller]
    pub fn assert_works(&self) {
        let queens = self.submit(program("nqueens"), ["6"]);
        let error = String::from_utf8_lossy(&queens.stderr).into_owned();
        assert_eq!(queens.stdout, b"6 queens: 4 ways\n", "{error}");
    }

    /// Submits a program and follows it to its end: its exit code, its output, its errors, and its files in the current folder.
    #[track_caller]
    pub fn submit<I>(&self, program: impl AsRef<Path>, args: I) -> Output
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.begin_submit(program, args).wait()
    }

    /// As [`Shell::submit`], and does not wait. Standard error has nothing of the shell's but errors.
    #[track_caller]
    pub fn begin_submit<I>(&self, program: impl AsRef<Path>, args: I) -> Running
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.begin(submission(&["--quiet"], program.as_ref(), args))
    }

    /// Begins a job of so many tasks, which wait until there is a file `go` in the folder that is given. Each engine that has begun one has
    /// left a file there. The folder, of this name, is made in the current one.
    ///
    /// # Panics
    ///
    /// There is a folder of this name, or not all tasks run after a minute.
    #[track_caller]
    pub fn begin_held(&self, name: &str, tasks: usize) -> (Running, PathBuf) {
        let folder = self.here().join(name);
        fs::create_dir(&folder).expect("there is none of this name");
        let count = tasks.to_string();
        let args = ["hold".as_ref(), count.as_ref(), folder.as_os_str()];
        let job = self.begin_submit(program("testbed-job"), args);
        wait_until("all tasks run", || entries(&folder) == tasks);
        (job, folder)
    }

    /// Begins a job that makes one step after the other, each of two tasks of 0.1 s, until it is told to end. The folder, of this name, is
    /// made in the current one.
    ///
    /// # Panics
    ///
    /// There is a folder of this name.
    #[must_use]
    #[track_caller]
    pub fn begin_steps(&self, name: &str) -> Steps {
        Steps::begin(self, name)
    }

    /// Submits a program with options of the shell's own, and leaves it to itself. Gives the job's number.
    ///
    /// # Panics
    ///
    /// It is not accepted.
    #[track_caller]
    pub fn detach<I>(&self, options: &[&str], program: impl AsRef<Path>, args: I) -> u64
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let options = [&["--detach"], options].concat();
        let printed = self.ok(submission(&options, program.as_ref(), args));
        printed.trim().parse().expect("the shell prints a number")
    }

    /// A job as `ps --all --json` has it.
    ///
    /// # Panics
    ///
    /// There is no such job.
    #[track_caller]
    pub fn job(&self, number: u64) -> Value {
        let jobs = self.json(["ps", "--all"]);
        let job = jobs.into_iter().find(|job| job["job"] == number);
        job.unwrap_or_else(|| panic!("there is no job {number}"))
    }

    /// Waits for the end of a job, and gives how `atlas-shell wait` ended.
    #[track_caller]
    pub fn wait(&self, number: u64) -> Output {
        self.run(["wait", &number.to_string()])
    }
}

/// What a process that ended by itself ended with.
///
/// # Panics
///
/// A signal ended it.
#[must_use]
#[track_caller]
pub fn code(output: &Output) -> i32 {
    let error = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    code.unwrap_or_else(|| panic!("{}: {error}", output.status))
}

/// How many entries a folder has.
///
/// # Panics
///
/// It cannot be read.
#[must_use]
#[track_caller]
pub fn entries(folder: &Path) -> usize {
    let read = fs::read_dir(folder);
    read.unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .count()
}

/// What was said by a command that failed, as commands do that know why.
///
/// # Panics
///
/// It succeeded, or panicked.
#[must_use]
#[track_caller]
pub fn refusal(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it succeeds: {error}");
    assert!(!error.contains("panicked"), "{error}");
    error
}

fn submission<I>(options: &[&str], program: &Path, args: I) -> Vec<OsString>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut line: Vec<OsString> = vec!["submit".into()];
    line.extend(options.iter().map(OsString::from));
    line.extend([program.into(), "--".into()]);
    line.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    line
}
