//! Ordinary recursive Rust functions, on one core at the speed of plain code and
//! on all cores of the machine; the same program is to run on many machines.
//!
//! ```
//! use atlas::prelude::*;
//!
//! #[atlas::spawn]
//! fn fib(n: u64) -> u64 {
//!     if n < 2 {
//!         return n;
//!     }
//!     let (a, b) = join!(fib(n - 1), fib(n - 2));
//!     a + b
//! }
//!
//! #[atlas::main]
//! fn main() {
//!     assert_eq!(fib(20), 6765);
//! }
//! ```
//!
//! `#[atlas::spawn]` makes the function a *task*: a call of it under
//! [`join!`](macro@join) may be taken by an idle core. When none is idle, a join is
//! two calls and costs about a nanosecond more, so nothing needs a cutoff.
//!
//! # Three styles
//!
//! *Direct*, as above, reads like the sequential program and is the fastest.
//!
//! With *handles*, the number of children may be known at run time only, and a
//! child that is no longer wanted is aborted by dropping its [`Handle`]:
//!
//! ```
//! use atlas::prelude::*;
//!
//! #[atlas::spawn]
//! fn fib(n: u64) -> u64 {
//!     if n < 2 {
//!         return n;
//!     }
//!     let a = spawn!(fib(n - 1));
//!     let b = fib(n - 2);
//!     a.sync() + b
//! }
//!
//! assert_eq!(atlas::run(|| fib(15)), 610);
//! ```
//!
//! In *continuation-passing* style a task never waits: it names its children and
//! the task that takes their results. It holds no stack meanwhile, so the depth
//! of the recursion is bounded by memory alone:
//!
//! ```
//! use atlas::prelude::*;
//!
//! #[atlas::spawn]
//! fn fib(n: u64) -> Next<u64> {
//!     if n < 2 {
//!         return Next::value(n);
//!     }
//!     spawn_next!(fib(n - 1), fib(n - 2) => sum())
//! }
//!
//! #[atlas::spawn]
//! fn sum(a: u64, b: u64) -> u64 {
//!     a + b
//! }
//!
//! assert_eq!(atlas::run(|| fib(20).sync()), 6765);
//! ```
//!
//! # What may be a task
//!
//! A free function that owns its arguments and its result, all of which serde can
//! encode ([`Portable`]); they are encoded only when a call leaves the process.
//! It is a function of its arguments: what is computed again gives the same
//! result. [`#[atlas::spawn]`](macro@spawn) says the rest, and what to do where it
//! is not so. Large read-only data that many tasks use is passed as a [`Shared`].
//!
//! Closures and borrowed data are no tasks; the functions [`join()`] and [`scope`]
//! take them, on the cores of this machine.
//!
//! # From rayon
//!
//! | rayon | Atlas |
//! | --- | --- |
//! | `rayon::join(a, b)` | [`atlas::join(a, b)`](join()); `join!(f(x), g(y))` for tasks, two to twelve |
//! | `rayon::scope(..)`, `s.spawn(..)` | [`atlas::scope`](scope()), [`Scope::spawn`] |
//! | `rayon::spawn(..)` | the prelude's `spawn!(f(x))`, which gives a [`Handle`] |
//! | `ThreadPoolBuilder::new().num_threads(n).build()` | [`Runtime::builder()`]`.workers(n).build()` |
//! | `pool.install(..)` | [`Runtime::run`]; [`atlas::run`](run()) for the global runtime |
//! | `current_num_threads()` | [`Runtime::workers`] |
//! | `RAYON_NUM_THREADS` | `ATLAS_WORKERS` |
//! | parallel iterators | a task that splits its range by halves with `join!` |
//!
//! Signatures and bounds are rayon's, so changing the import is enough:
//!
//! ```
//! # use atlas as rayon;
//! fn quicksort(numbers: &mut [u32]) {
//!     let Some((&mut pivot, _)) = numbers.split_first_mut() else {
//!         return;
//!     };
//!     let mut middle = 0;
//!     for at in 1..numbers.len() {
//!         if numbers[at] < pivot {
//!             middle += 1;
//!             numbers.swap(middle, at);
//!         }
//!     }
//!     numbers.swap(0, middle);
//!     let (left, right) = numbers.split_at_mut(middle);
//!     rayon::join(|| quicksort(left), || quicksort(&mut right[1..]));
//! }
//!
//! let mut numbers = [3, 1, 4, 1, 5, 9, 2, 6];
//! quicksort(&mut numbers);
//! assert!(numbers.is_sorted());
//! ```
//!
//! A difference: a worker whose child is away does not run other work *on top of*
//! its parent's stack. The parent is suspended, and goes on when the child is back.
//!
//! # Where it runs
//!
//! Called on a thread that is not a worker, a join, [`run()`] or [`scope()`] moves into
//! the [global runtime](Runtime::global). `#[atlas::main]` runs all of `main` there.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `ATLAS_WORKERS` | worker threads of a runtime | the processors that the process may use |
//! | `ATLAS_STACK` | stack of a strand, as in `64M` or `1G` | `16M` of addresses; memory as touched |
//!
//! [`Builder`] sets the same for a runtime of its own.
//!
//! # Panics
//!
//! A panic in a task surfaces at its parent's sync, wherever the task ran, after
//! its siblings were dropped unrun, aborted or awaited. [`catch`] and
//! [`Handle::try_sync`] give it as a [`TaskPanic`], with the path of the innermost
//! task and what it said:
//!
//! ```
//! use atlas::prelude::*;
//!
//! mod bank {
//!     #[atlas::spawn]
//!     pub fn withdraw(balance: u64, sum: u64) -> u64 {
//!         balance.checked_sub(sum).expect("no credit")
//!     }
//! }
//! use bank::withdraw;
//!
//! let panic = atlas::catch(|| join!(withdraw(9, 2), withdraw(5, 7))).unwrap_err();
//! assert!(panic.task().unwrap().ends_with("bank::withdraw"));
//! assert_eq!(panic.message(), "no credit");
//! ```
//!
//! A panic keeps its payload within the process. Programs must be built with
//! `panic = "unwind"`, which is the default.
//!
//! # Limits
//!
//! A strand that waits makes way for other work *on the same thread*. So across a
//! `join!`, `sync`, `scope` or `run`:
//!
//! - hold no lock that other tasks take: one of them may run on this thread
//!   meanwhile, and wait for a guard that cannot be dropped until it is done;
//! - keep no borrow of a thread-local `RefCell`, for the same reason. (A strand
//!   never changes its thread: what it reads there is the same after the wait.)
//!
//! A destructor that joins while it is unwound may be suspended in the middle of
//! that. Until it goes on, `std::thread::panicking()` is true for the other strands
//! of its thread, and a `MutexGuard` that one of them drops poisons its mutex.
//!
//! A recursion that is too deep for its stack is reported and ends the process, as
//! everywhere in Rust: raise `ATLAS_STACK`, or pass continuations.
//!
//! # Best speed
//!
//! A join is some plain instructions, if the compiler sees both sides of it:
//!
//! ```toml
//! [profile.release]
//! codegen-units = 1
//! lto = "fat"
//! ```
//!
//! # When machines are lost
//!
//! In a job on a cluster, what a lost machine has computed is computed again elsewhere, but for the children that had
//! finished: results that are worth it are recorded while the job runs, by the task and its arguments, and found in place
//! of a second run. A program need do nothing for it. Tasks of a second or less are lost whole; a long one without
//! children can keep its state by [`checkpoint`] and go on from it by [`resume`].
//!
//! # Other processes
//!
//! What carries work between processes meets a runtime at [`host`]. A server runs the program as its [`engine`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod engine;
pub mod fs;
pub mod host;
mod shared;
mod state;

pub use atlas_core::{
    BuildError, Builder, Handle, Next, Portable, Runtime, Scope, Stats, TaskPanic, catch, join,
    run, scope,
};

/// Makes a free function a *task*: a function whose calls may run on any core,
/// and on any machine.
///
/// The function stays what it is: called by its name, it runs here and now.
/// Under [`join!`](macro@join), [`spawn_next!`] and the prelude's `spawn!` its
/// calls may be stolen.
///
/// ```
/// #[atlas::spawn]
/// fn fib(n: u64) -> u64 {
///     if n < 2 {
///         return n;
///     }
///     let (a, b) = atlas::join!(fib(n - 1), fib(n - 2));
///     a + b
/// }
///
/// assert_eq!(fib(20), 6765); // on this thread
/// assert_eq!(atlas::run(|| fib(20)), 6765); // on all cores
/// ```
///
/// # What can be a task
///
/// A free function with up to twelve arguments. Arguments and result are
/// [`Portable`]: owned, `Send`, and serialisable by serde. The result may be a
/// [`Next`], see [`spawn_next!`]. A generic, `async`, `unsafe` or `extern`
/// function is no task, nor is a method; each is a compile error that says what
/// to do instead. Closures and borrowed data have [`join()`] and [`scope`].
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Board {
///     free_columns: u32,
///     rows_left: u32,
/// }
///
/// #[atlas::spawn]
/// fn placements(Board { free_columns, rows_left }: Board) -> u64 {
///     if rows_left == 0 {
///         return 1;
///     }
///     let mut columns = free_columns;
///     let mut total = 0;
///     while columns != 0 {
///         let column = columns & columns.wrapping_neg();
///         columns ^= column;
///         let rest = free_columns ^ column;
///         total += placements(Board { free_columns: rest, rows_left: rows_left - 1 });
///     }
///     total
/// }
///
/// let board = || Board { free_columns: 0b1111, rows_left: 4 };
/// assert_eq!(atlas::join!(placements(board()), placements(board())), (24, 24));
/// ```
///
/// A task is a function of its arguments: a machine that fails has its work done
/// once more elsewhere, and the second result must equal the first. Where it may
/// not, say `#[atlas::spawn(impure)]`: such a task runs at least once, and its
/// result is never taken from a checkpoint.
///
/// ```
/// #[atlas::spawn(impure)]
/// fn process_id() -> u32 {
///     std::process::id()
/// }
/// # assert_eq!(process_id(), std::process::id());
/// ```
///
/// # Names
///
/// The attribute adds a hidden type of the function's name, so that the macros
/// find the task from the call. One `use m::fib` imports both, and they have the
/// same visibility. Three errors of the compiler come from this:
///
/// - *expected type, found function `f`*: `f` lacks the attribute.
/// - *private type in public interface*: a type in the signature is less public
///   than the task. Make the task `pub(crate)`, or the type `pub`.
/// - *the name `fib` is defined multiple times*: `mod fib` and `use fib::fib`
///   meet in one scope. Call the task by its path, or rename the module.
///
/// A task's identity is its path, crate and modules included. Two functions of
/// one name inside the bodies of two functions of one module have the same path;
/// move them to modules.
pub use atlas_macros::spawn;

/// Makes `main` the root of the job: its body runs on a worker, so that its
/// `join!`s are parallel.
///
/// The return type is what `main` may return without the attribute.
///
/// ```
/// use std::error::Error;
///
/// #[atlas::spawn]
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// #[atlas::main]
/// fn main() -> Result<(), Box<dyn Error>> {
///     let x = "3".parse()?;
///     let (a, b) = atlas::join!(square(x), square(x + 1));
///     assert_eq!(a + b, 25);
///     Ok(())
/// }
/// ```
///
/// The number of workers is that of the cores, or `ATLAS_WORKERS`.
pub use atlas_macros::main;

/// Runs two to twelve calls of tasks in parallel, waits for all of them, and
/// gives their results as a tuple in the order of the calls.
///
/// All arguments are evaluated first, from left to right, and belong to the
/// caller: a `?` in one of them leaves the calling function.
///
/// ```
/// #[atlas::spawn]
/// fn sum(numbers: Vec<u64>) -> u64 {
///     numbers.iter().sum()
/// }
///
/// #[atlas::spawn]
/// fn largest(numbers: Vec<u64>) -> Option<u64> {
///     numbers.into_iter().max()
/// }
///
/// let numbers = vec![3, 1, 2];
/// let (sum, largest) = atlas::join!(sum(numbers.clone()), largest(numbers));
/// assert_eq!((sum, largest), (6, Some(3)));
/// ```
///
/// A join costs a few instructions when nobody is idle: the first call runs at
/// once, then the others, as in the sequential program. An idle worker takes the
/// last call first. A panic in a child is a panic of the join. For closures, and
/// for data that is borrowed, there is the function [`join()`].
pub use atlas_macros::join;

/// Spawns one to eight children, and the continuation that takes their results:
/// Cilk's explicit continuation passing.
///
/// Nothing waits, so nothing holds a stack: the task returns a [`Next`] at once,
/// and the continuation becomes ready when the last child is done. Its first
/// arguments are the children's results in order; what stands in its parentheses
/// comes after them.
///
/// ```
/// use atlas::Next;
///
/// #[atlas::spawn]
/// fn fib(n: u64) -> Next<u64> {
///     if n < 2 {
///         return Next::value(n);
///     }
///     atlas::spawn_next!(fib(n - 1), fib(n - 2) => sum())
/// }
///
/// #[atlas::spawn]
/// fn sum(a: u64, b: u64) -> u64 {
///     a + b
/// }
///
/// assert_eq!(atlas::run(|| fib(20).sync()), 6765);
/// ```
///
/// With captured values, and a continuation that goes on itself:
///
/// ```
/// use atlas::Next;
///
/// #[atlas::spawn]
/// fn refine(guess: f64, target: f64) -> Next<f64> {
///     if (guess * guess - target).abs() < 1e-9 {
///         return Next::value(guess);
///     }
///     atlas::spawn_next!(divide(target, guess) => improve(guess, target))
/// }
///
/// #[atlas::spawn]
/// fn divide(a: f64, b: f64) -> f64 {
///     a / b
/// }
///
/// #[atlas::spawn]
/// fn improve(quotient: f64, guess: f64, target: f64) -> Next<f64> {
///     refine((guess + quotient) / 2.0, target)
/// }
///
/// let root = atlas::run(|| refine(1.0, 2.0).sync());
/// assert!((root - 2f64.sqrt()).abs() < 1e-9);
/// ```
pub use atlas_macros::spawn_next;

pub use shared::{Shared, share};
pub use state::{checkpoint, resume};

/// What a program imports: `use atlas::prelude::*;`.
pub mod prelude {
    pub use crate::{Handle, Next, join, spawn_next};

    /// Spawns one call of a task and gives its [`Handle`]; `handle.sync()` waits
    /// for the result.
    ///
    /// For children whose number is known only at run time, or that are not all
    /// wanted. Where the children are known, [`join!`](macro@crate::join) is
    /// cheaper.
    ///
    /// ```
    /// use atlas::prelude::*;
    ///
    /// #[atlas::spawn]
    /// fn square(x: u64) -> u64 {
    ///     x * x
    /// }
    ///
    /// let total: u64 = atlas::run(|| {
    ///     let squares: Vec<_> = (1..=4).map(|x| spawn!(square(x))).collect();
    ///     squares.into_iter().map(|square| square.sync()).sum()
    /// });
    /// assert_eq!(total, 30);
    /// ```
    ///
    /// Only the prelude has it: the attribute [`spawn`](macro@crate::spawn) takes the name
    /// `atlas::spawn`, since Rust keeps both kinds of macro in one namespace.
    pub use atlas_macros::spawn_handle as spawn;
}

/// What the macros expand to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use atlas_core::*;

    pub use crate::engine::run_main;
}
