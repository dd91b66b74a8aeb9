//! The seam to the outside, driven as a server would drive it: [`network`] joins
//! two runtimes by messages that come late, twice or never; [`lending`] takes one
//! step at a time; [`checkpoints`] computes again what one runtime has recorded; [`bad_input`] gives bytes that no runtime made.

#![expect(
    clippy::unwrap_used,
    reason = "also outside of the test functions themselves, a failure here is the test's"
)]

mod bad_input;
mod callbacks;
mod checkpoints;
mod lending;
mod network;
mod notes;
mod programs;
mod table;
