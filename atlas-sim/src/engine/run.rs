//! How the workers of one job spend their time.
//!
//! A worker runs the newest ready node: its own work, after which its children are ready, the first one newest.
//! A node whose last child is done passes its result up. With fewer workers than nodes running, the nodes that
//! began last stop where they are, in the middle if need be, and the rest of their work is done before anything
//! else when workers are back.
//!
//! Many nodes are run in one call. [`Job::wake`] says how far that can go without anything to tell. Only a leaf
//! leaves fewer ready nodes behind, and fewer that a closure of the server still waits for: one fewer. And `n`
//! workers need `k / n` rounds to finish `k` leaves, each of which takes a leaf's work at least.

use std::cmp::{Ordering, Reverse};

use atlas_proto::engine::EngineEvent;
use atlas_proto::time::Time;

use super::clock::Work;
use super::job::{Frame, Job, Ready, TICKET};
use super::record::above;

/// A node on a worker. The greatest is the one that finishes first.
#[derive(Debug)]
pub(super) struct Run {
    /// Where the clock of work stands when its own work is done.
    finish: Work,
    start: u64,
    pub(super) ready: Ready,
}

/// A node that was stopped in its own work.
#[derive(Debug)]
pub(super) struct Suspended {
    pub(super) ready: Ready,
    left: Work,
}

impl Job {
    /// Workers with nothing to run.
    pub(super) fn idle(&self) -> u32 {
        self.workers - u32::try_from(self.running.len()).expect("at most one node for each worker")
    }

    /// Nodes that wait for a worker in the middle of their work.
    fn stopped(&self) -> u32 {
        u32::try_from(self.suspended.len()).unwrap_or(u32::MAX)
    }

    /// Changes how many workers serve the job.
    pub(super) fn set_workers(&mut self, workers: u32) {
        self.workers = workers;
        if self.running.len() > workers as usize {
            let mut runs = std::mem::take(&mut self.running).into_vec();
            runs.sort_unstable_by_key(|run| run.start);
            let stopped = runs.split_off(workers as usize);
            self.running = runs.into();
            let clock = self.clock;
            // The one that began first is taken up first.
            self.suspended
                .extend(stopped.into_iter().rev().map(|run| Suspended {
                    ready: run.ready,
                    left: run.finish - clock,
                }));
        }
        self.fill();
    }

    /// Runs everything up to a point of the clock of work.
    pub(super) fn run_until(&mut self, clock: Work) {
        while let Some(run) = self.running.peek()
            && run.finish <= clock
        {
            let (finish, ready) = (run.finish, run.ready);
            self.move_clock(finish);
            self.running.pop();
            self.finish_own_work(ready);
            self.fill();
        }
        self.move_clock(clock);
    }

    fn move_clock(&mut self, clock: Work) {
        self.totals.executed += (clock - self.clock) * self.running.len() as u64;
        self.clock = clock;
    }

    fn finish_own_work(&mut self, Ready { node, parent }: Ready) {
        let work = self.tree.work(&node);
        self.totals.nodes += 1;
        self.measures.worked(node.depth, work);
        let ticket = self.frames[parent].ticket;
        let accepted = &mut self.tickets[ticket];
        accepted.unreported += work;
        accepted.local -= 1;
        self.tree.children(&node, &mut self.children);
        if self.children.is_empty() {
            self.measures.finished(node.depth);
            let all = (node.own_result(), work);
            self.records.finished(None, parent, node, all);
            return self.deliver(parent, node.own_result(), work);
        }
        let pending = u32::try_from(self.children.len()).expect("a node's children fit in memory");
        accepted.local += pending;
        let frame = Frame {
            result: node.own_result(),
            work,
            parent,
            ticket,
            pending,
            node,
        };
        let parent = self.frames.insert(frame);
        self.ready.extend(
            self.children
                .drain(..)
                .rev()
                .map(|node| Ready { node, parent }),
        );
    }

    /// Gives idle workers something to run.
    pub(super) fn fill(&mut self) {
        while self.running.len() < self.workers as usize {
            let (ready, left) = if let Some(suspended) = self.suspended.pop() {
                (suspended.ready, suspended.left)
            } else if let Some(ready) = self.ready.pop_back() {
                self.begin(ready);
                if self.is_remembered(ready) {
                    continue;
                }
                (ready, self.tree.work(&ready.node))
            } else {
                break;
            };
            self.running.push(Run {
                finish: self.clock + left,
                start: self.starts,
                ready,
            });
            self.starts += 1;
        }
    }

    /// A node whose result is remembered takes no time.
    pub(super) fn is_remembered(&mut self, Ready { node, parent }: Ready) -> bool {
        let Some((result, work)) = self.records.look_up(&self.tree, &node) else {
            return false;
        };
        let ticket = self.frames[parent].ticket;
        self.tickets[ticket].local -= 1;
        self.deliver(parent, result, work);
        true
    }

    fn begin(&mut self, ready: Ready) {
        self.arrived = self.arrived.min(self.ready.len());
        let frame = &self.frames[ready.parent];
        if frame.parent == TICKET {
            self.begun.push(frame.ticket);
        }
    }

    /// Tells what is due.
    pub(super) fn tell(&mut self, now: Time) {
        let job = self.alias;
        if self.measures.due(now) {
            self.settle_measures();
            let samples = self.measures.take(now);
            if !samples.is_empty() {
                self.events.push(EngineEvent::Measured { job, samples });
            }
        }
        let busy = !self.running.is_empty();
        let above = |place| above(place, &self.frames, &self.tickets, &self.tree);
        let recorded = self.records.take(now, !busy, job, &self.tree, above);
        self.events.extend(recorded);
        if let Some(load) = self
            .report
            .update(now, (self.idle(), self.stopped()), &self.ready)
        {
            self.events.push(EngineEvent::Load { job, load });
        }
    }

    /// The earliest point of the clock of work at which there could be something to tell; none if nothing runs.
    pub(super) fn wake(&self) -> Option<Work> {
        let first = self.running.peek()?.finish;
        if self.records.remembers_any() {
            return Some(first);
        }
        let rounds = self.leaves_until_news().div_ceil(self.running.len()) - 1;
        Some(first.saturating_add(self.tree.leaf_work().saturating_mul(rounds as u64)))
    }

    /// No fewer leaves than this finish before there is something to tell; at least one.
    fn leaves_until_news(&self) -> usize {
        let ready = self.ready.len();
        let few_left = ready.saturating_sub(self.report.few() as usize);
        // A closure of the server finishes after its last node; one that was not begun is not next while
        // there are younger nodes.
        let locals = self
            .begun
            .iter()
            .map(|&ticket| self.tickets[ticket].local as usize);
        let begun_done = locals
            .filter(|&local| local > 0)
            .min()
            .unwrap_or(usize::MAX);
        let next_begun = if self.arrived > 0 {
            ready.saturating_sub(self.arrived) + 1
        } else {
            usize::MAX
        };
        few_left.min(begun_done).min(next_begun).max(1)
    }
}

impl Ord for Run {
    fn cmp(&self, other: &Self) -> Ordering {
        Reverse((self.finish, self.start)).cmp(&Reverse((other.finish, other.start)))
    }
}

impl PartialOrd for Run {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Run {}
