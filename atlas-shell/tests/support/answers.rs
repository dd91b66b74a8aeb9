//! What the manager answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use atlas_net::enrol;
use atlas_net::identity::Role;
use atlas_net::{CloseCode, Connection, Stream, StreamError, StreamKind};
use atlas_proto::control::{
    Accepted, ClientAnswer, ClientRequest, DomainStatus, FRAME_BYTES_MAX, Files, JobId, JobState,
    JobStatus, ManagersStatus, OutputFrame, OutputStream, Refusal, ServerStatus, Submission,
    TokenRequest,
};
use atlas_proto::ids::NodeId;
use atlas_proto::message::Load;
use bytes::Bytes;

use super::{Job, Shared};

pub(super) async fn answer(
    kind: StreamKind,
    mut stream: Stream,
    connection: Connection,
    shared: Arc<Shared>,
) {
    if kind == StreamKind::Renew {
        *shared.renewals.lock().unwrap() += 1;
        let now = SystemTime::now();
        let _ = enrol::answer_renewal(
            stream,
            &connection,
            &shared.authority,
            &shared.lifetimes(),
            now,
        )
        .await;
    } else if let StreamKind::Blob { hash, .. } = kind {
        let _ = shared.blobs.answer(hash, stream).await;
    } else {
        let request = stream.recv_frame(FRAME_BYTES_MAX).await.unwrap().unwrap();
        let _ = answer_client(request, stream, &connection, &shared).await;
    }
}

async fn answer_client(
    request: ClientRequest,
    mut stream: Stream,
    connection: &Connection,
    shared: &Shared,
) -> Result<(), StreamError> {
    let answer = match request {
        ClientRequest::Submit(submission) => submit(submission, connection, shared).await,
        ClientRequest::SubmitServing { .. } | ClientRequest::Serve { .. } => {
            refuse("this manager runs no jobs that read")
        }
        ClientRequest::Jobs => {
            let jobs = shared.jobs.lock().unwrap();
            ClientAnswer::Jobs(jobs.iter().map(|job| job.status.clone()).collect())
        }
        ClientRequest::Watch { job } => return watch(job, stream, shared).await,
        ClientRequest::Output { job, skip, follow } => {
            return output(job, skip, follow, stream, connection, shared).await;
        }
        ClientRequest::Kill { job } => shared.kill(job),
        ClientRequest::Managers => ClientAnswer::Managers(ManagersStatus {
            acts: true,
            addresses: Vec::new(),
        }),
        ClientRequest::Servers => ClientAnswer::Servers(vec![ServerStatus {
            node: NodeId(0xab),
            domain: None,
            address: None,
            load: load(),
        }]),
        ClientRequest::Domains => ClientAnswer::Domains(vec![DomainStatus {
            domain: shared.authority.domain().clone(),
            load: load(),
            children: Some(1),
            connected: true,
        }]),
        ClientRequest::CreateToken(request) if connection.peer().role == Role::Admin => {
            let TokenRequest { role, uses, .. } = request;
            ClientAnswer::Token(format!("a token for a {role}, for {uses}"))
        }
        ClientRequest::CreateToken(_) => refuse("only an administrator may make tokens"),
    };
    stream.send_frame(&answer).await?;
    stream.finish()
}

async fn submit(submission: Submission, connection: &Connection, shared: &Shared) -> ClientAnswer {
    if submission.name == "refused" {
        return refuse("no job of this name is let in");
    }
    let wanted = [Some(submission.artifact), submission.inputs];
    for hash in wanted.into_iter().flatten() {
        if let Err(error) = shared.fetch(hash, connection).await {
            return refuse(&error);
        }
    }
    let mut files = None;
    if let Some(hash) = submission.inputs {
        let tree = shared.blobs.tree(hash).await.unwrap();
        for (_, file) in tree.files() {
            shared.fetch(file.blob.0, connection).await.unwrap();
        }
        files = Some(Files {
            tree: hash,
            files: tree.files().count() as u64,
            bytes: tree.bytes(),
        });
    }
    let mut jobs = shared.jobs.lock().unwrap();
    let loses = submission.command_line.contains(&b"lose-answer".to_vec());
    let known = jobs.iter().find(|job| job.submission == submission);
    if let Some(known) = known.filter(|_| loses) {
        return accept(known.status.id);
    }
    let id = JobId(jobs.len() as u64 + 1);
    let mut job = begin(id, submission);
    // It leaves what it was given.
    job.status.files = files;
    jobs.push(job);
    if loses {
        connection.close(CloseCode::Done, "the manager is stopped");
    }
    accept(id)
}

fn accept(job: JobId) -> ClientAnswer {
    ClientAnswer::Accepted(Accepted { job, workers: 4 })
}

fn begin(id: JobId, submission: Submission) -> Job {
    let args = submission.command_line.iter();
    let args: Vec<_> = args
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .collect();
    let exit = args.iter().find_map(|arg| arg.strip_prefix("exit="));
    let is = |word: &str| args.iter().any(|arg| arg == word);
    let state = if is("hang") || is("lose") {
        JobState::Running
    } else if is("fail") {
        let message = "it panicked".into();
        JobState::Failed { message }
    } else {
        let code = exit.map_or(0, |code| code.parse().unwrap());
        JobState::Exited { code }
    };
    let output = [
        format!("ran {}\n", args.join(" ")).into_bytes(),
        vec![0xff, 0, b'\n', 0xfe],
    ];
    let status = JobStatus {
        id,
        name: submission.name.clone(),
        args,
        state,
        submitted_ms: 1_700_000_000_000,
        elapsed: Duration::from_secs(2),
        closures: 9,
        work: Duration::from_secs(4),
        servers: 1,
        workers: 4,
        output_bytes: [output[0].len() as u64, output[1].len() as u64],
        files: None,
    };
    Job {
        submission,
        status,
        output,
    }
}

async fn watch(id: JobId, mut stream: Stream, shared: &Shared) -> Result<(), StreamError> {
    let mut changed = shared.changed.subscribe();
    loop {
        let Some(status) = shared.status(id) else {
            stream.send_frame(&unknown(id)).await?;
            return stream.finish();
        };
        let ended = status.state.has_ended();
        stream.send_frame(&ClientAnswer::Job(status)).await?;
        if ended {
            return stream.finish();
        }
        changed.changed().await.unwrap();
    }
}

async fn output(
    id: JobId,
    skip: [u64; 2],
    follow: bool,
    mut stream: Stream,
    connection: &Connection,
    shared: &Shared,
) -> Result<(), StreamError> {
    let mut changed = shared.changed.subscribe();
    let Some(output) = shared.output(id) else {
        stream.send_frame(&unknown(id)).await?;
        return stream.finish();
    };
    for frame in frames(&output, skip) {
        stream.send_frame(&ClientAnswer::Output(frame)).await?;
    }
    let status = shared.status(id).unwrap();
    if follow && status.args.iter().any(|arg| arg == "lose") {
        // So that what was printed has been heard.
        tokio::time::sleep(Duration::from_millis(300)).await;
        shared.print(id, b"and more\n");
        connection.close(CloseCode::Done, "the manager is stopped");
    }
    while follow && !shared.status(id).unwrap().state.has_ended() {
        changed.changed().await.unwrap();
    }
    stream.finish()
}

/// A few bytes each, and each of them with one that came before, if there is one.
fn frames(output: &[Vec<u8>; 2], skip: [u64; 2]) -> Vec<OutputFrame> {
    let mut frames = Vec::new();
    for stream in OutputStream::BOTH {
        let bytes = &output[stream.index()];
        let skip = usize::try_from(skip[stream.index()]).unwrap();
        for at in (skip..bytes.len()).step_by(3) {
            let from = at.saturating_sub(1).max(skip);
            let to = bytes.len().min(at + 3);
            frames.push(OutputFrame {
                stream,
                offset: from as u64,
                bytes: Bytes::copy_from_slice(&bytes[from..to]),
            });
        }
    }
    frames
}

impl Shared {
    async fn fetch(&self, hash: [u8; 32], connection: &Connection) -> Result<(), String> {
        if self.blobs.has(hash) {
            return Ok(());
        }
        let kind = StreamKind::Blob { hash, job: 0 };
        let stream = connection
            .open_stream(kind)
            .await
            .map_err(|error| error.to_string())?;
        let received = self.blobs.receive(hash, u64::MAX, stream).await;
        received.map_err(|error| error.to_string())
    }

    fn kill(&self, id: JobId) -> ClientAnswer {
        let mut jobs = self.jobs.lock().unwrap();
        let Some(job) = jobs.iter_mut().find(|job| job.status.id == id) else {
            return unknown(id);
        };
        if !job.status.state.has_ended() {
            job.status.state = JobState::Killed;
            self.changed.send_modify(|changes| *changes += 1);
        }
        ClientAnswer::Job(job.status.clone())
    }

    /// The last that a job prints.
    fn print(&self, id: JobId, more: &[u8]) {
        let mut jobs = self.jobs.lock().unwrap();
        let job = jobs.iter_mut().find(|job| job.status.id == id).unwrap();
        job.output[0].extend_from_slice(more);
        job.status.state = JobState::Exited { code: 0 };
        job.status.args.clear();
    }

    fn status(&self, id: JobId) -> Option<JobStatus> {
        let jobs = self.jobs.lock().unwrap();
        let job = jobs.iter().find(|job| job.status.id == id);
        job.map(|job| job.status.clone())
    }

    fn output(&self, id: JobId) -> Option<[Vec<u8>; 2]> {
        let jobs = self.jobs.lock().unwrap();
        let job = jobs.iter().find(|job| job.status.id == id);
        job.map(|job| job.output.clone())
    }
}

fn unknown(job: JobId) -> ClientAnswer {
    refuse(&format!("there is no job {job}"))
}

fn refuse(message: &str) -> ClientAnswer {
    ClientAnswer::Refused(Refusal::new(message))
}

fn load() -> Load {
    Load {
        version: 1,
        workers: 4,
        hungry: 1,
        surplus: 0,
        surplus_work: Duration::ZERO,
        reach: Duration::ZERO,
    }
}
