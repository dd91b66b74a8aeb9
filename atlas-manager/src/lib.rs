//! **Driver crate.** A manager of Atlas: coordinates one domain.
//!
//! [`ManagerNode`] is a whole manager within a process. It owns one machine ([`atlas_proto::Manager`]), which decides who gets
//! whose work, and what that needs: connections, a store of jobs and tokens, blobs. It answers clients (`clients`), its own
//! nodes (`nodes`), and whoever looks at its metrics (`http`).
#![forbid(unsafe_code)]

mod ask;
mod blobs;
pub mod cli;
mod clients;
mod http;
mod jobs;
mod local;
mod node;
mod nodes;
mod output;
mod peers;
mod relayed;
mod run;
mod shared_values;
pub mod state;
mod store;

pub use local::ask_local;
pub use node::{CertificateFolders, ManagerNode, ManagerOptions, StartError};
pub use store::{OpenStoreError, Store};
