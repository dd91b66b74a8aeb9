//! A figure: one thing that differs from world to world, and what came of it under each policy.

use std::collections::BTreeMap;

use atlas_sim::report::Report;
use atlas_sim::scenario::{Policy, Scenario};

/// The worlds of one plot, and what came of them.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// The name of its file, without an extension.
    pub(super) name: &'static str,
    pub(super) title: String,
    /// What differs.
    pub(super) axis: &'static str,
    /// What does not.
    pub(super) world: String,
    /// The points lie on a scale, and lines between them mean something.
    pub(super) is_scale: bool,
    pub(super) points: Vec<Point>,
    /// By point and policy.
    pub(super) cells: BTreeMap<(usize, Policy), Cell>,
}

/// One world of a figure, to be run under each policy.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) label: String,
    /// Where it lies on the axis.
    pub(super) at: f64,
    /// One for each seed.
    pub(super) worlds: Vec<Scenario>,
    /// Policies for which this world takes too long to simulate.
    pub(super) left_out: &'static [Policy],
}

/// What came of one world under one policy, averaged over its seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) efficiency: f64,
    /// All jobs ended before the horizon; else the efficiency is no more than this.
    pub(super) finished: bool,
    /// Per server and second.
    pub(super) messages: f64,
    /// Closures that moved from one leaf domain to another.
    pub(super) moved_far: f64,
}

impl Figure {
    /// What is to be run: the number of the point, the policy, a scenario for each seed.
    pub(super) fn runs(&self) -> Vec<(usize, Policy, Vec<Scenario>)> {
        let mut runs = Vec::new();
        for (index, point) in self.points.iter().enumerate() {
            let policies = POLICIES
                .into_iter()
                .filter(|policy| !point.left_out.contains(policy));
            runs.extend(policies.map(|policy| (index, policy, point.under(policy))));
        }
        runs
    }

    /// What a reader must know to read the figure rightly.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for policy in POLICIES {
            let left_out: Vec<&str> = self
                .points
                .iter()
                .filter(|point| point.left_out.contains(&policy))
                .map(|point| point.label.as_str())
                .collect();
            if !left_out.is_empty() {
                let (policy, points) = (name(policy), left_out.join("; "));
                notes.push(format!(
                    "{policy} is not run at {points}: too long to simulate"
                ));
            }
        }
        let seeds = self.points.iter().map(|point| point.worlds.len()).max();
        let fewer = self
            .points
            .iter()
            .filter(|point| Some(point.worlds.len()) < seeds);
        notes.extend(fewer.map(|point| format!("{}: the first seed only", point.label)));
        if self.cells.values().any(|cell| !cell.finished) {
            notes.push(String::from(
                "pale: had not ended when it was given up; the efficiency is below that",
            ));
        }
        notes
    }
}

impl Point {
    fn under(&self, policy: Policy) -> Vec<Scenario> {
        let under = |world: &Scenario| Scenario {
            policy,
            ..world.clone()
        };
        self.worlds.iter().map(under).collect()
    }
}

impl Cell {
    /// The average of the reports of jobs; there is at least one.
    pub(super) fn of(reports: &[Report]) -> Self {
        let jobs = || reports.iter().filter_map(|report| report.job.as_ref());
        let moved_far = |report: &Report| report.steals.iter().skip(1).sum::<i64>();
        Self {
            efficiency: mean(jobs().map(|job| job.efficiency)),
            finished: jobs().all(|job| job.finished),
            messages: mean(reports.iter().map(|report| report.messages_per_server_s)),
            moved_far: mean(reports.iter().map(|report| float(moved_far(report)))),
        }
    }
}

/// As the command line and the documents have it.
pub(super) fn name(policy: Policy) -> String {
    format!("{policy:?}").to_lowercase()
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.fold((0.0, 0.0), |(sum, count), number| {
        (sum + number, count + 1.0)
    });
    if count > 0.0 { sum / count } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "for people and plots")]
fn float(number: i64) -> f64 {
    number as f64
}

/// In the order of legends and columns.
pub(super) const POLICIES: [Policy; 4] =
    [Policy::Atlas, Policy::Random, Policy::Crs, Policy::Central];
