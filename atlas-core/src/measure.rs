//! How much workers' time goes into closures, with all that descends from them, wherever it runs.
//!
//! Only a runtime that was built with [`Builder::measured`](crate::Builder::measured) measures, and only what descends
//! from closures that it has accepted. Each strand has an [`Account`], which knows the account of the strand that
//! its closure came from. The worker reads the clock when a strand starts, pauses and ends, and
//! at a poll that was asked for (once for each [`Runtime::take_measured`](crate::Runtime::take_measured)). What has passed
//! is added to the strand's account and to each one above it: those of the closures that it descends from. The work that
//! came back with the result of a lent closure is added likewise. A closure's last stretch is added before it is
//! complete, so what stands in the account of an accepted closure when it is done is all its work.
//!
//! | what | costs |
//! | --- | --- |
//! | a join that nobody takes part in | nothing: no clock is read, no field written |
//! | a handle's child that its parent runs itself | two fields: its time is its parent's |
//! | a promotion, a publication | one reference count |
//! | a strand's start, pause, end | one read of the clock, one addition for each account above |
//!
//! How exact it is. *Time* is that for which a closure keeps workers from others, whether it computes or sleeps: a thousand
//! tasks that wait for an answer each are worth to be spread over a thousand workers. So it is the wall's, without what a worker
//! waits for its permit; where the system has more threads to run than processors, it is longer than the work. What runs
//! now is missing for as long as nobody asks. *Samples* are of closures that ran
//! as strands, which is those that were stolen, lent or accepted: the sort whose move is to be judged. *Depth*
//! is a label: that of the strand's closure, plus the joins of the strand that wait at the promotion, plus one. In a
//! binary recursion it counts the first children on the way exactly, and those second children on the way
//! that were stolen; a second child that its parent ran itself is not counted, since the fast path keeps
//! nothing by which to know. So a kind is a mixture of neighbouring levels, and leans to the deeper ones. For the model of
//! costs, which divides all the time seen in a kind by how many of it finished (the total time on test), that is good
//! enough: the mean is that of what is stolen under this label.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::checkpoint::{Key, Worth};
use crate::closure::{Closure, ClosureRef};
use crate::task::TaskId;
use crate::worker::Worker;

/// What was seen of closures of one task at one depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// The task.
    pub task: TaskId,
    /// How many closures are above them.
    pub depth: u32,
    /// Workers' time inside of them and their descendants, finished or not.
    pub work: Duration,
    /// How many finished.
    pub finished: u32,
}

/// Where the time of one strand, and of those that descend from it, is added up.
pub(crate) struct Account {
    pub(crate) kind: Option<Kind>,
    /// The name of what comes out, where that may be recorded.
    pub(crate) key: Option<Key>,
    /// The beginning of the key of what is counted here, whether or not that is recorded.
    name: Option<u64>,
    /// Of an accepted closure: what its lender knows to be above it, nearest first.
    known_above: Vec<u64>,
    /// The address of the closure whose end is the end of what is counted.
    closure: usize,
    nanoseconds: AtomicU64,
    /// What went into results that were found in place of running anything.
    found: AtomicU64,
    /// See [`Worth`].
    covered: AtomicU64,
    sent: AtomicU64,
    above: Option<Arc<Account>>,
    /// How many are above.
    level: u32,
}

type Kind = (TaskId, u32);

/// Where a closure comes from: the account that its time is added to as well, and its depth.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) account: Arc<Account>,
    pub(crate) depth: u32,
}

impl Origin {
    /// Of an accepted closure.
    pub(crate) fn accepted(depth: u32, above: &[u64]) -> Self {
        let account = Arc::new(Account {
            known_above: above.iter().copied().take(ABOVE_MAX).collect(),
            ..Account::new(None)
        });
        Self { account, depth }
    }

    /// Of what a strand does that runs `closure`, which has this origin; `key` is the name of its result.
    pub(crate) fn inside(&self, closure: &ClosureRef, key: Option<Key>) -> Self {
        let task = closure.task().filter(|_| self.account.level < LEVELS_MAX);
        let Some(task) = task else {
            return self.clone();
        };
        let account = Arc::new(Account {
            kind: Some((task.id(), self.depth)),
            key,
            name: key.map(Key::short),
            closure: ptr::from_ref::<Closure>(closure).addr(),
            ..Account::new(Some(&self.account))
        });
        Self {
            account,
            depth: self.depth,
        }
    }

    /// Of the continuation that waits for a closure of this origin.
    pub(crate) fn above(&self) -> Self {
        Self {
            account: Arc::clone(&self.account),
            depth: self.depth.saturating_sub(1),
        }
    }

    /// The work that was added up so far.
    pub(crate) fn work(&self) -> Duration {
        Duration::from_nanos(self.account.nanoseconds.load(Ordering::Relaxed))
    }
}

impl Account {
    fn new(above: Option<&Arc<Self>>) -> Self {
        Self {
            kind: None,
            key: None,
            name: None,
            known_above: Vec::new(),
            closure: 0,
            nanoseconds: AtomicU64::new(0),
            found: AtomicU64::new(0),
            covered: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            above: above.cloned(),
            level: above.map_or(0, |above| above.level + 1),
        }
    }

    /// For a part of what is counted here, of which this is the key; none if there are too many above each other.
    pub(crate) fn below(self: &Arc<Self>, key: Option<Key>) -> Option<Arc<Self>> {
        (self.level < LEVELS_MAX).then(|| {
            Arc::new(Self {
                name: key.map(Key::short),
                ..Self::new(Some(self))
            })
        })
    }

    /// The nearest closures that all is below that is counted here, this one's own included, as far as their keys are known.
    pub(crate) fn names(&self) -> Vec<u64> {
        let mut names = Vec::with_capacity(ABOVE_MAX);
        let mut at = Some(self);
        while let Some(account) = at
            && names.len() < ABOVE_MAX
        {
            names.extend(account.name);
            names.extend(&account.known_above);
            at = account.above.as_deref();
        }
        names.truncate(ABOVE_MAX);
        names
    }

    /// Those that what is counted here is below.
    pub(crate) fn names_above(&self) -> Vec<u64> {
        let above = self.above.as_ref();
        above.map(|above| above.names()).unwrap_or_default()
    }

    /// True if nothing was accepted above it: it is where an accepted closure comes from.
    pub(crate) fn is_above_all(&self) -> bool {
        self.level == 0
    }

    /// True if it is that of an accepted closure itself.
    pub(crate) fn is_of_accepted(&self) -> bool {
        self.level == 1
    }

    /// What is known of the work so far.
    pub(crate) fn worth(&self) -> Worth {
        let [measured, found, covered, sent] =
            [&self.nanoseconds, &self.found, &self.covered, &self.sent]
                .map(|number| number.load(Ordering::Relaxed));
        Worth {
            total: measured.saturating_add(found),
            covered,
            sent,
        }
    }

    /// What is counted here, and was worth this, is recorded: those above need not do it again.
    pub(crate) fn cover(&self, worth: Worth, cost: u64) {
        if let Some(above) = &self.above {
            above.cover_part(worth, cost);
        }
    }

    /// Some of what is counted here is recorded.
    pub(crate) fn cover_part(&self, part: Worth, cost: u64) {
        let covered = part.total.saturating_sub(part.covered);
        // It stands for those that were sent before.
        let sent = cost.wrapping_sub(part.sent);
        self.for_all(|account| {
            account.covered.fetch_add(covered, Ordering::Relaxed);
            account.sent.fetch_add(sent, Ordering::Relaxed);
        });
    }

    /// The result of what is counted here was found: it has taken so long, and would cost so much to send.
    pub(crate) fn found(&self, nanoseconds: u64, cost: u64) {
        if let Some(above) = &self.above {
            above.found_part(nanoseconds, cost);
        }
    }

    /// The result of some of what is counted here was found.
    pub(crate) fn found_part(&self, nanoseconds: u64, cost: u64) {
        self.for_all(|account| {
            account.found.fetch_add(nanoseconds, Ordering::Relaxed);
            account.covered.fetch_add(nanoseconds, Ordering::Relaxed);
            account.sent.fetch_add(cost, Ordering::Relaxed);
        });
    }

    /// Does so for this account and those above it.
    fn for_all(&self, add: impl Fn(&Self)) {
        let mut at = Some(self);
        while let Some(account) = at {
            add(account);
            at = account.above.as_deref();
        }
    }
}

/// What was measured and not yet reported.
pub(crate) struct Measures {
    /// One for each worker, and one for the host.
    samples: Box<[Mutex<Samples>]>,
}

type Samples = BTreeMap<Kind, Sample>;

#[derive(Clone, Copy, Default)]
struct Sample {
    nanoseconds: u64,
    finished: u32,
}

impl Measures {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            samples: (0..=workers).map(|_| Mutex::default()).collect(),
        }
    }

    /// Adds time to an account, and to those above it.
    pub(crate) fn add(&self, worker: usize, account: &Account, nanoseconds: u64) {
        let mut samples = self.lock(worker);
        let mut at = Some(account);
        while let Some(account) = at {
            // Nothing else is read by it: the order is that of the closures' ends.
            account
                .nanoseconds
                .fetch_add(nanoseconds, Ordering::Relaxed);
            if let Some(sample) = account.kind.and_then(|kind| sample(&mut samples, kind)) {
                sample.nanoseconds = sample.nanoseconds.saturating_add(nanoseconds);
            }
            at = account.above.as_deref();
        }
    }

    /// A closure has ended in a strand with this account: counts it, if it is the account's.
    pub(crate) fn finish(&self, worker: usize, account: &Account, closure: &Closure) {
        let kind = account.kind.filter(|_| is_of(account, closure));
        if let Some(kind) = kind
            && let Some(sample) = sample(&mut self.lock(worker), kind)
        {
            sample.finished += 1;
        }
    }

    /// The result of a lent closure is here, with its work.
    pub(crate) fn add_lent(&self, closure: &Closure, work: Duration) {
        let (Some(origin), Some(task)) = (closure.origin(), closure.task()) else {
            return;
        };
        let nanoseconds = u64::try_from(work.as_nanos()).unwrap_or(u64::MAX);
        if let Some(sample) = sample(&mut self.lock(self.host()), (task.id(), origin.depth)) {
            sample.nanoseconds = sample.nanoseconds.saturating_add(nanoseconds);
            sample.finished += 1;
        }
        self.add(self.host(), &origin.account, nanoseconds);
    }

    /// All samples; nothing of them is given again.
    pub(crate) fn take(&self) -> Vec<Measured> {
        let mut all = Samples::new();
        for worker in 0..self.samples.len() {
            for (kind, sample) in std::mem::take(&mut *self.lock(worker)) {
                let sum = all.entry(kind).or_default();
                sum.nanoseconds = sum.nanoseconds.saturating_add(sample.nanoseconds);
                sum.finished = sum.finished.saturating_add(sample.finished);
            }
        }
        let measured = all.into_iter().map(|((task, depth), sample)| Measured {
            task,
            depth,
            work: Duration::from_nanos(sample.nanoseconds),
            finished: sample.finished,
        });
        measured.collect()
    }

    fn host(&self) -> usize {
        self.samples.len() - 1
    }

    fn lock(&self, worker: usize) -> MutexGuard<'_, Samples> {
        let samples = self.samples[worker].lock();
        samples.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// The running strand goes on with a closure in the middle of its own: the depth to come back to.
    pub(crate) fn enter(&self, closure: &ClosureRef) -> Option<u32> {
        let entered = closure.origin()?.depth;
        self.with_running(|running| {
            // What waits in the strand is above the closure too, and was counted.
            let depth = entered.saturating_sub(running.marked.marked());
            let origin = running.origin.as_mut()?;
            Some(std::mem::replace(&mut origin.depth, depth))
        })
    }

    pub(crate) fn leave(&self, depth: Option<u32>) {
        if let Some(depth) = depth {
            self.with_running(|running| {
                if let Some(origin) = &mut running.origin {
                    origin.depth = depth;
                }
            });
        }
    }

    /// The owner has come back to a node that was promoted.
    pub(crate) fn forget_promoted(&self) {
        self.with_running(|running| running.marked.forget_promoted());
    }

    /// Adds what the running strand has used to its account.
    pub(crate) fn measure(&self) {
        let mut running = self.running.borrow_mut();
        if let (Some(measures), Some(running)) = (&self.pool.measures, running.as_mut())
            && running.origin.is_some()
        {
            let now = clock();
            let used = now.saturating_sub(self.measured_to.replace(now));
            running.used += used;
            if let Some(account) = running.account() {
                measures.add(self.index, account, used);
            }
        }
    }

    /// A closure is about to be completed: all its time is to be in its account first.
    fn settle_measures(&self, closure: &Closure) {
        let account = self.running.try_borrow().ok().and_then(|running| {
            let running = running.as_ref()?;
            let account = &running.origin.as_ref()?.account;
            let is_own = |own: &ClosureRef| ptr::eq(&**own, closure);
            let ends = is_of(account, closure) || running.closure.as_ref().is_some_and(is_own);
            ends.then(|| Arc::clone(account))
        });
        let (Some(account), Some(measures)) = (account, &self.pool.measures) else {
            return;
        };
        self.measure();
        if !closure.is_aborted() {
            measures.finish(self.index, &account, closure);
            if is_of(&account, closure) {
                self.end_strand(&account, closure);
            }
        }
        // What the strand does from now on is nobody's.
        self.with_running(|running| running.origin = None);
    }
}

/// See [`Worker::settle_measures`]; elsewhere nothing is measured.
pub(crate) fn settle(closure: &Closure) {
    if let Some(worker) = Worker::current() {
        worker.settle_measures(closure);
    }
}

/// True if the account counts up to the end of this closure.
fn is_of(account: &Account, closure: &Closure) -> bool {
    account.closure == ptr::from_ref(closure).addr()
}

fn sample(samples: &mut Samples, kind: Kind) -> Option<&mut Sample> {
    if samples.len() >= KINDS_MAX && !samples.contains_key(&kind) {
        return None;
    }
    Some(samples.entry(kind).or_default())
}

/// The time in nanoseconds, from a moment on that is the same for the whole process.
pub(crate) fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let nanoseconds = START.get_or_init(Instant::now).elapsed().as_nanos();
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

/// Accounts above each other. Further strands add to the last one: a chain of steals so long is made of small pieces,
/// each of which would have to add to all above it.
const LEVELS_MAX: u32 = 64;
/// Closures that are named above one. A few between them may not be recorded.
const ABOVE_MAX: usize = 4;
/// Kinds that are told apart between two reports.
const KINDS_MAX: usize = 1024;
