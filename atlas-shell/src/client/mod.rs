//! [`Client`]: what can be asked of a manager, one method for each [`ClientRequest`]. It prints nothing and reads no
//! file but the blobs that it is handed.
//!
//! Each question is a stream of its own, so that a long answer holds up no other:
//!
//! ```text
//! client                                          manager
//!   | -- Request{CLIENT_TOPIC}, ClientRequest -->  |
//!   | <-- Blob{hash} ----------------------------  |   while it answers Submit: what it lacks
//!   | -- the packed blob ----------------------->  |
//!   | <-- ClientAnswer, once or again and again -  |
//!   | <-- Request{FILES_TOPIC} ------------------  |   after Serve: what the job reads of this client's folder
//! ```

mod answers;
mod error;
mod fetch;
mod search;
mod serve;

use std::time::SystemTime;

use atlas_net::enrol;
use atlas_net::identity::{Identity, Peer};
use atlas_net::{CloseCode, Connection, ConnectionLost, Endpoint, StreamError, StreamKind};
use atlas_proto::control::{
    Accepted, CLIENT_TOPIC, ClientAnswer, ClientRequest, DomainStatus, FilesName, JobId, JobStatus,
    ManagersStatus, ServerStatus, Submission, TokenRequest,
};
use tokio::task::{JoinError, JoinSet};

pub use answers::{Output, Watch};
pub use error::ClientError;
pub use serve::{ServedFolder, Serving};

use crate::blobs::Blobs;
use crate::state::Login;
use answers::Answers;

/// A connection to the manager of a domain. It is over when this is dropped.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    managers: Vec<String>,
    /// Sends and receives for the connection as long as it is there.
    endpoint: Endpoint,
}

impl Client {
    /// Connects to the manager that acts, at the first of the login's addresses where it answers.
    ///
    /// # Errors
    ///
    /// It answers at none of them.
    pub async fn connect(login: &Login) -> Result<Self, ClientError> {
        search::acting(login).await
    }

    /// Where the managers of the domain are, as the one that acts has said.
    #[must_use]
    pub fn managers(&self) -> &[String] {
        &self.managers
    }

    /// Who this user is to the manager.
    #[must_use]
    pub fn user(&self) -> Peer {
        self.endpoint.identity().peer().clone()
    }

    /// The connection ends then, if nothing ends it before: with the manager's certificate, or with this user's own.
    #[must_use]
    pub fn ends_at(&self) -> SystemTime {
        let own = self.endpoint.identity().ends_at();
        own.min(self.connection.ends_at())
    }

    /// The next certificate for the same user.
    ///
    /// # Errors
    ///
    /// The manager does not issue one.
    pub async fn renew(&self, identity: &Identity) -> Result<Identity, ClientError> {
        let renewed = enrol::renew(&self.connection, identity).await;
        renewed.map_err(|source| ClientError::Renewal { source })
    }

    /// Submits a job, and hands the manager those of the blobs that it lacks. With `files`, it finds what [`Client::serve`] serves under this name.
    ///
    /// # Errors
    ///
    /// It refuses, or is gone.
    pub async fn submit(
        &self,
        submission: &Submission,
        files: Option<FilesName>,
        blobs: &Blobs,
    ) -> Result<Accepted, ClientError> {
        let submission = submission.clone();
        let request = match files {
            Some(files) => ClientRequest::SubmitServing { submission, files },
            None => ClientRequest::Submit(submission),
        };
        let mut answers = self.ask(&request).await?;
        let answer = answers.one();
        tokio::pin!(answer);
        let mut serving = JoinSet::new();
        let mut unsent = None;
        let mut note = |served: Result<anyhow::Result<()>, JoinError>| {
            if let Ok(Err(error)) = served
                && !is_broken_off(&error)
            {
                unsent = Some(error);
            }
        };
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer,
                opened = self.connection.accept_stream() => {
                    let (kind, stream) = opened.map_err(lost)?;
                    if let StreamKind::Blob { hash, .. } = kind {
                        let blobs = blobs.clone();
                        serving.spawn(async move { blobs.answer(hash, stream).await });
                    }
                }
                Some(served) = serving.join_next() => note(served),
            }
        };
        // The last one's end may not have been looked at.
        while let Some(served) = serving.try_join_next() {
            note(served);
        }
        match (answer, unsent) {
            (Ok(ClientAnswer::Accepted(accepted)), _) => Ok(accepted),
            (Ok(_), _) => Err(ClientError::Unexpected),
            // What is wrong with the blob is better known here.
            (Err(ClientError::Refused(_)), Some(unsent)) => Err(ClientError::Unsent(unsent)),
            (Err(error), _) => Err(error),
        }
    }

    /// All jobs that the manager remembers, oldest first.
    ///
    /// # Errors
    ///
    /// It refuses, or is gone.
    pub async fn jobs(&self) -> Result<Vec<JobStatus>, ClientError> {
        let answer = self.ask(&ClientRequest::Jobs).await?.one().await?;
        let ClientAnswer::Jobs(jobs) = answer else {
            return Err(ClientError::Unexpected);
        };
        Ok(jobs)
    }

    /// How a job stands, now and whenever that changes.
    ///
    /// # Errors
    ///
    /// The manager is gone. That it knows no such job comes with the first answer.
    pub async fn watch(&self, job: JobId) -> Result<Watch, ClientError> {
        Ok(Watch::new(self.ask(&ClientRequest::Watch { job }).await?))
    }

    /// What a job has printed beyond the `skip` bytes of standard output and standard error; and, with `follow`, what
    /// it prints until it ends.
    ///
    /// # Errors
    ///
    /// The manager is gone. That it knows no such job comes with the first answer.
    pub async fn output(
        &self,
        job: JobId,
        skip: [u64; 2],
        follow: bool,
    ) -> Result<Output, ClientError> {
        let request = ClientRequest::Output { job, skip, follow };
        Ok(Output::new(self.ask(&request).await?, skip))
    }

    /// Ends a job.
    ///
    /// # Errors
    ///
    /// The manager refuses, or is gone.
    pub async fn kill(&self, job: JobId) -> Result<JobStatus, ClientError> {
        let answer = self.ask(&ClientRequest::Kill { job }).await?.one().await?;
        let ClientAnswer::Job(job) = answer else {
            return Err(ClientError::Unexpected);
        };
        Ok(job)
    }

    /// The servers of the domain.
    ///
    /// # Errors
    ///
    /// The manager refuses, or is gone.
    pub async fn servers(&self) -> Result<Vec<ServerStatus>, ClientError> {
        let answer = self.ask(&ClientRequest::Servers).await?.one().await?;
        let ClientAnswer::Servers(servers) = answer else {
            return Err(ClientError::Unexpected);
        };
        Ok(servers)
    }

    /// The domain, then those directly below it.
    ///
    /// # Errors
    ///
    /// The manager refuses, or is gone.
    pub async fn domains(&self) -> Result<Vec<DomainStatus>, ClientError> {
        let answer = self.ask(&ClientRequest::Domains).await?.one().await?;
        let ClientAnswer::Domains(domains) = answer else {
            return Err(ClientError::Unexpected);
        };
        Ok(domains)
    }

    /// A new join token.
    ///
    /// # Errors
    ///
    /// The manager refuses, as it does unless this login is an administrator's; or it is gone.
    pub async fn create_token(&self, request: TokenRequest) -> Result<String, ClientError> {
        let request = ClientRequest::CreateToken(request);
        let answer = self.ask(&request).await?.one().await?;
        let ClientAnswer::Token(token) = answer else {
            return Err(ClientError::Unexpected);
        };
        Ok(token)
    }

    /// Ends the connection, and lets the manager hear of it. It is not waited for: what comes would be thrown away.
    pub async fn close(&self) {
        self.connection
            .close(CloseCode::Done, "the client has all that it wanted");
        // The tasks of the connection and the endpoint have each something to do until the datagram is sent.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }

    async fn ask_managers(&self) -> Result<ManagersStatus, ClientError> {
        let answer = self.ask(&ClientRequest::Managers).await?.one().await?;
        let ClientAnswer::Managers(managers) = answer else {
            return Err(ClientError::Unexpected);
        };
        Ok(managers)
    }

    async fn ask(&self, request: &ClientRequest) -> Result<Answers, ClientError> {
        let kind = StreamKind::Request {
            topic: CLIENT_TOPIC,
        };
        let ask = async {
            let mut stream = self.connection.open_stream(kind).await?;
            stream.send_frame(request).await?;
            Ok(stream)
        };
        let stream = ask.await.map_err(ClientError::Lost)?;
        Ok(Answers::new(stream))
    }
}

fn lost(lost: ConnectionLost) -> ClientError {
    ClientError::Lost(StreamError::Lost(lost))
}

/// The manager wants no more of a blob, or cannot be reached: nothing is wrong with the blob here.
fn is_broken_off(error: &anyhow::Error) -> bool {
    error.is::<StreamError>()
        || matches!(
            error.downcast_ref(),
            Some(atlas_fs::SendBlobError::Stream { .. })
        )
}
