//! One queue for all closures, at the root, as in Ray or Dask.
//!
//! A server runs the closures it is sent, each by itself: the children that one spawns are submitted to the
//! scheduler, and the closure waits, holding no worker, until their results are back. The scheduler hands
//! closures out in the order in which they came, to servers with room, up to two for each worker so that the
//! next is there when one ends. It is one thread: each closure costs it [`HANDLING`], submission, dispatch and
//! completion together. Results go straight to the server where the parent waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use atlas_proto::engine::EngineEvent;
use atlas_proto::ids::NodeId;
use atlas_proto::job::{Finished, Outcome};
use atlas_proto::time::Time;

use super::{KIND_BYTES, NUMBER_BYTES};
use crate::scenario::Scenario;
use crate::topology::ServerIndex;
use crate::workload::{TreeNode, encode_result};
use crate::world::{HEADER_BYTES, JobOutcome, Nodes, Parcel, Stage};

/// The scheduler and its servers.
#[derive(Debug)]
pub struct Central {
    scheduler: Scheduler,
    servers: Vec<Executor>,
    workers: u32,
    sizes: Sizes,
    executed: Duration,
    outcome: Option<JobOutcome>,
}

/// A closure, and where its result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    node: TreeNode,
    /// The frame that waits for it; none for the root.
    parent: Option<(ServerIndex, u64)>,
}

/// A message of this policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CentralMessage {
    /// The scheduler hands a closure out.
    Dispatch(Task, Sizes),
    /// A server has run a closure, and submits what it has spawned.
    Completion(Vec<Task>, Sizes),
    /// A result goes to the frame that waits for it.
    Result(u64, u64, Sizes),
}

/// How large arguments and results are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    args: u64,
    result: u64,
}

/// The one queue.
#[derive(Debug, Default)]
struct Scheduler {
    ready: VecDeque<Task>,
    /// Room for one more closure, longest free first.
    slots: VecDeque<ServerIndex>,
    /// What is being handed out.
    handling: Option<(Task, ServerIndex)>,
}

/// One server.
#[derive(Debug, Default)]
struct Executor {
    waiting: VecDeque<Task>,
    running: BinaryHeap<Reverse<(Time, u64)>>,
    /// What runs, by the number of its start.
    tasks: BTreeMap<u64, Task>,
    started: u64,
    frames: BTreeMap<u64, Frame>,
    frames_made: u64,
}

/// A closure that waits for its children.
#[derive(Debug)]
struct Frame {
    result: u64,
    pending: usize,
    parent: Option<(ServerIndex, u64)>,
}

type Play<'a> = &'a mut Stage<CentralMessage>;

impl Central {
    /// Servers without work, and a scheduler that knows them all.
    #[must_use]
    pub fn new(scenario: &Scenario, stage: &Stage<CentralMessage>) -> Self {
        let config = scenario.workload.as_ref();
        let size = |bytes: usize, min: usize| bytes.max(min) as u64;
        // A server is not given its second closure before each has its first.
        let rounds = 0..IN_FLIGHT_PER_WORKER * scenario.workers;
        let slots = rounds.flat_map(|_| stage.topology.servers());
        Self {
            scheduler: Scheduler {
                slots: slots.collect(),
                ..Scheduler::default()
            },
            servers: stage
                .topology
                .servers()
                .map(|_| Executor::default())
                .collect(),
            workers: scenario.workers,
            sizes: Sizes {
                args: config.map_or(0, |config| size(config.args_bytes, 20)),
                result: config.map_or(0, |config| size(config.result_bytes, 8)),
            },
            executed: Duration::ZERO,
            outcome: None,
        }
    }

    /// Begins to hand the next closure out, if there is one, and room for it, and time.
    fn schedule(&mut self, stage: Play<'_>) {
        let scheduler = &mut self.scheduler;
        if scheduler.handling.is_some() || scheduler.ready.is_empty() {
            return;
        }
        let Some(server) = scheduler.slots.pop_front() else {
            return;
        };
        scheduler.handling = scheduler.ready.pop_front().map(|task| (task, server));
        stage.arm(SCHEDULER, Some(stage.now() + HANDLING));
    }

    /// Starts what waits, on workers that are free.
    fn fill(&mut self, stage: Play<'_>, server: ServerIndex) {
        let speed = stage.speed(server);
        let executor = &mut self.servers[server.0 as usize];
        while executor.running.len() < self.workers as usize
            && let Some(task) = executor.waiting.pop_front()
        {
            let work = stage.tree.as_ref().map_or(0, |tree| tree.work(&task.node));
            let end = stage.now() + Duration::from_nanos(work).div_f64(speed);
            executor.started += 1;
            executor.running.push(Reverse((end, executor.started)));
            executor.tasks.insert(executor.started, task);
            self.executed += Duration::from_nanos(work);
        }
        let next = executor.running.peek().map(|Reverse((end, _))| *end);
        let busy = u32::try_from(executor.running.len()).unwrap_or(u32::MAX);
        let node = stage.topology.server(server);
        stage.busy_workers(node, busy);
        stage.arm(node, next);
    }

    /// A closure's own work is done.
    fn complete(&mut self, stage: Play<'_>, server: ServerIndex, task: Task) {
        let mut children = Vec::new();
        if let Some(tree) = &stage.tree {
            tree.children(&task.node, &mut children);
        }
        let executor = &mut self.servers[server.0 as usize];
        let mut spawned = Vec::new();
        if children.is_empty() {
            self.deliver_result(stage, server, task.parent, task.node.own_result());
        } else {
            executor.frames_made += 1;
            let number = executor.frames_made;
            let frame = Frame {
                result: task.node.own_result(),
                pending: children.len(),
                parent: task.parent,
            };
            executor.frames.insert(number, frame);
            let spawn = |node| Task {
                node,
                parent: Some((server, number)),
            };
            spawned.extend(children.into_iter().map(spawn));
        }
        let message = CentralMessage::Completion(spawned, self.sizes);
        stage.send(stage.topology.server(server), SCHEDULER, message);
    }

    /// A result is there for a frame: perhaps one of this server, and perhaps the last one it waits for.
    fn deliver_result(
        &mut self,
        stage: Play<'_>,
        at: ServerIndex,
        mut to: Option<(ServerIndex, u64)>,
        mut result: u64,
    ) {
        while let Some((server, number)) = to {
            if server != at {
                let (from, to) = (stage.topology.server(at), stage.topology.server(server));
                return stage.send(from, to, CentralMessage::Result(number, result, self.sizes));
            }
            let frames = &mut self.servers[at.0 as usize].frames;
            let frame = frames
                .get_mut(&number)
                .expect("a frame waits for all its children");
            frame.result = frame.result.wrapping_add(result);
            frame.pending -= 1;
            if frame.pending > 0 {
                return;
            }
            (to, result) = (frame.parent, frame.result);
            frames.remove(&number);
        }
        let outcome = Outcome::Value(encode_result(result, 0));
        let finished = Finished {
            outcome,
            work: self.executed,
        };
        self.outcome = Some(JobOutcome {
            ended: stage.now(),
            finished,
        });
    }
}

impl Nodes for Central {
    type Message = CentralMessage;

    fn start(&mut self, stage: Play<'_>) {
        if let Some(tree) = &stage.tree {
            self.scheduler.ready.push_back(Task {
                node: tree.root(),
                parent: None,
            });
            self.schedule(stage);
        }
    }

    fn deliver(&mut self, stage: Play<'_>, from: NodeId, to: NodeId, message: CentralMessage) {
        match (message, stage.server_at(to)) {
            (CentralMessage::Dispatch(task, _), Some(server)) => {
                stage.tally.gave_work(stage.now(), server);
                self.servers[server.0 as usize].waiting.push_back(task);
                self.fill(stage, server);
            }
            (CentralMessage::Result(frame, result, _), Some(server)) => {
                self.deliver_result(stage, server, Some((server, frame)), result);
            }
            (CentralMessage::Completion(spawned, _), None) => {
                self.scheduler.ready.extend(spawned);
                self.scheduler.slots.extend(stage.server_at(from));
                self.schedule(stage);
            }
            _ => {}
        }
    }

    fn alarm(&mut self, stage: Play<'_>, node: NodeId) {
        let Some(server) = stage.server_at(node) else {
            if let Some((task, server)) = self.scheduler.handling.take() {
                let to = stage.topology.server(server);
                let level = stage.level_between(to, SCHEDULER);
                stage.tally.stole(level, 1);
                stage.send(SCHEDULER, to, CentralMessage::Dispatch(task, self.sizes));
            }
            return self.schedule(stage);
        };
        let executor = &mut self.servers[server.0 as usize];
        let ended = executor
            .running
            .pop()
            .and_then(|Reverse((_, start))| executor.tasks.remove(&start));
        if let Some(task) = ended {
            self.complete(stage, server, task);
        }
        self.fill(stage, server);
    }

    fn engine_event(&mut self, _stage: Play<'_>, _server: ServerIndex, _event: EngineEvent) {}

    fn outcome(&self) -> Option<&JobOutcome> {
        self.outcome.as_ref()
    }

    fn executed_elsewhere(&self) -> Duration {
        self.executed
    }
}

impl Parcel for CentralMessage {
    fn bytes(&self) -> u64 {
        let task = |sizes: &Sizes| KIND_BYTES + 2 * NUMBER_BYTES + sizes.args;
        HEADER_BYTES
            + match self {
                Self::Dispatch(_, sizes) => task(sizes),
                Self::Completion(spawned, sizes) => {
                    NUMBER_BYTES + task(sizes) * spawned.len() as u64
                }
                Self::Result(_, _, sizes) => NUMBER_BYTES + sizes.result,
            }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Dispatch(..) => "dispatch",
            Self::Completion(..) => "completion",
            Self::Result(..) => "result",
        }
    }
}

/// The root's manager.
const SCHEDULER: NodeId = NodeId(0);
/// What the scheduler's thread does for one closure: Ray handles 2,400 a second.
pub(super) const HANDLING: Duration = Duration::from_micros(400);
/// So that a worker need not wait for its next closure.
const IN_FLIGHT_PER_WORKER: u32 = 2;
