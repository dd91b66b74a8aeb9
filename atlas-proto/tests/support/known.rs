//! Numbers that a machine has used lately, so that peers can use them, too.

use atlas_proto::ids::{JobAlias, NodeId};

use super::choices::Choices;

/// Numbers that the machine has used lately.
#[derive(Default)]
pub(crate) struct Known {
    /// With who has them.
    pub(crate) leases: Vec<(NodeId, u64)>,
    pub(crate) requests: Vec<u64>,
    pub(crate) jobs: Vec<u64>,
    pub(crate) tickets: Vec<(JobAlias, u64)>,
    pub(crate) questions: Vec<(JobAlias, u64)>,
}

impl Known {
    /// A lease of the peer's mostly, or of another's, or any.
    pub(crate) fn lease(&self, peer: NodeId, choices: &mut Choices) -> u64 {
        let own: Vec<u64> = self
            .leases
            .iter()
            .filter(|(borrower, _)| *borrower == peer)
            .map(|&(_, lease)| lease)
            .collect();
        match choices.below(8) {
            0 => choices.number(),
            1 if !self.leases.is_empty() => choices.one_of(&self.leases).1,
            _ => own.pick(choices),
        }
    }
}

/// A list that forgets what is old.
pub(crate) trait Learn<T> {
    fn learn(&mut self, item: T);
}

impl<T: PartialEq> Learn<T> for Vec<T> {
    fn learn(&mut self, item: T) {
        self.retain(|known| *known != item);
        if self.len() >= KNOWN_MAX {
            self.remove(0);
        }
        self.push(item);
    }
}

/// One of those that are known, or any.
pub(crate) trait Pick {
    fn pick(&self, choices: &mut Choices) -> u64;
}

impl Pick for Vec<u64> {
    fn pick(&self, choices: &mut Choices) -> u64 {
        match choices.below(6) {
            0 => choices.number(),
            _ if self.is_empty() => choices.number(),
            _ => choices.one_of(self),
        }
    }
}

/// One of those that are known with their job, or any, of any job.
pub(crate) trait PickOf {
    fn pick(&self, job: JobAlias, choices: &mut Choices) -> (JobAlias, u64);
}

impl PickOf for Vec<(JobAlias, u64)> {
    fn pick(&self, job: JobAlias, choices: &mut Choices) -> (JobAlias, u64) {
        match choices.below(6) {
            0 => (job, choices.number()),
            _ if self.is_empty() => (job, choices.number()),
            1 => (job, choices.one_of(self).1),
            _ => choices.one_of(self),
        }
    }
}

/// Numbers are forgotten beyond so many.
const KNOWN_MAX: usize = 24;
