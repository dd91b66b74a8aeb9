//! **Driver crate.** A manager of Atlas: coordinates one domain.
//!
//! [`ManagerNode`] is a whole manager within a process. It owns one machine ([`atlas_proto::Manager`]), which decides who gets
//! whose work, and what that needs: connections, a store of jobs and tokens, blobs. It answers clients (`clients`), its own
//! nodes (`nodes`), for whom it keeps files by URL, and whoever looks at its metrics (`http`).
//!
//! A manager may have a standby: another process like it, which follows (`replica`) and takes over. `standing` says which of
//! the two acts; all that a manager has only then begins and ends with its `phase`.
#![forbid(unsafe_code)]

mod ask;
mod blobs;
pub mod cli;
mod client_files;
mod clients;
mod core;
mod http;
mod jobs;
mod local;
mod node;
mod nodes;
mod others;
mod output;
mod peers;
mod phase;
mod relayed;
mod replica;
mod run;
mod shared_values;
mod standing;
pub mod state;
mod store;
mod submit;
mod url_pins;

pub use local::ask_local;
pub use node::{ManagerNode, ManagerOptions, StartError};
pub use store::{OpenStoreError, Store};
