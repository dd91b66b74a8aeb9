//! The shared values of the jobs that pass through this domain: blobs that are kept as long as their jobs live.

use std::collections::{HashMap, HashSet};

use atlas_fs::BlobName;
use atlas_proto::ids::JobAlias;

/// Shared values, by this domain's names for their jobs.
#[derive(Debug, Default)]
pub(crate) struct SharedValues {
    jobs: HashMap<JobAlias, HashSet<BlobName>>,
}

impl SharedValues {
    /// A job has this value. False if it has too many.
    pub(crate) fn insert(&mut self, job: JobAlias, name: BlobName) -> bool {
        let values = self.jobs.entry(job).or_default();
        if values.len() >= VALUES_MAX && !values.contains(&name) {
            return false;
        }
        values.insert(name);
        true
    }

    /// Forgets those of jobs that have ended.
    pub(crate) fn retain(&mut self, lives: impl Fn(JobAlias) -> bool) {
        self.jobs.retain(|&job, _| lives(job));
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = BlobName> {
        self.jobs.values().flatten().copied()
    }
}

/// Shared values of one job: some MiB of names. Without more of them its closures run where they were made.
const VALUES_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> BlobName {
        BlobName::of(&number.to_le_bytes())
    }

    #[test]
    fn values_are_kept_as_long_as_their_jobs_live() {
        let mut values = SharedValues::default();
        assert!(values.insert(JobAlias(1), name(1)));
        assert!(values.insert(JobAlias(2), name(2)));
        assert!(values.insert(JobAlias(2), name(2)));
        values.retain(|job| job == JobAlias(2));
        assert_eq!(values.names().collect::<Vec<_>>(), [name(2)]);
    }

    #[test]
    fn values_of_one_job_are_bounded() {
        let mut values = SharedValues::default();
        assert!((0..VALUES_MAX).all(|number| values.insert(JobAlias(1), name(number))));
        assert!(!values.insert(JobAlias(1), name(VALUES_MAX)));
        assert!(values.insert(JobAlias(1), name(0)));
        assert!(values.insert(JobAlias(2), name(0)));
    }
}
