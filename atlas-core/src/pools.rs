//! All pools of the process by number, to abort what another one runs.
//!
//! A [`Handle`](crate::Handle) may leave the runtime that its child runs in, and a
//! lent closure's parent may be aborted from anywhere. A closure that runs knows
//! who runs it as one number, its [`Runner`]: the pool's number, and a worker of
//! it or the host. Only an abort that crosses runtimes takes the lock here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::pool::Pool;

/// Who has claimed a closure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Runner(usize);

impl Runner {
    /// A worker of the pool with this number, or its host.
    pub(crate) fn new(pool: PoolNumber, seat: usize) -> Self {
        Self(pool.0 << SEAT_BITS | seat)
    }

    pub(crate) fn from_word(word: usize) -> Self {
        Self(word)
    }

    pub(crate) fn word(self) -> usize {
        self.0
    }

    pub(crate) fn pool(self) -> PoolNumber {
        PoolNumber(self.0 >> SEAT_BITS)
    }

    /// The worker's index, or [`HOST_SEAT`].
    pub(crate) fn seat(self) -> usize {
        self.0 & ((1 << SEAT_BITS) - 1)
    }
}

/// A pool's number, which no other pool of the process has had.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolNumber(usize);

impl PoolNumber {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Makes a pool known; it is forgotten by [`forget`].
pub(crate) fn register(pool: &Arc<Pool>) {
    lock().insert(pool.number, Arc::downgrade(pool));
}

/// The pool is dropped.
pub(crate) fn forget(pool: PoolNumber) {
    lock().remove(&pool);
}

/// The pool with this number, while it lives.
pub(crate) fn find(pool: PoolNumber) -> Option<Arc<Pool>> {
    // The guard must go first: the last reference would lock again.
    let found = lock().get(&pool).cloned();
    found?.upgrade()
}

fn lock() -> MutexGuard<'static, BTreeMap<PoolNumber, Weak<Pool>>> {
    static POOLS: Mutex<BTreeMap<PoolNumber, Weak<Pool>>> = Mutex::new(BTreeMap::new());
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seat of the host, which runs what is lent: no worker has this index.
pub(crate) const HOST_SEAT: usize = (1 << SEAT_BITS) - 1;
/// Enough for all workers of a pool, and its host.
pub(crate) const SEAT_BITS: u32 = 12;
