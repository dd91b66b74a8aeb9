//! The program as the engine of a job: a process that a server starts and drives.
//!
//! A program whose `main` is marked `#[atlas::main]` needs nothing for it. With the environment variable
//! [`SOCKET_VARIABLE`] set, it does not run `main` but connects to the Unix socket of that path, and does what
//! the server at the other end says: it runs closures of the job, lends some of its own, and reports how much there is
//! to do. The crate `atlas-engine` has the messages.
//!
//! - `main` runs in the engine that is given the job's root closure, as a task: its result is the exit code. Each
//!   engine of a job is started with the job's command line, so that `std::env::args` is right wherever `main` runs.
//! - A call of `std::process::exit` ends the engine, and with it what it holds. If `main` calls it, as parsers of
//!   command lines do to show their help, the server sees the socket end while the root runs, and has the process's
//!   exit code as the job's.
//! - What `main` and tasks print goes to the process's standard output and error.
//! - With zero workers allowed, the process uses no processor from the next joins on. What is in the middle of a call
//!   without a join runs on: a server that cannot wait stops the process.
//! - The process ends with code 0 when it is told to, and when the socket closes, whatever it is doing: the server is
//!   gone, and nobody wants the results. It ends with code 1 and a message if the server says what it cannot understand.
//!
//! A program without `#[atlas::main]` does not know of all this, and runs as it always does. It never connects: the
//! server sees the process end, or waits for the connection in vain, and tells its client that the program
//! lacks the attribute.
//!
//! - Results of finished children that are worth it are recorded at the server (`Record`), and what others have
//!   recorded (`Remember`) is not computed again. `ATLAS_CHECKPOINTS=off` in the environment turns both off.
//! - Values that many tasks share ([`Shared`](crate::Shared)) go by way of files: with [`SHARED_VARIABLE`] set, this process writes
//!   those that its closures need into the folder of that path, and finds there those that others' closures need. So do results
//!   that are too large for a message.
//!
//! The socket is a path rather than an inherited descriptor: a number in an environment variable is passed on to the
//! program's own children, for whom it may be a file of theirs, or their parent's socket to write into. A path leads
//! to a connection or to an error. The server keeps it in a directory that only it can enter, and removes it once the
//! engine has connected; so a child that is a program of Atlas too cannot take the engine's place. (Such a child is to
//! be started without the variable.)

mod load;
mod pump;
mod records;
mod results;
mod root;
mod words;

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Termination};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use std::{env, thread};

use atlas_core::BuildError;
use atlas_core::{Runtime, ask_for_time_slice};
use atlas_engine::limits::{CLOSURE_BYTES_MAX, TASKS_MAX, WORKERS_MAX};
use atlas_engine::{FromEngine, Program, ReadError, ToEngine, WriteError, frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::shared;
use pump::{News, Notes, Pump};
use records::Records;

#[doc(inline)]
pub use atlas_engine::{SHARED_VARIABLE, SOCKET_VARIABLE};

/// The engine cannot begin, or cannot go on.
#[derive(Debug, thiserror::Error)]
enum EngineError {
    #[error("{variable}={path:?} is no absolute path")]
    Path {
        variable: &'static str,
        path: OsString,
    },
    #[error("cannot connect to the server that {SOCKET_VARIABLE}={path} names")]
    Connect { path: PathBuf, source: io::Error },
    #[error("cannot understand the server")]
    Read(#[source] ReadError),
    #[error("cannot tell the server")]
    Write(#[from] WriteError),
    #[error("the server has said {said} {when}")]
    Order {
        said: &'static str,
        when: &'static str,
    },
    #[error("cannot start the workers")]
    Build(#[from] BuildError),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// Runs a program's `main`, or serves as its engine. `#[atlas::main]` expands to this.
#[doc(hidden)]
pub fn run_main<R: Termination + 'static>(main: fn() -> R) -> ExitCode {
    let Some(path) = env::var_os(SOCKET_VARIABLE) else {
        return atlas_core::run_main(main);
    };
    root::set_main(main);
    match serve(path) {
        Ok(()) => ExitCode::SUCCESS,
        // The server does not read any more: it is gone, however early.
        Err(EngineError::Write(WriteError::Io(_))) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("atlas: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Serves until the server says to stop, or is gone.
fn serve(path: OsString) -> Result<(), EngineError> {
    let path = absolute(SOCKET_VARIABLE, path)?;
    if let Some(folder) = env::var_os(SHARED_VARIABLE) {
        shared::set_folder(absolute(SHARED_VARIABLE, folder)?);
    }
    let connected = UnixStream::connect(&path);
    let mut socket = connected.map_err(|source| EngineError::Connect { path, source })?;
    let Some(workers) = greeting(&mut socket)? else {
        return Ok(());
    };
    let (tell, news) = mpsc::channel();
    let records = Arc::new(Records::new());
    // The server's own, which it has passed on, are not for workers.
    ask_for_time_slice(Duration::ZERO);
    let runtime = Runtime::builder()
        .workers(workers)
        .thread_name("atlas-engine")
        .closure_bytes_max(CLOSURE_BYTES_MAX)
        .measured(true)
        .checkpoints(env::var_os(CHECKPOINTS_VARIABLE).is_none_or(|value| value != "off"))
        .task(root::info())
        .host(Arc::new(Notes::new(tell.clone(), records.clone())))
        .build()?;
    // Never dropped: that would wait for what runs.
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    runtime.set_workers(0);
    let program = program(runtime);
    frame::write(&mut socket, &FromEngine::Hello { program })?;
    let mut paths: Vec<_> = runtime.tasks().iter().map(words::path).collect();
    // A server hears of so many and no more.
    paths.sort_by_key(|path| !path.impure);
    for paths in paths.chunks(TASKS_MAX) {
        let paths = paths.to_vec();
        frame::write(&mut socket, &FromEngine::Tasks { paths })?;
    }
    let reader = socket.try_clone().map_err(EngineError::Thread)?;
    // This thread and the next carry what others wait for.
    ask_for_time_slice(CARRIER_SLICE);
    let pump = Arc::new(Mutex::new(Pump::new(runtime, socket, records)));
    let doer = pump.clone();
    thread::Builder::new()
        .name("atlas-engine-in".to_owned())
        .spawn(move || read_all(reader, &doer, &tell))
        .map_err(EngineError::Thread)?;
    pump::run(&pump, &news)
}

fn absolute(variable: &'static str, path: OsString) -> Result<PathBuf, EngineError> {
    if Path::new(&path).is_absolute() {
        Ok(path.into())
    } else {
        Err(EngineError::Path { variable, path })
    }
}

/// Waits for the server's first message: how many workers there are to be, or none if it is gone.
fn greeting(socket: &mut UnixStream) -> Result<Option<usize>, EngineError> {
    let patience = |time| socket.set_read_timeout(time);
    patience(Some(GREETING_TIMEOUT)).map_err(EngineError::Thread)?;
    let message = frame::read(&mut &*socket).map_err(EngineError::Read)?;
    patience(None).map_err(EngineError::Thread)?;
    match message {
        Some(ToEngine::Hello { workers_max }) => {
            let workers = workers_max.clamp(1, WORKERS_MAX);
            Ok(Some(usize::try_from(workers).unwrap_or(1)))
        }
        None => Ok(None),
        Some(other) => Err(EngineError::Order {
            said: words::name(&other),
            when: "before Hello",
        }),
    }
}

/// Does what the server says, until it is gone or makes no sense.
///
/// The thread that looks at the load is told when no more commands follow: woken at once it would take the processor that
/// what the server waits for needs.
fn read_all(socket: UnixStream, pump: &Mutex<Pump>, tell: &mpsc::Sender<News>) {
    let mut stream = io::BufReader::new(socket);
    loop {
        let news = match frame::read(&mut stream) {
            Ok(Some(ToEngine::Stop) | None) => News::Closed(None),
            Ok(Some(command)) => {
                // In a statement of its own: the lock is not held while this thread waits.
                let obeyed = pump::lock(pump).obey(command);
                match obeyed {
                    Ok(()) if follows_soon(&stream) => continue,
                    Ok(()) => News::Commanded,
                    Err(error) => News::Closed(Some(error)),
                }
            }
            // A server that was killed may leave half a frame.
            Err(ReadError::Io(_)) => News::Closed(None),
            Err(error) => News::Closed(Some(EngineError::Read(error))),
        };
        let last = matches!(news, News::Closed(_));
        if tell.send(news).is_err() || last {
            return;
        }
    }
}

/// True if more comes within the time after which the load is looked at anyway; also if the stream has ended or is broken, which
/// the next read finds. (A read with a timeout would wait for up to two ticks of the kernel, some milliseconds.)
fn follows_soon(stream: &io::BufReader<UnixStream>) -> bool {
    if !stream.buffer().is_empty() {
        return true;
    }
    let soon = Timespec::try_from(load::SOON).ok();
    let mut sockets = [PollFd::new(stream.get_ref(), PollFlags::IN)];
    poll(&mut sockets, soon.as_ref()) != Ok(0)
}

/// What this program is, to tell it from others.
fn program(runtime: &Runtime) -> Program {
    let mut hasher = blake3::Hasher::new();
    for task in runtime.tasks().iter() {
        hasher.update(&task.id().number().to_le_bytes());
        hasher.update(task.path().as_bytes());
        hasher.update(&[0, u8::from(task.impure())]);
    }
    Program {
        fingerprint: *hasher.finalize().as_bytes(),
        tasks: u32::try_from(runtime.tasks().len()).unwrap_or(u32::MAX),
    }
}

/// The error and its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Set to `off`, nothing is recorded and nothing is looked up: to see what that costs.
const CHECKPOINTS_VARIABLE: &str = "ATLAS_CHECKPOINTS";
/// The shortest that Linux grants: what is done for a message takes less.
const CARRIER_SLICE: Duration = Duration::from_micros(100);
/// A server that has started an engine greets it at once.
const GREETING_TIMEOUT: Duration = Duration::from_secs(30);
