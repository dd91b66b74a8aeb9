//! A worker: one thread that runs strands.
//!
//! The worker's loop stands on the thread's own stack: it picks a strand that is
//! ready, or starts one for a closure, and switches to it. Code on a strand's
//! stack comes back here by pausing. All fields are used by this one thread;
//! what others may touch is the worker's [`Station`](crate::pool::Station).
//!
//! What is picked, in this order: the oldest ready strand (a parent whose child
//! is back), a full frame, the newest closure of the own deque, latent work of a
//! blocked strand, the oldest closure of another worker's deque, or of the
//! injector.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use crossbeam_deque::Worker as Deque;

use crate::checkpoint::{Credit, Depth};
use crate::closure::{Closure, ClosureRef};
use crate::frame::{self, Driver, FrameRef};
use crate::latent::Node;
use crate::measure::{self, Origin};
use crate::overflow;
use crate::panic::{self, AbortOnUnwind, TaskPanic};
use crate::patience::Patience;
use crate::pool::{self, Pool, Station, steal_from};
use crate::strand::{Job, Pause, Running, StrandYielder, Strands};
use crate::tls;
use crate::trace::{Begun, Child};
use crate::waiter::{Message, Waiter};
use crate::wake_policy::{Wake, WakePolicy};

/// One worker, on its own thread.
pub(crate) struct Worker {
    pub(crate) pool: Arc<Pool>,
    pub(crate) index: usize,
    deque: Deque<ClosureRef>,
    strands: RefCell<Strands>,
    /// The strand that runs now.
    pub(crate) running: RefCell<Option<Running>>,
    /// Frames whose last slot was filled by a message.
    full_frames: RefCell<Vec<(FrameRef, Option<Origin>)>>,
    /// Children of frames that were handed out and are not back, by the
    /// closure's address.
    awaited: RefCell<HashMap<*const Closure, Awaited>>,
    births: Cell<u64>,
    waits: Cell<u64>,
    random: Cell<u64>,
    policy: RefCell<WakePolicy>,
    pub(crate) patience: Cell<Patience>,
    /// When the running strand's time was last added up.
    pub(crate) measured_to: Cell<u64>,
    pub(crate) depth: Depth,
    pub(crate) credit: Credit,
}

/// A child that was handed out.
struct Awaited {
    closure: ClosureRef,
    frame: FrameRef,
}

/// What the loop runs next.
pub(crate) enum Found {
    Ready(usize),
    Start(Job, Option<Origin>),
}

impl Worker {
    pub(crate) fn new(pool: Arc<Pool>, index: usize, deque: Deque<ClosureRef>) -> Self {
        Self {
            pool,
            index,
            deque,
            strands: RefCell::default(),
            running: RefCell::new(None),
            full_frames: RefCell::default(),
            awaited: RefCell::default(),
            births: Cell::new(0),
            waits: Cell::new(0),
            // Any odd number: the generator must not start at zero.
            random: Cell::new(0x9e37_79b9_7f4a_7c15 ^ (index as u64) << 1 | 1),
            policy: RefCell::new(WakePolicy::new()),
            patience: Cell::new(Patience::NEW),
            measured_to: Cell::new(0),
            depth: Depth::new(),
            credit: Credit::new(),
        }
    }

    /// The worker that this thread is.
    pub(crate) fn current<'thread>() -> Option<&'thread Self> {
        // SAFETY: set by `run` for the time that it runs on this thread, and
        // only code that runs inside of it can ask.
        unsafe { tls::worker().as_ref() }
    }

    pub(crate) fn station(&self) -> &Station {
        &self.pool.stations[self.index]
    }

    /// Works until the runtime is dropped.
    pub(crate) fn run(self) {
        // Unwinding out of a worker would leave its strands behind.
        let abort_on_unwind =
            AbortOnUnwind("a worker has panicked outside of any task: this is a bug in Atlas");
        overflow::ensure_signal_stack();
        tls::set_worker(&raw const self);
        tls::with_want(|want| {
            // Who is asleep by now could not ask this worker.
            want.store(tls::THIEF);
            self.station()
                .want
                .store(ptr::from_ref(want).cast_mut(), Ordering::Release);
        });
        let _ = self.station().thread.set(thread::current());
        self.pool.permits.take(self.index, false);
        let mut woken = false;
        while !self.may_leave() {
            if self.pool.permits.give_back_if_over() {
                self.pool.permits.take(self.index, self.has_ready());
            }
            let found = self.find_here().or_else(|| self.give_way());
            let Some(found) = found
                .or_else(|| self.find_elsewhere())
                .or_else(|| self.search())
            else {
                self.sleep();
                woken = true;
                continue;
            };
            self.end_gap();
            if std::mem::take(&mut woken) && self.is_public_work_left() {
                // What it was woken for may be left, if it found a message too.
                self.wake_one();
            }
            self.execute(found);
        }
        self.pool.close_gate();
        self.pool.leaving.wait();
        tls::set_worker(ptr::null());
        tls::with_want(|want| want.store(tls::OUTSIDER));
        for stack in self.strands.borrow_mut().end() {
            self.pool.stacks.give_back(stack);
        }
        std::mem::forget(abort_on_unwind);
    }

    fn may_leave(&self) -> bool {
        self.pool.closing.load(Ordering::Acquire)
            && self.strands.borrow().all_idle()
            && self.awaited.borrow().is_empty()
            && self.full_frames.borrow().is_empty()
            && self.deque.is_empty()
            && self.pool.injector.is_empty()
    }

    // ------------------------------------------------------------ the loop

    /// Looks once through all places that may have work.
    pub(crate) fn find(&self) -> Option<Found> {
        self.find_here().or_else(|| self.find_elsewhere())
    }

    /// Looks for work of its own.
    fn find_here(&self) -> Option<Found> {
        self.read_inbox();
        if let Some(strand) = self.strands.borrow_mut().pop_ready() {
            return Some(Found::Ready(strand));
        }
        if let Some((frame, origin)) = self.full_frames.borrow_mut().pop() {
            return Some(Found::Start(Job::Frame(frame), origin));
        }
        while let Some(closure) = self.deque.pop() {
            if self.claim(&closure) {
                return Some(self.start(closure));
            }
        }
        let blocked = self.strands.borrow_mut().promote_blocked();
        if let Some(closure) = blocked {
            assert!(self.claim(&closure), "nobody else knows it");
            return Some(self.start(closure));
        }
        None
    }

    /// What a claimed closure begins with.
    fn start(&self, closure: ClosureRef) -> Found {
        let origin = closure.origin().map(|origin| {
            let key = self.key_of_strand(&closure);
            origin.inside(&closure, key)
        });
        Found::Start(Job::Closure(closure), origin)
    }

    fn find_elsewhere(&self) -> Option<Found> {
        self.steal().map(|closure| self.start(closure))
    }

    /// Lets another worker run first that waits for it and has something to go on with. What there is to do here
    /// afterwards.
    fn give_way(&self) -> Option<Found> {
        if !self.must_give_way() {
            return None;
        }
        self.pool.give_permit_back();
        self.pool.permits.take(self.index, false);
        self.find_here()
    }

    /// True if this worker may run no more, or another one is to run first.
    pub(crate) fn must_give_way(&self) -> bool {
        let permits = &self.pool.permits;
        permits.is_over() || permits.can_any(|worker| self.pool.has_mail(worker))
    }

    /// True if it has begun something that could go on.
    pub(crate) fn has_ready(&self) -> bool {
        self.strands.borrow().oldest_ready().is_some() || !self.full_frames.borrow().is_empty()
    }

    fn steal(&self) -> Option<ClosureRef> {
        let stations = &self.pool.stations;
        let first = self.next_random() % stations.len();
        let others = (first..stations.len())
            .chain(0..first)
            .filter(|other| *other != self.index);
        for victim in others {
            let station = &stations[victim];
            while let Some(closure) = station.steal() {
                if self.claim(&closure) {
                    // Restock: the next thief should not have to wait.
                    station.with_want(tls::WantFlag::ask_for_work);
                    self.station().counters.steals.add_one();
                    return Some(closure);
                }
            }
        }
        while !self.pool.injector.is_empty()
            && let Some(closure) = steal_from(|| self.pool.injector.steal())
        {
            if self.claim(&closure) {
                return Some(closure);
            }
        }
        None
    }

    fn execute(&self, found: Found) {
        let (strand, job, mut running) = match found {
            Found::Ready(strand) => {
                let running = self.strands.borrow_mut().take_paused(strand);
                (strand, Job::Continue, running)
            }
            Found::Start(job, origin) => {
                let strand = self.idle_strand();
                let born = self.births.replace(self.births.get() + 1);
                let closure = match &job {
                    Job::Closure(closure) => Some(closure.clone()),
                    Job::Frame(_) | Job::Continue | Job::End => None,
                };
                (strand, job, Running::new(strand, born, closure, origin))
            }
        };
        let (mut coroutine, guard) = self.strands.borrow_mut().begin(strand);
        overflow::set_guard(&guard);
        tls::set_newest(running.newest);
        if running.aborting {
            tls::with_want(tls::WantFlag::announce_inbox);
        }
        let measured = running.origin.is_some();
        if measured {
            self.measured_to.set(measure::clock());
        }
        if matches!(job, Job::Closure(_) | Job::Frame(_)) {
            self.trace_strand(&mut running);
        }
        self.running.replace(Some(running));
        let pause = coroutine
            .resume(job)
            .as_yield()
            .expect("strands end by `Strands::end` only");
        if measured {
            self.measure();
        }
        let mut running = self.running.take().expect("set above");
        running.newest = tls::newest();
        tls::set_newest(ptr::null());
        overflow::set_guard(&(0..0));
        let finished = self
            .strands
            .borrow_mut()
            .put_back(coroutine, running, pause);
        drop(finished);
    }

    fn idle_strand(&self) -> usize {
        let mut strands = self.strands.borrow_mut();
        let made = strands.take_idle(
            || {
                self.station().counters.strands.add_one();
                self.pool.stacks.take()
            },
            run_jobs,
        );
        match made {
            Ok(strand) => strand,
            Err(error) => {
                eprintln!(
                    "atlas: no address space for another strand's stack ({error}): \
                     lower ATLAS_STACK, or allow the process more memory"
                );
                std::process::abort();
            }
        }
    }

    pub(crate) fn read_inbox(&self) {
        let inbox = &self.station().inbox;
        if inbox.is_empty() {
            return;
        }
        while let Some(message) = steal_from(|| inbox.steal()) {
            match message {
                Message::Resume { strand, wait } => {
                    self.strands.borrow_mut().end_wait(strand, wait);
                }
                Message::Fill {
                    closure,
                    continuation,
                } => {
                    let awaited = self.awaited.borrow_mut().remove(&ptr::from_ref(&*closure));
                    debug_assert!(awaited.is_some(), "it was handed out here");
                    let full = frame::fill(continuation, &closure);
                    let origin = closure.origin().map(Origin::above);
                    let full = full.map(|frame| (frame, origin));
                    self.full_frames.borrow_mut().extend(full);
                }
                Message::Abort(closure) => self.abort_here(&closure),
            }
        }
    }

    /// Nobody wants a closure that runs here: tells its strand, and what its
    /// waiting frames have handed out.
    fn abort_here(&self, closure: &ClosureRef) {
        self.strands.borrow_mut().abort(closure);
        if let Some(running) = &mut *self.running.borrow_mut() {
            running.aborting |= running.works_for(closure, tls::newest());
        }
        self.abort_awaited(|frame| frame.continuation().leads_to(closure));
    }

    /// Aborts the children that these frames have handed out.
    pub(crate) fn abort_awaited(&self, of: impl Fn(FrameRef) -> bool) {
        let children: Vec<_> = self
            .awaited
            .borrow()
            .values()
            .filter(|child| of(child.frame))
            .map(|child| child.closure.clone())
            .collect();
        children.iter().for_each(pool::abort);
    }

    /// Trims what idle strands have used; called before the worker sleeps.
    pub(crate) fn trim(&self) {
        self.strands
            .borrow_mut()
            .trim_idle(|guard| self.pool.stacks.trim(guard));
    }

    // ----------------------------------------------- called from strands

    /// Looks at what the raised poll flag announces.
    #[cold]
    pub(crate) fn poll(&self) -> Answer {
        let bits = tls::with_want(tls::WantFlag::take);
        self.read_inbox();
        if bits & (tls::THIEF | tls::URGENT) != 0 {
            self.serve_thieves(bits & tls::URGENT != 0);
        }
        let is_traced = bits & tls::TRACE != 0 && self.trace_latent();
        if bits & tls::MEASURE != 0 {
            self.measure();
        }
        if bits & tls::LIMIT != 0 && self.pool.permits.is_over() {
            self.retreat();
        }
        if self.older_is_ready() {
            self.station().counters.preemptions.add_one();
            self.pause(Pause::Preempted);
        }
        let aborting = self.with_running(|running| running.aborting);
        if aborting {
            // Until the strand has unwound: what it calls meanwhile may catch
            // that, or be a destructor, which is not to be unwound.
            tls::with_want(tls::WantFlag::announce_inbox);
        }
        Answer {
            is_unwanted: aborting,
            is_traced,
        }
    }

    /// Makes a closure public; the caller says so.
    pub(crate) fn push(&self, closure: ClosureRef) {
        self.deque.push(closure);
    }

    /// Makes the oldest latent work public, if a thief is to have it.
    fn serve_thieves(&self, urgent: bool) {
        let needs_wake = self.pool.sleep.needs_wake() && !self.pool.hosting.wants();
        if needs_wake && !urgent && self.pool.sleep.has_sentinel() && self.decide() == Wake::NotYet
        {
            // Look again at the next join.
            tls::with_want(tls::WantFlag::ask_for_work);
            return;
        }
        if self.deque.is_empty() {
            let Some(closure) = self.promote_oldest() else {
                // Nothing is left here: the thieves are to have what comes next.
                return tls::with_want(tls::WantFlag::ask_for_work);
            };
            self.station().counters.promotions.add_one();
            self.deque.push(closure);
        }
        self.wake_one();
        self.pool.hosting.tell_surplus();
    }

    /// Waits, if more workers run than may, until this one may again. Its latent work is public meanwhile.
    fn retreat(&self) {
        while let Some(closure) = self.promote_oldest() {
            self.station().counters.promotions.add_one();
            self.deque.push(closure);
        }
        if !self.deque.is_empty() {
            self.wake_one();
            self.pool.hosting.tell_surplus();
        }
        self.measure();
        if self.pool.permits.give_back_if_over() {
            self.pool.permits.take(self.index, true);
            // The wait is nobody's work.
            self.measured_to.set(measure::clock());
        }
    }

    fn decide(&self) -> Wake {
        let newest = tls::newest();
        let oldest = self.with_running(|running| {
            // SAFETY: the list and the queue are the running strand's.
            unsafe { running.marked.oldest(newest) }
        });
        let Some(oldest) = oldest else {
            return Wake::Now;
        };
        // SAFETY: in the list, so alive.
        let key = unsafe { &*oldest }
            .kind()
            .map_or(0, |kind| ptr::from_ref(kind).addr());
        self.policy
            .borrow_mut()
            .decide(oldest.addr(), key, Instant::now)
    }

    fn promote_oldest(&self) -> Option<ClosureRef> {
        let newest = tls::newest();
        // SAFETY: the list and the queue are the running strand's.
        self.with_running(|running| unsafe { running.promote_oldest(newest) })
            .or_else(|| self.strands.borrow_mut().promote_oldest())
            .or_else(|| self.strands.borrow_mut().promote_blocked())
    }

    /// Makes a closure public, and wakes somebody for it.
    pub(crate) fn publish(&self, closure: ClosureRef) {
        self.with_running(|running| running.say_origin(&closure, running.marked.marked()));
        self.deque.push(closure);
        self.wake_one();
        self.pool.hosting.tell_surplus();
    }

    /// The owner has come back to a marked node that was not promoted: when it was
    /// said to be traced, if it was.
    pub(crate) fn take_back(&self, node: *const Node) -> Option<u64> {
        self.policy
            .borrow_mut()
            .came_back(node.addr(), Instant::now);
        self.with_running(|running| running.marked.take_back(node))
    }

    /// The owner has come back to a promoted node: true if nobody else has begun
    /// it, and then it is the caller's.
    pub(crate) fn reclaim(&self, node: *const Node, closure: &ClosureRef) -> bool {
        self.policy
            .borrow_mut()
            .came_back(node.addr(), Instant::now);
        self.forget_promoted();
        let mine = self.claim(closure);
        if mine {
            self.drop_stale();
        }
        mine
    }

    pub(crate) fn claim(&self, closure: &ClosureRef) -> bool {
        closure.claim(self.pool.runner(self.index))
    }

    /// Takes references to closures that were claimed by another way out of the
    /// deque's newest end, where they stand most often; those further back leave
    /// with the last one before them.
    fn drop_stale(&self) {
        while let Some(newest) = self.deque.pop() {
            if !newest.is_claimed() {
                return self.deque.push(newest);
            }
        }
    }

    /// A handed-out child of a frame will come back.
    pub(crate) fn expect_fill(&self, closure: ClosureRef, frame: FrameRef) {
        let key = ptr::from_ref(&*closure);
        self.awaited
            .borrow_mut()
            .insert(key, Awaited { closure, frame });
    }

    /// Says by which driver the running strand calls a frame's continuation.
    pub(crate) fn set_driver(&self, driver: *const Driver) {
        self.with_running(|running| running.driver = driver);
    }

    /// Suspends the running strand until the closure is done. If nobody wants the
    /// strand's own result any more, nobody wants the closure's.
    pub(crate) fn wait_for(&self, closure: &ClosureRef) {
        if closure.is_done() {
            return;
        }
        let wait = self.waits.replace(self.waits.get() + 1);
        let strand = self.with_running(|running| {
            running.wait = Some(wait);
            running.strand
        });
        let waiter = Waiter::Strand {
            pool: Arc::clone(&self.pool),
            home: self.index,
            strand,
            wait,
        };
        // SAFETY: the caller is the closure's only waiter, and waits once.
        let mut blocked = unsafe { closure.wait(waiter) };
        let mut told = false;
        while blocked {
            if !told && self.with_running(|running| running.aborting) {
                told = true;
                pool::abort(closure);
                blocked = !closure.is_done();
                continue;
            }
            self.station().counters.suspensions.add_one();
            self.with_running(|running| running.wait = Some(wait));
            self.pause(Pause::Blocked);
            blocked = !closure.is_done();
        }
        self.with_running(|running| running.wait = None);
    }

    /// Runs a closure here if nobody has begun it, and waits for it otherwise.
    pub(crate) fn wait_or_run(&self, closure: &ClosureRef) {
        if self.claim(closure) {
            self.drop_stale();
            let depth = self.enter(closure);
            match self.begin_closure(closure) {
                Begun::Child(child) => return self.run_traced(child, closure, depth),
                Begun::Found(()) => return self.leave(depth),
                Begun::Untraced => {}
            }
            // SAFETY: claimed just now.
            unsafe { (closure.kind().execute)(closure) };
            self.leave(depth);
        }
        self.wait_for(closure);
    }

    /// [`Worker::wait_or_run`] of a closure that was claimed, and is traced.
    fn run_traced(&self, child: Child<'_>, closure: &ClosureRef, depth: Option<u32>) {
        // SAFETY: claimed by the caller.
        unsafe { (closure.kind().execute)(closure) };
        self.leave(depth);
        // Its frames may wait for what others have taken.
        self.wait_for(closure);
        // SAFETY: the caller is its waiter, and it is done.
        child.end(|bytes_max| unsafe { closure.encode_result(bytes_max) });
    }

    fn older_is_ready(&self) -> bool {
        let oldest = self.strands.borrow().oldest_ready();
        oldest.is_some_and(|born| self.with_running(|running| born < running.born))
    }

    /// Leaves the strand's stack for the worker's loop.
    fn pause(&self, pause: Pause) {
        let yielder = self.with_running(|running| {
            running.has_children();
            running.yielder
        });
        // The strand may be unwinding, and others may panic before it goes on.
        let note = panic::take_note();
        // SAFETY: `run_jobs` set it for the running strand, which is the caller.
        unsafe { &*yielder }.suspend(pause);
        panic::set_note(note);
    }

    pub(crate) fn with_running<R>(&self, f: impl FnOnce(&mut Running) -> R) -> R {
        let mut running = self.running.borrow_mut();
        f(running.as_mut().expect("called on a strand's stack"))
    }

    pub(crate) fn wake_one(&self) {
        if let Some(worker) = self.pool.sleep.wake_one() {
            self.station().counters.wakes.add_one();
            self.pool.unpark(worker);
        }
    }

    /// Xorshift (Marsaglia 2003): where to look first need not be better.
    fn next_random(&self) -> usize {
        let mut state = self.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.set(state);
        (state >> 32) as usize
    }
}

/// The body of every strand's coroutine: runs one job after another.
fn run_jobs(yielder: &StrandYielder, mut job: Job) {
    while !matches!(job, Job::End) {
        let worker = Worker::current().expect("strands run on workers");
        worker.with_running(|running| running.yielder = yielder);
        // Left by a panic that a task has caught by other means than `catch`.
        drop(panic::take_note());
        match job {
            Job::Closure(closure) if closure.is_aborted() => {
                // SAFETY: claimed by whoever found it, and not begun.
                unsafe { (closure.kind().discard)(&closure) };
                // SAFETY: as above, and its call is gone.
                unsafe { closure.fail(TaskPanic::aborted()) };
            }
            Job::Closure(closure) if worker.complete_found(&closure) => {}
            // SAFETY: claimed by whoever found it.
            Job::Closure(closure) => unsafe { (closure.kind().execute)(&closure) },
            Job::Frame(frame) => frame::run_full(frame),
            Job::Continue | Job::End => unreachable!("a pause inside of a job is continued there"),
        }
        job = yielder.suspend(Pause::Finished);
    }
}

/// Who has polled.
pub(crate) enum Polled {
    Worker,
    /// A worker, and the children are to be keyed and timed.
    Traced,
    /// A thread of no runtime, which cannot hand out work.
    Outsider,
}

/// The slow path of a join's poll.
pub(crate) fn poll_raised() -> Polled {
    let Some(worker) = Worker::current() else {
        return Polled::Outsider;
    };
    let answer = worker.poll();
    if answer.is_unwanted && !thread::panicking() {
        panic::unwind_aborted();
    }
    if answer.is_traced {
        Polled::Traced
    } else {
        Polled::Worker
    }
}

/// What a poll has found.
pub(crate) struct Answer {
    /// Nobody wants the running strand's result.
    pub(crate) is_unwanted: bool,
    /// The children of the join that has polled are to be keyed and timed.
    is_traced: bool,
}
