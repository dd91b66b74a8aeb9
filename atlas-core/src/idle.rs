//! A worker without work: it searches for a while, then sleeps.
//!
//! How long it searches, `patience.rs` says. While it searches it keeps the
//! others' poll flags raised: who has latent work makes some of it public at its
//! next join. When it goes to sleep the flags stay raised, so that new work
//! anywhere ends the sleep.
//!
//! One sleeper may be the *sentinel*: as long as another worker is awake, it looks
//! up after one millisecond, then two, and so on. It bounds what the wake policy
//! can lose by leaving sleepers alone. With all workers asleep nobody looks up.
//!
//! A sleeper holds no permit to run (`permits.rs`): who is woken may have to wait for one.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::tls::{self, WantFlag};
use crate::worker::{Found, Worker};

impl Worker {
    /// Searches until it finds something or has lost patience.
    pub(crate) fn search(&self) -> Option<Found> {
        let sleep = &self.pool.sleep;
        sleep.start_search();
        let patience = self.patience.get().idle_since(Instant::now());
        self.patience.set(patience);
        let mut rounds = 0_u32;
        loop {
            self.ask_others(WantFlag::ask_for_work);
            for _ in 0..SPINS {
                std::hint::spin_loop();
            }
            if let Some(found) = self.find() {
                // Who else may be needed was not woken while this one searched.
                if sleep.stop_search() && self.is_public_work_left() {
                    self.pool.wake_one();
                }
                return Some(found);
            }
            rounds += 1;
            if rounds.is_multiple_of(ROUNDS_BETWEEN_CLOCKS) {
                if self.pool.closing.load(Ordering::Relaxed)
                    || self.must_give_way()
                    || patience.is_over(Instant::now())
                {
                    break;
                }
                if rounds > ROUNDS_BEFORE_YIELD {
                    thread::yield_now();
                }
            }
        }
        sleep.stop_search();
        None
    }

    /// There is work again.
    pub(crate) fn end_gap(&self) {
        let patience = self.patience.get();
        if patience.is_idle() {
            self.patience.set(patience.found_work(Instant::now()));
        }
    }

    /// Sleeps until somebody has work for it.
    pub(crate) fn sleep(&self) {
        self.sleep_until_woken();
        // Who went to sleep meanwhile has not asked this worker, which slept.
        tls::with_want(WantFlag::ask_for_work);
    }

    fn sleep_until_woken(&self) {
        let sleep = &self.pool.sleep;
        sleep.announce(self.index);
        self.ask_others(WantFlag::ask_for_work);
        if self.must_stay_awake() {
            sleep.cancel(self.index);
            return;
        }
        self.pool.give_permit_back();
        self.pool.hosting.tell_hungry();
        self.station().counters.sleeps.add_one();
        self.trim();
        self.linger();
        let mut nap = FIRST_NAP;
        while sleep.is_asleep(self.index) {
            if self.does_nobody_run() || !sleep.become_sentinel(self.index) {
                thread::park();
                continue;
            }
            thread::park_timeout(nap);
            sleep.resign_sentinel(self.index);
            if self.must_stay_awake() {
                break;
            }
            self.ask_others(WantFlag::ask_urgently);
            nap = (nap * 2).min(LONGEST_NAP);
        }
        sleep.cancel(self.index);
        self.pool.permits.take(self.index, self.has_ready());
    }

    /// Waits to be woken without leaving the processor to nobody, where only the host can have work, and is likely to soon.
    fn linger(&self) {
        let patience = self.patience.get();
        let waits = || self.pool.sleep.is_asleep(self.index) && self.does_nobody_run();
        while self.pool.hosting.has_host() && waits() && patience.lingers(Instant::now()) {
            for _ in 0..ROUNDS_BETWEEN_CLOCKS * SPINS {
                std::hint::spin_loop();
            }
            thread::yield_now();
        }
    }

    fn does_nobody_run(&self) -> bool {
        self.pool.sleep.all_asleep() || self.pool.permits.none_held()
    }

    fn must_stay_awake(&self) -> bool {
        !self.station().inbox.is_empty()
            || self.is_public_work_left()
            || self.pool.closing.load(Ordering::SeqCst)
    }

    pub(crate) fn is_public_work_left(&self) -> bool {
        !self.pool.injector.is_empty()
            || self
                .pool
                .stations
                .iter()
                .any(|station| !station.stealer.is_empty())
    }

    fn ask_others(&self, ask: impl Fn(&WantFlag)) {
        for (index, station) in self.pool.stations.iter().enumerate() {
            if index != self.index && !self.pool.sleep.is_asleep(index) {
                station.with_want(&ask);
            }
        }
    }
}

/// Spins between two looks: a look takes the queues' cache lines.
const SPINS: u32 = 4;
/// Reading the clock costs as much as a look.
const ROUNDS_BETWEEN_CLOCKS: u32 = 16;
/// From here on the processor may be needed by somebody else.
const ROUNDS_BEFORE_YIELD: u32 = 256;
const FIRST_NAP: Duration = Duration::from_millis(1);
/// A sentinel that looks up this often uses less than a thousandth of a core.
const LONGEST_NAP: Duration = Duration::from_millis(16);
