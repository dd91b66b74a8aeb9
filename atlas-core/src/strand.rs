//! Strands: closures being run, each on a stack of its own, all on one worker.
//!
//! A strand is a coroutine that runs one closure after another. It pauses when a
//! child that it needs is away ([`Pause::Blocked`]), when an older strand is
//! ready ([`Pause::Preempted`]), and when its closure is done
//! ([`Pause::Finished`]). It never leaves its worker, so what it holds may be
//! `!Send`, and thread-locals stay valid across a pause.
//!
//! ```text
//!           start                    wait
//!   idle ─────────▶ running ────────────────▶ blocked
//!    ▲                │  ▲ resume                │
//!    └── finished ────┘  └── ready ◀── child done ┘
//!                     └─ preempted ─▶ ready
//! ```
//!
//! A strand's age is the number of its closure's start on this worker. Ready
//! strands are resumed oldest first, so that no parent stays buried under work
//! that was begun after it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use corosensei::{Coroutine, Yielder};

use crate::closure::ClosureRef;
use crate::frame::{Driver, FrameRef};
use crate::latent::{Marked, Node};
use crate::measure::Origin;
use crate::stack::Stack;
use crate::state::State;
use crate::trace::Scope;

/// What a strand is given to run.
pub(crate) enum Job {
    Closure(ClosureRef),
    /// A frame whose slots are full: its continuation is to be called.
    Frame(FrameRef),
    /// The rest of what it runs already.
    Continue,
    /// Nothing any more: the coroutine is to return.
    End,
}

/// Why a strand stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    Blocked,
    Preempted,
    Finished,
}

pub(crate) type StrandYielder = Yielder<Job, Pause>;
type StrandCoroutine = Coroutine<Job, Pause, (), Stack>;

/// The part of a strand that its worker uses while the strand runs.
pub(crate) struct Running {
    pub(crate) strand: usize,
    pub(crate) born: u64,
    /// The closure that is being run; none for a frame's continuation.
    pub(crate) closure: Option<ClosureRef>,
    /// What runs a frame's continuation, further up this strand's stack; null
    /// for a closure.
    pub(crate) driver: *const Driver,
    pub(crate) marked: Marked,
    pub(crate) newest: *const Node,
    pub(crate) yielder: *const StrandYielder,
    /// Whose time the strand's is, and how deep in the job it is; none where nothing is measured.
    pub(crate) origin: Option<Origin>,
    /// Children that are traced and run in the middle of this strand, the outermost first.
    pub(crate) scopes: Vec<Scope>,
    /// Of the closure itself.
    pub(crate) state: State,
    /// The time that the strand itself has used.
    pub(crate) used: u64,
    /// Nobody wants the closure's result.
    pub(crate) aborting: bool,
    /// The number of the wait that the strand is blocked in.
    pub(crate) wait: Option<u64>,
}

/// All strands of one worker.
#[derive(Default)]
pub(crate) struct Strands {
    slots: Vec<Slot>,
    idle: Vec<usize>,
    ready: BinaryHeap<Reverse<(u64, usize)>>,
    /// Those that have blocked with latent work in their lists, as they do where
    /// they wait for a handle or a scope; they may have gone on since.
    holding: Vec<usize>,
}

struct Slot {
    /// Away while it runs.
    coroutine: Option<StrandCoroutine>,
    /// Away while it runs, and while it is idle.
    paused: Option<Running>,
    guard: Range<usize>,
    trimmed: bool,
}

impl Strands {
    /// An idle strand, made by `make` if there is none.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn take_idle(
        &mut self,
        make: impl FnOnce() -> io::Result<Stack>,
        body: impl FnOnce(&StrandYielder, Job) + 'static,
    ) -> io::Result<usize> {
        if let Some(strand) = self.idle.pop() {
            return Ok(strand);
        }
        let stack = make()?;
        let guard = stack.guard();
        self.slots.push(Slot {
            coroutine: Some(Coroutine::with_stack(stack, body)),
            paused: None,
            guard,
            trimmed: true,
        });
        Ok(self.slots.len() - 1)
    }

    /// Takes a strand's coroutine out to run it, with its guard's addresses.
    pub(crate) fn begin(&mut self, strand: usize) -> (StrandCoroutine, Range<usize>) {
        let slot = &mut self.slots[strand];
        slot.trimmed = false;
        let coroutine = slot.coroutine.take().expect("a strand runs once at a time");
        (coroutine, slot.guard.clone())
    }

    /// Takes a paused strand's state out to go on with it.
    pub(crate) fn take_paused(&mut self, strand: usize) -> Running {
        self.slots[strand]
            .paused
            .take()
            .expect("only a paused strand is resumed")
    }

    /// Puts a strand back that has paused.
    pub(crate) fn put_back(
        &mut self,
        coroutine: StrandCoroutine,
        mut running: Running,
        pause: Pause,
    ) -> Option<Running> {
        let strand = running.strand;
        self.slots[strand].coroutine = Some(coroutine);
        match pause {
            Pause::Finished => {
                self.idle.push(strand);
                return Some(running);
            }
            Pause::Preempted => self.ready.push(Reverse((running.born, strand))),
            Pause::Blocked => {
                // SAFETY: the list and the queue are this paused strand's.
                let latent = unsafe { running.marked.oldest(running.newest) };
                if latent.is_some() && !self.holding.contains(&strand) {
                    self.holding.push(strand);
                }
            }
        }
        self.slots[strand].paused = Some(running);
        None
    }

    /// The strand's wait `wait` is over: it is ready, unless it has gone on since.
    pub(crate) fn end_wait(&mut self, strand: usize, wait: u64) {
        let Some(paused) = self.slots[strand].paused.as_mut() else {
            return;
        };
        if paused.wait == Some(wait) {
            paused.wait = None;
            self.ready.push(Reverse((paused.born, strand)));
        }
    }

    /// Marks the paused strand that runs `closure`; a blocked one becomes ready.
    pub(crate) fn abort(&mut self, closure: &ClosureRef) {
        for (strand, slot) in self.slots.iter_mut().enumerate() {
            let Some(paused) = slot.paused.as_mut() else {
                continue;
            };
            if paused.works_for(closure, paused.newest) {
                paused.aborting = true;
                if paused.wait.take().is_some() {
                    self.ready.push(Reverse((paused.born, strand)));
                }
            }
        }
    }

    /// The oldest ready strand.
    pub(crate) fn pop_ready(&mut self) -> Option<usize> {
        self.ready.pop().map(|Reverse((_, strand))| strand)
    }

    /// When the oldest ready strand was born.
    pub(crate) fn oldest_ready(&self) -> Option<u64> {
        self.ready.peek().map(|Reverse((born, _))| *born)
    }

    /// Promotes the oldest latent work of a blocked strand: of the one that
    /// blocked last.
    pub(crate) fn promote_blocked(&mut self) -> Option<ClosureRef> {
        while let Some(&strand) = self.holding.last() {
            if let Some(paused) = self.slots[strand].paused.as_mut() {
                // SAFETY: the list and the queue are this paused strand's.
                let promoted = unsafe { paused.promote_oldest(paused.newest) };
                if promoted.is_some() {
                    return promoted;
                }
            }
            self.holding.pop();
        }
        None
    }

    /// Promotes the oldest latent work of the ready strands.
    pub(crate) fn promote_oldest(&mut self) -> Option<ClosureRef> {
        let slots = &mut self.slots;
        let mut ready: Vec<_> = self.ready.iter().map(|Reverse(key)| *key).collect();
        ready.sort_unstable();
        ready.into_iter().find_map(|(_, strand)| {
            let paused = slots[strand].paused.as_mut()?;
            // SAFETY: the list and the queue are this paused strand's.
            unsafe { paused.promote_oldest(paused.newest) }
        })
    }

    /// True if every strand is idle.
    pub(crate) fn all_idle(&self) -> bool {
        self.idle.len() == self.slots.len()
    }

    /// Gives back memory that idle strands no longer use.
    pub(crate) fn trim_idle(&mut self, trim: impl Fn(&Range<usize>)) {
        for &strand in &self.idle {
            let slot = &mut self.slots[strand];
            if !slot.trimmed {
                slot.trimmed = true;
                trim(&slot.guard);
            }
        }
    }

    /// Ends all strands, which are idle; their stacks.
    pub(crate) fn end(&mut self) -> Vec<Stack> {
        assert!(
            self.all_idle(),
            "a worker leaves only with all strands idle"
        );
        let slots = std::mem::take(&mut self.slots);
        self.idle.clear();
        slots
            .into_iter()
            .filter_map(|slot| slot.coroutine)
            .map(|mut coroutine| {
                coroutine.resume(Job::End);
                coroutine.into_stack()
            })
            .collect()
    }
}

impl Running {
    /// A strand that begins with a closure or a frame.
    pub(crate) fn new(
        strand: usize,
        born: u64,
        closure: Option<ClosureRef>,
        origin: Option<Origin>,
    ) -> Self {
        Self {
            strand,
            born,
            closure,
            driver: ptr::null(),
            marked: Marked::default(),
            newest: ptr::null(),
            yielder: ptr::null(),
            origin,
            scopes: Vec::new(),
            state: State::new(false, 0),
            used: 0,
            aborting: false,
            wait: None,
        }
    }

    /// Promotes the strand's oldest latent work.
    ///
    /// # Safety
    /// The list that ends at `newest` is this strand's.
    pub(crate) unsafe fn promote_oldest(&mut self, newest: *const Node) -> Option<ClosureRef> {
        let above = self.marked.promoted();
        // SAFETY: by the caller; the queue is this strand's.
        let promoted = unsafe { self.marked.promote_oldest(newest) }?;
        self.say_origin(&promoted, above);
        Some(promoted)
    }

    /// Says that a closure comes from this strand, where so many joins wait.
    pub(crate) fn say_origin(&self, closure: &ClosureRef, above: u32) {
        if let Some(origin) = &self.origin {
            let depth = origin.depth.saturating_add(above).saturating_add(1);
            let account = self.account_of(above).unwrap_or(&origin.account);
            let account = Arc::clone(account);
            closure.set_origin(Origin { account, depth });
        }
    }

    /// True if the strand runs this closure, or a continuation that its result
    /// depends on. `newest` is the end of the strand's list.
    pub(crate) fn works_for(&self, closure: &ClosureRef, newest: *const Node) -> bool {
        if self.closure.is_some() {
            return self.closure.as_ref() == Some(closure);
        }
        // SAFETY: it is null, or up the stack of this strand, which is
        // suspended there or calls this.
        let driver = unsafe { self.driver.as_ref() };
        driver.is_some_and(|driver| driver.works_for(closure, newest))
    }
}
