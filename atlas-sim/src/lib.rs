//! **Pure crate, with a binary.** A simulated world that drives the machines of `atlas-proto`.
//!
//! A [`Scenario`](scenario::Scenario) says everything about a world; [`simulate`](world::simulate) runs it and
//! gives a [`Report`](report::Report). All of it follows from the scenario's seed.
#![forbid(unsafe_code)]

pub mod atlas;
pub mod baseline;
pub mod check;
pub mod engine;
pub mod network;
pub mod queue;
pub mod report;
pub mod scenario;
pub mod topology;
pub mod trace;
pub mod workload;
pub mod world;
