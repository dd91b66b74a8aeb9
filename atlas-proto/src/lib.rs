//! **Pure crate.** Atlas's protocol as state machines: no socket, no thread, no clock, no file, no ambient
//! randomness.
#![forbid(unsafe_code)]

pub mod attendance;
mod checkpoint;
pub mod codec;
pub mod control;
pub mod cost;
mod detector;
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
mod orphan;
pub mod path;
pub mod policy;
pub mod pulse;
mod report;
mod results;
mod rival;
pub mod rng;
pub mod server;
mod sessions;
mod sorted;
pub mod standby;
pub mod stats;
pub mod suspicion;
pub mod time;
mod uplink;
mod watch;
pub mod whereabouts;

pub use manager::{Manager, ManagerConfig, ManagerEvent};
pub use server::{Server, ServerConfig};
pub use sessions::Transmit;
