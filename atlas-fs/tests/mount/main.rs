//! Files by URL, mounted, with a real origin and real programs. Where nothing can be mounted, these tests say so and do nothing.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "also outside of test functions, a failure here is the test's"
)]

mod apart;
mod bed;
mod origin;
mod passing;
mod programs;
mod progress;
mod trouble;
mod versions;
