//! What is said of who acts: between the managers of a domain, and between them and their witnesses.

use serde::{Deserialize, Serialize};

use super::roll::{Roll, RollId, Term};
use crate::ids::NodeId;

/// All of it. Each may be lost, late or repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StandbyMessage {
    /// A manager acts. Answered by [`HeedManager`](Self::HeedManager) or [`RefuseManager`](Self::RefuseManager).
    LeadDomain {
        /// In which it acts.
        term: Term,
        /// When this was sent, by the clock of the sender, in nanoseconds; comes back with the answer.
        beat: u64,
        /// Its last list.
        roll: RollId,
        /// The list itself, to a standby that does not have it.
        list: Option<Roll>,
    },
    /// The receiver acts, as far as the sender is concerned, and nobody else will for a while.
    HeedManager {
        /// As the receiver said.
        term: Term,
        /// As the receiver said.
        beat: u64,
        /// The last list that the sender knows, also after a restart.
        roll: RollId,
    },
    /// A manager wants to act. Answered by [`GrantVote`](Self::GrantVote) or [`RefuseManager`](Self::RefuseManager).
    RequestVote {
        /// In which it would.
        term: Term,
        /// When this was sent, as in [`LeadDomain`](Self::LeadDomain).
        beat: u64,
        /// The last list that it has.
        roll: RollId,
        /// The answer binds. At first a manager only asks whether it would be voted for, so that it disturbs nobody if not.
        binding: bool,
    },
    /// The sender votes for the receiver.
    GrantVote {
        /// As the receiver said.
        term: Term,
        /// As the receiver said.
        beat: u64,
        /// As the receiver said.
        binding: bool,
    },
    /// The sender neither heeds the receiver nor votes for it.
    RefuseManager {
        /// The highest term that the sender has voted in or heeded somebody in.
        promised: Term,
        /// Who acted in that term, if the sender knows that somebody did.
        acted: Option<NodeId>,
        /// The last list that the sender knows.
        roll: RollId,
    },
}
