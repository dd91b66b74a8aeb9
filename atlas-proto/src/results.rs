//! Results on their way to a lender, gathered so that a stream of small ones does not become a stream of
//! messages.
//!
//! The first result after a pause leaves at once; those that follow within the gap leave together at its
//! end. The gap is two crossings of the way: a stream of results costs a bounded number of messages, and a single one
//! waits for nothing.

use std::time::Duration;

use crate::ids::{LeaseId, NodeId};
use crate::limits::LEASES_PER_MESSAGE_MAX;
use crate::message::{LeaseResult, Message};
use crate::path::Path;
use crate::sessions::Sessions;
use crate::sorted::SortedMap;
use crate::time::Time;

/// The results that wait, by lender. A queue stays for as long as the gap after its last message.
#[derive(Debug, Default)]
pub(crate) struct ResultQueues(SortedMap<NodeId, Queue>);

#[derive(Debug)]
struct Queue {
    waiting: Vec<LeaseResult>,
    bytes: usize,
    open_at: Time,
}

impl ResultQueues {
    pub(crate) fn push(&mut self, lender: NodeId, result: LeaseResult) {
        let fresh = || Queue {
            waiting: Vec::new(),
            bytes: 0,
            open_at: Time::ZERO,
        };
        let queue = self.0.get_or_insert_with(lender, fresh);
        queue.bytes += result.finished.outcome.bytes().len();
        queue.waiting.push(result);
    }

    /// Sends all that is due.
    pub(crate) fn flush(&mut self, now: Time, sessions: &mut Sessions) {
        while let Some((lender, results)) = self.poll(now, |peer| sessions.path(peer)) {
            sessions.send(now, lender, Message::ReturnResults { results });
        }
        self.0
            .retain(|_, queue| !queue.waiting.is_empty() || queue.open_at > now);
    }

    /// The next message that is due, with its receiver.
    fn poll(
        &mut self,
        now: Time,
        path: impl Fn(NodeId) -> Path,
    ) -> Option<(NodeId, Vec<LeaseResult>)> {
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
        queue.flat_map(|queue| queue.waiting.iter().map(|result| result.lease))
    }

    /// Nobody is there to take them any more.
    pub(crate) fn forget(&mut self, lender: NodeId) {
        self.0.remove(&lender);
    }
}

impl Queue {
    fn is_due(&self, now: Time) -> bool {
        let full = self.waiting.len() >= LEASES_PER_MESSAGE_MAX || self.bytes >= MESSAGE_BYTES;
        !self.waiting.is_empty() && (self.open_at <= now || full)
    }

    /// As many as one message may carry, oldest first.
    fn take_message(&mut self) -> Vec<LeaseResult> {
        let mut bytes = 0;
        let fits = |result: &&LeaseResult| {
            bytes += result.finished.outcome.bytes().len();
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
        self.bytes -= taken
            .iter()
            .map(|result| result.finished.outcome.bytes().len())
            .sum::<usize>();
        taken
    }
}

/// A message of results is not gathered beyond this size.
const MESSAGE_BYTES: usize = 1 << 20;
const GAP_MIN: Duration = Duration::from_millis(1);
const GAP_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::job::{Finished, Outcome};

    const LENDER: NodeId = NodeId(1);

    fn result(lease: u64, bytes: usize) -> LeaseResult {
        let outcome = Outcome::Value(Bytes::from(vec![0; bytes]));
        LeaseResult {
            lease: LeaseId(lease),
            finished: Finished {
                outcome,
                work: Duration::ZERO,
            },
        }
    }

    fn leases(queues: &mut ResultQueues, now: Time) -> Option<Vec<u64>> {
        let (_, results) = queues.poll(now, |_| Path::ASSUMED)?;
        Some(results.iter().map(|result| result.lease.0).collect())
    }

    #[test]
    fn the_first_leaves_at_once_and_the_next_together() {
        let mut queues = ResultQueues::default();
        queues.push(LENDER, result(1, 8));
        assert_eq!(leases(&mut queues, Time::ZERO), Some(vec![1]));
        queues.push(LENDER, result(2, 8));
        queues.push(LENDER, result(3, 8));
        assert_eq!(leases(&mut queues, Time::ZERO), None);
        let due = queues.poll_timeout().expect("two wait");
        assert_eq!(leases(&mut queues, due), Some(vec![2, 3]));
        assert_eq!(queues.poll_timeout(), None);
    }

    #[test]
    fn large_results_do_not_wait_and_do_not_share_a_message() {
        let mut queues = ResultQueues::default();
        queues.push(LENDER, result(1, 8));
        leases(&mut queues, Time::ZERO);
        queues.push(LENDER, result(2, MESSAGE_BYTES));
        queues.push(LENDER, result(3, MESSAGE_BYTES));
        assert_eq!(leases(&mut queues, Time::ZERO), Some(vec![2]));
        assert_eq!(leases(&mut queues, Time::ZERO), Some(vec![3]));
        assert_eq!(leases(&mut queues, Time::ZERO), None);
    }
}
