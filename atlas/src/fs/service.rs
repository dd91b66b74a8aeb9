//! The process that fetches files for a program that runs alone.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::{env, iter};

/// The environment variable with the path of `atlas-shell`, for programs that run alone and read files by URL.
pub const SHELL_VARIABLE: &str = "ATLAS_SHELL";

/// A process that serves this one, and ends when its standard input does: with this value, or with this process.
#[derive(Debug)]
pub(super) struct Service {
    child: Child,
    input: Option<ChildStdin>,
    socket: PathBuf,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServiceError {
    #[error(
        "a program that runs alone has its files fetched by `{shell}`, which cannot be started: install it, set \
         {SHELL_VARIABLE} to its path, or run the program as a job, by `atlas-shell submit`"
    )]
    Start { shell: String, source: io::Error },
    #[error("`{shell} cache serve` has not said where it listens")]
    Silent { shell: String },
}

impl Service {
    pub(super) fn start() -> Result<Self, ServiceError> {
        let shell = shell();
        let name = || shell.display().to_string();
        let failed = |source| ServiceError::Start {
            shell: name(),
            source,
        };
        let mut command = Command::new(&shell);
        command
            .args(["cache", "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C is the program's alone.
            .process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut service = Self {
            child,
            input,
            socket: PathBuf::new(),
        };
        let mut line = Vec::new();
        if let Some(output) = output {
            let read = BufReader::new(output).read_until(b'\n', &mut line);
            read.map_err(failed)?;
        }
        if line.pop() != Some(b'\n') {
            return Err(ServiceError::Silent { shell: name() });
        }
        service.socket = OsString::from_vec(line).into();
        Ok(service)
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends by itself now; its exit code is nobody's business.
        let _ = self.child.wait();
    }
}

/// Where the shell is: as the environment says, beside this program, or wherever programs are.
fn shell() -> PathBuf {
    if let Some(path) = env::var_os(SHELL_VARIABLE) {
        return path.into();
    }
    let program = env::current_exe().unwrap_or_default();
    // Cargo puts examples and tests one folder below.
    let folders = program.ancestors().skip(1).take(2);
    let beside = folders.map(|folder| folder.join(SHELL));
    let anywhere = PathBuf::from(SHELL);
    let mut found = beside
        .filter(|path| path.is_file())
        .chain(iter::once(anywhere));
    found.next().unwrap_or_default()
}

const SHELL: &str = "atlas-shell";
