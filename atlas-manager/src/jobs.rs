//! The jobs that were submitted here: how they stand, for people. What is done for them is the machine's business.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlas_engine::Failure;
use atlas_fs::BlobName;
use atlas_proto::control::{
    Files, FilesName, JobId, JobProgress, JobState, JobStatus, NativeOptions,
};
use atlas_proto::ids::{GlobalJobId, JobAlias, NodeId};
use atlas_proto::job::{Finished, Outcome};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::output::Sink;

/// What the store keeps of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    pub(crate) status: JobStatus,
    /// What others keep of it is kept under this.
    pub(crate) global_id: GlobalJobId,
    pub(crate) engine: String,
    pub(crate) artifact: [u8; 32],
    /// As the engine is told.
    pub(crate) options: Vec<u8>,
    /// The arguments of its root closure.
    pub(crate) root: Vec<u8>,
    /// The blobs that it needs as long as it has not ended.
    pub(crate) needs: Vec<[u8; 32]>,
    /// The blobs that it has left.
    pub(crate) left: Vec<[u8; 32]>,
}

impl JobRecord {
    /// What its client's files are called, if that serves some.
    pub(crate) fn files(&self) -> Option<FilesName> {
        NativeOptions::from_bytes(&self.options).ok()?.files
    }
}

/// A job at hand.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) record: JobRecord,
    pub(crate) status: watch::Sender<JobStatus>,
    pub(crate) output: Arc<Sink>,
    /// Since when it runs.
    began: Option<Instant>,
    /// What each neighbour has told last.
    progress: HashMap<NodeId, JobProgress>,
    /// What those told who are gone.
    past: (u64, Duration),
}

/// All that are remembered.
#[derive(Debug, Default)]
pub(crate) struct JobTable {
    jobs: BTreeMap<JobId, Job>,
    /// Those that have not ended, by what the machine calls them.
    live: HashMap<JobAlias, JobId>,
}

impl Job {
    fn new(record: JobRecord, output: Arc<Sink>) -> Self {
        let status = watch::Sender::new(record.status.clone());
        Self {
            record,
            status,
            output,
            began: None,
            progress: HashMap::new(),
            past: (0, Duration::ZERO),
        }
    }

    /// Changes how it stands, and tells those who watch.
    fn change(&mut self, change: impl FnOnce(&mut JobStatus)) {
        let status = &mut self.record.status;
        change(status);
        status.output_bytes = *self.output.bytes().borrow();
        if let Some(began) = self.began.filter(|_| !status.state.has_ended()) {
            status.elapsed = began.elapsed();
        }
        self.status.send_if_modified(|told| {
            let changed = told != status;
            told.clone_from(status);
            changed
        });
    }

    fn sum_up(&mut self) {
        let all = self.progress.values();
        let closures = self.past.0 + all.clone().map(|one| one.closures).sum::<u64>();
        let work = self.past.1 + all.clone().map(|one| one.work).sum::<Duration>();
        let servers = all.clone().map(|one| one.servers).sum();
        let workers = all.map(|one| one.workers).sum();
        self.change(|status| {
            status.closures = status.closures.max(closures);
            status.work = status.work.max(work);
            (status.servers, status.workers) = (servers, workers);
        });
    }
}

impl JobTable {
    pub(crate) fn insert(&mut self, alias: Option<JobAlias>, record: JobRecord, output: Arc<Sink>) {
        let id = record.status.id;
        self.jobs.insert(id, Job::new(record, output));
        if let Some(alias) = alias {
            self.live.insert(alias, id);
        }
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }

    /// Which job is called so everywhere.
    pub(crate) fn by_global_id(&self, global_id: GlobalJobId) -> Option<JobId> {
        let mut jobs = self.jobs.iter();
        let found = jobs.find(|(_, job)| job.record.global_id == global_id);
        found.map(|(&id, _)| id)
    }

    /// What the machine calls a job that has not ended.
    pub(crate) fn alias(&self, id: JobId) -> Option<JobAlias> {
        let mut live = self.live.iter();
        live.find(|(_, live)| **live == id).map(|(&alias, _)| alias)
    }

    pub(crate) fn by_alias(&self, alias: JobAlias) -> Option<&Job> {
        self.jobs.get(self.live.get(&alias)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// Notes which jobs wait for somebody to run them: those whose root is here, as `root_is_here` says. A job whose servers are
    /// all gone waits again.
    pub(crate) fn note_waiting(&mut self, root_is_here: impl Fn(JobAlias) -> bool) {
        for (&alias, id) in &self.live {
            let Some(job) = self.jobs.get_mut(id) else {
                continue;
            };
            let state = if root_is_here(alias) {
                JobState::Waiting
            } else {
                JobState::Running
            };
            if job.record.status.state != state {
                if state == JobState::Running {
                    job.began.get_or_insert_with(Instant::now);
                }
                job.change(|status| status.state = state);
            }
        }
    }

    /// A neighbour has told how the job goes on below it.
    pub(crate) fn progress(&mut self, alias: JobAlias, from: NodeId, progress: JobProgress) {
        if let Some(job) = self.live_job(alias) {
            job.progress.insert(from, progress);
            job.sum_up();
        }
    }

    /// A neighbour is gone; what it has told before still counts.
    pub(crate) fn forget_neighbour(&mut self, from: NodeId) {
        for job in self.jobs.values_mut() {
            if let Some(progress) = job.progress.remove(&from) {
                job.past.0 += progress.closures;
                job.past.1 += progress.work;
                job.sum_up();
            }
        }
    }

    /// The job's root has left these files.
    pub(crate) fn note_files(&mut self, id: JobId, files: Files, blobs: Vec<[u8; 32]>) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.record.left = blobs;
        if job.record.status.state.has_ended() {
            // Those who watch are told with its end.
            job.record.status.files = Some(files);
        } else {
            job.change(|status| status.files = Some(files));
        }
    }

    /// The job's root has ended so. Nobody is told before [`JobTable::tell`].
    pub(crate) fn finish(&mut self, alias: JobAlias, finished: &Finished) -> Option<JobRecord> {
        let state = match &finished.outcome {
            Outcome::Value(code) => match code[..] {
                [code] => JobState::Exited { code },
                _ => no_exit_code(),
            },
            Outcome::Blob { .. } => no_exit_code(),
            Outcome::Panic(failure) => JobState::Failed {
                message: explain(&Failure::from_bytes(failure)),
            },
        };
        let work = finished.work;
        self.end(alias, |status| {
            status.state = state;
            // Servers tell of processors now and then; of a short job nobody has.
            if status.work.is_zero() {
                status.work = work;
            }
        })
    }

    pub(crate) fn kill(&mut self, alias: JobAlias) -> Option<JobRecord> {
        self.end(alias, |status| status.state = JobState::Killed)
    }

    /// The blobs that are wanted: what live jobs need, and what jobs have left.
    pub(crate) fn wanted_blobs(&self) -> HashSet<BlobName> {
        let wanted = |job: &Job| {
            let needs = job.record.needs.clone();
            let ended = job.record.status.state.has_ended();
            let needs = if ended { Vec::new() } else { needs };
            needs.into_iter().chain(job.record.left.clone())
        };
        self.iter().flat_map(wanted).map(BlobName).collect()
    }

    /// Forgets the oldest of those that have ended, beyond so many.
    pub(crate) fn forget_old(&mut self) -> Vec<JobId> {
        let ended = self.jobs.iter();
        let ended = ended.filter(|(_, job)| job.record.status.state.has_ended());
        let ended: Vec<JobId> = ended.map(|(&id, _)| id).collect();
        let old = &ended[..ended.len().saturating_sub(ENDED_JOBS_MAX)];
        for id in old {
            if let Some(job) = self.jobs.remove(id) {
                job.output.remove();
            }
        }
        old.to_vec()
    }

    /// Tells those who watch a job how it stands, now that this is safe.
    pub(crate) fn tell(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.change(|_| {});
        }
    }

    fn live_job(&mut self, alias: JobAlias) -> Option<&mut Job> {
        self.jobs.get_mut(self.live.get(&alias)?)
    }

    fn end(&mut self, alias: JobAlias, change: impl FnOnce(&mut JobStatus)) -> Option<JobRecord> {
        let id = self.live.remove(&alias)?;
        let job = self.jobs.get_mut(&id)?;
        // Nothing changes any more, so that nobody hears of the end before it is safe.
        job.progress.clear();
        let elapsed = job.began.map(|began| began.elapsed());
        let status = &mut job.record.status;
        change(status);
        (status.servers, status.workers) = (0, 0);
        status.elapsed = elapsed.unwrap_or(status.elapsed);
        status.output_bytes = *job.output.bytes().borrow();
        Some(job.record.clone())
    }
}

fn no_exit_code() -> JobState {
    JobState::Failed {
        message: "the program's `main` has returned what is no exit code".into(),
    }
}

/// A failure in a sentence.
fn explain(failure: &Failure) -> String {
    match failure {
        Failure::Panicked {
            task: Some(task),
            message,
        } => format!("task `{task}` panicked: {message}"),
        Failure::Panicked {
            task: None,
            message,
        } => message.clone(),
        Failure::Refused { reason } => format!("the job's root cannot be run: {reason}"),
    }
}

/// So many jobs that have ended are remembered, with their output.
const ENDED_JOBS_MAX: usize = 1000;
