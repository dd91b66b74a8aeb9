//! One job's closures on one machine: ready, running, waiting for children, lent.
//!
//! A node that was run and has children away is a frame; a closure that was accepted is a ticket, with a frame
//! of its own that waits for one result. So each ready, running or lent node has a frame above it, and the way
//! up ends at a ticket. Whoever delivers a result delivers it to a frame.
//!
//! - A frame is in its place exactly as long as `pending` is not zero.
//! - `local` of a ticket counts its ready, running and suspended nodes; with those lent, they are all that is
//!   left of it.
//! - While a worker is idle, nothing is ready.
//!
//! A result that is a panic is kept at the ticket. What else was spawned is still run, as a sync waits for all
//! children before a panic passes it.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use atlas_proto::engine::{Above, EngineEvent, Lent, Recorded};
use atlas_proto::ids::{EngineLease, EngineRequest, JobAlias, Ticket};
use atlas_proto::job::{Closure, Finished, Outcome};
use bytes::Bytes;

use super::clock::Work;
use super::load::LoadReport;
use super::measure::Measures;
use super::record::{Records, above};
use super::run::{Run, Suspended};
use super::slab::Slab;
use crate::workload::{Tree, TreeNode, kind_at, outcome_of, result_of};

/// The engine of one job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) alias: JobAlias,
    pub(super) tree: Arc<Tree>,
    /// How far the machine's clock of work was followed.
    pub(super) clock: Work,
    pub(super) workers: u32,
    /// Oldest first.
    pub(super) ready: VecDeque<Ready>,
    /// Of the oldest ready nodes, so many were accepted or came back; younger ones were spawned here. It may be
    /// more than there are.
    pub(super) arrived: usize,
    pub(super) running: BinaryHeap<Run>,
    pub(super) suspended: Vec<Suspended>,
    pub(super) frames: Slab<Frame>,
    pub(super) tickets: Slab<Accepted>,
    by_name: BTreeMap<Ticket, u32>,
    /// The tickets of which a node was run.
    pub(super) begun: Vec<u32>,
    leases: BTreeMap<EngineLease, Ready>,
    pub(super) measures: Measures,
    pub(super) records: Records,
    pub(super) report: LoadReport,
    pub(super) children: Vec<TreeNode>,
    /// How many runs were started, to break ties.
    pub(super) starts: u64,
    pub(super) totals: Totals,
    /// How many results have come back as blobs.
    blobs: u64,
    /// What is to be told, in order.
    pub(super) events: Vec<EngineEvent>,
}

/// A node that could be run or lent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) node: TreeNode,
    /// The frame that gets its result.
    pub(super) parent: u32,
}

/// A node that waits for its children; or the frame of a ticket, whose parent is [`TICKET`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// What came together so far.
    pub(super) result: u64,
    pub(super) work: Work,
    pub(super) parent: u32,
    pub(super) ticket: u32,
    pub(super) pending: u32,
    pub(super) node: TreeNode,
}

// There can be millions of each.
const _: () = assert!(size_of::<Ready>() <= 32 && size_of::<Frame>() <= 56);

/// A closure of the server.
#[derive(Debug)]
pub(super) struct Accepted {
    name: Ticket,
    depth: u32,
    /// What it is below.
    pub(super) above: Above,
    /// Its nodes that are ready, running or suspended.
    pub(super) local: u32,
    /// Work below it that the measures do not yet know to be below it.
    pub(super) unreported: Work,
    /// The first that came from a child.
    panic: Option<Bytes>,
}

/// What is left of a closure that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its nodes that are ready, running or suspended here.
    pub here: u32,
    /// Its nodes that are lent.
    pub lent: usize,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) executed: Work,
    pub(super) nodes: u64,
}

impl Totals {
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            executed: self.executed + other.executed,
            nodes: self.nodes + other.nodes,
        }
    }
}

/// The parent of a ticket's frame.
pub(super) const TICKET: u32 = u32::MAX;
/// Of so many blobs of results, one cannot be had, as long as an engine has seen few. Each costs all that is below it, as nothing is
/// recorded where results are blobs: of a deep tree, of which each lease lost its result now and then for ever, no end could be seen.
const BLOBS_FOR_A_LOST_ONE: u64 = 8;
const LOSSY_BLOBS: u64 = 24;

impl Job {
    pub(super) fn new(alias: JobAlias, tree: Arc<Tree>, clock: Work) -> Self {
        Self {
            alias,
            tree,
            clock,
            workers: 0,
            ready: VecDeque::new(),
            arrived: 0,
            running: BinaryHeap::new(),
            suspended: Vec::new(),
            frames: Slab::new(),
            tickets: Slab::new(),
            by_name: BTreeMap::new(),
            begun: Vec::new(),
            leases: BTreeMap::new(),
            measures: Measures::default(),
            records: Records::default(),
            report: LoadReport::default(),
            children: Vec::new(),
            starts: 0,
            totals: Totals::default(),
            blobs: 0,
            events: Vec::new(),
        }
    }

    /// Takes a closure in, at the old end: local nodes go first.
    pub(super) fn accept(&mut self, name: Ticket, closure: &Closure) {
        let Some(node) = TreeNode::decode(&closure.args) else {
            let outcome =
                Outcome::Panic(Bytes::from_static(b"the arguments are no node of a tree"));
            self.tell_finished(
                name,
                Finished {
                    outcome,
                    work: Duration::ZERO,
                },
            );
            return;
        };
        let accepted = Accepted {
            name,
            depth: node.depth,
            above: closure.above,
            local: 0,
            unreported: 0,
            panic: None,
        };
        let ticket = self.tickets.insert(accepted);
        let before = self.by_name.insert(name, ticket);
        assert!(
            before.is_none(),
            "two closures were accepted under {name:?}"
        );
        let frame = Frame {
            result: 0,
            work: 0,
            parent: TICKET,
            ticket,
            pending: 1,
            node,
        };
        let parent = self.frames.insert(frame);
        self.arrive(Ready { node, parent });
    }

    /// Gives up to so many ready nodes away, oldest first.
    pub(super) fn lend(&mut self, request: EngineRequest, closures_max: u32, next_lease: &mut u64) {
        let count = self.ready.len().min(closures_max as usize);
        let args_bytes = self.tree.config().args_bytes;
        let mut closures = Vec::with_capacity(count);
        let oldest: Vec<Ready> = self.ready.drain(..count).collect();
        for ready in oldest {
            if self.is_remembered(ready) {
                continue;
            }
            let ticket = self.frames[ready.parent].ticket;
            self.tickets[ticket].local -= 1;
            let lease = EngineLease(*next_lease);
            *next_lease += 1;
            self.leases.insert(lease, ready);
            let (kind, args) = (kind_at(ready.node.depth), ready.node.encode(args_bytes));
            closures.push(Lent {
                lease,
                closure: Closure {
                    kind,
                    args,
                    expected: Duration::ZERO,
                    shared: Vec::new(),
                    above: above(ready.parent, &self.frames, &self.tickets, &self.tree),
                },
                accepted: self.frames[ready.parent].parent == TICKET,
            });
        }
        self.arrived = self.arrived.saturating_sub(count);
        self.events.push(EngineEvent::Lent {
            job: self.alias,
            request,
            closures,
        });
    }

    /// The result of a lent node; late ones are of no interest. Of blobs some cannot be had: the node is run again.
    pub(super) fn return_result(&mut self, lease: EngineLease, finished: Finished) {
        if let Outcome::Blob { .. } = finished.outcome {
            self.blobs += 1;
            if self.blobs <= LOSSY_BLOBS && self.blobs.is_multiple_of(BLOBS_FOR_A_LOST_ONE) {
                return self.reclaim(lease);
            }
        }
        let Some(Ready { node, parent }) = self.leases.remove(&lease) else {
            return;
        };
        let work = u64::try_from(finished.work.as_nanos()).unwrap_or(u64::MAX);
        let accepted = &mut self.tickets[self.frames[parent].ticket];
        accepted.unreported += work;
        let unreadable = || Bytes::from_static(b"the result of a lent closure is no number");
        let result = match finished.outcome {
            Outcome::Panic(panic) => Err(panic),
            outcome @ (Outcome::Value(_) | Outcome::Blob { .. }) => {
                result_of(&outcome).ok_or_else(unreadable)
            }
        };
        let result = result.unwrap_or_else(|panic| {
            accepted.panic.get_or_insert(panic);
            0
        });
        self.measures.worked(node.depth, work);
        self.measures.finished(node.depth);
        self.records.finished(None, parent, node, (result, work));
        self.deliver(parent, result, work);
    }

    pub(super) fn remember(&mut self, entries: Vec<Recorded>) {
        self.records.remember(&self.tree, entries);
    }

    /// A lent node is ready again, at the old end.
    pub(super) fn reclaim(&mut self, lease: EngineLease) {
        if let Some(ready) = self.leases.remove(&lease) {
            self.arrive(ready);
        }
    }

    fn arrive(&mut self, ready: Ready) {
        self.tickets[self.frames[ready.parent].ticket].local += 1;
        self.ready.push_front(ready);
        self.arrived = self.arrived.min(self.ready.len() - 1) + 1;
        self.fill();
    }

    /// Drops a ticket and all below it. It looks at all that the engine holds: aborts are rare.
    pub(super) fn abort(&mut self, name: Ticket) {
        let Some(ticket) = self.by_name.remove(&name) else {
            return;
        };
        let frames = &self.frames;
        let stays = |ready: &Ready| frames[ready.parent].ticket != ticket;
        self.ready.retain(stays);
        self.running.retain(|run| stays(&run.ready));
        self.suspended.retain(|suspended| stays(&suspended.ready));
        for (lease, _) in self.leases.extract_if(.., |_, ready| !stays(ready)) {
            self.events.push(EngineEvent::Unwanted {
                job: self.alias,
                lease,
            });
        }
        let frames = &self.frames;
        self.records.forget_frames(
            |place| frames[place].ticket == ticket,
            |place| above(place, frames, &self.tickets, &self.tree),
        );
        for place in 0..self.frames.places() {
            let frame = &mut self.frames[place];
            if frame.pending > 0 && frame.ticket == ticket {
                frame.pending = 0;
                self.frames.release(place);
            }
        }
        self.forget(ticket);
        self.fill();
    }

    /// A result arrives at a frame, and perhaps completes it, its parent, and so on.
    pub(super) fn deliver(&mut self, parent: u32, result: u64, work: Work) {
        let (mut place, mut result, mut work) = (parent, result, work);
        loop {
            let frame = &mut self.frames[place];
            frame.result = frame.result.wrapping_add(result);
            frame.work += work;
            frame.pending -= 1;
            if frame.pending > 0 {
                return;
            }
            let done = *frame;
            self.frames.release(place);
            if done.parent == TICKET {
                self.records.forget_ticket(place);
                return self.complete(&done);
            }
            self.measures.finished(done.node.depth);
            let all = (done.result, done.work);
            self.records
                .finished(Some(place), done.parent, done.node, all);
            (place, result, work) = (done.parent, done.result, done.work);
        }
    }

    fn complete(&mut self, done: &Frame) {
        let accepted = &mut self.tickets[done.ticket];
        let (name, panic) = (accepted.name, accepted.panic.take());
        let value = || outcome_of(done.result, self.tree.config().result_bytes);
        let outcome = panic.map_or_else(value, Outcome::Panic);
        self.by_name.remove(&name);
        self.forget(done.ticket);
        self.measures.hurry();
        self.tell_finished(
            name,
            Finished {
                outcome,
                work: Duration::from_nanos(done.work),
            },
        );
    }

    fn forget(&mut self, ticket: u32) {
        let accepted = &self.tickets[ticket];
        self.measures
            .worked_below(accepted.depth, accepted.unreported);
        self.begun.retain(|&begun| begun != ticket);
        self.tickets.release(ticket);
    }

    fn tell_finished(&mut self, ticket: Ticket, finished: Finished) {
        self.events.push(EngineEvent::Finished {
            job: self.alias,
            ticket,
            finished,
        });
    }

    pub(super) fn held(&self) -> impl Iterator<Item = (Ticket, Held)> {
        let mut lent: BTreeMap<u32, usize> = BTreeMap::new();
        for ready in self.leases.values() {
            *lent.entry(self.frames[ready.parent].ticket).or_default() += 1;
        }
        self.by_name.iter().map(move |(&name, place)| {
            let held = Held {
                here: self.tickets[*place].local,
                lent: lent.get(place).copied().unwrap_or(0),
            };
            (name, held)
        })
    }

    pub(super) fn lent(&self) -> impl Iterator<Item = (EngineLease, Ticket)> {
        self.leases.iter().map(|(&lease, ready)| {
            let ticket = self.frames[ready.parent].ticket;
            (lease, self.tickets[ticket].name)
        })
    }

    /// Lets the measures know below what the work was done.
    pub(super) fn settle_measures(&mut self) {
        for &ticket in self.by_name.values() {
            let accepted = &mut self.tickets[ticket];
            self.measures
                .worked_below(accepted.depth, std::mem::take(&mut accepted.unreported));
        }
    }
}
