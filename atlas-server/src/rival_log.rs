//! What becomes of rivals and of late results, for who runs the machine: a server has no metrics of its own, and so says in its log when
//! closures that it has lent are begun a second time, and with what success, and when results come for which nobody waits any more, or from a session that
//! is over. It decides nothing.

use atlas_proto::stats::Stats;

/// What was said last.
#[derive(Debug, Default)]
pub(crate) struct RivalLog {
    told: (u64, u64, u64),
    late: u64,
    stale: u64,
}

impl RivalLog {
    /// The machine has counted so much.
    pub(crate) fn note(&mut self, stats: &Stats) {
        let (begun, won, wasted) = (stats.rivals_lent, stats.rivals_won, stats.rivals_wasted);
        if self.told != (begun, won, wasted) {
            self.told = (begun, won, wasted);
            let wasted_ms = stats.rivals_wasted_ms;
            tracing::info!(begun, won, wasted, wasted_ms, "rivals so far");
        }
        if self.late != stats.results_late {
            self.late = stats.results_late;
            tracing::info!(
                results = self.late,
                "results so far that came late, twice or unknown: dropped"
            );
        }
        if self.stale != stats.results_stale {
            self.stale = stats.results_stale;
            let packets = stats.packets_doubled;
            tracing::info!(
                results = self.stale,
                "results so far from sessions that were over: dropped, as were {packets} packets that came twice"
            );
        }
    }
}
