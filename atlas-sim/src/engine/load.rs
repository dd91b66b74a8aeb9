//! When an engine tells its server how much it has to do, and what it tells.
//!
//! A server acts on whether there are idle workers, whether anything could be lent, and roughly how much. A
//! change of one of these is told at once; everything else at the next refresh, and only if it differs.

use std::collections::VecDeque;
use std::time::Duration;

use atlas_proto::engine::{EngineLoad, ReadyRun};
use atlas_proto::limits::READY_RUNS_MAX;
use atlas_proto::time::Time;

use super::job::Ready;
use crate::workload::kind_at;

/// What the server was told last.
#[derive(Debug, Default)]
pub(super) struct LoadReport {
    told: EngineLoad,
    /// When it was last told, or found to be still so.
    fresh_at: Time,
}

impl LoadReport {
    /// The load, if it is to be told now.
    pub(super) fn update(
        &mut self,
        now: Time,
        (idle, stopped): (u32, u32),
        ready: &VecDeque<Ready>,
    ) -> Option<EngineLoad> {
        let count = u32::try_from(ready.len()).unwrap_or(u32::MAX);
        if !self.matters((idle, stopped), count) && now < self.refresh_at() {
            return None;
        }
        self.fresh_at = now;
        let load = EngineLoad {
            idle,
            stopped,
            ready: count,
            oldest: oldest_runs(ready),
        };
        if load == self.told {
            return None;
        }
        self.told = load.clone();
        Some(load)
    }

    /// When the load is to be looked at again, whatever happens.
    pub(super) fn refresh_at(&self) -> Time {
        self.fresh_at + REFRESH_INTERVAL
    }

    /// How few ready closures matter, when there were more.
    pub(super) fn few(&self) -> u32 {
        self.told.ready / 2
    }

    fn matters(&self, (idle, stopped): (u32, u32), ready: u32) -> bool {
        let told = self.told.ready;
        (idle, stopped) != (self.told.idle, self.told.stopped)
            || (ready == 0) != (told == 0)
            || (told > 0 && (ready <= self.few() || ready / 2 >= told))
    }
}

fn oldest_runs(ready: &VecDeque<Ready>) -> Vec<ReadyRun> {
    let mut runs: Vec<ReadyRun> = Vec::new();
    for kind in ready
        .iter()
        .take(SCAN_MAX)
        .map(|ready| kind_at(ready.node.depth))
    {
        let full = runs.len() == READY_RUNS_MAX;
        match runs.last_mut() {
            Some(run) if run.kind == kind => run.closures += 1,
            _ if full => break,
            _ => runs.push(ReadyRun { kind, closures: 1 }),
        }
    }
    runs
}

/// A server's picture is at most this old.
const REFRESH_INTERVAL: Duration = Duration::from_millis(250);
/// More closures than a grant takes, and few enough to look at now and then.
const SCAN_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::TreeNode;

    #[test]
    fn a_change_by_half_or_twice_is_told_and_less_is_not() {
        let mut report = LoadReport::default();
        let mut told = |idle, count| {
            report
                .update(Time(1), (idle, 0), &ready(&[(3, count)]))
                .is_some()
        };
        assert!(told(0, 10));
        assert!(!told(0, 19) && !told(0, 6));
        assert!(told(0, 20));
        assert!(told(0, 10));
        assert!(told(1, 10) && told(2, 10));
        assert!(told(2, 1) && told(2, 0) && !told(2, 0));
    }

    #[test]
    fn small_changes_are_told_at_the_refresh() {
        let mut report = LoadReport::default();
        assert!(report.update(Time(1), (0, 0), &ready(&[(3, 10)])).is_some());
        assert!(
            report
                .update(
                    report.refresh_at() - Duration::from_nanos(1),
                    (0, 0),
                    &ready(&[(3, 11)])
                )
                .is_none()
        );
        let at = report.refresh_at();
        assert!(report.update(at, (0, 0), &ready(&[(3, 11)])).is_some());
        assert!(
            report
                .update(report.refresh_at(), (0, 0), &ready(&[(3, 11)]))
                .is_none()
        );
        assert!(report.refresh_at() > at + REFRESH_INTERVAL);
    }

    #[test]
    fn the_oldest_are_told_in_runs_of_one_kind() {
        let found = oldest_runs(&ready(&[(1, 2), (2, 1), (1, 3)]));
        let found: Vec<_> = found
            .iter()
            .map(|run| (run.kind.depth, run.closures))
            .collect();
        assert_eq!(found, [(1, 2), (2, 1), (1, 3)]);
        let many: Vec<_> = (0..20).map(|depth| (depth, 1)).collect();
        assert_eq!(oldest_runs(&ready(&many)).len(), READY_RUNS_MAX);
    }

    fn ready(runs: &[(u32, usize)]) -> VecDeque<Ready> {
        let node = |depth| Ready {
            node: TreeNode {
                seed: 0,
                budget: 0,
                depth,
            },
            parent: 0,
        };
        runs.iter()
            .flat_map(|&(depth, count)| std::iter::repeat_n(node(depth), count))
            .collect()
    }
}
