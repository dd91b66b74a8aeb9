//! Who sleeps, who searches, and who is woken.
//!
//! A worker that finds no work searches for a while, then sleeps. The danger is
//! the lost wake-up: work is published just while the last searcher goes to
//! sleep. The protocol is Dekker's: the sleeper announces itself, then looks at
//! the queues once more; the publisher pushes, then looks for announced sleepers;
//! a sequentially consistent fence stands between the two steps on either side,
//! so at least one of them sees the other. `docs/ARCHITECTURE.md` names the loom
//! test.
//!
//! No queue and no thread handle is known here: [`Sleep`] keeps the numbers, the
//! worker parks and unparks.

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// The sleeping and searching workers of one runtime.
pub(crate) struct Sleep {
    asleep: Box<[AtomicBool]>,
    sleepers: AtomicUsize,
    searching: AtomicUsize,
    sentinel: AtomicUsize,
}

impl Sleep {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            asleep: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            sleepers: AtomicUsize::new(0),
            searching: AtomicUsize::new(0),
            sentinel: AtomicUsize::new(NO_SENTINEL),
        }
    }

    /// A worker begins to search.
    pub(crate) fn start_search(&self) {
        self.searching.fetch_add(1, Ordering::SeqCst);
    }

    /// A worker stops searching; true if it was the last one. If it has found
    /// work, it must then wake another one if there may be more.
    pub(crate) fn stop_search(&self) -> bool {
        self.searching.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Announces that `worker` is about to sleep. It must look at the queues
    /// once more after this, and call [`Sleep::cancel`] if it finds something.
    pub(crate) fn announce(&self, worker: usize) {
        // A read-modify-write like that of `clear`, which may still be about to
        // write: loom orders the two only so.
        self.asleep[worker].swap(true, Ordering::Relaxed);
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence in `wake_one` and `wake`.
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back, or ends the sleep; harmless if somebody has
    /// woken the worker meanwhile.
    pub(crate) fn cancel(&self, worker: usize) {
        self.clear(worker);
    }

    /// True until somebody wakes the worker.
    pub(crate) fn is_asleep(&self, worker: usize) -> bool {
        self.asleep[worker].load(Ordering::Acquire)
    }

    /// After work for anybody was published: the worker to unpark, if nobody is
    /// searching and somebody sleeps.
    pub(crate) fn wake_one(&self) -> Option<usize> {
        // Pairs with the fence in `announce`.
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::Relaxed) > 0 {
            return None;
        }
        self.wake_any()
    }

    /// The worker to unpark, whoever else is searching.
    pub(crate) fn wake_any(&self) -> Option<usize> {
        if self.sleepers.load(Ordering::Relaxed) == 0 {
            return None;
        }
        (0..self.asleep.len()).find(|&worker| self.clear(worker))
    }

    /// After something for this very worker was published: true if it slept and
    /// is to be unparked.
    pub(crate) fn wake(&self, worker: usize) -> bool {
        // Pairs with the fence in `announce`.
        fence(Ordering::SeqCst);
        self.clear(worker)
    }

    /// True if a worker sleeps and none searches: somebody would have to be woken.
    pub(crate) fn needs_wake(&self) -> bool {
        self.searching.load(Ordering::Relaxed) == 0 && self.sleepers.load(Ordering::Relaxed) > 0
    }

    /// How many workers sleep.
    pub(crate) fn sleepers(&self) -> usize {
        self.sleepers.load(Ordering::Relaxed)
    }

    /// True if no worker is awake.
    pub(crate) fn all_asleep(&self) -> bool {
        self.sleepers.load(Ordering::Relaxed) == self.asleep.len()
    }

    /// Makes `worker` the sentinel, the one sleeper that looks up now and then,
    /// if there is none.
    pub(crate) fn become_sentinel(&self, worker: usize) -> bool {
        self.sentinel
            .compare_exchange(NO_SENTINEL, worker, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Ends the worker's time as sentinel.
    pub(crate) fn resign_sentinel(&self, worker: usize) {
        let _ = self.sentinel.compare_exchange(
            worker,
            NO_SENTINEL,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// True if a sentinel will look for work by itself.
    pub(crate) fn has_sentinel(&self) -> bool {
        self.sentinel.load(Ordering::Relaxed) != NO_SENTINEL
    }

    fn clear(&self, worker: usize) -> bool {
        let was_asleep = self.asleep[worker].load(Ordering::Relaxed)
            && self.asleep[worker].swap(false, Ordering::AcqRel);
        if was_asleep {
            self.sleepers.fetch_sub(1, Ordering::Relaxed);
        }
        was_asleep
    }
}

const NO_SENTINEL: usize = usize::MAX;
