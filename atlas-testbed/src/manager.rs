//! A manager's process, its state folder, and what its administrator does.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use crate::binaries::program;
use crate::daemon::Daemon;
use crate::folder::{Folder, Surroundings};
use crate::metrics::{self, Metrics};
use crate::running::Running;
use crate::wait::{wait_for, wait_until};

/// A manager. It dereferences to its [`Daemon`].
#[derive(Debug)]
pub struct Manager {
    daemon: Daemon,
    domain: String,
    state: PathBuf,
    listen: SocketAddr,
    http: SocketAddr,
    folder: Arc<Folder>,
}

/// What can be chosen of a manager.
#[derive(Clone, Copy, Debug, Default)]
pub struct ManagerOptions {
    /// No file of it may become larger: as on a disk that is full.
    pub file_bytes_max: Option<u64>,
    /// Its folders [can be made read-only](Daemon::make_read_only), where [that is possible](crate::may_mount).
    pub alone: bool,
}

/// What can be chosen of a join token.
#[derive(Clone, Copy, Debug)]
pub struct TokenOptions<'a> {
    /// `server`, `client`, `admin`, `manager` or `standby`.
    pub role: &'a str,
    /// How long it lets in, as `1h`.
    pub ttl: &'a str,
    /// How many nodes it lets in.
    pub uses: u32,
}

impl Default for TokenOptions<'_> {
    fn default() -> Self {
        Self {
            role: "server",
            ttl: "1h",
            uses: 1,
        }
    }
}

impl Manager {
    /// Starts a manager whose state folder is there already.
    #[track_caller]
    pub(crate) fn start(
        folder: &Arc<Folder>,
        domain: &str,
        state: PathBuf,
        options: &ManagerOptions,
    ) -> Self {
        let mut this = Self::new(folder, domain, state);
        this.start_with(options);
        this
    }

    /// Starts one that stands by.
    #[track_caller]
    pub(crate) fn start_standby(folder: &Arc<Folder>, domain: &str, state: PathBuf) -> Self {
        let mut this = Self::new(folder, domain, state);
        this.restart_standing_by();
        this
    }

    fn new(folder: &Arc<Folder>, domain: &str, state: PathBuf) -> Self {
        let any = SocketAddr::from((folder.address(), 0));
        let log = state.join("log");
        Self {
            daemon: Daemon::new(format!("the manager of {domain}"), log, folder),
            domain: domain.to_owned(),
            state,
            listen: any,
            http: any,
            folder: folder.clone(),
        }
    }

    /// Starts it again, at the addresses that it had.
    ///
    /// # Panics
    ///
    /// It runs, or does not start.
    #[track_caller]
    pub fn restart(&mut self) {
        self.start_with(&ManagerOptions::default());
    }

    /// As [`Manager::restart`], of one that does not act at once, since another may.
    ///
    /// # Panics
    ///
    /// It runs, or does not start, or acts.
    #[track_caller]
    pub fn restart_standing_by(&mut self) {
        let mark = format!("stands by for {} at ", self.domain);
        self.start_marked(&ManagerOptions::default(), &mark);
    }

    /// What it says of its health, if it says that it is well.
    #[must_use]
    pub fn health(&self) -> String {
        self.http("/healthz").unwrap_or_default()
    }

    /// Waits until it says this of its health.
    ///
    /// # Panics
    ///
    /// It does not come to say it.
    #[track_caller]
    pub fn wait_for_health(&self, words: &str) {
        wait_until(words, || self.health().contains(words));
    }

    /// As [`Manager::restart`], with other options.
    ///
    /// # Panics
    ///
    /// It runs, or does not start.
    #[track_caller]
    pub fn start_with(&mut self, options: &ManagerOptions) {
        self.start_marked(options, "is managed at ");
    }

    #[track_caller]
    fn start_marked(&mut self, options: &ManagerOptions, mark: &str) {
        let (listen, http) = (self.listen.to_string(), self.http.to_string());
        let surroundings = Surroundings {
            file_bytes_max: options.file_bytes_max,
            alone: options.alone,
        };
        let mut command = self.folder.command_in(surroundings, &program(BINARY));
        command.args(["run", "--listen", &listen, "--http", &http, "--state"]);
        command.arg(&self.state);
        let marks = [mark, "metrics are at http://"];
        let [listens, serves] = self.daemon.start(command, marks);
        let serves = serves.trim_end_matches("/metrics");
        self.listen = listens.parse().expect("a manager prints its address");
        self.http = serves.parse().expect("a manager prints its address");
    }

    /// Its domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Where nodes reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Where it serves its metrics.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Its state folder.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Does something as its administrator: `atlas-manager ARGS --state ..`, and gives how that ended.
    #[track_caller]
    pub fn administer<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        let mut command = self.command();
        command.args(args).arg("--state").arg(&self.state);
        Running::start(command, &self.folder).wait()
    }

    /// A join token.
    ///
    /// # Panics
    ///
    /// There is none to be had.
    #[must_use]
    #[track_caller]
    pub fn token(&self, options: &TokenOptions<'_>) -> String {
        let uses = options.uses.to_string();
        let made = self.administer([
            "token",
            "create",
            "--role",
            options.role,
            "--ttl",
            options.ttl,
            "--uses",
            &uses,
        ]);
        let error = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "no token is made: {error}");
        String::from_utf8_lossy(&made.stdout).trim().to_owned()
    }

    /// Its metrics now.
    ///
    /// # Panics
    ///
    /// It does not answer.
    #[must_use]
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let what = format!("the manager of {} answers", self.domain);
        wait_for(&what, || Metrics::of(self.http))
    }

    /// What it says of its health when it is not well; none while it is.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        metrics::fetch(self.http, "/healthz")
            .err()
            .map(|error| error.to_string())
    }

    /// What it answers to a question over HTTP; none unless all is well.
    #[must_use]
    pub fn http(&self, path: &str) -> Option<String> {
        metrics::fetch(self.http, path).ok()
    }

    /// Waits until its domain, with those below, has exactly so many workers.
    ///
    /// # Panics
    ///
    /// It does not come to have them.
    #[track_caller]
    pub fn wait_for_workers(&self, workers: u64) {
        let what = format!("{} has {workers} workers", self.domain);
        wait_until(&what, || {
            Metrics::of(self.http).is_some_and(|metrics| metrics.get("workers") == workers)
        });
    }

    fn command(&self) -> Command {
        self.folder.command(&program(BINARY))
    }
}

impl Deref for Manager {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Manager {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

pub(crate) const BINARY: &str = "atlas-manager";
