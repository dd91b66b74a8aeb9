//! Answers to clients, whether they come over the network or over the administrator's socket.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use atlas_fs::BlobName;
use atlas_fs::daemon::chain;
use atlas_fs::exchange;
use atlas_net::enrol::{self, Lifetimes};
use atlas_net::identity::{Role, Secret, Token, Tokens};
use atlas_net::{CloseCode, Connection, Stream, StreamKind};
use atlas_proto::control::{
    CLIENT_TOPIC, ClientAnswer, ClientRequest, FRAME_BYTES_MAX, FilesKey, FilesName, JobId,
    JobState, JobStatus, ManagersStatus, OutputStream, Refusal, Submission, TokenRequest,
};
use atlas_proto::ids::JobAlias;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::ask::{Ask, Taken, Watched};
use crate::core::Core;
use crate::local::LocalStream;
use crate::node::Shared;
use crate::submit;

/// Answers clients.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    shared: Arc<Shared>,
}

/// Where answers go.
pub(crate) enum Way<'a> {
    /// A client's stream, on this connection.
    Remote(&'a mut Stream, &'a Connection),
    /// The administrator's socket.
    Local(&'a mut LocalStream),
}

/// Whoever asked is gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl Way<'_> {
    async fn tell(&mut self, answer: &ClientAnswer) -> Result<(), Gone> {
        match self {
            Self::Remote(stream, _) => stream.send_frame(answer).await.map_err(|_| Gone),
            Self::Local(stream) => stream.send(answer).await.map_err(|_| Gone),
        }
    }

    async fn refuse(&mut self, why: impl Into<Refusal>) -> Result<(), Gone> {
        self.tell(&ClientAnswer::Refused(why.into())).await
    }
}

impl Clients {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Answers a client's streams as long as it is connected, and as long as this manager acts or never did.
    pub(crate) async fn serve(connection: Connection, core: Arc<Core>) {
        let mut acting = core.acting.subscribe();
        let acted = acting.borrow_and_update().is_some();
        loop {
            tokio::select! {
                opened = connection.accept_stream() => match opened {
                    Ok((kind, stream)) => serve_stream(kind, stream, &connection, &core),
                    Err(_) => return,
                },
                _ = acting.changed(), if acted => {
                    connection.close(CloseCode::Done, "another manager acts: ask there");
                    return;
                }
            }
        }
    }

    /// Answers one question to a manager that acts, or to one that does not.
    pub(crate) async fn answer_at(
        core: &Core,
        request: ClientRequest,
        mut way: Way<'_>,
    ) -> Result<(), Gone> {
        let acting = core.shared();
        if request == ClientRequest::Managers {
            let acts = acting.is_some();
            let addresses = core.standing.addresses();
            let status = ManagersStatus { acts, addresses };
            return way.tell(&ClientAnswer::Managers(status)).await;
        }
        match acting {
            Some(shared) => Self::new(shared).answer(request, way).await,
            None => way.refuse(stands_by(core)).await,
        }
    }

    /// Answers one question.
    async fn answer(&self, request: ClientRequest, mut way: Way<'_>) -> Result<(), Gone> {
        let asker = &self.shared.asker;
        let answer = match request {
            ClientRequest::Submit(submission) => return self.submit(submission, None, way).await,
            ClientRequest::SubmitServing { submission, files } => {
                return self.submit(submission, Some(files), way).await;
            }
            ClientRequest::Serve { job, key } => Some(self.attend(job, key, &way)),
            ClientRequest::Watch { job } => return self.watch(job, way).await,
            ClientRequest::Output { job, skip, follow } => {
                return self.output(job, skip, follow, way).await;
            }
            ClientRequest::CreateToken(wanted) => match self.create_token(wanted, &way).await {
                Ok(token) => Some(ClientAnswer::Token(token)),
                Err(refusal) => Some(ClientAnswer::Refused(refusal)),
            },
            ClientRequest::Kill { job } => return self.kill(job, way).await,
            ClientRequest::Jobs => asker.ask(Ask::Jobs).await.map(ClientAnswer::Jobs),
            ClientRequest::Servers => asker.ask(Ask::Servers).await.map(ClientAnswer::Servers),
            ClientRequest::Domains => asker.ask(Ask::Domains).await.map(ClientAnswer::Domains),
            // Answered whether this manager acts or not.
            ClientRequest::Managers => None,
        };
        match answer {
            Some(answer) => way.tell(&answer).await,
            None => way.refuse(ENDING).await,
        }
    }

    async fn kill(&self, job: JobId, mut way: Way<'_>) -> Result<(), Gone> {
        let asked = self.shared.asker.ask(|reply| Ask::Kill(job, reply));
        let Some(Watched { mut status, .. }) = asked.await.flatten() else {
            return way.refuse(unknown(job)).await;
        };
        // That is told when it is safe.
        let ended = status.wait_for(|status| status.state.has_ended());
        let _ = timeout(SAFE_TIMEOUT, ended).await;
        let told = status.borrow().clone();
        way.tell(&ClientAnswer::Job(told)).await
    }

    /// The client serves files from now on.
    fn attend(&self, job: JobId, key: FilesKey, way: &Way<'_>) -> ClientAnswer {
        let Way::Remote(_, client) = way else {
            return ClientAnswer::Refused("files are served by whoever submits a job".into());
        };
        match self.shared.client_files.serve(job, key, client) {
            Ok(()) => ClientAnswer::Serving,
            Err(error) => ClientAnswer::Refused(Refusal::new(error)),
        }
    }

    async fn submit(
        &self,
        submission: Submission,
        files: Option<FilesName>,
        mut way: Way<'_>,
    ) -> Result<(), Gone> {
        let Way::Remote(_, client) = &way else {
            return way
                .refuse("log in with `atlas-shell login TOKEN`, and submit from there")
                .await;
        };
        let client = (*client).clone();
        let needs = match self.fetch(&client, &submission).await {
            Ok(needs) => needs,
            Err(refusal) => return way.refuse(refusal).await,
        };
        let global_id = match submit::number(client.peer().node, &submission, files) {
            Ok(number) => number,
            Err(refusal) => return way.refuse(refusal).await,
        };
        let taken = Taken {
            global_id,
            submission,
            needs,
            files,
        };
        let asked = self.shared.asker.ask(|reply| Ask::Submit(taken, reply));
        match asked.await {
            Some(Ok(accepted)) => way.tell(&ClientAnswer::Accepted(accepted)).await,
            Some(Err(refusal)) => way.refuse(refusal).await,
            None => way.refuse(ENDING).await,
        }
    }

    /// Fetches from the client what the domain lacks: each blob once, whoever needs it. Gives all that the job needs.
    async fn fetch(
        &self,
        client: &Connection,
        submission: &Submission,
    ) -> Result<Vec<[u8; 32]>, Refusal> {
        let blobs = &self.shared.blobs;
        let failed = |error: &(dyn std::error::Error + 'static)| {
            let text = chain(error);
            Refusal::new(format_args!(
                "the manager cannot get the job's files: {text}"
            ))
        };
        let artifact = BlobName(submission.artifact);
        let mut needs = vec![artifact.0];
        let fetched = blobs.fetch(client, OF_NO_JOB, artifact).await;
        fetched.map_err(|error| failed(&error))?;
        if let Some(inputs) = submission.inputs {
            let fetched = blobs.fetch_tree(client, OF_NO_JOB, BlobName(inputs)).await;
            let (_, names) = fetched.map_err(|error| failed(&error))?;
            needs.extend(names.iter().map(|name| name.0));
        }
        Ok(needs)
    }

    async fn watch(&self, job: JobId, mut way: Way<'_>) -> Result<(), Gone> {
        let Some(Watched { mut status, .. }) = self.watched(job).await else {
            return way.refuse(unknown(job)).await;
        };
        loop {
            let told = status.borrow_and_update().clone();
            let ended = told.state.has_ended();
            way.tell(&ClientAnswer::Job(told)).await?;
            let next = Instant::now() + WATCH_INTERVAL;
            if ended || status.changed().await.is_err() {
                return Ok(());
            }
            // What changes often is told now and then, its end at once.
            tokio::select! {
                () = sleep_until(next) => {}
                _ = status.wait_for(|status| status.state.has_ended()) => {}
            }
        }
    }

    async fn output(
        &self,
        job: JobId,
        skip: [u64; 2],
        follow: bool,
        mut way: Way<'_>,
    ) -> Result<(), Gone> {
        let Some(Watched { mut status, output }) = self.watched(job).await else {
            return way.refuse(unknown(job)).await;
        };
        let (mut bytes, mut at) = (output.bytes(), skip);
        loop {
            let ended = has_ended(&mut status);
            bytes.borrow_and_update();
            for stream in OutputStream::BOTH {
                loop {
                    let piece = match output.read(stream, at[stream.index()]) {
                        Ok(Some(piece)) => piece,
                        Ok(None) => break,
                        Err(error) => {
                            let why = format!("the output of job {job} cannot be read: {error}");
                            return way.refuse(why).await;
                        }
                    };
                    at[stream.index()] += u64::try_from(piece.bytes.len()).unwrap_or(0);
                    way.tell(&ClientAnswer::Output(piece)).await?;
                }
            }
            if ended || !follow {
                return Ok(());
            }
            tokio::select! {
                changed = bytes.changed() => if changed.is_err() { return Ok(()) },
                changed = status.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        let tokens = self.shared.tokens.lock();
        tokens.unwrap_or_else(PoisonError::into_inner)
    }

    async fn watched(&self, job: JobId) -> Option<Watched> {
        let asked = self.shared.asker.ask(|reply| Ask::Watch(job, reply));
        asked.await.flatten()
    }

    async fn create_token(&self, wanted: TokenRequest, way: &Way<'_>) -> Result<String, Refusal> {
        let TokenRequest {
            role,
            lifetime,
            uses,
            addresses,
        } = wanted;
        let role: Role = role.parse().map_err(Refusal::new)?;
        let secret = Secret::generate().map_err(Refusal::new)?;
        let saved = {
            let mut tokens = self.tokens();
            if let Way::Remote(_, client) = way {
                may_create(client.peer().role, role, lifetime, &tokens)?;
            }
            let created = tokens.create(SystemTime::now(), &secret, role, lifetime, uses);
            created.map_err(Refusal::new)?;
            // The store gets them in the order of their changes.
            self.shared.store.save_new_token(tokens.clone())
        };
        if let Err(error) = saved.safe().await {
            self.tokens().withdraw(&secret);
            return Err(Refusal::new(format_args!("no token is made: {error}")));
        }
        match way {
            Way::Remote(_, client) => {
                let peer = client.peer();
                tracing::info!(%peer, %role, ?lifetime, uses, "an administrator has made a token from afar");
            }
            Way::Local(_) => tracing::info!(%role, ?lifetime, uses, "a token was made here"),
        }
        let addresses = if addresses.is_empty() {
            self.shared.core.standing.addresses()
        } else {
            addresses
        };
        let token = Token {
            domain: self.shared.domain.clone(),
            role,
            addresses,
            authority: self.shared.authority().fingerprint(),
            secret,
        };
        Ok(token.to_string())
    }
}

fn serve_stream(kind: StreamKind, mut stream: Stream, connection: &Connection, core: &Arc<Core>) {
    let (connection, core) = (connection.clone(), core.clone());
    match kind {
        StreamKind::Request {
            topic: CLIENT_TOPIC,
        } => {
            tokio::spawn(async move {
                let Ok(Some(request)) = stream.recv_frame(FRAME_BYTES_MAX).await else {
                    return;
                };
                let way = Way::Remote(&mut stream, &connection);
                if Clients::answer_at(&core, request, way).await.is_ok() {
                    let _ = stream.finish();
                    // Dropped, the stream would be finished as well; so it is read to its end.
                    let _ = stream.send.stopped().await;
                }
            });
        }
        StreamKind::Blob { hash, .. } => {
            let store = core.blobs.store().clone();
            tokio::spawn(exchange::answer(store, BlobName(hash), stream));
        }
        StreamKind::Renew => {
            tokio::spawn(async move {
                let Some(shared) = core.shared() else { return };
                let (authority, now) = (shared.authority(), SystemTime::now());
                let lifetimes = Lifetimes::default();
                let answered =
                    enrol::answer_renewal(stream, &connection, &authority, &lifetimes, now).await;
                if let Err(error) = answered {
                    tracing::warn!(peer = %connection.peer(), %error, "a certificate is not renewed");
                }
            });
        }
        // Nothing else is a client's to ask.
        StreamKind::Request { .. } | StreamKind::Relay { .. } | _ => drop(stream),
    }
}

/// Whether who is logged in with one role may make tokens of another. Nobody can make from afar what is worth more than a place
/// in the domain: the authority of a domain below, this domain's own, or a login that makes tokens and outlives the one that made it. Nor
/// can anybody from afar keep others from making tokens.
fn may_create(
    login: Role,
    wanted: Role,
    lifetime: Duration,
    tokens: &Tokens,
) -> Result<(), Refusal> {
    match (login, wanted) {
        (Role::Admin, Role::Server | Role::Client) => {}
        (Role::Admin, Role::Manager | Role::Standby | Role::Admin) => {
            return Err(Refusal::new(format_args!(
                "a token of the role {wanted} is made on the manager's machine alone: run `atlas-manager token create --role {wanted}` \
                 there"
            )));
        }
        (Role::Client | Role::Server | Role::Manager | Role::Standby, _) => {
            return Err(Refusal::new(
                "only administrators make tokens: log in with a token that `atlas-manager token create --role admin` has made on the \
                 manager's machine, or make this one there",
            ));
        }
    }
    if lifetime > AFAR_LIFETIME_MAX {
        return Err(Refusal::new(
            "a token that is made from afar lasts 30 days at most: give --ttl 30days or less, or make it on the manager's machine",
        ));
    }
    if tokens.is_half_full(SystemTime::now()) {
        return Err(Refusal::new(
            "half of the tokens that a manager remembers are there already: make fewer, with more uses each, or make this one on the \
             manager's machine",
        ));
    }
    Ok(())
}

fn stands_by(core: &Core) -> String {
    let others = core.standing.state().borrow().others.join(" or ");
    format!("this manager does not act, but stands by for another: ask at {others}")
}

fn has_ended(status: &mut watch::Receiver<JobStatus>) -> bool {
    let state: &JobState = &status.borrow_and_update().state;
    state.has_ended()
}

fn unknown(job: JobId) -> String {
    format!("there is no job {job} here: `atlas-shell ps --all` lists those that are remembered")
}

const ENDING: &str = "the manager is being stopped: ask again when it is back";
/// Blobs of clients are named by themselves.
const OF_NO_JOB: JobAlias = JobAlias(0);
/// Longer than it takes to bring a room of machines in.
const AFAR_LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// A standby that does not answer is struck from the list before.
const SAFE_TIMEOUT: Duration = Duration::from_secs(5);
/// More often than people can read, and seldom enough for a machine whose processors all compute.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
