//! Library part of the example programs: what their binaries and tests share.
//!
//! Kind: driver. Each program's own module knows nothing of the others.
#![forbid(unsafe_code)]

pub mod raytrace;
