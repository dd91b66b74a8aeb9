//! Children that are keyed and timed: to be recorded when they are done, and found if they were before.
//!
//! Most children are calls of which nothing is known but by the compiler. A child is *traced* if it
//!
//! | is | and |
//! | --- | --- |
//! | a child of a join that has found [`TRACE`](crate::tls::TRACE) raised | either one; the flag is raised again for what is in it |
//! | the second child of a join that waited when the flag was found raised | its owner takes it back |
//! | a child of a frame that waited then | all are handed out, and so are closures |
//! | a handle's child | its parent runs it itself |
//! | any closure that is run as a strand | accepted, stolen, or from the own deque |
//!
//! and descends from an accepted closure, is not deeper than [`Depth`](crate::checkpoint::Depth) reaches, and the
//! worker has [`Credit`](crate::checkpoint::Credit) left. Who raises the flag: a strand that starts, a traced child at
//! its begin and end, and the host once an interval. So where children are long every join is traced, and
//! where they are short some are once an interval: the fast path of a join is as it is without checkpoints.
//!
//! While a traced child runs in the middle of its parent's strand it has a [`Scope`] there, with an account of its own
//! for the time of whatever descends from it. A node of the latent list that is older than the scope is its
//! parent's; scopes remember how many those are.

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{
    Checkpoints, Found, Key, Recorded, SHORT_NANOSECONDS, Worth, bytes_worth, cost_of,
};
use crate::closure::ClosureRef;
use crate::latent::Node;
use crate::measure::{Account, clock};
use crate::pool::Pool;
use crate::state::State;
use crate::strand::Running;
use crate::tls::{self, WantFlag};
use crate::work::Latent;
use crate::worker::Worker;

/// A traced child in the middle of a strand.
pub(crate) struct Scope {
    /// So many nodes of the list were marked before it began: they are its parent's.
    boundary: u32,
    /// None if there are too many above each other: then its own time has to do.
    account: Option<Arc<Account>>,
    pub(crate) key: Option<Key>,
    pub(crate) state: State,
}

/// A traced child that runs; dropped, it has unwound.
pub(crate) struct Child<'worker> {
    worker: &'worker Worker,
    key: Option<Key>,
    depth: u32,
    /// Its place among the strand's scopes.
    place: usize,
    /// What the strand had used before.
    used_before: u64,
}

/// What becomes of a child that is about to be run.
pub(crate) enum Begun<'worker, V> {
    /// It is run as any other.
    Untraced,
    /// It need not be run.
    Found(V),
    Child(Child<'worker>),
}

/// Runs a child of a traced join, or takes its result from what is remembered.
#[inline(never)]
pub(crate) fn run<L: Latent>(call: L) -> L::Output {
    let worker = Worker::current().expect("outsiders trace nothing");
    let key = || L::HOOKS.and_then(|hooks| (hooks.key)(&call));
    let decode = |found: &Found| (L::HOOKS?.decode_result)(&found.result).ok();
    let child = match worker.begin_child(key, decode) {
        Begun::Untraced => return call.run(),
        Begun::Found(value) => {
            drop(call);
            let hooks = L::HOOKS.expect("there were some to decode it with");
            return (hooks.typed_result)(value);
        }
        Begun::Child(child) => child,
    };
    let output = call.run();
    child.end(|bytes_max| L::HOOKS.and_then(|hooks| (hooks.encode_result)(&output, bytes_max)));
    output
}

/// The child of a traced join is a join itself: it is traced as well.
pub(crate) fn go_on() {
    tls::with_want(WantFlag::ask_for_traces);
}

impl Worker {
    /// What the running strand may trace with, if anything.
    fn tracing(&self) -> Option<&Checkpoints> {
        let checkpoints = self.pool.checkpoints.as_ref()?;
        self.with_running(|running| {
            running.has_children();
            running.origin.is_some()
        })
        .then_some(checkpoints)
    }

    /// A strand begins: its first join is to be traced.
    pub(crate) fn trace_strand(&self, running: &mut Running) {
        if let (Some(checkpoints), Some(origin)) = (&self.pool.checkpoints, &running.origin) {
            let now = self.measured_to.get();
            self.depth.begin_round(checkpoints.round(), now);
            let is_raised = self.raise_for(origin.depth.saturating_add(1));
            running.state = State::new(is_raised && running.closure.is_some(), now);
        }
    }

    /// Raises the flag if children of this depth are traced, and lowers it if not.
    fn raise_for(&self, depth: u32) -> bool {
        let is_raised = self.depth.reaches(depth);
        tls::with_want(if is_raised {
            WantFlag::ask_for_traces
        } else {
            WantFlag::lower_traces
        });
        is_raised
    }

    /// The flag was raised: whatever waits in the running strand's list is traced when its time comes. True if
    /// the join that has polled is traced.
    pub(crate) fn trace_latent(&self) -> bool {
        let Some(checkpoints) = self.tracing() else {
            return false;
        };
        let (newest, now) = (tls::newest(), clock());
        self.depth.begin_round(checkpoints.round(), now);
        // SAFETY: the list and the queue are the running strand's.
        let handed_out = self.with_running(|running| unsafe { running.trace_all(newest, now) });
        if !handed_out.is_empty() {
            for closure in handed_out {
                self.station().counters.promotions.add_one();
                self.push(closure);
            }
            self.wake_one();
            self.pool.hosting.tell_surplus();
        }
        true
    }

    /// The name of a claimed closure that is to be run as a strand.
    pub(crate) fn key_of_strand(&self, closure: &ClosureRef) -> Option<Key> {
        let checkpoints = self.pool.checkpoints.as_ref()?;
        let began = clock();
        if !self.credit.is_left(began, checkpoints.is_replaying()) {
            return None;
        }
        // SAFETY: claimed by this worker, and not begun.
        let key = unsafe { closure.key() };
        self.credit.use_up(clock() - began);
        key
    }

    /// The owner has come back to a node that is traced since then: true if its work is likely to be long, as what ran
    /// meanwhile was.
    pub(crate) fn is_worth_tracing(&self, since: u64) -> bool {
        let is_replaying = self.tracing().is_some_and(Checkpoints::is_replaying);
        is_replaying || clock().saturating_sub(since) >= SHORT_NANOSECONDS / 2
    }

    /// A child of the running strand is about to be run.
    fn begin_child<V>(
        &self,
        key: impl FnOnce() -> Option<Key>,
        decode: impl FnOnce(&Found) -> Option<V>,
    ) -> Begun<'_, V> {
        let depth = self.with_running(|running| running.traced_depth());
        match depth {
            Some(depth) => self.begin_child_at(depth, key, decode),
            None => Begun::Untraced,
        }
    }

    /// A claimed closure is about to be run in the middle of the running strand. If it is found, it is complete.
    pub(crate) fn begin_closure(&self, closure: &ClosureRef) -> Begun<'_, ()> {
        let origin = self.tracing().and_then(|_| closure.origin());
        let depth = origin.map(|origin| origin.depth);
        let Some(depth) = depth.filter(|depth| self.depth.reaches(*depth)) else {
            return Begun::Untraced;
        };
        // SAFETY: claimed by this worker, and not begun.
        let key = || unsafe { closure.key() };
        let fill = |found: &Found| {
            // SAFETY: as above.
            let filled = unsafe { closure.fill_with(&found.result) };
            filled.then(|| closure.complete())
        };
        self.begin_child_at(depth, key, fill)
    }

    fn begin_child_at<V>(
        &self,
        depth: u32,
        key: impl FnOnce() -> Option<Key>,
        decode: impl FnOnce(&Found) -> Option<V>,
    ) -> Begun<'_, V> {
        let Some(checkpoints) = &self.pool.checkpoints else {
            return Begun::Untraced;
        };
        let began = clock();
        let has_room = self.with_running(|running| running.scopes.len() < SCOPES_MAX);
        if !has_room || !self.credit.is_left(began, checkpoints.is_replaying()) {
            return Begun::Untraced;
        }
        let key = key();
        let found = key.and_then(|key| checkpoints.find(key));
        if let Some(found) = found
            && let Some(value) = decode(&found)
        {
            self.found_child(depth, &found);
            return Begun::Found(value);
        }
        self.measure();
        let (newest, now) = (tls::newest(), self.measured_to.get());
        let state = State::new(self.raise_for(depth.saturating_add(1)), now);
        let child = self.with_running(|running| {
            // SAFETY: the list and the queue are the running strand's.
            let (boundary, account) = unsafe { running.scope_inside(key, newest, now) };
            running.scopes.push(Scope {
                boundary,
                account,
                key,
                state,
            });
            Child {
                worker: self,
                key,
                depth,
                place: running.scopes.len() - 1,
                used_before: running.used,
            }
        });
        self.credit.use_up(now.saturating_sub(began));
        Begun::Child(child)
    }

    /// The result of a child was remembered, and is used.
    fn found_child(&self, depth: u32, found: &Found) {
        self.pool.count_found();
        let account = self.with_running(|running| running.account().cloned());
        if let Some(account) = account {
            account.found_part(found.nanoseconds, cost_of(found.result.len()));
        }
        self.saw(depth, found.nanoseconds.max(SHORT_NANOSECONDS));
        self.raise_for(depth);
    }

    fn saw(&self, depth: u32, nanoseconds: u64) {
        let checkpoints = self.pool.checkpoints.as_ref();
        let is_replaying = checkpoints.is_some_and(Checkpoints::is_replaying);
        self.depth.saw(depth, nanoseconds, is_replaying);
    }

    /// Tells the host of a result, if it is worth it.
    pub(crate) fn record(
        &self,
        key: Key,
        worth: Worth,
        account: Option<&Account>,
        encode: impl FnOnce(usize) -> Option<Vec<u8>>,
    ) {
        let Some(bytes_max) = bytes_worth(worth) else {
            return;
        };
        let Some(result) = encode(bytes_max.min(self.pool.hosting.closure_bytes_max)) else {
            return;
        };
        if let Some(account) = account {
            account.cover(worth, cost_of(result.len()));
        }
        let recorded = Recorded {
            key,
            result,
            work: Duration::from_nanos(worth.total),
            above: account.map(Account::names_above).unwrap_or_default(),
        };
        let uncovered = Duration::from_nanos(worth.uncovered());
        self.pool.tell_recorded(recorded, uncovered);
    }

    /// A closure that was run as a strand is about to be completed: records it, and learns from it.
    pub(crate) fn end_strand(&self, account: &Account, closure: &crate::closure::Closure) {
        let Some((_, depth)) = account.kind else {
            return;
        };
        if self.pool.checkpoints.is_none() {
            return;
        }
        let began = clock();
        let worth = account.worth();
        self.saw(depth, worth.total);
        // What was accepted is the host's to keep.
        if let Some(key) = account.key.filter(|_| !account.is_of_accepted()) {
            self.record(key, worth, Some(account), |bytes_max| {
                // SAFETY: its result was written by this worker, and it is not completed.
                unsafe { closure.encode_result(bytes_max) }
            });
            self.credit.use_up(clock() - began);
        }
    }

    /// Completes a claimed closure that is to be run as a strand, if its result is remembered.
    pub(crate) fn complete_found(&self, closure: &ClosureRef) -> bool {
        let account = self.with_running(|running| {
            let origin = running.origin.as_ref()?;
            Some(Arc::clone(&origin.account))
        });
        let Some((account, key)) =
            account.and_then(|account| Some((account.clone(), account.key?)))
        else {
            return false;
        };
        let Some(found) = self.pool.find(key) else {
            return false;
        };
        // SAFETY: claimed by this worker, and not begun.
        let filled = unsafe { closure.fill_with(&found.result) };
        if filled {
            account.found(found.nanoseconds, cost_of(found.result.len()));
            self.pool.count_found();
            closure.complete();
            if let Some((_, depth)) = account.kind {
                self.saw(depth, found.nanoseconds.max(SHORT_NANOSECONDS));
            }
        }
        filled
    }
}

impl Child<'_> {
    /// It is done, and `encode` gives its result in so many bytes at most.
    pub(crate) fn end(self, encode: impl FnOnce(usize) -> Option<Vec<u8>>) {
        let worker = self.worker;
        worker.measure();
        let began = worker.measured_to.get();
        let (account, own) = worker.with_running(|running| {
            let own = running.used - self.used_before;
            let scope = running.scopes.drain(self.place..).next();
            (scope.and_then(|scope| scope.account), own)
        });
        let worth = account.as_ref().map_or(
            Worth {
                total: own,
                ..Worth::default()
            },
            |account| account.worth(),
        );
        if let Some(key) = self.key {
            worker.record(key, worth, account.as_deref(), encode);
        }
        worker.saw(self.depth, worth.total);
        worker.raise_for(self.depth);
        worker.credit.use_up(clock() - began);
        std::mem::forget(self);
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        self.worker.measure();
        self.worker
            .with_running(|running| running.scopes.truncate(self.place));
    }
}

impl Running {
    /// Where the time of what runs now is added.
    pub(crate) fn account(&self) -> Option<&Arc<Account>> {
        let own = self
            .scopes
            .iter()
            .rev()
            .find_map(|scope| scope.account.as_ref());
        own.or_else(|| Some(&self.origin.as_ref()?.account))
    }

    /// Where the time of a node's work is added that has so many marked nodes before it.
    pub(crate) fn account_of(&self, before: u32) -> Option<&Arc<Account>> {
        let inside = |scope: &&Scope| scope.boundary <= before;
        let mut scopes = self.scopes.iter().rev().filter(inside);
        let own = scopes.find_map(|scope| scope.account.as_ref());
        own.or_else(|| Some(&self.origin.as_ref()?.account))
    }

    /// How deep in the job children are of what runs now.
    fn traced_depth(&self) -> Option<u32> {
        let scopes = u32::try_from(self.scopes.len()).unwrap_or(u32::MAX);
        let depth = self.origin.as_ref()?.depth.saturating_add(scopes);
        Some(depth.saturating_add(1))
    }

    /// What runs now makes a join, or waits.
    pub(crate) fn has_children(&mut self) {
        let scope = self.scopes.last_mut();
        scope
            .map_or(&mut self.state, |scope| &mut scope.state)
            .is_no_leaf();
    }

    /// What the scope of the child with this key has: how many nodes are not its own, and where its time is added.
    ///
    /// # Safety
    /// The list that ends at `newest` is this strand's.
    unsafe fn scope_inside(
        &mut self,
        key: Option<Key>,
        newest: *const Node,
        now: u64,
    ) -> (u32, Option<Arc<Account>>) {
        // SAFETY: by the caller; the queue is this strand's.
        unsafe { self.marked.trace_all(newest, now) };
        let account = self.account().and_then(|account| account.below(key));
        (self.marked.marked(), account)
    }

    /// Has all nodes traced: those of joins when their owner comes back to them, those of frames by handing
    /// their children out.
    ///
    /// # Safety
    /// The list that ends at `newest` is this strand's.
    unsafe fn trace_all(&mut self, newest: *const Node, now: u64) -> Vec<ClosureRef> {
        // SAFETY: by the caller; the queue is this strand's.
        unsafe { self.marked.trace_all(newest, now) };
        // SAFETY: as above.
        let handed_out = unsafe { self.marked.hand_out_frames(HANDED_OUT_MAX) };
        for (above, closure) in &handed_out {
            self.say_origin(closure, *above);
        }
        handed_out.into_iter().map(|(_, closure)| closure).collect()
    }
}

impl Pool {
    /// Tells the host of a result, and of how much is lost with it.
    pub(crate) fn tell_recorded(&self, recorded: Recorded, uncovered: Duration) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.count_recorded();
            self.hosting.tell(|host| host.recorded(recorded, uncovered));
        }
    }

    pub(crate) fn find(&self, key: Key) -> Option<Found> {
        self.checkpoints.as_ref()?.find(key)
    }

    fn count_found(&self) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.count_found();
        }
    }

    /// Completes a closure that was claimed to be lent, if its result is remembered.
    pub(crate) fn complete_found(&self, closure: &ClosureRef) -> bool {
        let Some(checkpoints) = self.checkpoints.as_ref().filter(|all| all.is_replaying()) else {
            return false;
        };
        // SAFETY: claimed by the caller, and not begun.
        let Some(found) = unsafe { closure.key() }.and_then(|key| checkpoints.find(key)) else {
            return false;
        };
        // SAFETY: as above.
        let filled = unsafe { closure.fill_with(&found.result) };
        if filled {
            if let Some(origin) = closure.origin() {
                let cost = cost_of(found.result.len());
                origin.account.found_part(found.nanoseconds, cost);
            }
            checkpoints.count_found();
            closure.complete();
        }
        filled
    }
}

/// Traced children inside of each other. Each takes some hundred bytes of stack more than one that is not, and a recursion may
/// be as deep as the stack allows.
const SCOPES_MAX: usize = 256;
/// Children of frames that are handed out at a time. A list may be as long as memory allows; its oldest nodes
/// have most of the work.
const HANDED_OUT_MAX: usize = 64;
