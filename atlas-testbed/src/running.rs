//! A command that runs: its output in files, so that nothing waits for a reader; killed when dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::folder::Folder;
use crate::wait::PAUSE;

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    what: String,
    child: Child,
    files: PathBuf,
    _folder: Arc<Folder>,
}

impl Running {
    #[track_caller]
    pub(crate) fn start(mut command: Command, folder: &Arc<Folder>) -> Self {
        let files = folder.part("r");
        let file = |name| File::create(files.join(name)).expect("a new folder can be written to");
        let what = format!("{command:?}");
        let child = command
            .stdout(file(STDOUT))
            .stderr(file(STDERR))
            .spawn()
            .unwrap_or_else(|error| panic!("{what} cannot be started: {error}"));
        Self {
            what,
            child,
            files,
            _folder: folder.clone(),
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        read(&self.files.join(STDOUT))
    }

    /// What it has printed to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> Vec<u8> {
        read(&self.files.join(STDERR))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        signal_child(&self.child, signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// It has not ended after [`PATIENCE`].
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let Some(status) = wait_child(&mut self.child, PATIENCE) else {
            let (out, err) = (self.stdout(), self.stderr());
            panic!(
                "{} has not ended after {PATIENCE:?}; it said `{}` and `{}`",
                self.what,
                String::from_utf8_lossy(&out),
                String::from_utf8_lossy(&err)
            );
        };
        Output {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Those that have ended are not asked.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let error = self.stderr();
            let error = String::from_utf8_lossy(&error);
            eprintln!("--- errors of {}\n{error}---", self.what);
        }
        let _ = fs::remove_dir_all(&self.files);
    }
}

/// Waits for a child's end, so long.
pub(crate) fn wait_child(
    child: &mut Child,
    patience: Duration,
) -> Option<std::process::ExitStatus> {
    let end = Instant::now() + patience;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Signals a child that has not been waited for, so that its number is still its own.
pub(crate) fn signal_child(child: &Child, signal: Signal) {
    crate::process::signal(child.id(), signal);
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
/// Far longer than anything takes; who waits so long waits in vain.
pub const PATIENCE: Duration = Duration::from_secs(90);
