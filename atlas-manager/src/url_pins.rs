//! [`UrlPins`]: which version of each file by URL was the first of a job that was submitted here. **Pure.**

use std::collections::HashMap;

use atlas_proto::control::JobId;
use bytes::Bytes;

/// Versions, by jobs and the hashes of URLs.
#[derive(Debug, Default)]
pub(crate) struct UrlPins {
    jobs: HashMap<JobId, HashMap<[u8; 32], Bytes>>,
    bytes: usize,
}

/// What becomes of a version that a job has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pinned {
    /// It is the first. It is to be kept.
    First,
    /// This was the first.
    Before(Bytes),
    /// There are too many to remember one more.
    Forgotten,
}

impl UrlPins {
    /// A job has seen this version.
    pub(crate) fn pin(&mut self, job: JobId, url: [u8; 32], version: &Bytes) -> Pinned {
        let pins = self.jobs.entry(job).or_default();
        if let Some(first) = pins.get(&url) {
            return Pinned::Before(first.clone());
        }
        let size = size(version);
        if self.bytes + size > BYTES_MAX {
            return Pinned::Forgotten;
        }
        self.bytes += size;
        pins.insert(url, Bytes::copy_from_slice(version));
        Pinned::First
    }

    /// Forgets those of jobs that have ended.
    pub(crate) fn retain(&mut self, lives: impl Fn(JobId) -> bool) {
        self.jobs.retain(|&job, _| lives(job));
        let pins = self.jobs.values().flat_map(HashMap::values);
        self.bytes = pins.map(size).sum();
    }
}

fn size(version: &Bytes) -> usize {
    version.len() + OVERHEAD
}

/// Of all jobs together: some hundred thousand files.
const BYTES_MAX: usize = 16 << 20;
/// The hash, and what the tables need beside it.
const OVERHEAD: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn url(number: usize) -> [u8; 32] {
        atlas_fs::BlobName::of(&number.to_le_bytes()).0
    }

    #[test]
    fn the_first_version_of_each_job_holds_until_it_ends() {
        let mut pins = UrlPins::default();
        let [a, b] = [b"a", b"b"].map(|version| Bytes::from_static(version));
        assert_eq!(pins.pin(JobId(1), url(1), &a), Pinned::First);
        assert_eq!(pins.pin(JobId(1), url(1), &b), Pinned::Before(a.clone()));
        assert_eq!(pins.pin(JobId(1), url(2), &b), Pinned::First);
        assert_eq!(pins.pin(JobId(2), url(1), &b), Pinned::First);
        pins.retain(|job| job == JobId(2));
        assert_eq!(pins.pin(JobId(1), url(1), &b), Pinned::First);
        assert_eq!(pins.pin(JobId(2), url(1), &a), Pinned::Before(b));
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered_and_an_ended_job_makes_room() {
        let mut pins = UrlPins::default();
        let version = Bytes::from(vec![7; 4000]);
        let many =
            (0..).take_while(|&number| pins.pin(JobId(1), url(number), &version) == Pinned::First);
        let many = many.count();
        assert!(many * 4000 < BYTES_MAX && many * 5000 > BYTES_MAX, "{many}");
        assert_eq!(pins.pin(JobId(2), url(0), &version), Pinned::Forgotten);
        assert_eq!(
            pins.pin(JobId(1), url(0), &version),
            Pinned::Before(version.clone())
        );
        pins.retain(|_| false);
        assert_eq!(pins.pin(JobId(2), url(0), &version), Pinned::First);
    }
}
