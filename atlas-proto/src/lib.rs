//! **Pure crate.** Atlas's protocol as state machines: no socket, no thread, no clock, no file, no ambient
//! randomness.
#![forbid(unsafe_code)]

pub mod codec;
pub mod domain;
pub mod engine;
pub mod ids;
pub mod job;
pub mod limits;
pub mod message;
pub mod path;
pub mod policy;
pub mod rng;
pub mod time;
