//! What a checker may see of a node beyond what its driver needs: sessions and what waits in them.
//!
//! Read only. A simulator compares both sides of a session with these views to tell whether what one side has
//! lent is still known to the other, or on its way.

use crate::ids::{Epoch, LeaseId, NodeId};
use crate::link::Link;
use crate::manager::Manager;
use crate::message::Message;
use crate::server::Server;

/// One side of an open session.
#[derive(Clone, Copy, Debug)]
pub struct SessionView<'a>(&'a Link);

impl<'a> SessionView<'a> {
    /// This side's epoch and the other's, as this side counts them.
    #[must_use]
    pub fn epochs(self) -> (Epoch, Epoch) {
        (self.0.mine(), self.0.theirs())
    }

    /// The last sequenced message that was delivered here.
    #[must_use]
    pub fn received(self) -> u32 {
        self.0.received()
    }

    /// The messages of this side that the other has not acknowledged, with their numbers, oldest first.
    pub fn unacknowledged(self) -> impl Iterator<Item = (u32, &'a Message)> {
        self.0.unacknowledged()
    }
}

impl Server {
    /// The session with `peer`, while there is one.
    #[must_use]
    pub fn session_view(&self, peer: NodeId) -> Option<SessionView<'_>> {
        self.sessions.link(peer).map(SessionView)
    }

    /// The leases of `lender` whose results are here and not sent yet.
    pub fn waiting_results(&self, lender: NodeId) -> impl Iterator<Item = LeaseId> {
        self.results.waiting(lender)
    }
}

impl Manager {
    /// The session with `peer`, while there is one.
    #[must_use]
    pub fn session_view(&self, peer: NodeId) -> Option<SessionView<'_>> {
        self.sessions.link(peer).map(SessionView)
    }

    /// The leases of `lender` whose results are here and not sent yet.
    pub fn waiting_results(&self, lender: NodeId) -> impl Iterator<Item = LeaseId> {
        self.results.waiting(lender)
    }
}
