//! **Driver crate.** A server of Atlas: joins its domain, steals work, and runs it in engines.
//!
//! [`ServerNode`] is a whole server within a process. It owns one machine ([`atlas_proto::Server`]), which decides, and
//! what that needs: a manager to serve (`whereabouts`), connections to it and to siblings (`links`), engines (`engine`), a clock.
//! Nothing here decides who computes what.
#![forbid(unsafe_code)]

pub mod cli;
mod cpu;
mod engine;
mod links;
mod node;
mod progress;
mod rival_log;
mod run;
pub mod state;
mod steal_log;
mod whereabouts;

pub use node::{ServerNode, ServerOptions, StartError};
