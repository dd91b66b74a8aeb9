//! A child's membership in its manager's domain, for servers and for managers of sub-domains.
//!
//! ```text
//!   Joining --WelcomeChild--> Member --LeaveDomain--> Left
//!      ^                        |
//!      +-- expelled, or silent -+
//! ```
//!
//! A membership has an epoch, given by the manager. When it is over, so is all that was agreed in it; the
//! child joins again and gets a later one.

use std::time::Duration;

use crate::ids::{Epoch, NodeId};
use crate::limits::KEEP_ALIVE;
use crate::message::{ChildInfo, Message, Packet};
use crate::rng::Rng;
use crate::sessions::Sessions;
use crate::time::Time;
use crate::watch::Side;

/// A child's side of its membership.
#[derive(Debug)]
pub(crate) struct Uplink {
    manager: NodeId,
    info: ChildInfo,
    /// The last attempt's number: later attempts have larger ones.
    nonce: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Joining { tries: u32, retry_at: Time },
    Member { epoch: Epoch },
    Left,
}

/// What a manager's answer makes of the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It begins.
    Begun,
    /// It is over: the caller closes the session and joins anew.
    Over,
    /// Nothing changes, or not before the next attempt.
    Nothing,
}

impl Uplink {
    /// Begins to join. `incarnation` must be larger than that of any earlier life of this node.
    pub(crate) fn new(now: Time, manager: NodeId, info: ChildInfo, incarnation: u64) -> Self {
        let nonce = incarnation << ATTEMPT_BITS;
        Self {
            manager,
            info,
            nonce,
            phase: Phase::Joining {
                tries: 0,
                retry_at: now,
            },
        }
    }

    pub(crate) fn manager(&self) -> NodeId {
        self.manager
    }

    pub(crate) fn epoch(&self) -> Option<Epoch> {
        match self.phase {
            Phase::Member { epoch } => Some(epoch),
            Phase::Joining { .. } | Phase::Left => None,
        }
    }

    /// Takes in what makes or ends a membership; none if the packet is of neither kind.
    pub(crate) fn handle_answer(
        &mut self,
        now: Time,
        packet: &Packet,
        sessions: &mut Sessions,
    ) -> Option<Answer> {
        if let Message::WelcomeChild { nonce, epoch } = packet.message {
            let joining = matches!(self.phase, Phase::Joining { .. });
            if !joining || nonce != self.nonce || epoch == Epoch::NONE {
                return Some(Answer::Nothing);
            }
            self.phase = Phase::Member { epoch };
            sessions.open(now, self.manager, epoch, epoch);
            sessions.watch(now, self.manager, Side::Leads);
            Some(Answer::Begun)
        } else if let Message::RefuseChild { nonce, .. } = packet.message {
            if nonce == self.nonce
                && let Phase::Joining { tries, .. } = self.phase
            {
                let retry_at = now + RETRY_MAX;
                self.phase = Phase::Joining { tries, retry_at };
            }
            Some(Answer::Nothing)
        } else if packet.message == Message::ExpelChild {
            let over = self.epoch() == Some(packet.from);
            Some(if over { Answer::Over } else { Answer::Nothing })
        } else {
            None
        }
    }

    /// The manager has been silent for so long that it must have given this node up.
    pub(crate) fn is_lost(&self, now: Time, sessions: &Sessions) -> bool {
        self.lost_at(sessions).is_some_and(|at| at <= now)
    }

    /// Joins anew; the caller has closed the session.
    pub(crate) fn rejoin(&mut self, now: Time) {
        self.nonce += 1;
        self.phase = Phase::Joining {
            tries: 0,
            retry_at: now,
        };
    }

    /// The manager is reached, maybe again. If this is another life of it, it knows nothing of the membership, and says so when it hears
    /// of it; if it is asked to take this node in, it was not there to hear that.
    pub(crate) fn greet(&mut self, now: Time, sessions: &mut Sessions) {
        match &mut self.phase {
            Phase::Joining { retry_at, .. } => *retry_at = now,
            Phase::Member { .. } => sessions.send(now, self.manager, Message::KeepAlive),
            Phase::Left => {}
        }
    }

    /// Leaves for good.
    pub(crate) fn leave(&mut self) {
        self.phase = Phase::Left;
    }

    pub(crate) fn is_left(&self) -> bool {
        self.phase == Phase::Left
    }

    /// Asks again if it is time.
    pub(crate) fn handle_timeout(&mut self, now: Time, sessions: &mut Sessions, rng: &mut Rng) {
        if let Phase::Joining { tries, retry_at } = &mut self.phase
            && *retry_at <= now
        {
            let wait = (RETRY_MIN * (1 << (*tries).min(RETRY_DOUBLINGS))).min(RETRY_MAX);
            let jitter = u32::try_from(rng.below(1024)).unwrap_or(0);
            *retry_at = now + wait / 2 + wait / 2 * jitter / 1024;
            *tries += 1;
            let join = Message::JoinDomain {
                nonce: self.nonce,
                child: self.info.clone(),
            };
            sessions.send_sessionless(self.manager, Epoch::NONE, join);
        }
    }

    pub(crate) fn poll_timeout(&self, sessions: &Sessions) -> Option<Time> {
        match self.phase {
            Phase::Joining { retry_at, .. } => Some(retry_at),
            Phase::Member { .. } => self.lost_at(sessions),
            Phase::Left => None,
        }
    }

    fn lost_at(&self, sessions: &Sessions) -> Option<Time> {
        self.epoch()?;
        sessions
            .silence(self.manager)
            .map(|silence| silence.lost_at)
    }
}

/// Each side of a pair speaks at every second turn of [`KEEP_ALIVE`].
pub(crate) const SPEAK_EVERY: Duration = KEEP_ALIVE.saturating_mul(2);
/// A neighbour that missed one of its turns, and is late for the next, is suspected: it gets no new work.
pub(crate) const SUSPECT_AFTER: Duration = SPEAK_EVERY.saturating_mul(2);
/// A neighbour that missed three of its turns is given up.
pub(crate) const LOST_AFTER: Duration = SPEAK_EVERY
    .saturating_mul(3)
    .saturating_add(Duration::from_millis(500));
/// A life of a node asks its manager at most 65,536 times before its numbers reach those of a later one.
const ATTEMPT_BITS: u32 = 16;
const RETRY_MIN: Duration = Duration::from_millis(500);
/// Nobody waits longer than this for a manager that is back.
const RETRY_MAX: Duration = Duration::from_secs(8);
const RETRY_DOUBLINGS: u32 = 8;
