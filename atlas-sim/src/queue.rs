//! What happens next: events by time, and one alarm for each node.
//!
//! Two things at the same time happen in the order in which they were asked for, so that one seed gives one
//! order. An alarm that is set again moves to its new time instead of leaving the old one behind: a node that
//! changes its mind at every message costs one entry, not thousands.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use atlas_proto::time::Time;

/// Events by time. An event is a small number of bytes: larger things are kept aside and named.
#[derive(Debug)]
pub struct Queue<E> {
    events: BinaryHeap<Entry<E>>,
    alarms: Alarms,
    asked: u64,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<E> {
    /// An event that was put in.
    Event(E),
    /// The alarm of the node of this index, which is off from now on.
    Alarm(usize),
}

impl<E> Queue<E> {
    /// Empty, with an alarm for each of so many nodes.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            events: BinaryHeap::new(),
            alarms: Alarms::new(nodes),
            asked: 0,
        }
    }

    /// Puts an event in.
    pub fn push(&mut self, at: Time, event: E) {
        self.asked += 1;
        self.events.push(Entry {
            key: Reverse((at, self.asked)),
            event,
        });
    }

    /// Sets the alarm of a node, or turns it off. To set it to what it is set to changes nothing.
    pub fn arm(&mut self, node: usize, at: Option<Time>) {
        if self.alarms.time(node) == at {
            return;
        }
        self.asked += 1;
        match at {
            Some(at) => self.alarms.set(node, (at, self.asked)),
            None => self.alarms.remove(node),
        }
    }

    /// When the next thing happens.
    #[must_use]
    pub fn next_time(&self) -> Option<Time> {
        let event = self.events.peek().map(|entry| entry.key.0.0);
        let alarm = self.alarms.first().map(|((at, _), _)| at);
        match (event, alarm) {
            (Some(event), Some(alarm)) => Some(event.min(alarm)),
            (event, alarm) => event.or(alarm),
        }
    }

    /// Takes the next thing out.
    pub fn pop(&mut self) -> Option<(Time, Next<E>)> {
        let event = self.events.peek().map(|entry| entry.key.0);
        if let Some((key, node)) = self.alarms.first()
            && event.is_none_or(|event| key < event)
        {
            self.alarms.remove(node);
            return Some((key.0, Next::Alarm(node)));
        }
        let entry = self.events.pop()?;
        Some((entry.key.0.0, Next::Event(entry.event)))
    }

    /// How many events are in, alarms not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// No event is in. Alarms may be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

#[derive(Debug)]
struct Entry<E> {
    key: Reverse<Key>,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// When, and what number of asking.
type Key = (Time, u64);

/// A heap that knows where each node is. Every entry has [`BRANCHES`] below it, and its key with it: the heap of a large
/// world is not in the cache, and so it is looked at in few places, next to each other.
#[derive(Debug)]
struct Alarms {
    heap: Vec<(Key, usize)>,
    /// By node: its place in the heap.
    places: Vec<usize>,
}

impl Alarms {
    fn new(nodes: usize) -> Self {
        Self {
            heap: Vec::with_capacity(nodes),
            places: vec![OFF; nodes],
        }
    }

    fn time(&self, node: usize) -> Option<Time> {
        let &((at, _), _) = self.heap.get(self.places[node])?;
        Some(at)
    }

    fn first(&self) -> Option<(Key, usize)> {
        self.heap.first().copied()
    }

    fn set(&mut self, node: usize, key: Key) {
        let mut place = self.places[node];
        if place == OFF {
            place = self.heap.len();
            self.heap.push((key, node));
        }
        self.put(place, (key, node));
    }

    fn remove(&mut self, node: usize) {
        let place = std::mem::replace(&mut self.places[node], OFF);
        if place == OFF {
            return;
        }
        let last = self.heap.pop().expect("the node itself is in the heap");
        if last.1 != node {
            self.put(place, last);
        }
    }

    /// Puts an entry where there is none that counts, or rather where it belongs up or down from there.
    fn put(&mut self, mut place: usize, entry: (Key, usize)) {
        while place > 0 && entry < self.heap[(place - 1) / BRANCHES] {
            place = self.shift((place - 1) / BRANCHES, place);
        }
        while let Some(least) = self.least_below(place)
            && self.heap[least] < entry
        {
            place = self.shift(least, place);
        }
        self.heap[place] = entry;
        self.places[entry.1] = place;
    }

    /// Moves an entry to a place that is free, and gives the one that it leaves.
    fn shift(&mut self, from: usize, to: usize) -> usize {
        self.heap[to] = self.heap[from];
        self.places[self.heap[to].1] = to;
        from
    }

    fn least_below(&self, place: usize) -> Option<usize> {
        let first = BRANCHES * place + 1;
        let below = first..(first + BRANCHES).min(self.heap.len());
        below.min_by_key(|&child| self.heap[child].0)
    }
}

/// The place of a node whose alarm is off: beyond the end of any heap.
const OFF: usize = usize::MAX;
/// So many keys lie in two lines of the cache, and make the heap half as deep as two would.
const BRANCHES: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    #[test]
    fn what_is_asked_for_first_happens_first_at_one_time() {
        let mut queue = Queue::new(2);
        queue.push(at(1), 'a');
        queue.arm(1, Some(at(1)));
        queue.push(at(1), 'b');
        queue.arm(0, Some(at(1)));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop())
            .map(|(_, next)| next)
            .collect();
        assert_eq!(
            order,
            [
                Next::Event('a'),
                Next::Alarm(1),
                Next::Event('b'),
                Next::Alarm(0)
            ]
        );
    }

    #[test]
    fn an_alarm_set_again_rings_once_at_its_last_time() {
        let mut queue = Queue::<()>::new(1);
        for seconds in [5, 9, 2, 7] {
            queue.arm(0, Some(at(seconds)));
        }
        assert_eq!(queue.pop(), Some((at(7), Next::Alarm(0))));
        assert_eq!(queue.pop(), None);
        queue.arm(0, Some(at(8)));
        queue.arm(0, None);
        assert_eq!(queue.next_time(), None);
    }

    proptest! {
        /// Against the plainest model: a list that is searched for its least entry.
        #[test]
        fn alarms_ring_as_in_a_sorted_list(
            steps in prop::collection::vec((0_usize..8, prop::option::of(0_u64..50), any::<bool>()), 1..200)
        ) {
            let mut queue = Queue::<()>::new(8);
            let mut model: Vec<Option<(Time, usize)>> = vec![None; 8];
            for (number, (node, time, pop)) in steps.into_iter().enumerate() {
                if pop {
                    let least = model.iter().enumerate().filter_map(|(node, key)| Some((((*key)?), node))).min();
                    let popped = queue.pop();
                    prop_assert_eq!(popped, least.map(|((at, _), node)| (at, Next::Alarm(node))));
                    if let Some((_, node)) = least {
                        model[node] = None;
                    }
                } else {
                    let time = time.map(Time);
                    queue.arm(node, time);
                    if model[node].map(|(at, _)| at) != time {
                        model[node] = time.map(|at| (at, number));
                    }
                }
            }
        }
    }
}
