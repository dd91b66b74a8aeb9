//! How a job is taken in: what is kept of it is safe before anything else is done for it, and before anybody is told. So a job
//! that cannot be kept is refused, and leaves nothing but what may have reached the disk before that failed, which is to be forgotten when there
//! is room.
//!
//! A client that has lost its connection before the answer cannot know whether there is a job, and so asks again. It is the same job by what it
//! is called everywhere ([`number`]), which is kept with its record: in this life of the manager, the next one, or at a standby that acts.
//!
//! ```text
//! Ask::Submit -> newcomer, its record on the way to the disk -> Ask::Kept -> job, Accepted
//!                                                                        \-> forgotten, Refusal
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atlas_engine::CommandLine;
use atlas_fs::BlobName;
use atlas_fs::daemon::chain;
use atlas_proto::control::{
    Accepted, FilesName, JobId, JobState, JobStatus, NATIVE, NativeOptions, Refusal, Submission,
};
use atlas_proto::ids::{GlobalJobId, NodeId};

use crate::ask::{Ask, Reply, Taken};
use crate::jobs::JobRecord;
use crate::output::Sink;
use crate::run::Loop;
use crate::store::{SaveError, now_ms};

/// Jobs whose records are on the way to the disk, or to a standby.
#[derive(Debug, Default)]
pub(crate) struct Newcomers(BTreeMap<JobId, Newcomer>);

#[derive(Debug)]
struct Newcomer {
    record: JobRecord,
    output: Arc<Sink>,
    files: Option<FilesName>,
    reply: Reply<Result<Accepted, Refusal>>,
}

impl Newcomers {
    /// What they need must not go before they begin.
    pub(crate) fn wanted_blobs(&self) -> impl Iterator<Item = BlobName> {
        let needs = self.0.values().flat_map(|newcomer| &newcomer.record.needs);
        needs.copied().map(BlobName)
    }

    fn by_global_id(&mut self, global_id: GlobalJobId) -> Option<&mut Newcomer> {
        let mut newcomers = self.0.values_mut();
        newcomers.find(|newcomer| newcomer.record.global_id == global_id)
    }
}

/// What a job is called everywhere: the same for all that is the same of one user's submission, so that who asks again has not another job,
/// and for nothing else, so that nobody finds what was recorded of another.
pub(crate) fn number(
    user: NodeId,
    submission: &Submission,
    files: Option<FilesName>,
) -> Result<GlobalJobId, Refusal> {
    let said = postcard::to_stdvec(&(user, submission, files)).map_err(Refusal::new)?;
    let BlobName(hash) = BlobName::of(&said);
    let (half, _) = hash.split_first_chunk().expect("a hash has 32 bytes");
    Ok(GlobalJobId(u128::from_le_bytes(*half)))
}

impl Loop {
    /// Takes a job in, which begins when it is safe; none that was taken in before.
    pub(crate) fn take_in(&mut self, taken: Taken, reply: Reply<Result<Accepted, Refusal>>) {
        if let Some(job) = self.jobs.by_global_id(taken.global_id) {
            let workers = self.workers();
            let _ = reply.send(Ok(Accepted { job, workers }));
            return;
        }
        if let Some(newcomer) = self.newcomers.by_global_id(taken.global_id) {
            // Whoever asked before has lost the connection.
            newcomer.reply = reply;
            return;
        }
        let id = JobId(self.last_job + 1);
        let files = taken.files;
        let opened = record(id, taken).and_then(|record| {
            let output = self.sink(id).map_err(|error| Refusal::new(chain(&error)))?;
            Ok((record, output))
        });
        let (record, output) = match opened {
            Ok(opened) => opened,
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        self.last_job = id.0;
        let saved = self.shared.store.save_new_job(record.clone());
        let newcomer = Newcomer {
            record,
            output,
            files,
            reply,
        };
        self.newcomers.0.insert(id, newcomer);
        let asker = self.shared.asker.clone();
        tokio::spawn(async move { asker.tell(Ask::Kept(id, saved.safe().await)).await });
    }

    /// A job is safe, and begins; or it cannot be kept, and does not.
    pub(crate) fn begin_kept(&mut self, id: JobId, kept: Result<(), SaveError>) {
        let Some(newcomer) = self.newcomers.0.remove(&id) else {
            return;
        };
        let Newcomer {
            record,
            output,
            files,
            reply,
        } = newcomer;
        let begun = match kept {
            // Whoever acts now may have it, and begin it: the client is told that this manager ends, and asks there.
            Err(SaveError::Stopped) => return,
            Ok(()) => self.submit(&record).map_err(Refusal::new),
            Err(error) => Err(Refusal::new(format_args!("the job does not run: {error}"))),
        };
        let answer = match begun {
            Ok(alias) => {
                self.jobs.insert(Some(alias), record, output);
                if let Some(files) = files {
                    self.shared.client_files.begin(id, files);
                }
                let workers = self.workers();
                Ok(Accepted { job: id, workers })
            }
            Err(refusal) => {
                // What was written before the disk failed may be there all the same.
                self.shared.store.forget(vec![id]);
                output.remove();
                Err(refusal)
            }
        };
        let _ = reply.send(answer);
    }
}

/// What is kept of a job that begins.
fn record(id: JobId, taken: Taken) -> Result<JobRecord, Refusal> {
    let Taken {
        global_id,
        submission,
        needs,
        files,
    } = taken;
    if submission.engine != NATIVE {
        return Err(Refusal::new(format_args!(
            "this domain has no engine of the kind `{}`: submit a native program",
            submission.engine
        )));
    }
    let options = NativeOptions {
        name: submission.name.clone(),
        command_line: submission.command_line.clone(),
        inputs: submission.inputs,
        files,
    };
    let args = submission.command_line.iter();
    let status = JobStatus {
        id,
        name: submission.name,
        args: args
            .map(|arg| String::from_utf8_lossy(arg).into_owned())
            .collect(),
        state: JobState::Waiting,
        submitted_ms: now_ms(),
        elapsed: Duration::ZERO,
        closures: 0,
        work: Duration::ZERO,
        servers: 0,
        workers: 0,
        output_bytes: [0; 2],
        files: None,
    };
    Ok(JobRecord {
        status,
        global_id,
        engine: submission.engine,
        artifact: submission.artifact,
        options: options.to_bytes().map_err(Refusal::new)?.to_vec(),
        root: CommandLine(submission.command_line).to_args().to_vec(),
        needs,
        left: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use atlas_proto::control::SubmissionNumber;

    use super::*;

    #[test]
    fn only_the_same_submission_of_the_same_user_is_the_same_job() {
        let submission = Submission {
            name: "program".into(),
            engine: NATIVE.into(),
            artifact: [1; 32],
            command_line: vec![b"7".to_vec()],
            inputs: None,
            number: SubmissionNumber([2; 16]),
        };
        let of = |user: u64, submission: &Submission, files| {
            number(NodeId(user), submission, files).unwrap()
        };
        let first = of(1, &submission, None);
        assert_eq!(of(1, &submission.clone(), None), first);
        let (mut later, mut other) = (submission.clone(), submission.clone());
        later.number = SubmissionNumber([3; 16]);
        other.command_line = vec![b"8".to_vec()];
        let others = [
            of(2, &submission, None),
            of(1, &later, None),
            of(1, &other, None),
            of(1, &submission, Some(FilesName([4; 16]))),
        ];
        assert!(!others.contains(&first), "{others:?} and {first}");
    }
}
