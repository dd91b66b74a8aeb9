//! The process of an engine: how it begins and how it ends.
//!
//! It runs the job's program in a folder of its own, with the job's inputs in it, and speaks over a Unix socket that only
//! this user can reach and that is gone once it has connected. Its standard output and error are files, so that it never
//! waits for whoever reads them.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use atlas_engine::{FromEngine, ReadError, ToEngine, frame};
use atlas_fs::url::Pins;
use atlas_fs::{FileTree, frames};
use atlas_proto::control::{NativeOptions, OutputStream};
use atlas_proto::engine::CrashKind;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::files::FilesDoor;
use super::mounts::{self, Mount};
use super::{Surroundings, leftovers};

/// A process that has said hello.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    pub(super) reader: FrameReader,
    pub(super) writer: OwnedWriteHalf,
    /// Where it asks for files by URL.
    pub(super) files: FilesDoor,
    pub(super) folder: Folder,
}

/// Where a process runs. Removed with all in it when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    root: tempfile::TempDir,
    /// As long as this is locked, the folder is not a leftover.
    _lock: Option<File>,
    /// What the process finds in its working directory.
    pub(super) inputs: FileTree,
}

/// What the process says, frame by frame.
#[derive(Debug)]
pub(super) struct FrameReader(BufReader<OwnedReadHalf>);

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
pub(super) enum BeginError {
    #[error(
        "{name} is no program for this machine ({}, {}): build it for that, or submit it where it runs",
        std::env::consts::ARCH,
        std::env::consts::OS
    )]
    OtherMachine { name: String },
    #[error("{name} cannot be started on the server")]
    Spawn { name: String, source: io::Error },
    #[error(
        "{name} is no program of Atlas: it {what} in place of connecting to the server. Mark its `main` with \
         #[atlas::main], and build it with the version of Atlas that the server has"
    )]
    NotAtlas { name: String, what: String },
    #[error(
        "{name} was reached by the server and did not answer: it {what} in place of that. Build it with the version of Atlas that \
         the server has"
    )]
    NoAnswer { name: String, what: String },
    #[error("{name} does not understand the server, or the other way round")]
    Garbled { name: String, source: ReadError },
    #[error(
        "the server cannot prepare a folder for {name} in {}: see that its disk is neither full nor read-only",
        within.display()
    )]
    Folder {
        name: String,
        within: PathBuf,
        source: io::Error,
    },
    #[error("the server cannot put the inputs of {name} in place")]
    Inputs {
        name: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BeginError {
    /// Whether another attempt, here or elsewhere, would do better.
    pub(super) fn kind(&self) -> CrashKind {
        match self {
            Self::OtherMachine { .. }
            | Self::NotAtlas { .. }
            | Self::NoAnswer { .. }
            | Self::Garbled { .. } => CrashKind::Hopeless,
            Self::Spawn { .. } | Self::Folder { .. } | Self::Inputs { .. } => CrashKind::NotBegun,
        }
    }
}

impl Folder {
    /// A new folder with the inputs in its working directory. Blocks.
    pub(super) fn new(
        surroundings: &Surroundings,
        name: &str,
        inputs: FileTree,
    ) -> Result<Self, BeginError> {
        let name = || name.to_owned();
        let failed = |source| BeginError::Folder {
            name: name(),
            within: surroundings.folder.clone(),
            source,
        };
        let root = tempfile::Builder::new()
            .prefix(leftovers::PREFIX)
            .tempdir_in(&surroundings.folder)
            .map_err(failed)?;
        let folder = Self {
            _lock: leftovers::lock(root.path()).map_err(failed)?,
            root,
            inputs,
        };
        std::fs::create_dir(folder.work()).map_err(failed)?;
        std::fs::create_dir(folder.shared()).map_err(failed)?;
        let placed = folder.inputs.place(&surroundings.store, &folder.work());
        placed.map_err(|error| BeginError::Inputs {
            name: name(),
            source: error.into(),
        })?;
        Ok(folder)
    }

    /// The working directory.
    pub(super) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// Where shared values lie, which the process makes or needs.
    pub(super) fn shared(&self) -> PathBuf {
        self.root.path().join("shared")
    }

    /// Where files by URL are mounted, if not where programs look for them.
    pub(super) fn mount(&self) -> PathBuf {
        self.root.path().join(leftovers::MOUNT)
    }

    /// Where the process prints to.
    pub(super) fn printed(&self, stream: OutputStream) -> PathBuf {
        self.root.path().join(match stream {
            OutputStream::Out => "stdout",
            OutputStream::Err => "stderr",
        })
    }

    /// The end of what the process has printed to standard error: what it said last.
    pub(super) fn last_words(&self) -> String {
        use std::io::{Read, Seek, SeekFrom};
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(self.printed(OutputStream::Err)) {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            let _ = file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES)));
            let _ = file.take(LAST_WORDS_BYTES).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    fn writable(&self, stream: OutputStream) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).open(self.printed(stream))
    }
}

/// Starts the program and shakes hands with it.
pub(super) async fn begin(
    surroundings: &Surroundings,
    program: &Path,
    options: &NativeOptions,
    folder: Folder,
    pins: Pins,
) -> Result<Process, BeginError> {
    let name = || options.name.clone();
    let failed = |source| BeginError::Folder {
        name: name(),
        within: std::env::temp_dir(),
        source,
    };
    let door = tempfile::Builder::new()
        .prefix("atlas-")
        .tempdir()
        .map_err(failed)?;
    let path = door.path().join("s");
    let listener = UnixListener::bind(&path).map_err(failed)?;
    let files = FilesDoor::open(&surroundings.files, pins.clone(), folder.mount());
    let mut files = files.map_err(failed)?;
    let sockets = Sockets {
        engine: &path,
        files: &files.path(),
    };
    let command = command(surroundings, program, options, &folder, sockets)?;
    let mount = Mount {
        wanted: surroundings.mount_at.clone(),
        otherwise: folder.mount(),
        options: surroundings.files.mount_options(pins),
    };
    let started = mounts::start(command, mount).await;
    let mut started = started.map_err(|source| not_started(name(), source))?;
    if let Some(mounted) = started.mounted.take() {
        files.attend(&surroundings.files, mounted);
    }
    let mut child = started.child;
    give_way(surroundings, &child);
    let shaken = timeout(HANDSHAKE_TIMEOUT, async {
        tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => Ok(shake_hands(socket, surroundings.workers_max).await),
                Err(error) => Err(failed(error)),
            },
            status = child.wait() => {
                let what = status.map_or_else(|error| error.to_string(), describe);
                Err(BeginError::NotAtlas { name: name(), what: with_last_words(&what, &folder) })
            }
        }
    });
    let shaken = shaken.await;
    let (reader, writer) = greeted(shaken, &mut child, name(), &folder).await?;
    Ok(Process {
        child,
        reader,
        writer,
        files,
        folder,
    })
}

/// What has come of greeting a process.
async fn greeted(
    shaken: Result<Result<Shaken, BeginError>, Elapsed>,
    child: &mut Child,
    name: String,
    folder: &Folder,
) -> Result<(FrameReader, OwnedWriteHalf), BeginError> {
    match shaken {
        Ok(Ok(Ok(ways))) => Ok(ways),
        Ok(Ok(Err(None))) => {
            let end = timeout(HANDSHAKE_TIMEOUT, child.wait()).await;
            let what = match end {
                Ok(Ok(status)) => describe(status),
                Ok(Err(_)) | Err(_) => "closed its socket".to_owned(),
            };
            let what = with_last_words(&what, folder);
            Err(BeginError::NoAnswer { name, what })
        }
        Ok(Ok(Err(Some(source)))) => Err(BeginError::Garbled { name, source }),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let what = format!("ran for {} seconds", HANDSHAKE_TIMEOUT.as_secs());
            let what = with_last_words(&what, folder);
            Err(BeginError::NotAtlas { name, what })
        }
    }
}

/// Where a process reaches this one.
#[derive(Clone, Copy, Debug)]
struct Sockets<'a> {
    engine: &'a Path,
    files: &'a Path,
}

fn command(
    surroundings: &Surroundings,
    program: &Path,
    options: &NativeOptions,
    folder: &Folder,
    sockets: Sockets<'_>,
) -> Result<Command, BeginError> {
    let failed = |source| not_started(options.name.clone(), source);
    let mut command = Command::new(program);
    let args = options.command_line.iter().cloned();
    command
        .arg0(&options.name)
        .args(args.map(OsString::from_vec))
        .current_dir(folder.work())
        .stdin(Stdio::null())
        .stdout(folder.writable(OutputStream::Out).map_err(failed)?)
        .stderr(folder.writable(OutputStream::Err).map_err(failed)?)
        .process_group(0)
        .kill_on_drop(true);
    if !surroundings.inherit_environment {
        command.env_clear();
        let kept = KEPT_VARIABLES.iter().copied();
        command.envs(kept.filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("HOME", folder.work());
    }
    command.env(atlas_engine::SOCKET_VARIABLE, sockets.engine);
    command.env(atlas_engine::SHARED_VARIABLE, folder.shared());
    command.env(atlas_engine::FILES_VARIABLE, sockets.files);
    Ok(command)
}

fn not_started(name: String, source: io::Error) -> BeginError {
    if source.raw_os_error() == Some(EXEC_FORMAT) {
        BeginError::OtherMachine { name }
    } else {
        BeginError::Spawn { name, source }
    }
}

/// Lowers a process's priority, as the server's owner wants it.
fn give_way(surroundings: &Surroundings, child: &Child) {
    if let (Some(nice), Some(id)) = (surroundings.nice, child.id()) {
        let id = i32::try_from(id)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        // Without it the engine only runs at the daemon's own priority.
        let _ = rustix::process::setpriority_process(id, nice);
    }
}

type Shaken = Result<(FrameReader, OwnedWriteHalf), Option<ReadError>>;

/// Greets the process; an error without a cause if it is gone.
async fn shake_hands(socket: UnixStream, workers_max: u32) -> Shaken {
    let (reader, mut writer) = socket.into_split();
    let mut reader = FrameReader(BufReader::with_capacity(READ_BUFFER_BYTES, reader));
    let hello = frame::encode(&ToEngine::Hello { workers_max }).map_err(|_| None)?;
    writer.write_all(&hello).await.map_err(|_| None)?;
    match reader.next().await {
        Ok(Some(FromEngine::Hello { .. })) => Ok((reader, writer)),
        Ok(Some(_)) => {
            let error = frame::DecodeError::Trailing { bytes: 0 };
            Err(Some(error.into()))
        }
        Ok(None) => Err(None),
        Err(ReadError::Io(_)) => Err(None),
        Err(error) => Err(Some(error)),
    }
}

impl FrameReader {
    /// The next message; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<FromEngine>, ReadError> {
        frames::next(&mut self.0).await
    }
}

/// What became of a process, as the end of a sentence.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}{}", signal_name(signal)),
        (None, None) => "ended".to_owned(),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (illegal instruction)",
        6 => " (abort)",
        7 => " (bus error)",
        8 => " (arithmetic error)",
        9 => " (kill; the system may have run out of memory)",
        11 => " (segmentation fault)",
        _ => "",
    }
}

/// What a process has done, and what it had said before.
fn with_last_words(what: &str, folder: &Folder) -> String {
    let words = folder.last_words();
    if words.is_empty() {
        what.to_owned()
    } else {
        format!("{what}, having said `{words}`,")
    }
}

/// `ENOEXEC`, everywhere.
const EXEC_FORMAT: i32 = 8;
/// A program connects before its `main` begins.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Some lines.
const LAST_WORDS_BYTES: u64 = 2048;
const READ_BUFFER_BYTES: usize = 64 << 10;
/// What programs need of their surroundings; the rest is this server's own business.
const KEPT_VARIABLES: [&str; 9] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "RUST_BACKTRACE",
    "ATLAS_CHECKPOINTS",
    "ATLAS_STACK",
    "LD_LIBRARY_PATH",
];
