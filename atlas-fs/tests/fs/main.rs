//! Stores and trees as those see them who use them. Each folder is a temporary one; streams are in memory.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

mod blobs;
mod hostile;
mod manifests;
mod quota;
mod room;
mod sharing;
mod support;
mod trees;
