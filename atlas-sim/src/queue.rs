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

/// A binary heap of node indices that knows where each of them is.
#[derive(Debug)]
struct Alarms {
    heap: Vec<usize>,
    /// By node: its place in the heap, and its key while it has one.
    places: Vec<(usize, Key)>,
}

impl Alarms {
    fn new(nodes: usize) -> Self {
        Self {
            heap: Vec::with_capacity(nodes),
            places: vec![(OFF, (Time::ZERO, 0)); nodes],
        }
    }

    fn time(&self, node: usize) -> Option<Time> {
        let (place, (at, _)) = self.places[node];
        (place != OFF).then_some(at)
    }

    fn first(&self) -> Option<(Key, usize)> {
        let &node = self.heap.first()?;
        Some((self.places[node].1, node))
    }

    fn set(&mut self, node: usize, key: Key) {
        if self.places[node].0 == OFF {
            self.places[node].0 = self.heap.len();
            self.heap.push(node);
        }
        self.places[node].1 = key;
        let place = self.rise(self.places[node].0);
        self.sink(place);
    }

    fn remove(&mut self, node: usize) {
        let place = std::mem::replace(&mut self.places[node].0, OFF);
        if place == OFF {
            return;
        }
        let last = self.heap.pop().expect("the node itself is in the heap");
        if last != node {
            self.heap[place] = last;
            self.places[last].0 = place;
            let place = self.rise(place);
            self.sink(place);
        }
    }

    fn key_at(&self, place: usize) -> Key {
        self.places[self.heap[place]].1
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.places[self.heap[one]].0 = one;
        self.places[self.heap[other]].0 = other;
    }

    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 && self.key_at(place) < self.key_at((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        place
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let below = (2 * place + 1)..(2 * place + 3).min(self.heap.len());
            let Some(least) = below.min_by_key(|&child| self.key_at(child)) else {
                return;
            };
            if self.key_at(place) <= self.key_at(least) {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }
}

/// The place of a node whose alarm is off.
const OFF: usize = usize::MAX;

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
