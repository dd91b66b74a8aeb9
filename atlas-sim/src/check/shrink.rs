//! Makes a failing scenario smaller, as long as the same invariant fails.

use crate::network::Cut;
use crate::scenario::{Border, Fault, Scenario, Speeds};

use super::{Invariant, run};

/// The smallest scenario that was found, in so many runs at most as take a minute, in which `invariant` still fails.
#[must_use]
pub fn shrink(scenario: &Scenario, invariant: Invariant) -> Scenario {
    let mut shrinker = Shrinker {
        best: scenario.clone(),
        invariant,
        runs: 0,
    };
    while shrinker.runs < RUNS_MAX {
        let before = shrinker.best.clone();
        shrinker.simplify();
        shrinker.leave_out(|scenario| &mut scenario.faults as &mut Vec<Fault>);
        shrinker.leave_out(|scenario| &mut scenario.network.cuts as &mut Vec<Cut>);
        shrinker.leave_out(|scenario| &mut scenario.borders as &mut Vec<Border>);
        shrinker.leave_out(|scenario| &mut scenario.standbys as &mut Vec<u32>);
        if shrinker.best == before {
            break;
        }
    }
    shrinker.best
}

struct Shrinker {
    best: Scenario,
    invariant: Invariant,
    runs: u32,
}

impl Shrinker {
    /// Keeps a change if the same invariant fails with it.
    fn attempt(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut smaller = self.best.clone();
        change(&mut smaller);
        if smaller == self.best || self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let fails = run(&smaller).is_err_and(|violation| violation.invariant == self.invariant);
        if fails {
            self.best = smaller;
        }
        fails
    }

    /// Whole features at a time.
    fn simplify(&mut self) {
        self.attempt(|scenario| {
            for link in scenario.network.links_mut() {
                (link.loss_ppm, link.duplication_ppm, link.reordering_ppm) = (0, 0, 0);
            }
        });
        self.attempt(|scenario| {
            scenario
                .network
                .links_mut()
                .for_each(|link| link.loss_ppm = 0);
        });
        self.attempt(|scenario| {
            scenario
                .network
                .links_mut()
                .for_each(|link| link.duplication_ppm = 0);
        });
        self.attempt(|scenario| {
            scenario
                .network
                .links_mut()
                .for_each(|link| link.reordering_ppm = 0);
        });
        self.attempt(|scenario| scenario.disks_stick = false);
        self.attempt(|scenario| scenario.speeds = Speeds::Equal);
        self.attempt(|scenario| scenario.workers = 1);
        self.attempt(|scenario| scenario.levels = 1);
        self.attempt(|scenario| scenario.levels = scenario.levels.min(2));
        while self.attempt(|scenario| scenario.servers = scenario.servers.div_ceil(2)) {}
        while self.attempt(|scenario| scenario.servers = (scenario.servers - 1).max(1)) {}
        while self.attempt(|scenario| {
            if let Some(workload) = &mut scenario.workload {
                workload.total_work = (workload.total_work / 2).max(workload.granularity);
            }
        }) {}
    }

    /// Halves of a list first, then one entry after the other.
    fn leave_out<T: Clone>(&mut self, list: impl Fn(&mut Scenario) -> &mut Vec<T>) {
        let mut length = list(&mut self.best).len();
        while length > 0 {
            let mut start = 0;
            while start < list(&mut self.best).len() {
                let gone = self.attempt(|scenario| {
                    let entries = list(scenario);
                    let end = (start + length).min(entries.len());
                    entries.drain(start..end);
                });
                start += if gone { 0 } else { length };
            }
            length /= 2;
        }
    }
}

/// A minute or so for the worlds of a swarm.
const RUNS_MAX: u32 = 400;
