//! The schedulers that Atlas is to beat, each as its paper or project has it, on the same engines, links and
//! trees.
//!
//! They are given what the papers take for granted: every node knows all others from the start, no message is
//! lost, nobody joins or leaves, a request costs no processor time. Sizes are honest: a header, and what a
//! message says.

mod central;
mod dormant;
mod message;
mod scope;
mod stealing;
#[cfg(test)]
mod tests;

pub use central::{Central, CentralMessage};
pub use message::StealMessage;
pub use stealing::Thieves;

/// The number of a request, a lease, a frame.
const NUMBER_BYTES: u64 = 8;
/// Task and depth.
const KIND_BYTES: u64 = 12;
