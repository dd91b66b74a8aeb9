//! The folder of a cluster: the states of its daemons, their logs, and what they would leave in the system's temporary folder.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::read_only::alone;
use crate::wait::PAUSE;

/// Shared by all parts of a cluster; removed with the last of them.
#[derive(Debug)]
pub(crate) struct Folder {
    root: TempDir,
    address: Ipv4Addr,
    made: AtomicU32,
    variables: Vec<(String, OsString)>,
}

impl Folder {
    /// One whose commands have these variables in their environments.
    pub(crate) fn new(variables: Vec<(String, OsString)>) -> Self {
        let root = tempfile::Builder::new().prefix("atlas-testbed-").tempdir();
        let root = root.expect("the system's temporary folder can be written to");
        fs::create_dir(root.path().join("tmp")).expect("a new folder can be written to");
        Self {
            root,
            address: own_address(),
            made: AtomicU32::new(0),
            variables,
        }
    }

    /// The loopback address that the cluster's daemons listen at.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// A new folder for a part of the cluster. Short, since there are sockets within.
    pub(crate) fn part(&self, kind: &str) -> PathBuf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.root.path().join(format!("{kind}{number}"));
        fs::create_dir(&path).expect("a new folder can be written to");
        path
    }

    /// A command whose environment has nothing of the user's own Atlas.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for name in OTHERS_VARIABLES {
            command.env_remove(name);
        }
        command
            .env("TMPDIR", self.root.path().join("tmp"))
            .env("NO_COLOR", "1")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// As [`Folder::command`], of a daemon that differs from others.
    pub(crate) fn command_in(&self, surroundings: Surroundings, program: &Path) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if surroundings.alone {
            words.extend(alone().iter().map(OsString::from));
        }
        if let Some(bytes) = surroundings.file_bytes_max {
            let blocks = bytes.div_ceil(ULIMIT_BLOCK_BYTES);
            // Without the trap, the system would end the process. A soft limit can be put up again.
            let script = format!("trap '' XFSZ && ulimit -S -f {blocks} && exec \"$0\" \"$@\"");
            words.extend(["/bin/sh".into(), "-c".into(), script.into()]);
        }
        words.push(program.into());
        let mut command = self.command(Path::new(&words[0]));
        command.args(&words[1..]);
        command
    }
}

/// How a daemon differs from others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Surroundings {
    /// It is not to write files larger than so: beyond, it gets an error, as on a disk that is full.
    /// [`Daemon::limit_files`](crate::Daemon::limit_files) changes that while it runs.
    pub(crate) file_bytes_max: Option<u64>,
    /// What is mounted is its own business, so that [`Daemon::make_read_only`](crate::Daemon::make_read_only) changes nothing for others.
    pub(crate) alone: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Engines whose server was killed end by themselves, and may write until then.
        let end = Instant::now() + ENGINES_END;
        while fs::remove_dir_all(self.root.path()).is_err()
            && self.root.path().exists()
            && Instant::now() < end
        {
            std::thread::sleep(PAUSE);
        }
    }
}

/// On Linux all of 127.0.0.0/8 is loopback: with an address of its own, a cluster finds the ports of daemons that it stopped
/// still free when it starts them again.
fn own_address() -> Ipv4Addr {
    static CLUSTERS: AtomicU32 = AtomicU32::new(0);
    if !cfg!(target_os = "linux") {
        return Ipv4Addr::LOCALHOST;
    }
    let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    let [.., high, low] = std::process::id().to_be_bytes();
    let cluster = u8::try_from(number % 200).unwrap_or(0) + 2;
    Ipv4Addr::new(127, high, low, cluster)
}

/// What daemons, programs and shells look at.
const OTHERS_VARIABLES: [&str; 8] = [
    "ATLAS_CREDENTIALS",
    "ATLAS_MANAGER_STATE",
    "ATLAS_SERVER_STATE",
    "ATLAS_STATE",
    "ATLAS_WORKERS",
    "ATLAS_STACK",
    "ATLAS_ENGINE_SOCKET",
    "ATLAS_FILES_MOUNT",
];
/// As POSIX has it.
const ULIMIT_BLOCK_BYTES: u64 = 512;
const ENGINES_END: Duration = Duration::from_secs(5);
