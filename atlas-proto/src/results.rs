//! Results on their way to a lender, gathered so that a stream of small ones does not become a stream of
//! messages.
//!
//! The first result after a pause leaves at once; those that follow within the gap leave together at its
//! end. The gap is two crossings of the way: a stream of results costs a bounded number of messages, and a single one
//! waits for nothing.
//!
//! Until the lender has acknowledged a result, it may be lost with it: a lender is missed after some seconds, in which its
//! borrowers work on. So the names of results stay here until then. If the lender is lost, its borrowers have what is to be kept of
//! what they did ([`ResultQueues::end`]), and whoever computes it again finds it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use atlas_engine::Recorded;

use crate::ids::{JobAlias, LeaseId, NodeId};
use crate::job::Finished;
use crate::limits::{Bound, LEASES_PER_MESSAGE_MAX, RESULTS_NAMED_MAX};
use crate::link::Link;
use crate::message::{LeaseResult, Message};
use crate::orphan::{Name, recorded};
use crate::path::Path;
use crate::sessions::Sessions;
use crate::sorted::SortedMap;
use crate::time::Time;

/// The results that wait or are under way, by lender. A queue stays for as long as the gap after its last message.
#[derive(Debug, Default)]
pub(crate) struct ResultQueues(SortedMap<NodeId, Queue>);

#[derive(Debug)]
struct Queue {
    waiting: Vec<Waiting>,
    bytes: usize,
    open_at: Time,
    /// The messages that are not acknowledged, by their numbers, oldest first.
    under_way: VecDeque<(u32, Vec<JobName>)>,
    /// How many names are in these.
    named: usize,
}

/// A job, and what a result of it is kept under; none if nobody would use it.
type JobName = Option<(JobAlias, Name)>;

#[derive(Debug)]
struct Waiting {
    result: LeaseResult,
    name: JobName,
}

impl ResultQueues {
    /// The result of a closure that `lender` has lent under this number, and what it is kept under should the lender be lost.
    pub(crate) fn push(
        &mut self,
        (lender, lease): (NodeId, LeaseId),
        name: JobName,
        finished: Finished,
    ) {
        let queue = self.0.get_or_insert_with(lender, Queue::new);
        queue.bytes += finished.outcome.size();
        queue.waiting.push(Waiting {
            result: LeaseResult { lease, finished },
            name,
        });
    }

    /// Sends all that is due.
    pub(crate) fn flush(&mut self, now: Time, sessions: &mut Sessions) {
        while let Some((lender, results)) = self.poll(now, |peer| sessions.path(peer)) {
            let before = sessions.link(lender).map(Link::sent);
            let (results, names) = apart(results);
            sessions.send(now, lender, Message::ReturnResults { results });
            let after = sessions.link(lender).map(Link::sent);
            if let (Some(seq), Some(queue)) = (after, self.0.get_mut(&lender))
                && after != before
            {
                queue.note_sent(seq, names);
            }
        }
        for (&lender, queue) in self.0.iter_mut() {
            if !queue.under_way.is_empty() {
                let arrived = sessions.link(lender).map_or(u32::MAX, Link::arrived);
                queue.note_arrived(arrived);
            }
        }
        self.0.retain(|_, queue| !queue.is_over(now));
    }

    /// The next message that is due, with its receiver.
    fn poll(&mut self, now: Time, path: impl Fn(NodeId) -> Path) -> Option<(NodeId, Vec<Waiting>)> {
        let (&lender, queue) = self.0.iter_mut().find(|(_, queue)| queue.is_due(now))?;
        let gap = (path(lender).latency * 2).clamp(GAP_MIN, GAP_MAX);
        let results = queue.take_message();
        if queue.waiting.is_empty() {
            queue.open_at = now + gap;
        }
        Some((lender, results))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let waiting = self.0.values().filter(|queue| !queue.waiting.is_empty());
        waiting.map(|queue| queue.open_at).min()
    }

    /// The leases whose results wait.
    pub(crate) fn waiting(&self, lender: NodeId) -> impl Iterator<Item = LeaseId> {
        let queue = self.0.get(&lender).into_iter();
        queue.flat_map(|queue| queue.waiting.iter().map(|waiting| waiting.result.lease))
    }

    /// Nobody is there to take them any more, nor to keep them.
    pub(crate) fn forget(&mut self, lender: NodeId) {
        self.0.remove(&lender);
    }

    /// The lender is lost. What is to be kept of what may not have reached it, by job: `link` is that with the lender, before
    /// its session is closed.
    pub(crate) fn end(
        &mut self,
        lender: NodeId,
        link: Option<&Link>,
    ) -> BTreeMap<JobAlias, Vec<Recorded>> {
        let mut kept: BTreeMap<JobAlias, Vec<Recorded>> = BTreeMap::new();
        let Some(queue) = self.0.remove(&lender) else {
            return kept;
        };
        let mut keep = |name: JobName, finished: Finished| {
            if let Some((job, name)) = name
                && let Some(recorded) = recorded(name, finished)
            {
                kept.entry(job).or_default().push(recorded);
            }
        };
        let mut under_way = queue.under_way.into_iter().peekable();
        for (seq, message) in link.into_iter().flat_map(Link::unacknowledged) {
            while under_way.next_if(|(sent, _)| *sent < seq).is_some() {}
            if let Message::ReturnResults { results } = message
                && let Some((_, names)) = under_way.next_if(|(sent, _)| *sent == seq)
            {
                for (name, result) in names.into_iter().zip(results) {
                    keep(name, result.finished.clone());
                }
            }
        }
        for Waiting { result, name } in queue.waiting {
            keep(name, result.finished);
        }
        kept
    }

    /// What is kept of the results that are under way.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = Bound> {
        let named = self.0.values().map(|queue| queue.named);
        named.map(|named| Bound::new("results under way", named, RESULTS_NAMED_MAX))
    }
}

impl Queue {
    fn new() -> Self {
        Self {
            waiting: Vec::new(),
            bytes: 0,
            open_at: Time::ZERO,
            under_way: VecDeque::new(),
            named: 0,
        }
    }

    fn is_due(&self, now: Time) -> bool {
        let full = self.waiting.len() >= LEASES_PER_MESSAGE_MAX || self.bytes >= MESSAGE_BYTES;
        !self.waiting.is_empty() && (self.open_at <= now || full)
    }

    fn is_over(&self, now: Time) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty() && self.open_at <= now
    }

    /// Beyond so many, the oldest names are forgotten.
    fn note_sent(&mut self, seq: u32, names: Vec<JobName>) {
        self.named += names.len();
        self.under_way.push_back((seq, names));
        while self.named > RESULTS_NAMED_MAX {
            self.forget_oldest();
        }
    }

    fn note_arrived(&mut self, arrived: u32) {
        while self
            .under_way
            .front()
            .is_some_and(|(seq, _)| *seq <= arrived)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.under_way.pop_front();
        self.named -= oldest.map_or(0, |(_, names)| names.len());
    }

    /// As many as one message may carry, oldest first.
    fn take_message(&mut self) -> Vec<Waiting> {
        let size = |waiting: &Waiting| waiting.result.finished.outcome.size();
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            bytes += size(waiting);
            bytes <= MESSAGE_BYTES
        };
        let count = self
            .waiting
            .iter()
            .take(LEASES_PER_MESSAGE_MAX)
            .take_while(fits)
            .count();
        let rest = self.waiting.split_off(count.max(1));
        let taken = std::mem::replace(&mut self.waiting, rest);
        self.bytes -= taken.iter().map(size).sum::<usize>();
        taken
    }
}

fn apart(waiting: Vec<Waiting>) -> (Vec<LeaseResult>, Vec<JobName>) {
    let pairs = waiting
        .into_iter()
        .map(|waiting| (waiting.result, waiting.name));
    pairs.unzip()
}

/// A message of results is not gathered beyond this size.
const MESSAGE_BYTES: usize = 1 << 20;
const GAP_MIN: Duration = Duration::from_millis(1);
const GAP_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use atlas_engine::Key;

    use super::*;
    use crate::engine::Above;
    use crate::ids::{Epoch, TaskId};
    use crate::job::{Closure, ClosureKind, Outcome, SharedName};
    use crate::message::Packet;
    use crate::stats::Stats;

    const LENDER: NodeId = NodeId(1);
    const JOB: JobAlias = JobAlias(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn closure(lease: u64) -> Closure {
        Closure {
            kind: ClosureKind {
                task: TaskId(1),
                depth: 1,
            },
            args: lease.to_le_bytes().to_vec().into(),
            expected: Duration::ZERO,
            shared: Vec::new(),
            above: Above::NONE,
        }
    }

    fn finished(bytes: usize, work: Duration) -> Finished {
        let outcome = Outcome::Value(Bytes::from(vec![0; bytes]));
        Finished { outcome, work }
    }

    fn push(queues: &mut ResultQueues, lease: u64, finished: Finished) {
        let name = Some((JOB, Name::of(&closure(lease))));
        queues.push((LENDER, LeaseId(lease)), name, finished);
    }

    fn leases(queues: &mut ResultQueues, now: Time) -> Option<Vec<u64>> {
        let (_, results) = queues.poll(now, |_| Path::ASSUMED)?;
        let leases = results.iter().map(|waiting| waiting.result.lease.0);
        Some(leases.collect())
    }

    #[test]
    fn the_first_leaves_at_once_and_the_next_together() {
        let mut queues = ResultQueues::default();
        push(&mut queues, 1, finished(8, Duration::ZERO));
        assert_eq!(leases(&mut queues, Time::ZERO), Some(vec![1]));
        push(&mut queues, 2, finished(8, Duration::ZERO));
        push(&mut queues, 3, finished(8, Duration::ZERO));
        assert_eq!(leases(&mut queues, Time::ZERO), None);
        let due = queues.poll_timeout().expect("two wait");
        assert_eq!(leases(&mut queues, due), Some(vec![2, 3]));
        assert_eq!(queues.poll_timeout(), None);
    }

    #[test]
    fn large_results_do_not_wait_and_do_not_share_a_message() {
        let mut queues = ResultQueues::default();
        push(&mut queues, 1, finished(8, Duration::ZERO));
        leases(&mut queues, Time::ZERO);
        push(&mut queues, 2, finished(MESSAGE_BYTES, Duration::ZERO));
        push(&mut queues, 3, finished(MESSAGE_BYTES, Duration::ZERO));
        assert_eq!(leases(&mut queues, Time::ZERO), Some(vec![2]));
        assert_eq!(leases(&mut queues, Time::ZERO), Some(vec![3]));
        assert_eq!(leases(&mut queues, Time::ZERO), None);
    }

    /// The leases whose results are kept when the lender is lost, by their keys.
    fn kept(queues: &mut ResultQueues, sessions: &Sessions) -> Vec<u64> {
        let mut kept = queues.end(LENDER, sessions.link(LENDER));
        let kept = kept.remove(&JOB).unwrap_or_default();
        let key = |lease: u64| Key::of(TaskId(1), &closure(lease).args);
        let lease = |recorded: &Recorded| (1..9).find(|&lease| key(lease) == recorded.key);
        kept.iter().filter_map(lease).collect()
    }

    #[test]
    fn what_has_not_reached_a_lost_lender_is_kept_under_its_name() {
        let mut sessions = Sessions::default();
        let epoch = Epoch(7);
        sessions.open(Time::ZERO, LENDER, epoch, epoch);
        let mut queues = ResultQueues::default();
        let mut now = Time::ZERO;
        for lease in 1..=5 {
            // The third is not worth its sending, as a record.
            let work = if lease == 3 { Duration::ZERO } else { SECOND };
            push(&mut queues, lease, finished(8, work));
            now = now + SECOND;
            queues.flush(now, &mut sessions);
        }
        let acknowledges_two = Packet {
            from: epoch,
            to: epoch,
            seq: 0,
            ack: 2,
            message: Message::KeepAlive,
        };
        sessions.receive(now, LENDER, acknowledges_two, &mut Stats::default());
        // This one waits for its message.
        push(&mut queues, 6, finished(8, SECOND));
        assert_eq!(queues.bounds().map(|bound| bound.held).max(), Some(5));
        queues.flush(now, &mut sessions);
        assert_eq!(queues.bounds().map(|bound| bound.held).max(), Some(3));
        assert_eq!(kept(&mut queues, &sessions), [4, 5, 6]);
        assert_eq!(kept(&mut queues, &sessions), [], "once");
    }

    #[test]
    fn what_nobody_would_use_is_not_kept() {
        let mut queues = ResultQueues::default();
        queues.push((LENDER, LeaseId(1)), None, finished(8, SECOND));
        push(&mut queues, 2, finished(8, SECOND));
        assert_eq!(kept(&mut queues, &Sessions::default()), [2]);
    }

    #[test]
    fn of_a_large_result_nothing_is_kept() {
        let mut queues = ResultQueues::default();
        let outcome = Outcome::Blob {
            name: SharedName([1; 32]),
            bytes: 4 << 20,
        };
        let work = SECOND * 1000;
        push(&mut queues, 1, Finished { outcome, work });
        push(&mut queues, 2, finished(8, work));
        assert_eq!(kept(&mut queues, &Sessions::default()), [2]);
    }

    #[test]
    fn what_has_arrived_is_not_kept() {
        let mut sessions = Sessions::default();
        let epoch = Epoch(7);
        sessions.open(Time::ZERO, LENDER, epoch, epoch);
        let mut queues = ResultQueues::default();
        push(&mut queues, 1, finished(8, SECOND));
        queues.flush(Time::ZERO, &mut sessions);
        let acknowledges = Packet {
            from: epoch,
            to: epoch,
            seq: 0,
            ack: 1,
            message: Message::KeepAlive,
        };
        sessions.receive(Time::ZERO, LENDER, acknowledges, &mut Stats::default());
        queues.flush(Time::ZERO + SECOND, &mut sessions);
        assert_eq!(queues.0.len(), 0);
    }
}
