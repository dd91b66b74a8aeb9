//! Atlas beside rayon, chili and plain sequential Rust: the same programs, in
//! one process, one after the other and round again, so that what the machine
//! does meanwhile falls on all of them alike.
//!
//! - [`workloads`]: the programs, and the questions that are no program;
//! - [`program`]: one program in all its forms, and how it is measured;
//! - [`pools`]: the runtimes, each with one and with two workers;
//! - [`sample`]: interleaved timing and medians; [`spin`]: work of a known length;
//! - [`procs`]: CPU time and memory of a process; [`report`]: rows, table, JSON;
//! - [`files`]: files by URL, mounted, beside the native file system;
//! - [`cluster`], [`faults`]: clusters of real daemons, in peace and in trouble; [`bars`]: what is said of their figures;
//! - [`suite`]: which benchmarks run, from the command line's [`options`].
//!
//! `README.md` beside this crate says what is measured and why.
#![forbid(unsafe_code)]

pub mod bars;
pub mod cluster;
pub mod faults;
pub mod files;
pub mod options;
pub mod pools;
pub mod procs;
pub mod program;
pub mod report;
pub mod sample;
pub mod spin;
pub mod suite;
pub mod workloads;
