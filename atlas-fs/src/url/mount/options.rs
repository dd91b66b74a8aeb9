//! [`MountOptions`]: how a mount behaves, and for how long it believes what it was told.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::url::Pins;
use crate::url::client::ClientFiles;

/// How a mount behaves.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// The versions that a job has seen: each file stays as it was first seen, and the kernel keeps all that it knows. Without, a file
    /// has another version when its origin has, each under an inode of its own.
    pub pins: Option<Pins>,
    /// What is at `atlas/client` there, unless the pins say so.
    pub client: ClientFiles,
    /// For how long a listing is believed, and what it says of its files.
    pub listed_for: Duration,
    /// For how long a missing name stays so.
    pub missing_for: Duration,
    /// The longest that any call may take, whatever the origin does; then it ends with `ETIMEDOUT`.
    pub timeout: Duration,
    /// Whether the kernel may read complete files itself.
    pub passthrough: bool,
    /// How many threads answer the kernel.
    pub threads: usize,
    /// Where the files are stored: what `df` tells is of this disk.
    pub cache: Option<PathBuf>,
    /// Told of what is read of files that are not stored yet.
    pub progress: Option<Progress>,
}

/// Told of a file that is being read and not stored as a whole yet: its URL, how far it was read, and its length. As far as its length is
/// the end, also where it was closed in the middle.
#[derive(Clone)]
pub struct Progress(pub Arc<TellProgress>);

/// Who is told.
pub type TellProgress = dyn Fn(&Url, u64, u64) + Send + Sync;

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            pins: None,
            client: ClientFiles::default(),
            listed_for: Duration::from_secs(30),
            missing_for: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            passthrough: true,
            threads: THREADS,
            cache: None,
            progress: None,
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// They copy, and wait for no origin: more than this many cores are not kept busy by one mount.
const THREADS: usize = 4;
