//! **Pure crate.** What a server and the engine of a job say to each other: messages, their bytes, their bounds. It
//! reads from and writes to whatever it is handed, and opens nothing itself.
//!
//! An engine is a process of the job's own program, started by a server with [`SOCKET_VARIABLE`] set: one process, one
//! job. The two speak over a Unix socket, in frames ([`frame`]), one message to a frame:
//!
//! ```text
//!   server                                       engine
//!   Hello {workers_max} ───────────────────────▶
//!         ◀─────────────────────────── Hello {program}
//!   SetWorkers, Accept, Abort, Lend,  ─────────▶
//!   ReturnResult, Reclaim, Remember, Ping
//!         ◀──────────  Load, Lent, Finished, Unwanted, Measured, Share,
//!                      Record, Tasks, Pong
//!   Stop, or the end of the socket ────────────▶ (ends)
//! ```
//!
//! The messages are the commands and events that the server's machine knows, without the job. Closures, results and names
//! pass through that machine as they are here, and closures and results go on to other machines so: their bytes are
//! part of that protocol, too. Every message but `Hello`, [`ToEngine::Lend`] and
//! [`ToEngine::Ping`] is without an answer. Whoever is silent for long is asked with the last, and is ended by its server if it says
//! nothing at all: a process can hang while its socket stays open.
//!
//! **Shared values.** A large value that many closures need does not travel in them: they name it ([`Closure::shared`]). With
//! [`SHARED_VARIABLE`] set, an engine writes such a value into the folder that it names, under the value's own
//! [name](SharedName), tells the server ([`FromEngine::Share`]), and lends closures that name it after that. The server puts a file
//! for each value that a closure names into the same folder before it gives the closure to the engine. Neither believes the other:
//! a file's content is what its name says, or nothing.
//!
//! **Large results.** A result that does not fit into a message goes the same way ([`Outcome::Blob`]): the engine that has computed it
//! writes the file before it says that it has finished, and the server puts one into the lender's folder before it
//! returns the result. What cannot be had so is *refused* ([`Failure::Refused`]), and its lender runs it.
//!
//! **Results that are kept.** What an engine has computed is lost with it, unless it has been recorded ([`FromEngine::Record`]): a
//! result under the [`Key`] of its task and arguments. Whoever computes the same again is told ([`ToEngine::Remember`]) and finds it
//! instead. A result that nobody recorded, or that nobody looks up, is computed; so nothing depends on either message.
//!
//! **The root.** The job's root closure is of the reserved task [`ROOT_TASK`]. Its arguments are the program's command
//! line ([`CommandLine`]), its result is the exit code, one byte. The engine runs the body of `main` for it.
//! Arguments of a running process cannot be changed, so each engine of a job is started with the job's command
//! line, and a root with another one is refused. What `main` and tasks print goes to the process's standard output and
//! error, which belong to whoever started it.
#![forbid(unsafe_code)]

pub mod above;
pub mod bounded;
pub mod failure;
pub mod files;
pub mod frame;
pub mod ids;
pub mod limits;
pub mod message;

pub use above::Above;
pub use failure::Failure;
pub use files::{
    FILES_VARIABLE, FileAnswer, FileEntry, FileFailure, FileMetadata, FileQuestion, MOUNT_VARIABLE,
    OpenedFile,
};
pub use frame::{DecodeError, EncodeError, ReadError, WIRE_VERSION, WriteError};
pub use ids::{Key, Lease, ROOT_TASK, RequestId, SharedName, ShortKey, TaskId, Ticket};
pub use message::{
    Closure, ClosureKind, CommandLine, Finished, FromEngine, Lent, Load, Measured, Outcome,
    Program, ReadyRun, Recorded, TaskPath, ToEngine,
};

/// The environment variable that makes a program an engine: the absolute path of the server's socket.
pub const SOCKET_VARIABLE: &str = "ATLAS_ENGINE_SOCKET";

/// The environment variable with the absolute path of the folder of shared values. Without it an engine sends all values in its
/// closures.
pub const SHARED_VARIABLE: &str = "ATLAS_ENGINE_SHARED";
