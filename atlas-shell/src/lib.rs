//! **Driver crate**, with a binary of the same name. How people submit jobs to the manager of a domain, and see how they go on.
//!
//! - [`client`]: what can be asked of a manager; for other programs, too.
//! - [`state`], [`login`]: who this user is, and to which manager.
//! - [`program`]: what `submit JOB` runs; [`blobs`]: what travels with it, and what comes back.
//! - [`cli`]: the commands. [`follow`] shows a job as it goes on, [`session`] comes back to a manager that was lost, [`screen`] shares the terminal between a job and the shell,
//!   [`interrupt`] says what Ctrl-C means.
//! - [`mod@print`]: tables and JSON; [`exit`]: exit codes. `docs/shell.md` promises both to scripts.
//! - [`downloads`]: bars for large files that are read by URL.
//! - [`embedded`]: a cluster for who has none.
//!
//! It decides nothing of who computes what; that is the manager's. All of it runs on one thread, and others are there only while a
//! file or the terminal blocks: a short job is not to wait for its shell.
#![forbid(unsafe_code)]

mod access;
pub mod blobs;
pub mod cli;
pub mod client;
pub mod downloads;
pub mod embedded;
pub mod exit;
pub mod follow;
pub mod interrupt;
pub mod login;
pub mod print;
pub mod program;
pub mod screen;
pub mod session;
pub mod state;
