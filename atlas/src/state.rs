//! What a long task says of itself while it runs: [`checkpoint`] and [`resume`].

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Keeps the state of a long task that has no children, so that it need not begin anew if its machine is lost.
///
/// In a job on a cluster, the results of finished children are recorded by themselves, and whoever computes a lost task
/// again finds them. A task that computes for minutes without a child has none. It says every now and then how far
/// it has come, and asks at its beginning where to go on:
///
/// ```
/// /// Adds up a long series.
/// #[atlas::spawn]
/// fn series(terms: u64) -> f64 {
///     let (mut next, mut sum) = atlas::resume().unwrap_or((0, 0.0));
///     while next < terms {
///         sum += 1.0 / (next * next + 1) as f64;
///         next += 1;
///         if next % 1000 == 0 {
///             atlas::checkpoint(&(next, sum));
///         }
///     }
///     sum
/// }
///
/// #[atlas::main]
/// fn main() {
///     let (short, long) = atlas::join!(series(10), series(1_000_000));
///     assert!(short < long && long < 2.08);
/// }
/// ```
///
/// Most calls only look at the clock. Every tenth of a second, or less often if that takes long, the state is encoded
/// and sent; a state that costs more to send than a twentieth of what it saves is not.
///
/// A task has one state, which belongs to its arguments. So the calls are of use in a task that was called by
/// [`join!`](macro@crate::join), [`spawn_next!`](crate::spawn_next) or the prelude's `spawn!`, that calls [`resume`] once and
/// before everything else, and that makes no join. Elsewhere they do nothing: in a program that runs
/// alone, in a task that is not worth to be recorded, after a join or a second [`resume`]. Where a function under
/// `#[atlas::spawn]` is called as a plain function it is a part of its caller, whose state it would be.
pub fn checkpoint<S: Serialize>(state: &S) {
    atlas_core::checkpoint(state);
}

/// The last state that an earlier run of this task with these arguments has kept by [`checkpoint`]; none if there was no such
/// run, or its state did not reach this machine, or is no `S`.
///
/// ```
/// // Nothing was kept: this is no task of a job.
/// assert_eq!(atlas::resume::<u64>(), None);
/// ```
#[must_use]
pub fn resume<S: DeserializeOwned>() -> Option<S> {
    atlas_core::resume()
}
