//! Mounts: ours, and those of others. Each is a process of its own, and is gone when this is dropped, whatever happened.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::origin::{self, Origin};

/// A mount of an origin, with a cache of its own that was empty.
#[derive(Debug)]
pub struct Mount {
    process: Child,
    folder: TempDir,
    below: PathBuf,
}

/// Who mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Atlas.
    Atlas,
    /// Atlas, without passthrough.
    AtlasCopies,
    /// `rclone mount` with a full cache.
    Rclone,
    /// `httpdirfs` with its cache.
    Httpdirfs,
}

impl Who {
    /// Whether its program is there.
    #[must_use]
    pub fn is_installed(self) -> bool {
        match self {
            Self::Atlas | Self::AtlasCopies => true,
            Self::Rclone => Path::new("/usr/bin/rclone").exists(),
            Self::Httpdirfs => Path::new("/usr/bin/httpdirfs").exists(),
        }
    }
}

impl Mount {
    /// Mounts what an origin has.
    ///
    /// # Errors
    /// If nothing is mounted after ten seconds.
    pub fn start(who: Who, origin: &Origin) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let cache = folder.path().join("cache");
        fs::create_dir(&cache)?;
        Self::start_in(who, origin, folder, &cache, None)
    }

    /// Mounts with a cache that others share, of so many bytes.
    ///
    /// # Errors
    /// If nothing is mounted after ten seconds.
    pub fn start_sharing(origin: &Origin, cache: &Path, quota: u64) -> Result<Self> {
        Self::start_in(Who::Atlas, origin, tempfile::tempdir()?, cache, Some(quota))
    }

    fn start_in(
        who: Who,
        origin: &Origin,
        folder: TempDir,
        cache: &Path,
        quota: Option<u64>,
    ) -> Result<Self> {
        let at = folder.path().join("mount");
        fs::create_dir(&at)?;
        let mut command = match who {
            Who::Atlas | Who::AtlasCopies => {
                let mut command = Command::new(atlas_testbed::program("atlas-shell"));
                command.args(["mount", "--quiet", "--cache"]).arg(cache);
                if let Some(quota) = quota {
                    command.args(["--quota", &quota.to_string()]);
                }
                if who == Who::AtlasCopies {
                    command.arg("--no-passthrough");
                }
                command.arg(&at);
                command
            }
            Who::Rclone => {
                let mut command = Command::new("rclone");
                command.args(["mount", ":http:"]).arg(&at);
                command.args(["--http-url", &origin.url(""), "--vfs-cache-mode", "full"]);
                command.arg("--cache-dir").arg(cache);
                command
            }
            Who::Httpdirfs => {
                let mut command = Command::new("httpdirfs");
                command.args(["-f", "--cache", "--cache-location"]);
                command.arg(cache).arg(origin.url("")).arg(&at);
                command
            }
        };
        let process = command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = process.spawn().context("cannot start a mount")?;
        let below = match who {
            Who::Atlas | Who::AtlasCopies => at.join("http").join(origin.host()),
            Who::Rclone | Who::Httpdirfs => at.clone(),
        };
        let mut mount = Self {
            process,
            folder,
            below,
        };
        let begun = Instant::now();
        while !is_mounted(&at)? {
            if let Some(status) = mount.process.try_wait()? {
                bail!("{who:?} has ended with {status}");
            }
            if begun.elapsed() > PATIENCE {
                bail!("{who:?} has mounted nothing");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(mount)
    }

    /// How many descriptors its process has.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn descriptors(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.process.id());
        Ok(fs::read_dir(folder)?.count())
    }

    /// A path of the origin's.
    #[must_use]
    pub fn at(&self, path: &str) -> PathBuf {
        self.below.join(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.folder.path().join("mount");
        let run = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            let command = command.args(args).stderr(Stdio::null());
            let _ = command.status();
        };
        run("kill", &[&self.process.id().to_string()]);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        if is_mounted(&at).unwrap_or(true) {
            run("umount", &["-l", &at.to_string_lossy()]);
        }
    }
}

/// What there must be, and is not.
#[must_use]
pub fn missing() -> Option<&'static str> {
    let fuse = Path::new("/dev/fuse").exists();
    origin::missing().or((!fuse).then_some("there is no /dev/fuse"))
}

fn is_mounted(at: &Path) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let at = at.to_string_lossy();
    Ok(mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&at)))
}

const PATIENCE: Duration = Duration::from_secs(10);
