//! What each test mounts. All of it goes when the test ends, also by a panic: first the mount, then the threads, which may still
//! write to the folders, then those.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use atlas_fs::url::mount::{MountError, MountOptions, Mounted};
use atlas_fs::url::{Files, Options};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tracing_subscriber::fmt::TestWriter;

use crate::origin::Origin;

/// A mount of all there is at an origin.
#[derive(Debug)]
pub struct Bed {
    pub mounted: Mounted,
    pub files: Files,
    pub origin: Origin,
    _runtime: Runtime,
    _folder: TempDir,
    cache: TempDir,
}

impl Bed {
    /// Mounts, with options of one's own; none, with a note, where that is not possible.
    pub fn new(change: impl FnOnce(&mut Options, &mut MountOptions)) -> Option<Self> {
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(|| Log);
        // All tests but the first find it there.
        let _ = log
            .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
            .try_init();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let origin = Origin::start(runtime.handle());
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut options = Options::new(cache.path());
        let mut of_mount = MountOptions {
            cache: Some(cache.path().into()),
            ..MountOptions::default()
        };
        change(&mut options, &mut of_mount);
        let _inside = runtime.enter();
        let files = Files::open(options).unwrap();
        let mounted = match Mounted::start(files.clone(), folder.path(), of_mount) {
            Ok(mounted) => mounted,
            Err(MountError::System { source, .. }) => {
                eprintln!("skipped: nothing can be mounted here: {source}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        drop(_inside);
        Some(Self {
            mounted,
            files,
            origin,
            _runtime: runtime,
            _folder: folder,
            cache,
        })
    }

    /// Where its files are kept.
    pub fn cache(&self) -> &Path {
        self.cache.path()
    }

    /// A path below the origin.
    pub fn at(&self, path: &str) -> PathBuf {
        let origin = self.mounted.folder().join(self.origin.path());
        if path.is_empty() {
            origin
        } else {
            origin.join(path)
        }
    }

    /// What was logged of this URL, by any mount.
    pub fn said_of(&self, url: &str) -> String {
        let log = LOG.lock().unwrap();
        let log = String::from_utf8_lossy(&log);
        let said = log.lines().filter(|line| line.contains(url));
        said.collect::<Vec<_>>().join("\n")
    }

    /// What a program prints, run in this folder.
    pub fn run(&self, folder: &Path, program: &str, args: &[&str]) -> String {
        let output = Command::new(program)
            .args(args)
            .current_dir(folder)
            .env("LC_ALL", "C")
            .process_group(0)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {errors}");
        assert_eq!(errors, "", "{program} {args:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Writes to the test's output, and keeps what was written.
struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        TestWriter::default().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        TestWriter::default().flush()
    }
}

/// Of all mounts of this process: each line names its URL.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
