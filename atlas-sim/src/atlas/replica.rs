//! How a standby comes to have what its manager has: the way of a stream, over links that lose, double and hold up.
//!
//! ```text
//!   standby                                    manager that acts
//!      | -- Follow { nothing yet } ------------->  |
//!      | <------------- Everything, Record, Record |
//!      | -- Follow { kept up to } -------------->  |   at once, and again and again: what is missing is sent again
//! ```
//!
//! Both sides number their streams, so that nothing of an earlier one is taken for one of the present.

use std::collections::VecDeque;
use std::time::Duration;

use atlas_proto::ids::NodeId;
use atlas_proto::standby::Term;
use atlas_proto::time::Time;

use super::store::{Store, Write};

/// What the two say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaWord {
    /// The standby takes records.
    Follow {
        /// Its number of the stream.
        follower: u64,
        /// The manager's, and the last record that it has; none if it has nothing.
        kept: Option<(u64, u64)>,
    },
    /// All that there is.
    Everything {
        /// Which.
        stream: StreamId,
        /// As it was when this record was the last.
        index: u64,
        /// All of it.
        store: Box<Store>,
    },
    /// What came next.
    Record {
        /// Which.
        stream: StreamId,
        /// Its number.
        index: u64,
        /// The record.
        write: Write,
    },
    /// The manager knows nothing of such a stream.
    Gone {
        /// The standby's number of it.
        follower: u64,
    },
}

/// A stream by the numbers of both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId {
    follower: u64,
    leader: u64,
}

/// The side of the manager that acts.
#[derive(Debug)]
pub(super) struct Leading {
    pub(super) to: NodeId,
    stream: StreamId,
    /// The standby has said that it has everything up to some record.
    has_begun: bool,
    /// What it has not said to have.
    unkept: VecDeque<(u64, Write)>,
    heard: Time,
    sent: Time,
}

/// The standby's side.
#[derive(Debug)]
pub(super) struct Following {
    /// Whom.
    pub(super) manager: (NodeId, Term),
    follower: u64,
    kept: Option<(u64, u64)>,
    say_at: Time,
}

/// What a manager does about a word of its standby.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing.
    Nothing,
    /// It has all up to this record.
    Kept(u64),
    /// It wants everything.
    Everything,
    /// It means another stream.
    Unknown,
}

impl Leading {
    pub(super) fn new(now: Time, to: NodeId, follower: u64, leader: u64) -> Self {
        Self {
            to,
            stream: StreamId { follower, leader },
            has_begun: false,
            unkept: VecDeque::new(),
            heard: now,
            sent: now,
        }
    }

    pub(super) fn hear(&mut self, now: Time, follower: u64, kept: Option<(u64, u64)>) -> Asked {
        if follower != self.stream.follower {
            // What is late is of no use; what is new is another stream.
            let newer = follower > self.stream.follower;
            return if newer {
                Asked::Unknown
            } else {
                Asked::Nothing
            };
        }
        match kept {
            Some((leader, index)) if leader == self.stream.leader => {
                self.heard = now;
                self.has_begun = true;
                self.unkept.retain(|(number, _)| *number > index);
                Asked::Kept(index)
            }
            Some(_) => Asked::Unknown,
            None if self.has_begun => Asked::Nothing,
            None => {
                self.heard = now;
                Asked::Everything
            }
        }
    }

    pub(super) fn everything(&mut self, now: Time, index: u64, store: Store) -> ReplicaWord {
        self.unkept.clear();
        self.sent = now;
        ReplicaWord::Everything {
            stream: self.stream,
            index,
            store: store.into(),
        }
    }

    pub(super) fn record(&mut self, now: Time, index: u64, write: Write) -> ReplicaWord {
        self.unkept.push_back((index, write.clone()));
        self.sent = now;
        let stream = self.stream;
        ReplicaWord::Record {
            stream,
            index,
            write,
        }
    }

    /// What seems to be lost.
    pub(super) fn again(&mut self, now: Time) -> Vec<ReplicaWord> {
        if !self.has_begun || self.sent + AGAIN_AFTER > now {
            return Vec::new();
        }
        self.sent = now;
        let stream = self.stream;
        let record = |(index, write): &(u64, Write)| ReplicaWord::Record {
            stream,
            index: *index,
            write: write.clone(),
        };
        self.unkept.iter().map(record).collect()
    }

    /// The standby is taken to be gone if nothing is heard of it by then.
    pub(super) fn lost_at(&self) -> Time {
        self.heard + GONE_AFTER
    }
}

impl Following {
    pub(super) fn new(now: Time, manager: (NodeId, Term), follower: u64) -> Self {
        Self {
            manager,
            follower,
            kept: None,
            say_at: now,
        }
    }

    /// What is to be said now, if it is time.
    pub(super) fn say(&mut self, now: Time) -> Option<ReplicaWord> {
        if self.say_at > now {
            return None;
        }
        self.say_at = now + SAY_EVERY;
        Some(ReplicaWord::Follow {
            follower: self.follower,
            kept: self.kept,
        })
    }

    pub(super) fn due(&self) -> Time {
        self.say_at
    }

    /// True if the stream is over.
    pub(super) fn handle(&mut self, now: Time, word: ReplicaWord, store: &mut Store) -> bool {
        match word {
            ReplicaWord::Everything {
                stream,
                index,
                store: all,
            } if stream.follower == self.follower => {
                let known = self.kept.is_none_or(|kept| kept.0 == stream.leader);
                let newer = self.kept.is_none_or(|kept| kept.1 < index);
                if known && newer {
                    *store = *all;
                    self.keep(now, stream, index);
                }
            }
            ReplicaWord::Record {
                stream,
                index,
                write,
            } if stream.follower == self.follower => {
                if self.kept == Some((stream.leader, index - 1)) {
                    store.apply(&write);
                    self.keep(now, stream, index);
                }
            }
            ReplicaWord::Gone { follower } => return follower == self.follower,
            ReplicaWord::Everything { .. }
            | ReplicaWord::Record { .. }
            | ReplicaWord::Follow { .. } => {}
        }
        false
    }

    fn keep(&mut self, now: Time, stream: StreamId, index: u64) {
        self.kept = Some((stream.leader, index));
        self.say_at = now;
    }
}

impl ReplicaWord {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Everything { store, .. } => store.bytes(),
            Self::Record { write, .. } => write.bytes(),
            Self::Follow { .. } | Self::Gone { .. } => 0,
        }
    }
}

/// A standby says this often what it has.
const SAY_EVERY: Duration = Duration::from_millis(300);
/// What was sent longer ago and is not said to be there is lost.
const AGAIN_AFTER: Duration = Duration::from_millis(300);
/// As a connection ends.
const GONE_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::super::store::What;
    use super::*;

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    fn write(number: u64) -> Write {
        let what = What::Life(number);
        Write { number, what }
    }

    /// The word of a standby that is due at a time.
    fn said(following: &mut Following, ms: u64) -> (u64, Option<(u64, u64)>) {
        match following.say(at(ms)) {
            Some(ReplicaWord::Follow { follower, kept }) => (follower, kept),
            other => panic!("{other:?}"),
        }
    }

    fn pair() -> (Leading, Following, Store, Store) {
        let leading = Leading::new(at(0), NodeId(1), 7, 3);
        let following = Following::new(at(0), (NodeId(0), Term(1)), 7);
        (leading, following, Store::default(), Store::default())
    }

    #[test]
    fn what_is_lost_or_out_of_order_comes_again_and_in_order() {
        let (mut leading, mut following, mut own, mut copy) = pair();
        own.apply(&write(1));
        let (follower, kept) = said(&mut following, 0);
        assert_eq!(leading.hear(at(1), follower, kept), Asked::Everything);
        let all = leading.everything(at(1), 1, own.clone());
        following.handle(at(2), all, &mut copy);
        let (follower, kept) = said(&mut following, 2);
        assert_eq!(leading.hear(at(3), follower, kept), Asked::Kept(1));
        let words = [2, 3].map(|index| {
            own.apply(&write(index));
            leading.record(at(4), index, write(index))
        });
        // The first one is lost, and the second is of no use without it.
        following.handle(at(5), words[1].clone(), &mut copy);
        assert!(copy != own);
        assert_eq!(leading.again(at(5)), []);
        for word in leading.again(at(400)) {
            following.handle(at(401), word, &mut copy);
        }
        assert_eq!(copy, own);
        let (follower, kept) = said(&mut following, 401);
        assert_eq!(leading.hear(at(402), follower, kept), Asked::Kept(3));
        assert_eq!(leading.again(at(900)), []);
    }

    #[test]
    fn nothing_of_another_stream_is_taken() {
        let (mut leading, mut following, own, mut copy) = pair();
        following.handle(at(1), leading.everything(at(1), 1, own.clone()), &mut copy);
        let before = copy.clone();
        for (follower, leader) in [(6, 3), (7, 4)] {
            let mut other = Leading::new(at(1), NodeId(1), follower, leader);
            let mut newer = own.clone();
            newer.apply(&write(9));
            let all = other.everything(at(1), 5, newer);
            assert!(!following.handle(at(2), all, &mut copy));
            following.handle(at(2), other.record(at(2), 2, write(9)), &mut copy);
        }
        assert_eq!(copy, before);
        // What a manager hears of an earlier stream says nothing of this one.
        assert_eq!(leading.hear(at(3), 6, Some((3, 1))), Asked::Nothing);
        assert_eq!(leading.hear(at(3), 7, Some((4, 1))), Asked::Unknown);
        assert_eq!(leading.hear(at(3), 8, None), Asked::Unknown);
    }

    #[test]
    fn a_stream_that_its_manager_does_not_know_is_over() {
        let (_, mut following, _, mut copy) = pair();
        assert!(!following.handle(at(1), ReplicaWord::Gone { follower: 6 }, &mut copy));
        assert!(following.handle(at(1), ReplicaWord::Gone { follower: 7 }, &mut copy));
    }
}
