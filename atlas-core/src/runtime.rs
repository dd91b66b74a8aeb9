//! A runtime: its builder, its life, and the ways in from other threads.

use std::num::NonZeroUsize;
use std::process::{ExitCode, Termination};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{env, io, thread};

use crossbeam_deque::Worker as Deque;

use crate::checkpoint::Recorded;
use crate::closure::ClosureRef;
use crate::heap::{InHeap, new_closure};
use crate::host::{AcceptError, Host, Hosting, Lease, Lent, ReadyClosure, ReturnError, Ticket};
use crate::join::Body;
use crate::measure::Measured;
use crate::overflow;
use crate::pool::Pool;
use crate::portable::{CLOSURE_BYTES_MAX, Outcome, PortableClosure};
use crate::stats::Stats;
use crate::task::{TaskCollision, TaskInfo, TaskTable};
use crate::waiter::Waiter;
use crate::work::take_result;
use crate::worker::Worker;

/// A set of workers. Dropping it fails what is lent, and waits until all else that
/// was begun has ended; on one of its own workers it does not wait.
pub struct Runtime {
    pool: Arc<Pool>,
    threads: Vec<JoinHandle<()>>,
}

/// How a [`Runtime`] is to be built.
#[derive(Default)]
pub struct Builder {
    workers: Option<usize>,
    stack_bytes: Option<usize>,
    thread_name: Option<String>,
    host: Option<Arc<dyn Host>>,
    closure_bytes_max: Option<usize>,
    measured: bool,
    checkpoints: bool,
    tasks: Vec<&'static TaskInfo>,
}

/// A runtime cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Two tasks have one id.
    #[error(transparent)]
    Collision(#[from] TaskCollision),
    /// An environment variable makes no sense.
    #[error("{name}={value}: {expected}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What it is set to.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The number of workers makes no sense.
    #[error("{0} workers asked for: a runtime has 1 to {WORKERS_MAX}")]
    Workers(usize),
    /// A thread cannot be started.
    #[error("cannot start a worker thread")]
    Thread(#[source] io::Error),
}

impl Builder {
    /// How many workers; the default is `ATLAS_WORKERS`, or as many as the
    /// process may use processors.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// How many bytes of stack each strand may use; the default is `ATLAS_STACK`,
    /// or 16 MiB (32 MiB in the dev profile). Only what is touched takes memory.
    #[must_use]
    pub fn stack_bytes(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// What the threads are called; a number is added.
    #[must_use]
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = Some(name.into());
        self
    }

    /// Who is told of hunger, surplus and finished closures.
    #[must_use]
    pub fn host(mut self, host: Arc<dyn Host>) -> Self {
        self.host = Some(host);
        self
    }

    /// How large the encoded arguments of a closure may be that is lent or
    /// accepted; the default is [`CLOSURE_BYTES_MAX`]. Larger ones run here.
    #[must_use]
    pub fn closure_bytes_max(mut self, bytes: usize) -> Self {
        self.closure_bytes_max = Some(bytes);
        self
    }

    /// Measures the work of what is accepted, for [`Runtime::take_measured`] and [`Host::finished`].
    #[must_use]
    pub fn measured(mut self, measured: bool) -> Self {
        self.measured = measured;
        self
    }

    /// Tells the host of finished children that are worth keeping ([`Host::recorded`]), and takes their results from
    /// what is [remembered](Runtime::remember). It concerns what descends from accepted closures, which is
    /// measured then.
    #[must_use]
    pub fn checkpoints(mut self, checkpoints: bool) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// One more task, beside those that are linked into the program.
    #[must_use]
    pub fn task(mut self, task: &'static TaskInfo) -> Self {
        self.tasks.push(task);
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(self) -> Result<Runtime, BuildError> {
        let workers = match self.workers {
            Some(workers) => workers,
            None => workers_from_environment()?,
        };
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(BuildError::Workers(workers));
        }
        let stack_bytes = match self.stack_bytes {
            Some(bytes) => bytes,
            None => stack_from_environment()?,
        };
        let linked = inventory::iter::<TaskInfo>();
        let tasks = TaskTable::from_infos(linked.into_iter().chain(self.tasks))?;
        overflow::install_handler();
        let deques: Vec<_> = (0..workers).map(|_| Deque::new_lifo()).collect();
        let stealers = deques.iter().map(Deque::stealer).collect();
        let pool = Arc::new(Pool::new(
            stealers,
            stack_bytes,
            tasks,
            Hosting::new(
                self.host,
                self.closure_bytes_max.unwrap_or(CLOSURE_BYTES_MAX),
            ),
            self.measured || self.checkpoints,
            self.checkpoints,
        ));
        pool.register();
        let name = self.thread_name.as_deref().unwrap_or("atlas");
        let mut threads = Vec::with_capacity(workers);
        for (index, deque) in deques.into_iter().enumerate() {
            let pool = Arc::clone(&pool);
            let thread = thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || Worker::new(pool, index, deque).run())
                .map_err(BuildError::Thread)?;
            threads.push(thread);
        }
        Ok(Runtime { pool, threads })
    }
}

impl Runtime {
    /// A builder with the defaults.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The runtime that threads use which are in no other; built at first use
    /// with the defaults, and never dropped.
    ///
    /// # Panics
    /// If it cannot be built; the message is that of [`BuildError`].
    pub fn global() -> &'static Self {
        match Self::try_global() {
            Ok(runtime) => runtime,
            Err(error) => panic!("atlas: the global runtime cannot be built: {error}"),
        }
    }

    fn try_global() -> Result<&'static Self, &'static BuildError> {
        static GLOBAL: OnceLock<Result<Runtime, BuildError>> = OnceLock::new();
        GLOBAL.get_or_init(|| Self::builder().build()).as_ref()
    }

    /// Runs `f` as a strand of this runtime and waits for its result. On one of
    /// its own workers it is a plain call.
    ///
    /// # Panics
    /// A panic of `f` is raised here.
    pub fn run<F, R>(&self, f: F) -> R
    where
        F: FnOnce() -> R + Send,
        R: Send,
    {
        let inside = Worker::current().is_some_and(|worker| Arc::ptr_eq(&worker.pool, &self.pool));
        if inside {
            return f();
        }
        let closure = new_closure(Body(f), Some(Waiter::Thread(thread::current())));
        self.pool.inject(closure.clone());
        park_until_done(&closure);
        // SAFETY: this thread is the closure's waiter, and it is done.
        match unsafe { take_result::<Body<F>, InHeap>(&closure) } {
            Ok(result) => result,
            Err(panic) => panic.resume(),
        }
    }

    /// The number of workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.pool.stations.len()
    }

    /// What the workers have done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for station in &self.pool.stations {
            stats.add(&station.counters);
        }
        if let Some(checkpoints) = &self.pool.checkpoints {
            checkpoints.add_to(&mut stats);
        }
        stats
    }

    /// The tasks of this program.
    #[must_use]
    pub fn tasks(&self) -> &TaskTable {
        &self.pool.tasks
    }

    /// How many closures are ready that any worker, or a host, could take. Work
    /// that is still latent is not counted, and what its owner has taken back may
    /// be: a number to decide by, not to rely on.
    #[must_use]
    pub fn ready_count(&self) -> usize {
        self.pool.ready_count()
    }

    /// How many workers that may run sleep because they have found nothing to do.
    #[must_use]
    pub fn idle_workers(&self) -> usize {
        self.pool.sleep.sleepers().min(self.pool.permits.free())
    }

    /// Workers that wait for a place to run, and have begun what they would go on with.
    #[must_use]
    pub fn stopped_workers(&self) -> usize {
        self.pool
            .permits
            .stopped(|worker| self.pool.has_mail(worker))
    }

    /// Lets only so many of the workers run from now on, or none. A worker that runs stops at its next join, or
    /// when the closure that it runs is done; what it has not begun others can take, or [`Runtime::lend`], and what
    /// it has begun goes on when there is a place for it. More than there are workers is as many as there are. A
    /// runtime begins with all, and is dropped with all.
    pub fn set_workers(&self, workers: usize) {
        self.pool.set_workers(workers);
    }

    /// How many workers may run.
    #[must_use]
    pub fn active_workers(&self) -> usize {
        self.pool.permits.limit()
    }

    /// Takes up to `closures_max` of the oldest ready closures out, for another
    /// process to run. If there are fewer, the workers are asked to make more of
    /// their work public, and [`Host::surplus`] tells when one has.
    ///
    /// It takes what is ready even if workers here are idle: whether that is wise
    /// is for the caller to decide.
    #[must_use = "what is lent waits for its result"]
    pub fn lend(&self, closures_max: usize) -> Lent {
        self.pool.lend(closures_max)
    }

    /// Asks the workers to make some of their work public, if nothing is; [`Host::surplus`] tells of it.
    pub fn ask_for_surplus(&self) {
        self.pool.hosting.want();
        self.pool.ask_all();
    }

    /// The oldest closures that could be lent now, the shallowest first, up to so many. Like
    /// [`Runtime::ready_count`] it is to decide by, not to rely on.
    #[must_use]
    pub fn oldest_ready(&self, closures_max: usize) -> Vec<ReadyClosure> {
        self.pool.oldest_ready(closures_max)
    }

    /// What was [measured](Builder::measured) and not taken before, and asks the workers for what they have
    /// measured since they last said.
    #[must_use]
    pub fn take_measured(&self) -> Vec<Measured> {
        let Some(measures) = &self.pool.measures else {
            return Vec::new();
        };
        let measured = measures.take();
        self.pool.ask_for_measures();
        measured
    }

    /// Takes in results that this or another process has recorded: what is begun from now on, and what begins
    /// children from now on, looks them up before it runs anything. Nothing is believed but that these bytes are what
    /// was recorded under these keys; what cannot be used is computed. Without
    /// [checkpoints](Builder::checkpoints) nothing is.
    pub fn remember(&self, entries: Vec<Recorded>) {
        if let Some(checkpoints) = &self.pool.checkpoints {
            checkpoints.remember(entries);
            self.pool.ask_for_traces();
        }
    }

    /// Has the workers look at what they run, so that the longer ones of its children are recorded when they are done.
    /// A host calls it every now and then, some 20 milliseconds apart: so much of a worker's time may be lost at each
    /// level of nested children, and it costs the worker one slow join.
    pub fn checkpoint_now(&self) {
        if let Some(checkpoints) = &self.pool.checkpoints {
            checkpoints.tidy_up();
            self.pool.ask_for_traces();
        }
    }

    /// Puts a closure in that another process has lent; [`Host::finished`] brings
    /// its result, at the latest while the runtime is dropped.
    ///
    /// # Errors
    /// The bytes are no closure of this program, or the ticket names another
    /// closure that is not done; nothing has changed then.
    pub fn accept(&self, ticket: Ticket, closure: &PortableClosure) -> Result<(), AcceptError> {
        self.accept_at(ticket, closure, 0)
    }

    /// [`Runtime::accept`] for a closure that has so many above it in the job: what descends from it is measured as
    /// so much deeper.
    ///
    /// # Errors
    /// As [`Runtime::accept`].
    pub fn accept_at(
        &self,
        ticket: Ticket,
        closure: &PortableClosure,
        depth: u32,
    ) -> Result<(), AcceptError> {
        self.accept_below(ticket, closure, depth, &[])
    }

    /// [`Runtime::accept_at`] for a closure of which is known what it is [below](crate::LentClosure::above): so is what is
    /// recorded below it.
    ///
    /// # Errors
    /// As [`Runtime::accept`].
    pub fn accept_below(
        &self,
        ticket: Ticket,
        closure: &PortableClosure,
        depth: u32,
        above: &[u64],
    ) -> Result<(), AcceptError> {
        self.pool.accept(ticket, closure, depth, above)
    }

    /// Says that nobody wants the result of an accepted closure: it is dropped if
    /// it has not begun, and unwound at its next join if it runs. The ticket is
    /// free at once, and [`Host::finished`] does not come. False if no closure
    /// that is not done has this ticket.
    pub fn abort_accepted(&self, ticket: Ticket) -> bool {
        self.pool.abort_accepted(ticket)
    }

    /// Brings the outcome of a lent closure.
    ///
    /// # Errors
    /// It is late, a duplicate, or malformed; nothing has changed then. After
    /// [`ReturnError::Malformed`] the closure is still lent: bring another outcome
    /// or reclaim it.
    pub fn return_result(&self, lease: Lease, outcome: Outcome) -> Result<(), ReturnError> {
        self.return_measured(lease, outcome, Duration::ZERO)
    }

    /// [`Runtime::return_result`], with the work that the closure took elsewhere.
    ///
    /// # Errors
    /// As [`Runtime::return_result`].
    pub fn return_measured(
        &self,
        lease: Lease,
        outcome: Outcome,
        work: Duration,
    ) -> Result<(), ReturnError> {
        self.pool.return_result(lease, outcome, work)
    }

    /// Makes a lent closure ready here again; false if its result was there
    /// before, or the lease is unknown.
    pub fn reclaim(&self, lease: Lease) -> bool {
        self.pool.reclaim(lease)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.pool.fail_all_lent();
        self.pool.close();
        if Worker::current().is_some_and(|worker| Arc::ptr_eq(&worker.pool, &self.pool)) {
            return;
        }
        for thread in self.threads.drain(..) {
            // A worker never unwinds: it aborts the process.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("workers", &self.workers())
            .finish_non_exhaustive()
    }
}

/// Runs `f` in the runtime of the calling worker, or in the global one.
///
/// # Panics
/// A panic of `f` is raised here.
pub fn run<F, R>(f: F) -> R
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    match Worker::current() {
        Some(_) => f(),
        None => Runtime::global().run(f),
    }
}

/// Runs a program's `main` as the root strand. `#[atlas::main]` expands to this.
///
/// What goes wrong before `main` starts is written to standard error.
pub fn run_main<R: Termination>(main: fn() -> R) -> ExitCode {
    let runtime = match Runtime::try_global() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("atlas: {error}");
            return ExitCode::FAILURE;
        }
    };
    match crate::panic::catch(|| runtime.run(move || main().report())) {
        Ok(code) => code,
        Err(panic) => {
            if let Some(task) = panic.task() {
                eprintln!(
                    "atlas: the job failed: task `{task}` panicked: {}",
                    panic.message()
                );
            }
            ExitCode::from(PANIC_EXIT_CODE)
        }
    }
}

/// Makes a closure public: on the worker's own deque, or for any worker.
pub(crate) fn publish(closure: ClosureRef) {
    match Worker::current() {
        Some(worker) => worker.publish(closure),
        None => Runtime::global().pool.inject(closure),
    }
}

/// Runs a closure if nobody has begun it, and waits for it otherwise. The caller
/// is its only waiter.
pub(crate) fn wait_or_run(closure: &ClosureRef) {
    match Worker::current() {
        Some(worker) => worker.wait_or_run(closure),
        None => {
            // SAFETY: the only waiter (caller), registered here only.
            if unsafe { closure.wait(Waiter::Thread(thread::current())) } {
                park_until_done(closure);
            }
        }
    }
}

fn park_until_done(closure: &ClosureRef) {
    while !closure.is_done() {
        thread::park();
    }
}

fn workers_from_environment() -> Result<usize, BuildError> {
    let name = "ATLAS_WORKERS";
    let Ok(value) = env::var(name) else {
        return Ok(thread::available_parallelism()
            .map_or(1, NonZeroUsize::get)
            .min(WORKERS_MAX));
    };
    match value.parse() {
        Ok(workers) if (1..=WORKERS_MAX).contains(&workers) => Ok(workers),
        _ => Err(BuildError::Environment {
            name,
            value,
            expected: "the number of workers, from 1 to 1024, was expected",
        }),
    }
}

fn stack_from_environment() -> Result<usize, BuildError> {
    let name = "ATLAS_STACK";
    let Ok(value) = env::var(name) else {
        return Ok(STACK_BYTES);
    };
    parse_bytes(&value).ok_or(BuildError::Environment {
        name,
        value,
        expected: "a size such as 64M, 1G or 1048576 was expected",
    })
}

/// A size with an optional K, M or G (powers of 1024).
fn parse_bytes(text: &str) -> Option<usize> {
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'K' | 'k') => (&text[..at], 10),
        (at, 'M' | 'm') => (&text[..at], 20),
        (at, 'G' | 'g') => (&text[..at], 30),
        _ => (text, 0),
    };
    digits
        .parse::<usize>()
        .ok()?
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes > 0)
}

/// More than this on one machine is a typing error.
const WORKERS_MAX: usize = 1024;
/// Twice a main thread's usual stack: what runs sequentially there fits here with
/// the records of its joins. Twice that in the dev profile, whose frames are
/// larger: 20,000 nested joins take 900 bytes each there where the poll flag is
/// raised at every one, and 300 in an optimised program.
const STACK_BYTES: usize = if cfg!(debug_assertions) {
    32 << 20
} else {
    16 << 20
};
/// What the standard library exits with after a panic in `main`.
const PANIC_EXIT_CODE: u8 = 101;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_digits_with_a_binary_unit() {
        assert_eq!(parse_bytes("1048576"), Some(1 << 20));
        assert_eq!(parse_bytes("64K"), Some(64 << 10));
        assert_eq!(parse_bytes("64m"), Some(64 << 20));
        assert_eq!(parse_bytes("1G"), Some(1 << 30));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "", "K", "0", "0M", "-1", "1.5M", "64 M", "64MB", "M64", "\u{b2}",
        ] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        assert_eq!(parse_bytes(&format!("{}G", usize::MAX)), None);
    }
}
