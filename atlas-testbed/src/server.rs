//! A server's process.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use crate::binaries::program;
use crate::daemon::Daemon;
use crate::folder::{Folder, Surroundings};
use crate::running::Running;

/// A server. It dereferences to its [`Daemon`].
#[derive(Debug)]
pub struct Server {
    daemon: Daemon,
    state: PathBuf,
    folder: Arc<Folder>,
    options: ServerOptions,
}

/// What can be chosen of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// How many workers it lends.
    pub workers: u32,
    /// The priority of its engines, as of `nice`.
    pub nice: i32,
    /// What it logs, as `RUST_LOG` has it; what this process's own says, or else `info`, if none.
    pub log: Option<&'static str>,
    /// No file of it or its engines may become larger: as on a disk that is full.
    pub file_bytes_max: Option<u64>,
    /// Its folders [can be made read-only](Daemon::make_read_only), where [that is possible](crate::may_mount).
    pub alone: bool,
    /// Its engines record children that have finished.
    pub checkpoints: bool,
    /// It is a guest of the domain above after so many seconds without a manager; as by default, if none.
    pub guest_after: Option<u32>,
    /// It ends engines that are silent for so many seconds; as by default, if none.
    pub engine_timeout: Option<u32>,
    /// The file of credentials for files by URL, by its name in the cluster's folder.
    pub credentials: Option<&'static str>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            workers: 1,
            // Tests wait for them.
            nice: 0,
            log: None,
            file_bytes_max: None,
            alone: false,
            checkpoints: true,
            guest_after: None,
            engine_timeout: None,
            credentials: None,
        }
    }
}

impl Server {
    /// Enrols a server, which does not run yet.
    pub(crate) fn enrol(folder: &Arc<Folder>, token: &str) -> (PathBuf, Output) {
        let state = folder.part("s");
        let mut command = folder.command(&program(BINARY));
        command.args(["join", token, "--state"]).arg(&state);
        let output = Running::start(command, folder).wait();
        (state, output)
    }

    #[track_caller]
    pub(crate) fn start(
        folder: &Arc<Folder>,
        name: String,
        state: PathBuf,
        options: ServerOptions,
    ) -> Self {
        let log = state.join("log");
        let mut this = Self {
            daemon: Daemon::new(name, log, folder),
            state,
            folder: folder.clone(),
            options,
        };
        this.restart();
        this
    }

    /// Starts it again.
    ///
    /// # Panics
    ///
    /// It runs, or does not start.
    #[track_caller]
    pub fn restart(&mut self) {
        let [workers, nice] = [
            self.options.workers.to_string(),
            self.options.nice.to_string(),
        ];
        let listen = format!("{}:0", self.folder.address());
        let surroundings = Surroundings {
            file_bytes_max: self.options.file_bytes_max,
            alone: self.options.alone,
        };
        let mut command = self.folder.command_in(surroundings, &program(BINARY));
        command.args([
            "run",
            "--workers",
            &workers,
            "--nice",
            &nice,
            "--listen",
            &listen,
        ]);
        command.arg("--state").arg(&self.state);
        command.arg("--mount-at").arg(self.mount_at());
        if !self.options.checkpoints {
            command.env("ATLAS_CHECKPOINTS", "off");
        }
        let seconds = [
            ("--guest-after", self.options.guest_after),
            ("--engine-timeout", self.options.engine_timeout),
        ];
        for (option, seconds) in seconds {
            if let Some(seconds) = seconds {
                command.arg(option).arg(seconds.to_string());
            }
        }
        if let Some(name) = self.options.credentials {
            let path = self.folder.path().join(name);
            command.arg("--urls-credentials").arg(path);
        }
        if let Some(log) = self.options.log {
            command.env("RUST_LOG", log);
        }
        self.daemon.start(command, [" workers to "]);
    }

    /// Where its jobs find files by URL, if it may mount.
    #[must_use]
    pub fn mount_at(&self) -> PathBuf {
        self.state.join("atlas")
    }

    /// Its state folder.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }
}

impl Deref for Server {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

const BINARY: &str = "atlas-server";
/// What was lost with a server of one worker is done again in so much of the others' processor time at most: twice an interval of recording,
/// which is a second, and the time in which a server is missed.
pub const RECOMPUTED_MAX: Duration = Duration::from_millis(2 * (1000 + 1750));
