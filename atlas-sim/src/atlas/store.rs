//! What the store of a manager keeps over its lives, and how it changes.

use std::collections::BTreeSet;

use atlas_proto::engine::Recorded;
use atlas_proto::job::Finished;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// The number of the domain's last life.
    pub(super) life: u64,
    /// How the job stands; none if it was not submitted here.
    pub(super) job: Option<JobState>,
    pub(super) checkpoint: Vec<Recorded>,
    /// What was recorded here of the job, if it was submitted elsewhere.
    pub(super) foreign: Vec<Recorded>,
    /// The numbers of the writes that have made it what it is, where there is a standby.
    writes: BTreeSet<u64>,
}

/// A job in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobState {
    Live,
    Ended,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Told from all others of the world.
    pub(super) number: u64,
    pub(super) what: What,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The number of a life of the domain's manager.
    Life(u64),
    /// The job is taken in.
    Accepted,
    /// Results of the job.
    Recorded(Vec<Recorded>),
    /// The job has ended so.
    Ended(Finished),
    /// Results of the job, which was submitted elsewhere.
    ForeignRecorded(Vec<Recorded>),
    /// The job has ended, which was submitted elsewhere.
    ForeignEnded,
}

impl Store {
    pub(super) fn apply(&mut self, write: &Write) {
        self.writes.insert(write.number);
        match &write.what {
            What::Life(life) => self.life = self.life.max(*life),
            What::Accepted => self.job = Some(JobState::Live),
            What::Recorded(entries) => self.checkpoint.extend(entries.iter().cloned()),
            What::Ended(_) => {
                self.job = Some(JobState::Ended);
                self.checkpoint.clear();
            }
            What::ForeignRecorded(entries) => self.foreign.extend(entries.iter().cloned()),
            What::ForeignEnded => self.foreign.clear(),
        }
    }

    /// The first of these that it lacks.
    pub(super) fn lacks(&self, writes: &BTreeSet<u64>) -> Option<u64> {
        writes.difference(&self.writes).next().copied()
    }

    /// About what it takes on a wire.
    pub(super) fn bytes(&self) -> u64 {
        recorded_bytes(&self.checkpoint) + recorded_bytes(&self.foreign)
    }
}

impl Write {
    /// About what it takes on a wire.
    pub(super) fn bytes(&self) -> u64 {
        match &self.what {
            What::Recorded(entries) | What::ForeignRecorded(entries) => recorded_bytes(entries),
            What::Life(_) | What::Accepted | What::Ended(_) | What::ForeignEnded => 0,
        }
    }
}

fn recorded_bytes(entries: &[Recorded]) -> u64 {
    entries.iter().map(|entry| entry.size() as u64).sum()
}
