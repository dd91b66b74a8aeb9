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
