//! **Pure crate, with a binary.** A simulated world that drives the machines of `atlas-proto`.
#![forbid(unsafe_code)]

pub mod engine;
pub mod workload;
