//! Tasks, closures and the local work-stealing scheduler of Atlas. (Threads are
//! its subject: no I/O, no async runtime, no network; what leaves the process
//! does so through one trait, [`Host`].)
//!
//! From the cheapest to the dearest layer:
//!
//! 1. *latent*: [`join`] links a record on its own stack frame (`join.rs`,
//!    `latent.rs`), or `spawn_next!` links a heap frame (`frame.rs`, `next.rs`);
//! 2. *public*: a raised poll flag (`tls.rs`) makes a worker (`worker.rs`,
//!    `idle.rs`) promote its oldest record to a closure (`closure.rs`, `work.rs`,
//!    `heap.rs`) in its deque, which thieves run as strands (`strand.rs`,
//!    `stack.rs`);
//! 3. *portable*: a closure that leaves the process is encoded (`portable.rs`,
//!    `host.rs`, `lender.rs`, `borrower.rs`).
//!
//! Programs use the `atlas` crate; this one is behind it.

mod borrower;
mod checkpoint;
mod closure;
mod frame;
mod handle;
mod heap;
mod host;
mod idle;
mod join;
mod latent;
mod lender;
#[cfg(all(test, atlas_loom))]
mod loom_models;
mod measure;
mod memory;
mod next;
mod overflow;
mod panic;
mod patience;
mod permits;
mod pool;
mod portable;
mod runtime;
mod scope;
mod sleep;
mod stack;
mod state;
mod stats;
mod strand;
mod sync;
mod task;
mod task_call;
mod time_slice;
mod tls;
mod trace;
mod waiter;
mod wake_policy;
mod work;
mod worker;

#[doc(hidden)]
pub use checkpoint::is_keying;
pub use checkpoint::{Key, Recorded};
pub use handle::{Handle, spawn_task};
pub use host::{AcceptError, Host, Lease, Lent, LentClosure, ReadyClosure, ReturnError, Ticket};
#[doc(hidden)]
pub use inventory;
pub use join::join;
pub use measure::Measured;
pub use memory::{give_back_memory, map_large_memory};
pub use next::{Children, Next, Returned, spawn_next};
pub use panic::{TaskPanic, catch};
pub use portable::{
    CLOSURE_BYTES_MAX, CodecError, DecodeError, EncodeError, Outcome, PortableClosure,
};
pub use runtime::{BuildError, Builder, Runtime, run, run_main};
pub use scope::{Scope, scope};
pub use state::{checkpoint, resume};
pub use stats::Stats;
#[doc(hidden)]
pub use task::{Argument, AssertArgument};
pub use task::{Portable, Task, TaskCollision, TaskId, TaskInfo, TaskTable, Value};
#[doc(hidden)]
pub use task_call::{First, FirstTask, JoinTask, first_task, join_task};
pub use time_slice::ask_for_time_slice;
