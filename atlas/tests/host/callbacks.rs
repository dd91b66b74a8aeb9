//! What a host may do inside of a call of the runtime.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use atlas::Runtime;
use atlas::host::{Host, LentClosure, Outcome, ReturnError, Ticket};

use crate::programs::{fib, fib_plain, sorted};

/// A host that acts at once, on the worker's thread: it lends to its own runtime.
#[derive(Default)]
struct Hasty {
    runtime: OnceLock<Weak<Runtime>>,
    moved: Mutex<u64>,
}

impl Hasty {
    fn pass_on(&self, closures_max: usize) {
        let Some(runtime) = self.runtime.get().and_then(Weak::upgrade) else {
            return;
        };
        for LentClosure { lease, closure, .. } in runtime.lend(closures_max).closures {
            runtime.accept(Ticket(lease.0), &closure).unwrap();
            *self.moved.lock().unwrap() += 1;
        }
        assert!(runtime.idle_workers() <= runtime.workers());
    }
}

impl Host for Hasty {
    fn hungry(&self) {
        self.pass_on(1);
    }

    fn surplus(&self) {
        self.pass_on(2);
    }

    fn finished(&self, ticket: Ticket, outcome: Outcome, _: Duration) {
        let Some(runtime) = self.runtime.get().and_then(Weak::upgrade) else {
            return;
        };
        match runtime.return_result(atlas::host::Lease(ticket.0), outcome) {
            Ok(()) | Err(ReturnError::Unknown(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn host_that_acts_inside_of_its_calls_deadlocks_nothing() {
    for workers in [1, 2, 3] {
        let host = Arc::new(Hasty::default());
        let builder = Runtime::builder().workers(workers).host(host.clone());
        let runtime = Arc::new(builder.build().unwrap());
        host.runtime.set(Arc::downgrade(&runtime)).unwrap();
        let numbers: Vec<u64> = (0..5000).rev().collect();
        let mut moved = 0;
        while moved == 0 {
            assert_eq!(runtime.run(|| fib(15)), fib_plain(15));
            assert_eq!(runtime.run(|| sorted(numbers.clone()))[17], 17);
            let _ = runtime.lend(0);
            host.pass_on(1);
            moved = *host.moved.lock().unwrap();
        }
    }
}

/// Drops the last reference to its runtime in a call.
#[derive(Default)]
struct LastOwner {
    runtime: Mutex<Option<Arc<Runtime>>>,
}

impl Host for LastOwner {
    fn hungry(&self) {}

    fn surplus(&self) {}

    fn finished(&self, _ticket: Ticket, _outcome: Outcome, _: Duration) {
        let last = self.runtime.lock().unwrap().take();
        drop(last);
    }
}

#[test]
fn runtime_may_be_dropped_by_its_own_worker() {
    let host = Arc::new(LastOwner::default());
    let ended = Arc::downgrade(&host);
    let builder = Runtime::builder().workers(2).host(host.clone());
    let runtime = Arc::new(builder.build().unwrap());
    *host.runtime.lock().unwrap() = Some(runtime.clone());
    drop(host);
    let closure = atlas::host::PortableClosure {
        task: atlas::host::TaskId::of_path("host::programs::fib"),
        args: postcard::to_stdvec(&(5_u64,)).unwrap(),
    };
    let weak = Arc::downgrade(&runtime);
    runtime.accept(Ticket(0), &closure).unwrap();
    drop(runtime);
    while weak.strong_count() > 0 || ended.strong_count() > 0 {
        std::thread::yield_now();
    }
}
