//! What the workers of one runtime share, and what outsiders may touch.
//!
//! Each worker has a [`Station`]: the end of its deque that thieves use, its
//! inbox, and the address of its poll flag. Flags live in the workers' thread-local
//! storage; they stay valid while any worker runs, since all leave together
//! (a barrier at the end), and outsiders raise them only inside the gate, which
//! closes first.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::thread::Thread;

use crossbeam_deque::{Injector, Steal, Stealer};

use crate::checkpoint::Checkpoints;
use crate::closure::ClosureRef;
use crate::host::Hosting;
use crate::measure::Measures;
use crate::permits::Permits;
use crate::sleep::Sleep;
use crate::stack::Stacks;
use crate::stats::Counters;
use crate::task::TaskTable;
use crate::tls::WantFlag;
use crate::waiter::Message;
use crate::worker::Worker;

/// The shared part of a runtime.
pub(crate) struct Pool {
    /// Unlike that of any other pool of this process.
    number: usize,
    pub(crate) stations: Box<[Station]>,
    pub(crate) injector: Injector<ClosureRef>,
    pub(crate) sleep: Sleep,
    pub(crate) permits: Permits,
    pub(crate) stacks: Stacks,
    pub(crate) tasks: TaskTable,
    pub(crate) hosting: Hosting,
    /// None where nothing is kept.
    pub(crate) checkpoints: Option<Checkpoints>,
    /// None where nothing is measured.
    pub(crate) measures: Option<Measures>,
    pub(crate) closing: AtomicBool,
    /// Workers leave together, so that each may raise another's flag to the end.
    pub(crate) leaving: Barrier,
    /// Read by outsiders while they raise flags; true once workers may be gone.
    gate: RwLock<bool>,
}

/// The public side of one worker.
pub(crate) struct Station {
    pub(crate) stealer: Stealer<ClosureRef>,
    pub(crate) inbox: Injector<Message>,
    pub(crate) want: AtomicPtr<WantFlag>,
    pub(crate) thread: OnceLock<Thread>,
    pub(crate) counters: Counters,
}

impl Pool {
    pub(crate) fn new(
        stealers: Vec<Stealer<ClosureRef>>,
        stack_bytes: usize,
        tasks: TaskTable,
        hosting: Hosting,
        measured: bool,
        checkpoints: bool,
    ) -> Self {
        static NUMBERS: AtomicUsize = AtomicUsize::new(0);
        let workers = stealers.len();
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            stations: stealers.into_iter().map(Station::new).collect(),
            injector: Injector::new(),
            sleep: Sleep::new(workers),
            permits: Permits::new(workers),
            stacks: Stacks::new(stack_bytes),
            tasks,
            hosting,
            checkpoints: checkpoints.then(Checkpoints::default),
            measures: measured.then(|| Measures::new(workers)),
            closing: AtomicBool::new(false),
            leaving: Barrier::new(workers),
            gate: RwLock::new(false),
        }
    }

    /// Publishes work of no particular worker.
    pub(crate) fn inject(&self, closure: ClosureRef) {
        self.injector.push(closure);
        self.wake_one();
    }

    /// After work for anybody was published: wakes a sleeper unless somebody
    /// searches already.
    pub(crate) fn wake_one(&self) {
        if let Some(worker) = self.sleep.wake_one() {
            self.unpark(worker);
        }
    }

    /// Sends a message to a worker: it reads it at its next join, or at once if
    /// it is idle.
    pub(crate) fn send(&self, worker: usize, message: Message) {
        let station = &self.stations[worker];
        station.inbox.push(message);
        if Worker::current().is_some_and(|me| ptr::eq(&*me.pool, self)) {
            station.with_want(WantFlag::announce_inbox);
        } else {
            self.inside_gate(|| station.with_want(WantFlag::announce_inbox));
        }
        if self.sleep.wake(worker) {
            self.unpark(worker);
        }
    }

    /// Asks all workers for work on behalf of the host.
    pub(crate) fn ask_all(&self) {
        self.inside_gate(|| {
            for station in &self.stations {
                station.with_want(WantFlag::ask_for_work);
            }
        });
    }

    /// Asks all workers for what they have measured.
    pub(crate) fn ask_for_measures(&self) {
        self.inside_gate(|| {
            for station in &self.stations {
                station.with_want(WantFlag::ask_for_measures);
            }
        });
    }

    /// Asks all workers to trace what they run.
    pub(crate) fn ask_for_traces(&self) {
        self.inside_gate(|| {
            for station in &self.stations {
                station.with_want(WantFlag::ask_for_traces);
            }
        });
    }

    /// Runs `f` while the workers are kept from leaving, if they have not left.
    fn inside_gate(&self, f: impl FnOnce()) {
        let left = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if !*left {
            f();
        }
    }

    /// Lets [`abort`] find this pool.
    pub(crate) fn register(self: &Arc<Self>) {
        let mut pools = lock_pools();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(self));
    }

    /// What a closure keeps as its runner: the pool, and a worker or the host.
    pub(crate) fn runner(&self, index: usize) -> usize {
        self.number * RUNNERS + index
    }

    /// The closure is not wanted: tells its runner, which is of this pool.
    fn tell_abort(&self, index: usize, closure: &ClosureRef) {
        if index == HOST {
            self.abort_lent(closure);
        } else {
            self.send(index, Message::Abort(closure.clone()));
        }
    }

    /// Lets so many workers run, and no more.
    pub(crate) fn set_workers(&self, workers: usize) {
        let workers = workers.min(self.stations.len());
        for worker in self.permits.set_limit(workers) {
            self.unpark(worker);
        }
        if self.permits.is_over() {
            self.inside_gate(|| {
                for station in &self.stations {
                    station.with_want(WantFlag::announce_limit);
                }
            });
        }
        let ready = self.ready_count();
        for _ in 0..self.permits.free().min(ready) {
            self.wake_one();
        }
    }

    /// Ends the running of a worker: the next one runs that waits for it.
    pub(crate) fn give_permit_back(&self) {
        if let Some(next) = self.permits.give_back(|worker| self.has_mail(worker)) {
            self.unpark(next);
        }
    }

    pub(crate) fn has_mail(&self, worker: usize) -> bool {
        !self.stations[worker].inbox.is_empty()
    }

    /// Lets the workers leave once they have nothing left to do.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.set_workers(self.stations.len());
        for worker in 0..self.stations.len() {
            if self.sleep.wake(worker) {
                self.unpark(worker);
            }
        }
    }

    /// Called by each worker before it leaves.
    pub(crate) fn close_gate(&self) {
        *self.gate.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Takes the oldest closure that is public, of any worker.
    pub(crate) fn steal_any(&self) -> Option<ClosureRef> {
        steal_from(|| self.injector.steal())
            .or_else(|| self.stations.iter().find_map(Station::steal))
    }

    /// How many closures are public, stale references included.
    pub(crate) fn ready_count(&self) -> usize {
        let stealers = self.stations.iter().map(|station| station.stealer.len());
        self.injector.len() + stealers.sum::<usize>()
    }

    pub(crate) fn unpark(&self, worker: usize) {
        if let Some(thread) = self.stations[worker].thread.get() {
            thread.unpark();
        }
    }
}

impl Station {
    fn new(stealer: Stealer<ClosureRef>) -> Self {
        Self {
            stealer,
            inbox: Injector::new(),
            want: AtomicPtr::new(ptr::null_mut()),
            thread: OnceLock::new(),
            counters: Counters::default(),
        }
    }

    /// Takes the worker's oldest public closure.
    pub(crate) fn steal(&self) -> Option<ClosureRef> {
        // A look first: the deque's own way to find out takes a fence.
        if self.stealer.is_empty() {
            return None;
        }
        steal_from(|| self.stealer.steal())
    }

    /// Uses the worker's poll flag. The caller is a worker, or inside the gate.
    pub(crate) fn with_want(&self, f: impl FnOnce(&WantFlag)) {
        // SAFETY: the worker's flag, valid until all workers leave together;
        // the caller keeps that from happening (module doc).
        if let Some(want) = unsafe { self.want.load(Ordering::Acquire).as_ref() } {
            f(want);
        }
    }
}

/// Drops a closure that nobody wants, or tells whoever runs it: perhaps in
/// another pool than the caller's.
pub(crate) fn abort(closure: &ClosureRef) {
    if closure.abort() || closure.is_done() {
        return;
    }
    // Without a runner it is being claimed: its runner looks before it begins.
    let Some(runner) = closure.runner() else {
        return;
    };
    let (number, index) = (runner / RUNNERS, runner % RUNNERS);
    match Worker::current() {
        Some(worker) if worker.pool.number == number => worker.pool.tell_abort(index, closure),
        _ => {
            // The last reference to a pool must not be dropped under the lock.
            let pools: Vec<_> = lock_pools().iter().filter_map(Weak::upgrade).collect();
            if let Some(pool) = pools.iter().find(|pool| pool.number == number) {
                pool.tell_abort(index, closure);
            }
        }
    }
}

fn lock_pools() -> MutexGuard<'static, Vec<Weak<Pool>>> {
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All pools that are alive.
static POOLS: Mutex<Vec<Weak<Pool>>> = Mutex::new(Vec::new());

/// More than a pool has workers.
const RUNNERS: usize = 1 << 12;
/// The index that stands for a pool's host.
pub(crate) const HOST: usize = RUNNERS - 1;

/// Steals until the queue has an answer.
pub(crate) fn steal_from<T>(mut steal: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match steal() {
            Steal::Success(item) => return Some(item),
            Steal::Empty => return None,
            Steal::Retry => std::hint::spin_loop(),
        }
    }
}
