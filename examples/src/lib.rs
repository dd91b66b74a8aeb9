//! The example programs of Atlas, as modules that the benchmarks and the tests
//! call too; `src/bin/` holds the command lines.
//!
//! Each module has its program as tasks and, beside them, the same program as
//! plain sequential Rust: what the tasks are measured against.
#![forbid(unsafe_code)]

pub mod fib;
pub mod nqueens;
pub mod raytrace;
pub mod uts;
