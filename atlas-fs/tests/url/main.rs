//! Files by URL as those see them who read them, from an origin in this process that misbehaves on request.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each step of an answer looks for the moods that concern it"
)]

mod above;
mod changes;
mod clients;
mod errors;
mod full_disk;
mod model;
mod origin;
mod pages;
mod processes;
mod reading;
mod spools;
mod storing;
mod support;
