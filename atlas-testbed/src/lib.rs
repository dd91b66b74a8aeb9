//! **For tests and benchmarks.** Clusters of real daemons on this machine: managers, servers and shells, each a process of its
//! own, on loopback addresses that no other cluster of this machine has.
//!
//! ```no_run
//! use atlas_testbed::{Cluster, ServerOptions, program};
//!
//! let cluster = Cluster::new();
//! let root = cluster.root("example.edu");
//! let below = cluster.below(&root, "cs.example.edu");
//! let _server = cluster.server(&below, ServerOptions { workers: 2, ..ServerOptions::default() });
//! root.wait_for_workers(2);
//! let shell = cluster.login(&root);
//! let output = shell.submit(program("nqueens"), ["8"]);
//! assert_eq!(output.stdout, b"8 queens: 92 ways\n");
//! ```
//!
//! What goes wrong is a panic that says what was expected; daemons then print the ends of their logs. Every wait has a bound.
//! Dropped, a daemon is killed; with the last of a cluster's parts its folder goes, too.
//!
//! Nothing here builds the daemons: they are found beside the executable that runs, so that they have its profile.
//! `cargo test --workspace` builds them, and so does `cargo build --workspace --bins` for who asks for some tests alone, or runs
//! a benchmark.
#![forbid(unsafe_code)]

mod binaries;
mod cluster;
mod daemon;
mod digest;
mod folder;
mod manager;
mod metrics;
mod process;
mod read_only;
mod relay;
mod running;
mod server;
mod shell;
mod steps;
mod wait;

pub use binaries::program;
pub use cluster::Cluster;
pub use daemon::Daemon;
pub use digest::{digest, told};
pub use manager::{Manager, ManagerOptions, TokenOptions};
pub use metrics::Metrics;
pub use process::{children, parent, signal};
pub use read_only::may_mount;
pub use relay::Relay;
pub use running::{PATIENCE, Running};
pub use rustix::process::Signal;
pub use server::{RECOMPUTED_MAX, Server, ServerOptions};
pub use shell::{Shell, code, entries, refusal};
pub use steps::{Steps, assert_steps};
pub use wait::{wait_for, wait_until};
