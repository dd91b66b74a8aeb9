//! A daemon: a process that prints when it is ready, keeps a log, and can be stopped, killed and started again.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use crate::folder::Folder;
#[cfg(target_os = "linux")]
use crate::process::limit_files;
use crate::process::{children, signal};
use crate::read_only;
use crate::running::{PATIENCE, signal_child, wait_child};
use crate::wait::PAUSE;

/// A manager's or a server's process, in all its lives.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Option<Child>,
    log: PathBuf,
    _folder: Arc<Folder>,
}

impl Daemon {
    pub(crate) fn new(name: String, log: PathBuf, folder: &Arc<Folder>) -> Self {
        Self {
            name,
            child: None,
            log,
            _folder: folder.clone(),
        }
    }

    /// Starts it, and waits until it has printed a line for each of the marks; gives what follows them.
    #[track_caller]
    pub(crate) fn start<const N: usize>(
        &mut self,
        mut command: Command,
        marks: [&str; N],
    ) -> [String; N] {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let chosen = command.get_envs().any(|(name, _)| name == "RUST_LOG");
        if !chosen && std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "info");
        }
        let begin = self.log_bytes();
        let child = command
            .stdout(self.append())
            .stderr(self.append())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.name));
        self.child = Some(child);
        let end = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let said = log.get(begin..).unwrap_or_default();
            let found = marks.map(|mark| after(said, mark));
            if found.iter().all(Option::is_some) {
                return found.map(Option::unwrap_or_default);
            }
            let status = self.child.as_mut().and_then(|child| child.try_wait().ok()?);
            if let Some(status) = status {
                self.child = None;
                panic!("{} has not started ({status}): {said}", self.name);
            }
            assert!(
                Instant::now() < end,
                "{} says nothing like {marks:?}: {said}",
                self.name
            );
            thread::sleep(PAUSE);
        }
    }

    /// Its process.
    ///
    /// # Panics
    ///
    /// It was stopped.
    #[must_use]
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.running().id()
    }

    /// It has not ended.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Sends its process a signal.
    ///
    /// # Panics
    ///
    /// It was stopped.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        signal_child(self.running(), signal);
    }

    /// Asks it to end, as service managers do, and waits for that.
    ///
    /// # Panics
    ///
    /// It was stopped before, or does not end.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.end_by(Signal::TERM)
    }

    /// Ends it as a crash would.
    ///
    /// # Panics
    ///
    /// It was stopped before.
    #[track_caller]
    pub fn kill(&mut self) -> ExitStatus {
        self.end_by(Signal::KILL)
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    ///
    /// It was stopped before, or does not end.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        self.end_after("what has happened to it")
    }

    /// Stops its process where it is, as a machine that hangs would, until [`Daemon::thaw`].
    ///
    /// # Panics
    ///
    /// It was stopped before.
    #[track_caller]
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets its process go on, and those that it has started; nothing if there is none, or none is frozen.
    pub fn thaw(&self) {
        let Some(child) = &self.child else {
            return;
        };
        for child in children(child.id()) {
            signal(child, Signal::CONT);
        }
        signal(child.id(), Signal::CONT);
    }

    /// From now on no file of its process may become larger, as if its disk were full, until there is room again: no bound. Its log
    /// is such a file, too. It must have been started with a bound of some kind; its engines keep theirs.
    ///
    /// # Panics
    ///
    /// It was stopped, or the system does not let this user.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn limit_files(&self, bytes_max: Option<u64>) {
        limit_files(self.pid(), bytes_max);
    }

    /// From now on a folder is read-only for its process; what that has open it may still write. It must have been started alone.
    ///
    /// # Panics
    ///
    /// It was stopped, was not started so, or this machine does not let this user.
    #[track_caller]
    pub fn make_read_only(&self, folder: &Path) {
        read_only::change(self.pid(), folder, true);
    }

    /// The folder is as it was before [`Daemon::make_read_only`].
    ///
    /// # Panics
    ///
    /// It was not read-only.
    #[track_caller]
    pub fn make_writable(&self, folder: &Path) {
        read_only::change(self.pid(), folder, false);
    }

    /// All that it has printed and logged, in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    #[track_caller]
    fn end_by(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.end_after(&format!("{signal:?}"))
    }

    #[track_caller]
    fn end_after(&mut self, cause: &str) -> ExitStatus {
        self.running();
        let ended = self
            .child
            .as_mut()
            .and_then(|child| wait_child(child, PATIENCE));
        let Some(status) = ended else {
            panic!("{} does not end after {cause}", self.name);
        };
        self.child = None;
        status
    }

    #[track_caller]
    fn running(&self) -> &Child {
        let child = self.child.as_ref();
        child.unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    fn append(&self) -> File {
        let file = OpenOptions::new().create(true).append(true).open(&self.log);
        file.expect("the cluster's own folder can be written to")
    }

    fn log_bytes(&self) -> usize {
        self.log().len()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // An engine that is frozen does not see that its server is gone.
        self.thaw();
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let skip = log.lines().count().saturating_sub(LINES_MAX);
            let end: Vec<&str> = log.lines().skip(skip).collect();
            eprintln!("--- log of {}\n{}\n---", self.name, end.join("\n"));
        }
    }
}

/// What stands after a mark, up to the end of its line.
fn after(text: &str, mark: &str) -> Option<String> {
    let (_, rest) = text.split_once(mark)?;
    let (line, _) = rest.split_once('\n')?;
    Some(line.to_owned())
}

/// Of each log, when something failed.
const LINES_MAX: usize = 60;
