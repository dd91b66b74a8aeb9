//! What a host needs: the seam between a runtime and other processes.
//!
//! Programs have no use for this module. It is for who carries closures between
//! processes or machines: a server's engine, a WebAssembly embedder, a test. The
//! protocol, and what a host may do where, stands at [`Host`].
//!
//! Two runtimes that help each other, in one process and with perfect delivery:
//!
//! ```
//! use std::sync::{Arc, mpsc};
//! use std::thread;
//! use std::time::Duration;
//!
//! use atlas::Runtime;
//! use atlas::host::{Host, Outcome, Ticket};
//!
//! #[atlas::spawn]
//! fn cube(n: u64) -> u64 {
//!     n * n * n
//! }
//!
//! enum News {
//!     Surplus,
//!     Finished(Ticket, Outcome),
//! }
//!
//! /// Notes what it is told; a thread of its own acts on it.
//! struct Notes(mpsc::Sender<News>);
//!
//! impl Host for Notes {
//!     fn hungry(&self) {}
//!     fn surplus(&self) {
//!         let _ = self.0.send(News::Surplus);
//!     }
//!     fn finished(&self, ticket: Ticket, outcome: Outcome, _: Duration) {
//!         let _ = self.0.send(News::Finished(ticket, outcome));
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (tell, news) = mpsc::channel();
//! let host = |tell: &mpsc::Sender<News>| Arc::new(Notes(tell.clone()));
//! let lender = Runtime::builder().workers(1).host(host(&tell)).build()?;
//! let borrower = Runtime::builder().workers(1).host(host(&tell)).build()?;
//!
//! let value = thread::scope(|scope| {
//!     let job = scope.spawn(|| lender.run(|| {
//!         use atlas::prelude::*;
//!         let cubes: Vec<_> = (1..=100).map(|n| spawn!(cube(n))).collect();
//!         cubes.into_iter().map(Handle::sync).sum::<u64>()
//!     }));
//!     let mut leases = Vec::new();
//!     while !job.is_finished() {
//!         for lent in lender.lend(8).closures {
//!             // The borrower's name for it is its place in `leases`.
//!             let ticket = Ticket(leases.len() as u64);
//!             leases.push(lent.lease);
//!             borrower.accept(ticket, &lent.closure).expect("one program");
//!         }
//!         while let Ok(news) = news.recv_timeout(Duration::from_millis(1)) {
//!             if let News::Finished(ticket, outcome) = news {
//!                 let lease = leases[ticket.0 as usize];
//!                 lender.return_result(lease, outcome).expect("brought once");
//!             }
//!         }
//!     }
//!     job.join().expect("no task panics")
//! });
//! assert_eq!(value, 25_502_500);
//! # Ok(())
//! # }
//! ```

pub use atlas_core::{
    AcceptError, CLOSURE_BYTES_MAX, CodecError, DecodeError, EncodeError, Host, Key, Lease, Lent,
    LentClosure, Measured, Outcome, PortableClosure, ReadyClosure, Recorded, ReturnError,
    TaskCollision, TaskId, TaskInfo, TaskTable, Ticket,
};
