//! How many workers may run at a time: fewer than there are, and perhaps none.
//!
//! A strand never leaves its worker, so a worker that were switched off for good would take with it the strands that
//! it holds, and who waits for them. So no worker is switched off: each needs a *permit* to run, and there are as many
//! permits as workers may run. Who goes to sleep gives its permit back; who wakes takes one, or waits for it.
//!
//! ```text
//!            sleep                      woken, none left
//!   running ───────▶ asleep (no permit) ────────────────▶ waiting
//!      │  ▲                  │ woken                        │  ▲
//!      │  └──────────────────┴──── permit ◀─────────────────┘  │
//!      └── over the limit (at a poll or between strands), or gives way ──┘
//! ```
//!
//! *Giving way*: a worker that has nothing of its own left, and would steal, lets another go first that waits in
//! the middle of a strand, or has one that is ready, or mail. So what has begun goes on, on however few
//! processors, before anything new begins; and each turn is used for something, so that two workers do not pass a permit
//! to and fro.
//!
//! Before a worker waits in the middle of a strand, it makes all its latent work public: others, and the host, find
//! it in its deque.
//!
//! The join knows nothing of this: a lowered limit raises the poll flags. With as many permits as workers, which is
//! what a runtime begins with, a worker takes one uncontended lock each time it goes to sleep, and each time it wakes.
//!
//! [`Turns`] is the rule, without threads; [`Permits`] puts a lock around it and parks. The loom model uses the rule.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Who runs, who waits, and how many may.
#[derive(Debug)]
pub(crate) struct Turns {
    limit: usize,
    held: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    worker: usize,
    /// It has a strand that could go on.
    has_begun: bool,
}

impl Turns {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            held: 0,
            waiting: VecDeque::new(),
        }
    }

    /// True if the worker may run; otherwise it waits from now on.
    pub(crate) fn take(&mut self, worker: usize, has_begun: bool) -> bool {
        let free = self.held < self.limit;
        if free {
            self.held += 1;
        } else {
            self.waiting.push_back(Waiting { worker, has_begun });
        }
        free
    }

    /// A running worker gives its permit back: who has it from now on. `has_mail` tells of a waiting worker
    /// that it could go on.
    pub(crate) fn give_back(&mut self, has_mail: impl Fn(usize) -> bool) -> Option<usize> {
        self.held -= 1;
        if self.held >= self.limit {
            return None;
        }
        let first = self.first_that_can(has_mail).unwrap_or(0);
        let next = self.waiting.remove(first)?;
        self.held += 1;
        Some(next.worker)
    }

    /// Another number of permits: who runs from now on.
    pub(crate) fn set_limit(&mut self, limit: usize) -> Vec<usize> {
        self.limit = limit;
        let free = limit.saturating_sub(self.held).min(self.waiting.len());
        self.held += free;
        self.waiting.drain(..free).map(|next| next.worker).collect()
    }

    /// True if more run than may.
    pub(crate) fn is_over(&self) -> bool {
        self.held > self.limit
    }

    /// True if a waiting worker could go on with what it has begun.
    pub(crate) fn can_any(&self, has_mail: impl Fn(usize) -> bool) -> bool {
        self.first_that_can(has_mail).is_some()
    }

    /// How many wait that could go on with what they have begun.
    pub(crate) fn stopped(&self, has_mail: impl Fn(usize) -> bool) -> usize {
        let can = |waiting: &&Waiting| waiting.has_begun || has_mail(waiting.worker);
        self.waiting.iter().filter(can).count()
    }

    fn first_that_can(&self, has_mail: impl Fn(usize) -> bool) -> Option<usize> {
        let mut waiting = self.waiting.iter();
        waiting.position(|waiting| waiting.has_begun || has_mail(waiting.worker))
    }
}

/// The permits of one runtime.
pub(crate) struct Permits {
    turns: Mutex<Turns>,
    /// Set by who hands a permit over; its new owner clears it.
    granted: Box<[AtomicBool]>,
    /// What the lock guards, for who only looks.
    limit: AtomicUsize,
    held: AtomicUsize,
    waiting: AtomicUsize,
}

impl Permits {
    /// As many permits as workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            turns: Mutex::new(Turns::new(workers)),
            granted: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            limit: AtomicUsize::new(workers),
            held: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits until the worker, which is the calling thread, may run.
    pub(crate) fn take(&self, worker: usize, has_begun: bool) {
        if self.change(|turns| turns.take(worker, has_begun)) {
            return;
        }
        // Acquire pairs with `grant`.
        while !self.granted[worker].swap(false, Ordering::Acquire) {
            thread::park();
        }
    }

    /// Gives the permit of a running worker back: the worker to unpark.
    pub(crate) fn give_back(&self, has_mail: impl Fn(usize) -> bool) -> Option<usize> {
        let next = self.change(|turns| turns.give_back(has_mail));
        next.inspect(|next| self.grant(*next))
    }

    /// Gives the permit back if more run than may; false if not.
    pub(crate) fn give_back_if_over(&self) -> bool {
        self.is_over()
            && self.change(|turns| {
                let over = turns.is_over();
                if over {
                    turns.give_back(|_| false);
                }
                over
            })
    }

    /// Another number of permits: the workers to unpark.
    pub(crate) fn set_limit(&self, limit: usize) -> Vec<usize> {
        let granted = self.change(|turns| turns.set_limit(limit));
        granted.iter().for_each(|worker| self.grant(*worker));
        granted
    }

    /// True if more run than may; soon after it has come true.
    pub(crate) fn is_over(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.limit.load(Ordering::Relaxed)
    }

    /// True if a worker waits that could go on with what it has begun.
    pub(crate) fn can_any(&self, has_mail: impl Fn(usize) -> bool) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 && self.lock().can_any(has_mail)
    }

    /// How many workers wait that could go on with what they have begun.
    pub(crate) fn stopped(&self, has_mail: impl Fn(usize) -> bool) -> usize {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.lock().stopped(has_mail)
    }

    /// How many workers may run.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// How many permits nobody has.
    pub(crate) fn free(&self) -> usize {
        let held = self.held.load(Ordering::Relaxed);
        self.limit().saturating_sub(held)
    }

    /// True if no worker runs.
    pub(crate) fn none_held(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
    }

    fn grant(&self, worker: usize) {
        // A read-modify-write like that of `take`: loom orders the two only so.
        self.granted[worker].swap(true, Ordering::Release);
    }

    fn change<R>(&self, change: impl FnOnce(&mut Turns) -> R) -> R {
        let mut turns = self.lock();
        let result = change(&mut turns);
        self.limit.store(turns.limit, Ordering::Relaxed);
        self.held.store(turns.held, Ordering::Relaxed);
        self.waiting.store(turns.waiting.len(), Ordering::Relaxed);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(_: usize) -> bool {
        false
    }

    #[test]
    fn no_more_run_than_may_and_the_rest_wait_their_turn() {
        let mut turns = Turns::new(2);
        assert!(turns.take(0, false) && turns.take(1, false));
        assert!(!turns.take(2, false) && !turns.take(3, false));
        assert_eq!(turns.give_back(nobody), Some(2));
        assert_eq!(turns.give_back(nobody), Some(3));
        assert_eq!(turns.give_back(nobody), None);
        assert!(turns.take(0, false));
    }

    #[test]
    fn a_lower_limit_takes_back_and_a_higher_one_grants() {
        let mut turns = Turns::new(2);
        assert!(turns.take(0, false) && turns.take(1, false));
        assert_eq!(turns.set_limit(0), []);
        assert!(turns.is_over());
        assert_eq!(turns.give_back(nobody), None);
        assert!(turns.is_over() && !turns.take(0, true));
        assert_eq!(turns.give_back(nobody), None);
        assert!(!turns.is_over() && !turns.take(1, true));
        assert_eq!(turns.set_limit(1), [0]);
        assert_eq!(turns.set_limit(5), [1]);
    }

    #[test]
    fn who_can_go_on_goes_first() {
        let mut turns = Turns::new(1);
        assert!(turns.take(0, false));
        for (worker, has_begun) in [(1, false), (2, true), (3, false)] {
            assert!(!turns.take(worker, has_begun));
        }
        assert!(turns.can_any(nobody));
        assert_eq!(turns.stopped(nobody), 1);
        assert_eq!(turns.stopped(|worker| worker == 3), 2);
        assert_eq!(turns.give_back(nobody), Some(2));
        assert!(!turns.can_any(nobody) && turns.can_any(|worker| worker == 3));
        assert_eq!(turns.give_back(|worker| worker == 3), Some(3));
        assert_eq!(turns.give_back(nobody), Some(1));
    }
}
