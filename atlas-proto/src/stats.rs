//! What a machine counts, for metrics and tests.

use std::time::Duration;

use crate::message::Message;

/// Counters since the machine began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Steals that this node has asked for.
    pub steals_asked: u64,
    /// Steals that this node has refused or could not satisfy (further).
    pub steals_refused: u64,
    /// Closures that this node has lent.
    pub closures_lent: u64,
    /// Closures that this node was lent.
    pub closures_borrowed: u64,
    /// Results that came for a lease that was over, or never was: dropped.
    pub results_late: u64,
    /// Results in packets of sessions that are over, as often as they came: dropped. What was lent in a session ends with it.
    pub results_stale: u64,
    /// Packets with a message that had come before: dropped.
    pub packets_doubled: u64,
    /// Closures that a borrower gave back, or lost with it: ready again.
    pub closures_requeued: u64,
    /// Closures that were begun a second time because their borrower was late.
    pub rivals_lent: u64,
    /// Those of which the second was first.
    pub rivals_won: u64,
    /// Those of which the second was stopped, or lost.
    pub rivals_wasted: u64,
    /// What these took at most, in milliseconds of a worker.
    pub rivals_wasted_ms: u64,
    /// Closures that an engine offered and that are too large to leave their machine.
    pub closures_too_large: u64,
    /// Results that were recorded: by engines of this node, or by children.
    pub results_recorded: u64,
    /// Results of jobs that an earlier life has kept, or that were kept while nobody here knew of the job.
    pub results_restored: u64,
    /// Closures whose lender was lost, and that went on.
    pub orphans: u64,
    /// Those of them that had a lender again in time.
    pub orphans_adopted: u64,
    /// Those that finished in time without one, and results that had not reached a lost lender.
    pub orphans_finished: u64,
    /// Times that a checkpoint was asked for.
    pub checkpoints_asked: u64,
    /// Memberships or sessions that ended without a word. A server is not told whether a sibling left or was lost: there
    /// both count.
    pub peers_lost: u64,
}

impl Stats {
    /// A message came in a session that is over, and is dropped.
    pub(crate) fn note_stale(&mut self, message: &Message) {
        if let Message::ReturnResults { results } = message {
            self.results_stale += u64::try_from(results.len()).unwrap_or(u64::MAX);
        }
    }

    /// A rival was not first, and has taken so much.
    pub(crate) fn note_wasted(&mut self, took: Duration) {
        self.rivals_wasted += 1;
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.rivals_wasted_ms = self.rivals_wasted_ms.saturating_add(ms);
    }
}
