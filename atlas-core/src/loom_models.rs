//! Models of the protocols between threads, for loom to run under all schedules:
//! `RUSTFLAGS="--cfg atlas_loom" cargo test -p atlas-core --release --lib loom_`.
//!
//! Each model uses the product's own state machine ([`State`], [`Sleep`],
//! [`JoinCounter`]) and puts simple things in the place of what surrounds it: a
//! mutex around a vector for the deque, a counter for a queue, loom's cells for
//! the memory that is guarded. A data race on such a cell, a worker that sleeps
//! for ever, or a failed assertion under any schedule fails the model.

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;

use crate::sync::atomic::{AtomicUsize, Ordering, fence};

/// Explores all schedules with at most `preemptions` preemptions.
fn model(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

mod closure {
    use super::*;
    use crate::closure::State;

    /// A closure with a guarded payload: the work, then its result.
    struct Shared {
        state: State,
        payload: UnsafeCell<u32>,
        /// Written by the waiter, for the completer.
        waiter: UnsafeCell<bool>,
        parked: Notify,
        runner: AtomicUsize,
        /// The deque: it holds one reference.
        deque: Mutex<Vec<()>>,
        runs: AtomicUsize,
    }

    const WORK: u32 = 1;
    const RESULT: u32 = 2;
    const ABORTED: u32 = 3;
    const NO_RUNNER: usize = usize::MAX;

    impl Shared {
        /// A closure whose work was written by this thread, and then published.
        fn published() -> Arc<Self> {
            let shared = Arc::new(Self {
                state: State::ready(),
                payload: UnsafeCell::new(0),
                waiter: UnsafeCell::new(false),
                parked: Notify::new(),
                runner: AtomicUsize::new(NO_RUNNER),
                deque: Mutex::new(Vec::new()),
                runs: AtomicUsize::new(0),
            });
            shared.write(0, WORK);
            shared.publish();
            shared
        }

        fn publish(&self) {
            self.deque.lock().expect("no panic").push(());
        }

        fn steal(&self) -> bool {
            self.deque.lock().expect("no panic").pop().is_some()
        }

        /// Exclusive access, which the protocol must grant.
        fn write(&self, from: u32, to: u32) {
            self.payload.with_mut(|payload| {
                // SAFETY: loom checks that nobody else uses it.
                let payload = unsafe { &mut *payload };
                assert_eq!(std::mem::replace(payload, to), from);
            });
        }

        fn read(&self) -> u32 {
            // SAFETY: loom checks that nobody writes it.
            self.payload.with(|payload| unsafe { *payload })
        }

        fn complete(&self) {
            if self.state.complete() {
                // SAFETY: loom checks that nobody writes it.
                let written = self.waiter.with(|waiter| unsafe { *waiter });
                assert!(written, "WAITING says so");
                self.parked.notify();
            }
        }

        fn run(&self) {
            self.write(WORK, RESULT);
            self.runs.fetch_add(1, Ordering::Relaxed);
            self.complete();
        }

        /// A thief takes the reference out of the deque and tries to claim.
        fn thief(&self) {
            if self.steal() && self.state.claim() {
                self.run();
            }
        }

        /// The owner comes back: it runs the work itself, or waits.
        fn reclaim_or_wait(&self) {
            if self.state.claim() {
                self.run();
            } else {
                self.wait();
            }
        }

        fn wait(&self) {
            if self.state.is_done() {
                return;
            }
            // SAFETY: loom checks that nobody else uses it.
            self.waiter.with_mut(|waiter| unsafe { *waiter = true });
            if self.state.wait() {
                while !self.state.is_done() {
                    self.parked.wait();
                }
            }
        }
    }

    #[test]
    fn loom_exactly_one_runs_a_closure_and_the_owner_sees_the_result() {
        model(4, || {
            let shared = Shared::published();
            let thieves = [(); 2].map(|()| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.thief())
            });
            shared.reclaim_or_wait();
            assert_eq!(shared.read(), RESULT);
            for thief in thieves {
                thief.join().expect("no panic");
            }
            assert_eq!(shared.runs.load(Ordering::Relaxed), 1);
        });
    }

    /// The host claims a closure, looks at its work, and gives it back.
    #[test]
    fn loom_second_claimer_sees_what_the_first_has_left() {
        model(4, || {
            let shared = Shared::published();
            let host = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    if shared.steal() && shared.state.claim() {
                        shared.write(WORK, WORK);
                        shared.state.unclaim();
                        shared.publish();
                    }
                })
            };
            let thief = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.thief())
            };
            host.join().expect("no panic");
            thief.join().expect("no panic");
            shared.reclaim_or_wait();
            assert_eq!(shared.read(), RESULT);
            assert_eq!(shared.runs.load(Ordering::Relaxed), 1);
        });
    }

    /// A runner writes who it is, then looks at the flag; an aborter writes the
    /// flag, then looks who runs it: at least one sees the other.
    #[test]
    fn loom_abort_is_seen_by_the_runner_or_sees_the_runner() {
        model(4, || {
            let shared = Shared::published();
            let runner = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    if !(shared.steal() && shared.state.claim()) {
                        return false;
                    }
                    shared.runner.store(7, Ordering::Relaxed);
                    let seen = shared.state.is_aborted();
                    shared.write(WORK, if seen { ABORTED } else { RESULT });
                    shared.complete();
                    seen
                })
            };
            shared.state.abort();
            if shared.state.claim() {
                shared.write(WORK, ABORTED);
                shared.complete();
                runner.join().expect("no panic");
            } else {
                let told = shared.runner.load(Ordering::Relaxed) == 7;
                let seen = runner.join().expect("no panic");
                assert!(told || seen, "the abort is lost");
            }
            shared.wait();
            assert_ne!(shared.read(), WORK);
        });
    }

    /// The waiter registers before the work is public, as for `run` and frames.
    #[test]
    fn loom_waiter_of_an_aborted_closure_is_told() {
        model(4, || {
            let shared = Shared::published();
            let thief = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.thief())
            };
            let aborter = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.state.abort();
                    if shared.state.claim() {
                        shared.write(WORK, ABORTED);
                        shared.complete();
                    }
                })
            };
            shared.wait();
            assert!(matches!(shared.read(), RESULT | ABORTED));
            thief.join().expect("no panic");
            aborter.join().expect("no panic");
        });
    }
}

mod sleep {
    use super::*;
    use crate::sleep::Sleep;

    /// A runtime as far as `worker.rs` and `idle.rs` use it to sleep and wake.
    struct Pool {
        sleep: Sleep,
        /// Public work, whoever has published it.
        queue: AtomicUsize,
        /// Messages for one worker.
        inboxes: [AtomicUsize; 2],
        parked: [Notify; 2],
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Found {
        Work,
        Message,
    }

    impl Pool {
        fn new(workers: usize) -> Arc<Self> {
            Arc::new(Self {
                sleep: Sleep::new(workers),
                queue: AtomicUsize::new(0),
                inboxes: [AtomicUsize::new(0), AtomicUsize::new(0)],
                parked: [Notify::new(), Notify::new()],
            })
        }

        /// As `Pool::inject` and `Worker::publish`.
        fn publish(&self) {
            self.queue.fetch_add(1, Ordering::Release);
            self.wake_one();
        }

        fn wake_one(&self) {
            if let Some(worker) = self.sleep.wake_one() {
                self.unpark(worker);
            }
        }

        /// As `Pool::send`.
        fn send(&self, worker: usize) {
            self.inboxes[worker].fetch_add(1, Ordering::Release);
            if self.sleep.wake(worker) {
                self.unpark(worker);
            }
        }

        fn unpark(&self, worker: usize) {
            self.parked[worker].notify();
        }

        /// As `Worker::find`: messages first.
        fn find(&self, worker: usize) -> Option<Found> {
            if take(&self.inboxes[worker]) {
                return Some(Found::Message);
            }
            take(&self.queue).then_some(Found::Work)
        }

        /// As `Worker::search`, with one round.
        fn search(&self, worker: usize) -> Option<Found> {
            self.sleep.start_search();
            let found = self.find(worker);
            if self.sleep.stop_search() && found.is_some() && is_some(&self.queue) {
                self.wake_one();
            }
            found
        }

        /// As `Worker::sleep`, without the sentinel.
        fn sleep(&self, worker: usize) {
            self.sleep.announce(worker);
            let must_stay_awake = is_some(&self.inboxes[worker]) || is_some(&self.queue);
            if !must_stay_awake {
                while self.sleep.is_asleep(worker) {
                    self.parked[worker].wait();
                }
            }
            self.sleep.cancel(worker);
        }

        /// As `Worker::run`, until it has found one thing to do.
        fn work(&self, worker: usize) -> Found {
            let mut woken = false;
            loop {
                let Some(found) = self.find(worker).or_else(|| self.search(worker)) else {
                    self.sleep(worker);
                    woken = true;
                    continue;
                };
                if woken && is_some(&self.queue) {
                    self.wake_one();
                }
                return found;
            }
        }
    }

    /// As the look at a crossbeam queue, which has this fence.
    fn is_some(count: &AtomicUsize) -> bool {
        fence(Ordering::SeqCst);
        count.load(Ordering::Acquire) > 0
    }

    fn take(count: &AtomicUsize) -> bool {
        let taken = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            count.checked_sub(1)
        });
        taken.is_ok()
    }

    fn spawn(pool: &Arc<Pool>, worker: usize) -> thread::JoinHandle<Found> {
        let pool = Arc::clone(pool);
        thread::spawn(move || pool.work(worker))
    }

    #[test]
    fn loom_worker_that_goes_to_sleep_misses_no_work() {
        model(5, || {
            let pool = Pool::new(1);
            let worker = spawn(&pool, 0);
            pool.publish();
            assert_eq!(worker.join().expect("no panic"), Found::Work);
        });
    }

    #[test]
    fn loom_worker_that_goes_to_sleep_misses_no_message() {
        model(5, || {
            let pool = Pool::new(1);
            let worker = spawn(&pool, 0);
            pool.send(0);
            assert_eq!(worker.join().expect("no panic"), Found::Message);
        });
    }

    /// Each worker takes one and is then busy for ever.
    #[test]
    fn loom_last_searcher_wakes_another_for_what_is_left() {
        model(2, || {
            let pool = Pool::new(2);
            let workers = [0, 1].map(|worker| spawn(&pool, worker));
            pool.publish();
            pool.publish();
            for worker in workers {
                assert_eq!(worker.join().expect("no panic"), Found::Work);
            }
        });
    }

    /// The first worker may be woken for the work, and find a message, which it
    /// is busy with for ever: it must pass the wake-up on.
    #[test]
    fn loom_regression_wake_up_is_passed_on_by_a_worker_that_has_a_message() {
        model(2, || {
            let pool = Pool::new(2);
            let first = {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    if pool.work(0) == Found::Work {
                        // The work is done: the other one may go home.
                        pool.send(1);
                    }
                })
            };
            let second = spawn(&pool, 1);
            let sender = {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.send(0))
            };
            pool.publish();
            for thread in [first, sender] {
                thread.join().expect("no panic");
            }
            second.join().expect("no panic");
        });
    }
}

mod scope {
    use super::*;
    use crate::scope::JoinCounter;

    /// The last of all that are counted sees what the others did, and is one.
    #[test]
    fn loom_last_child_of_a_scope_sees_all_others() {
        model(4, || {
            let counter = Arc::new(JoinCounter::new());
            let done = Arc::new([UnsafeCell::new(false), UnsafeCell::new(false)]);
            let last = Arc::new(AtomicUsize::new(0));
            let child_done = {
                let (counter, done, last) = (Arc::clone(&counter), Arc::clone(&done), last.clone());
                move || {
                    if counter.remove() {
                        last.fetch_add(1, Ordering::Relaxed);
                        for done in done.iter() {
                            // SAFETY: loom checks that nobody writes it.
                            assert!(done.with(|done| unsafe { *done }));
                        }
                    }
                }
            };
            let children = [0, 1].map(|child| {
                counter.add();
                let (done, child_done) = (Arc::clone(&done), child_done.clone());
                thread::spawn(move || {
                    // SAFETY: loom checks that nobody else uses it.
                    done[child].with_mut(|done| unsafe { *done = true });
                    child_done();
                })
            });
            child_done();
            for child in children {
                child.join().expect("no panic");
            }
            assert_eq!(last.load(Ordering::Relaxed), 1);
        });
    }
}

mod permits {
    use super::*;
    use crate::permits::Turns;
    use crate::sync::atomic::AtomicBool;

    struct Pool {
        turns: Mutex<Turns>,
        granted: Vec<AtomicBool>,
        parked: Vec<Notify>,
        /// What the one permit guards.
        work: UnsafeCell<usize>,
    }

    impl Pool {
        fn with_turns<R>(&self, change: impl FnOnce(&mut Turns) -> R) -> R {
            change(&mut self.turns.lock().expect("no panic"))
        }

        /// Runs once, with a permit.
        fn run(&self, worker: usize) {
            if !self.with_turns(|turns| turns.take(worker, false)) {
                self.wait(worker);
            }
            // SAFETY: loom checks that nobody else uses it.
            self.work.with_mut(|work| unsafe { *work += 1 });
            if let Some(next) = self.with_turns(|turns| turns.give_back(|_| false)) {
                self.grant(next);
            }
        }

        /// As `Permits::take`: the notice may come for nothing.
        fn wait(&self, worker: usize) {
            while !self.granted[worker].swap(false, Ordering::Acquire) {
                self.parked[worker].wait();
            }
        }

        fn grant(&self, worker: usize) {
            self.granted[worker].swap(true, Ordering::Release);
            self.parked[worker].notify();
        }

        fn set_limit(&self, limit: usize) {
            for worker in self.with_turns(|turns| turns.set_limit(limit)) {
                self.grant(worker);
            }
        }
    }

    /// Two workers and one permit, which is taken away and given back meanwhile.
    #[test]
    fn loom_who_has_a_permit_runs_alone_and_each_gets_one() {
        model(3, || {
            let pool = Arc::new(Pool {
                turns: Mutex::new(Turns::new(1)),
                granted: vec![AtomicBool::new(false), AtomicBool::new(false)],
                parked: vec![Notify::new(), Notify::new()],
                work: UnsafeCell::new(0),
            });
            let workers = [0, 1].map(|worker| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.run(worker))
            });
            pool.set_limit(0);
            pool.set_limit(1);
            for worker in workers {
                worker.join().expect("no panic");
            }
            // SAFETY: loom checks that nobody writes it.
            assert_eq!(pool.work.with(|work| unsafe { *work }), 2);
        });
    }
}
