//! **Pure crate.** Atlas's protocol as state machines: no socket, no thread, no clock, no file, no ambient
//! randomness.
#![forbid(unsafe_code)]

pub mod codec;
pub mod control;
pub mod cost;
pub mod domain;
pub mod engine;
pub mod ids;
pub mod inspect;
pub mod job;
pub mod ledger;
pub mod limits;
mod link;
pub mod manager;
pub mod message;
pub mod path;
pub mod policy;
mod report;
mod results;
pub mod rng;
pub mod server;
mod sessions;
mod sorted;
pub mod standby;
pub mod stats;
pub mod time;
mod uplink;

pub use manager::{Manager, ManagerConfig, ManagerEvent};
pub use server::{Server, ServerConfig};
pub use sessions::Transmit;
