//! A cluster: a folder and an address of its own, and the daemons that are started there.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use crate::binaries::program;
use crate::folder::Folder;
use crate::manager::{self, Manager, ManagerOptions, TokenOptions};
use crate::read_only;
use crate::running::Running;
use crate::server::{Server, ServerOptions};
use crate::shell::Shell;

/// Where managers, servers and shells of one tree of domains are started.
#[derive(Debug)]
pub struct Cluster {
    folder: Arc<Folder>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}

impl Cluster {
    /// One without daemons.
    ///
    /// # Panics
    ///
    /// The system's temporary folder cannot be written to.
    #[must_use]
    pub fn new() -> Self {
        Self::with_environment([])
    }

    /// As [`Cluster::new`], and all its daemons and shells have these variables in their environments.
    ///
    /// # Panics
    ///
    /// The system's temporary folder cannot be written to.
    #[must_use]
    pub fn with_environment<'a>(variables: impl IntoIterator<Item = (&'a str, OsString)>) -> Self {
        let variables = variables.into_iter();
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        Self {
            folder: Arc::new(Folder::new(variables.collect())),
        }
    }

    /// Where all that belongs to it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The loopback address that its daemons listen at, which no other cluster has.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.folder.address()
    }

    /// Begins a topmost domain, and runs its manager.
    ///
    /// # Panics
    ///
    /// It does not start.
    #[track_caller]
    pub fn root(&self, domain: &str) -> Manager {
        let line = ["init", "--domain", domain];
        self.manager(&line, domain, &ManagerOptions::default())
    }

    /// Begins a domain below another one, and runs its manager.
    ///
    /// # Panics
    ///
    /// It does not start.
    #[track_caller]
    pub fn below(&self, above: &Manager, domain: &str) -> Manager {
        let token = above.token(&TokenOptions {
            role: "manager",
            ..TokenOptions::default()
        });
        let line = ["join", &token, "--domain", domain];
        self.manager(&line, domain, &ManagerOptions::default())
    }

    /// Runs a manager, whose state the command line begins.
    ///
    /// # Panics
    ///
    /// It does not start.
    #[track_caller]
    pub fn manager(&self, begin: &[&str], domain: &str, options: &ManagerOptions) -> Manager {
        let (state, begun) = self.begin_manager(begin);
        let error = String::from_utf8_lossy(&begun.stderr);
        assert!(begun.status.success(), "{domain} does not begin: {error}");
        Manager::start(&self.folder, domain, state, options)
    }

    #[track_caller]
    fn begin_manager(&self, begin: &[&str]) -> (PathBuf, Output) {
        let state = self.folder.part("m");
        let mut command = self.folder.command(&program(manager::BINARY));
        let listen = format!("{}:0", self.folder.address());
        command.args(begin).args(["--listen", &listen, "--state"]);
        let begun = Running::start(command_with(command, &state), &self.folder).wait();
        (state, begun)
    }

    /// Enrols a standby for a manager and runs it. It is there for the worst when the manager's health says so.
    ///
    /// # Panics
    ///
    /// It does not start.
    #[must_use]
    #[track_caller]
    pub fn standby(&self, manager: &Manager) -> Manager {
        let state = self.new_standby(manager);
        Manager::start_standby(&self.folder, manager.domain(), state)
    }

    /// Enrols a standby for a manager, and gives its state folder.
    ///
    /// # Panics
    ///
    /// It is not let in.
    #[must_use]
    #[track_caller]
    pub fn new_standby(&self, manager: &Manager) -> PathBuf {
        let token = manager.token(&TokenOptions {
            role: "standby",
            ..TokenOptions::default()
        });
        let (state, begun) = self.begin_manager(&["standby", &token]);
        let error = String::from_utf8_lossy(&begun.stderr);
        assert!(begun.status.success(), "a standby is kept out: {error}");
        state
    }

    /// Enrols a server and runs it. It has joined when [`Manager::wait_for_workers`] says so.
    ///
    /// # Panics
    ///
    /// It does not start.
    #[must_use]
    #[track_caller]
    pub fn server(&self, manager: &Manager, options: ServerOptions) -> Server {
        let token = manager.token(&TokenOptions::default());
        let (state, enrolled) = Server::enrol(&self.folder, &token);
        let error = String::from_utf8_lossy(&enrolled.stderr);
        assert!(enrolled.status.success(), "a server is kept out: {error}");
        let name = format!("server {} of {}", state.display(), manager.domain());
        Server::start(&self.folder, name, state, options)
    }

    /// So many servers with one worker each; returns when all have joined.
    ///
    /// # Panics
    ///
    /// They do not.
    #[must_use]
    #[track_caller]
    pub fn servers(&self, manager: &Manager, count: u64) -> Vec<Server> {
        let before = manager.metrics().get("workers");
        let servers = (0..count).map(|_| self.server(manager, ServerOptions::default()));
        let servers = servers.collect();
        manager.wait_for_workers(before + count);
        servers
    }

    /// Tries to enrol a server with a token, and gives how that ended.
    #[track_caller]
    pub fn enrol_server(&self, token: &str) -> Output {
        Server::enrol(&self.folder, token).1
    }

    /// Somebody who is logged in to a domain.
    ///
    /// # Panics
    ///
    /// They are not let in.
    #[must_use]
    #[track_caller]
    pub fn login(&self, manager: &Manager) -> Shell {
        let shell = self.stranger();
        let token = manager.token(&TokenOptions {
            role: "client",
            ..TokenOptions::default()
        });
        shell.ok(["login", &token]);
        shell
    }

    /// Somebody who is logged in nowhere.
    #[must_use]
    pub fn stranger(&self) -> Shell {
        Shell::new(&self.folder)
    }

    /// Starts any command in the cluster's surroundings: with its temporary folder, and nothing of this user's own Atlas.
    #[track_caller]
    pub fn begin<'a>(
        &self,
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Running {
        let mut command = self.folder.command(program.as_ref());
        command.args(args).current_dir(self.folder.path());
        Running::start(command, &self.folder)
    }

    /// As [`Cluster::begin`], of a command that finds a folder read-only, where [that is possible](crate::may_mount).
    #[track_caller]
    pub fn begin_read_only<'a>(
        &self,
        folder: &'a Path,
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Running {
        let mut command = self.folder.command(Path::new("/usr/bin/env"));
        command.args(read_only::alone());
        command
            .args(read_only::read_only(folder))
            .arg(program.as_ref());
        command.args(args).current_dir(self.folder.path());
        Running::start(command, &self.folder)
    }

    /// Starts a line of a POSIX shell for somebody whose home is the folder, in it, with the daemons and programs on their
    /// `PATH`. What is to be killed with it begins with `exec`.
    #[track_caller]
    pub fn begin_line(&self, home: &Path, line: &str) -> Running {
        let daemon = program(manager::BINARY);
        let binaries = daemon.parent().unwrap_or(Path::new("/"));
        let mut command = self.folder.command(Path::new("/bin/sh"));
        command
            .args(["-c", line])
            .current_dir(home)
            .env("HOME", home)
            .env_remove("XDG_STATE_HOME")
            .env("PATH", format!("{}:/usr/bin:/bin", binaries.display()));
        Running::start(command, &self.folder)
    }
}

fn command_with(mut command: std::process::Command, state: &Path) -> std::process::Command {
    command.arg(state);
    command
}
