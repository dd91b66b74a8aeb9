//! Files by URL as those see them who read them, from an origin in this process that misbehaves on request.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failure here is the test's"
)]

mod changes;
mod errors;
mod origin;
mod pages;
mod processes;
mod reading;
mod storing;
mod support;
