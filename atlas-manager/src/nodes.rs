//! Answers to nodes: servers and managers of sub-domains, and the parent. What belongs to a job and does not go by messages
//! is handed on here, to where the job is from: what its root produces, how it goes on; and from there: its blobs.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use atlas_fs::BlobName;
use atlas_fs::exchange;
use atlas_fs::url::above;
use atlas_fs::url::client::{ClientWays as _, NoWay};
use atlas_net::enrol::{self, Admitted, Enrolment, Lifetimes};
use atlas_net::identity::{Relation, Role};
use atlas_net::relay::relay;
use atlas_net::{Connection, Stream, StreamError, StreamKind};
use atlas_proto::control::{
    FILES_TOPIC, FRAME_BYTES_MAX, Files, FilesOf, JobId, NODE_TOPIC, NodeAnswer, NodeRequest,
    Produced, REPLICA_TOPIC, Refusal, STANDBY_TOPIC, URL_TOPIC, WITNESS_TOPIC,
};
use atlas_proto::ids::{JobAlias, NodeId};
use atlas_proto::limits::VERSION_BYTES_MAX;
use atlas_proto::standby::Link;
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use crate::ask::{Ask, Origin};
use crate::core::Core;
use crate::node::Shared;
use crate::output::Sink;
use crate::replica;

/// Answers the streams of a node as long as it is connected. Who acts, and what a standby takes, is spoken of in all phases; all
/// else is for the manager that acts.
pub(crate) async fn serve(connection: Connection, core: Arc<Core>) {
    while let Ok((kind, stream)) = connection.accept_stream().await {
        let is_manager = is_other_manager(&connection);
        let link = match kind {
            StreamKind::Request {
                topic: WITNESS_TOPIC,
            } if !is_manager => Some(match connection.relation() {
                Relation::Guest => Link::Guest,
                Relation::SameDomain | Relation::Child | Relation::Parent | Relation::Host => {
                    Link::Witness
                }
            }),
            StreamKind::Request {
                topic: STANDBY_TOPIC,
            } if is_manager => Some(Link::Manager),
            StreamKind::Request { .. } | _ => None,
        };
        if let Some(link) = link {
            let (core, connection) = (core.clone(), connection.clone());
            tokio::spawn(async move { core.standing.talk(&connection, link, stream).await });
            continue;
        }
        let Some(shared) = core.shared() else {
            continue;
        };
        let node = Node {
            connection: connection.clone(),
            shared: shared.clone(),
        };
        match kind {
            StreamKind::Request {
                topic: REPLICA_TOPIC,
            } if is_manager => {
                let (core, connection) = (core.clone(), connection.clone());
                tokio::spawn(replica::answer(stream, connection, core, shared));
            }
            StreamKind::Request { topic: NODE_TOPIC } => {
                tokio::spawn(node.answer(stream));
            }
            StreamKind::Request { topic: URL_TOPIC } => node.answer_url(stream),
            StreamKind::Request { topic: FILES_TOPIC } => {
                tokio::spawn(node.answer_files(stream));
            }
            StreamKind::Blob { hash, job } => {
                tokio::spawn(node.answer_blob(BlobName(hash), JobAlias(job), stream));
            }
            StreamKind::Relay { peer } => {
                tokio::spawn(node.answer_relay(peer, stream));
            }
            StreamKind::Renew => {
                tokio::spawn(node.answer_renewal(stream));
            }
            // Not a node's to ask, or of a later version.
            StreamKind::Request { .. } | _ => drop(stream),
        }
    }
}

/// It is another manager of this very domain.
pub(crate) fn is_other_manager(connection: &Connection) -> bool {
    connection.peer().role == Role::Manager && connection.relation() == Relation::SameDomain
}

/// Lets a new node in, or does not.
pub(crate) async fn enrol(enrolment: Enrolment, shared: Arc<Shared>) {
    let from = enrolment.remote_address();
    let (authority, lifetimes) = (shared.authority(), Lifetimes::default());
    let answered = enrolment
        .answer(&authority, &shared.tokens, &lifetimes, SystemTime::now())
        .await;
    match answered {
        Ok(Admitted::Node(role)) => tracing::info!(%from, %role, "a node has enrolled"),
        Ok(Admitted::SubDomain(domain)) => {
            tracing::info!(%from, %domain, "a domain has enrolled below");
        }
        Err(error) => tracing::warn!(%from, %error, "a node has not enrolled"),
    }
    let tokens = shared.tokens.lock();
    let tokens = tokens.unwrap_or_else(PoisonError::into_inner);
    // Should it die before, a token lets in more than it should. The store gets them in the order of their changes.
    shared.store.save_used_tokens(tokens.clone());
}

struct Node {
    connection: Connection,
    shared: Arc<Shared>,
}

impl Node {
    fn id(&self) -> NodeId {
        self.connection.peer().node
    }

    async fn answer(self, mut stream: Stream) {
        let request = stream.recv_frame(FRAME_BYTES_MAX).await;
        let answered = match request {
            Ok(Some(NodeRequest::Locate { peer })) => self.locate(peer, &mut stream).await,
            Ok(Some(NodeRequest::Produce { job })) => self.produce(job, &mut stream).await,
            Ok(Some(NodeRequest::Progress)) => self.progress(&mut stream).await,
            Ok(Some(NodeRequest::Share { job, name })) => {
                self.share(job, BlobName(name), stream).await
            }
            Ok(Some(NodeRequest::Pin { job, url, version })) => {
                self.pin(job, url, version, &mut stream).await
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = answered {
            tracing::debug!(peer = %self.connection.peer(), %error, "a stream has ended early");
        }
    }

    async fn locate(&self, peer: NodeId, stream: &mut Stream) -> Result<(), StreamError> {
        let asked = self.shared.asker.ask(|reply| Ask::Connection(peer, reply));
        let domain = &self.connection.peer().domain;
        // Servers deal with those of their own domain: guests and the others meet by this manager.
        let sibling = asked.await.flatten();
        let sibling = sibling.filter(|sibling| sibling.peer().domain == *domain);
        let address = sibling.map(|sibling| sibling.remote_address());
        stream.send_frame(&NodeAnswer::Address(address)).await?;
        stream.finish()
    }

    async fn progress(&self, stream: &mut Stream) -> Result<(), StreamError> {
        while let Some(progress) = stream.recv_frame(FRAME_BYTES_MAX).await? {
            self.shared
                .asker
                .tell(Ask::Progress(self.id(), progress))
                .await;
        }
        Ok(())
    }

    /// A shared value of a job: fetched at once, kept as long as the job lives, and told to where the job is from. So every question
    /// for it, which goes the same way, meets it.
    async fn share(
        &self,
        job: JobAlias,
        name: BlobName,
        mut stream: Stream,
    ) -> Result<(), StreamError> {
        let answer = self.fetch_shared(job, name).await?;
        let is_here = answer == NodeAnswer::Stored;
        stream.send_frame(&answer).await?;
        stream.finish()?;
        drop(stream);
        if is_here {
            self.announce(job, name).await;
        }
        Ok(())
    }

    async fn fetch_shared(&self, job: JobAlias, name: BlobName) -> Result<NodeAnswer, StreamError> {
        let asker = &self.shared.asker;
        let asked = asker.ask(|reply| Ask::Share(self.id(), job, name, reply));
        match asked.await {
            Some(Ok(())) => {}
            Some(Err(refusal)) => return Ok(NodeAnswer::Refused(refusal)),
            // The manager ends.
            None => return Err(StreamError::BrokenOff),
        }
        match self.shared.blobs.fetch(&self.connection, job, name).await {
            Ok(()) => Ok(NodeAnswer::Stored),
            Err(error) => {
                tracing::warn!(%name, %error, "a shared value cannot be had from who has it");
                Ok(refused(error))
            }
        }
    }

    /// Tells where the job is from that there is a shared value here, as long as there is hope.
    async fn announce(&self, job: JobAlias, name: BlobName) {
        for _ in 0..ANNOUNCEMENTS_MAX {
            match self.origin(job).await {
                Some(Origin::Peer(origin, alias)) => {
                    match exchange::announce(&origin, alias, name).await {
                        Ok(NodeAnswer::Refused(refusal)) => {
                            tracing::warn!(%name, %refusal, "a shared value is not taken");
                            return;
                        }
                        Ok(_) => return,
                        Err(error) => {
                            tracing::debug!(%name, %error, "telling of a shared value again")
                        }
                    }
                }
                Some(Origin::Away) => {}
                Some(Origin::Here(..)) | None => return,
            }
            sleep(ANNOUNCE_INTERVAL).await;
        }
    }

    async fn origin(&self, job: JobAlias) -> Option<Origin> {
        let asked = self
            .shared
            .asker
            .ask(|reply| Ask::Origin(self.id(), job, reply));
        asked.await.flatten()
    }

    /// Which version of a file by URL a job has seen first: where the job is from, that is known.
    async fn pin(
        &self,
        job: JobAlias,
        url: [u8; 32],
        version: Bytes,
        stream: &mut Stream,
    ) -> Result<(), StreamError> {
        let answer = if version.len() > VERSION_BYTES_MAX {
            refused("what its origin says of a file is longer than can be remembered")
        } else {
            self.first_version(job, url, version).await
        };
        stream.send_frame(&answer).await?;
        stream.finish()
    }

    async fn first_version(&self, job: JobAlias, url: [u8; 32], version: Bytes) -> NodeAnswer {
        match self.origin(job).await {
            Some(Origin::Here(id, _)) => {
                let pin = |reply| Ask::Pin(id, url, version, reply);
                let first = self.shared.asker.ask(pin).await;
                first.map_or(NodeAnswer::Away, NodeAnswer::Pinned)
            }
            Some(Origin::Peer(origin, alias)) => {
                let asked = timeout(PIN_TIMEOUT, ask_first(&origin, alias, url, version)).await;
                match asked {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(_)) | Err(_) => NodeAnswer::Away,
                }
            }
            Some(Origin::Away) => NodeAnswer::Away,
            None => refused("the job is over"),
        }
    }

    /// A file by URL, for those below. Nobody else asks: who is above has the better way.
    fn answer_url(&self, stream: Stream) {
        let is_below = match self.connection.peer().role {
            Role::Server => true,
            Role::Manager => self.connection.relation() == Relation::Child,
            Role::Client | Role::Admin | Role::Standby => false,
        };
        if !is_below {
            return;
        }
        match &self.shared.urls {
            Some(urls) => {
                if let Err(error) = urls.answer(stream.into()) {
                    tracing::warn!(%error, "a file by URL cannot be given");
                }
            }
            None => drop(tokio::spawn(above::refuse(stream.into()))),
        }
    }

    /// A file of a job's client, for those who are farther from it.
    async fn answer_files(self, mut stream: Stream) {
        let Ok(Some(FilesOf::Job { job, files })) = stream.recv_frame(FRAME_BYTES_MAX).await else {
            return;
        };
        let shared = &self.shared;
        let answered = if self.origin(job).await.is_none() {
            let over = async { Err(NoWay("the job is over".to_owned())) };
            above::hand_on(stream.into(), over).await
        } else {
            shared.client_files.note(files, self.id(), job);
            match &shared.urls {
                Some(urls) => urls.answer(stream.into()),
                None => above::hand_on(stream.into(), shared.client_files.reach(files)).await,
            }
        };
        if let Err(error) = answered {
            tracing::debug!(peer = %self.connection.peer(), %error, "a file of a client is not given");
        }
    }

    /// What the root of a job prints and leaves.
    async fn produce(&self, job: JobAlias, stream: &mut Stream) -> Result<(), StreamError> {
        let answer = match self.origin(job).await {
            Some(Origin::Here(id, output)) => self.keep(id, job, &output, stream).await?,
            Some(Origin::Peer(origin, alias)) => self.hand_on(job, &origin, alias, stream).await?,
            Some(Origin::Away) => return Err(StreamError::BrokenOff),
            None => refused("the job is over"),
        };
        stream.send_frame(&answer).await?;
        stream.finish()?;
        let _ = stream.send.stopped().await;
        Ok(())
    }

    /// The job was submitted here: all is kept.
    async fn keep(
        &self,
        id: JobId,
        job: JobAlias,
        output: &Sink,
        stream: &mut Stream,
    ) -> Result<NodeAnswer, StreamError> {
        while let Some(produced) = stream.recv_frame(FRAME_BYTES_MAX).await? {
            match produced {
                Produced::Output(frame) => {
                    if let Err(error) = output.write(&frame) {
                        return Ok(refused(format_args!(
                            "the manager cannot keep the job's output ({error}): make room on the manager's disk, and submit the job again"
                        )));
                    }
                }
                Produced::Files(files) => match self.fetch_files(job, files).await {
                    Ok(blobs) => self.shared.asker.tell(Ask::Files(id, files, blobs)).await,
                    Err(refusal) => return Ok(refusal),
                },
            }
        }
        Ok(NodeAnswer::Stored)
    }

    /// The job is from a neighbour, who gets it all.
    async fn hand_on(
        &self,
        job: JobAlias,
        origin: &Connection,
        alias: JobAlias,
        stream: &mut Stream,
    ) -> Result<NodeAnswer, StreamError> {
        let kind = StreamKind::Request { topic: NODE_TOPIC };
        let mut on = origin.open_stream(kind).await?;
        on.send_frame(&NodeRequest::Produce { job: alias }).await?;
        while let Some(produced) = stream.recv_frame(FRAME_BYTES_MAX).await? {
            if let Produced::Files(files) = &produced
                && let Err(refusal) = self.fetch_files(job, *files).await
            {
                return Ok(refusal);
            }
            if let Err(error) = on.send_frame(&produced).await {
                return on.recv_answer_after(error, FRAME_BYTES_MAX).await;
            }
        }
        on.finish()?;
        let answer = on.recv_frame(FRAME_BYTES_MAX).await?;
        answer.ok_or(StreamError::BrokenOff)
    }

    async fn fetch_files(&self, job: JobAlias, files: Files) -> Result<Vec<[u8; 32]>, NodeAnswer> {
        let blobs = &self.shared.blobs;
        let tree = BlobName(files.tree);
        let fetched = blobs.fetch_tree(&self.connection, job, tree).await;
        let (_, names) = fetched.map_err(|error| {
            refused(format_args!(
                "the manager cannot get the files that the job left: {error}"
            ))
        })?;
        Ok(names.into_iter().map(|name| name.0).collect())
    }

    /// A blob of a job: from here, or from where the job is from.
    async fn answer_blob(self, name: BlobName, job: JobAlias, stream: Stream) {
        let blobs = &self.shared.blobs;
        if !blobs.comes(name).await
            && let Some(Origin::Peer(origin, alias)) = self.origin(job).await
            // Who is asked for what it has told of does not ask back.
            && origin.peer().node != self.id()
            && let Err(error) = blobs.fetch(&origin, alias, name).await
        {
            tracing::info!(%name, %error, "a blob cannot be had from where its job is from");
        }
        exchange::answer(blobs.store().clone(), name, stream).await;
    }

    /// Two servers that cannot dial each other.
    async fn answer_relay(self, peer: NodeId, stream: Stream) {
        let asked = self.shared.asker.ask(|reply| Ask::Connection(peer, reply));
        let Some(other) = asked.await.flatten() else {
            return;
        };
        let servers = [&self.connection, &other].map(|node| node.peer().role == Role::Server);
        if servers != [true, true] {
            return;
        }
        let kind = StreamKind::Relay { peer: self.id() };
        match other.open_stream(kind).await {
            Ok(on) => relay(stream, on).await,
            Err(error) => tracing::info!(%peer, %error, "a relay cannot be had"),
        }
    }

    async fn answer_renewal(self, stream: Stream) {
        let (authority, lifetimes) = (self.shared.authority(), Lifetimes::default());
        let (connection, now) = (&self.connection, SystemTime::now());
        let answered = enrol::answer_renewal(stream, connection, &authority, &lifetimes, now);
        if let Err(error) = answered.await {
            tracing::warn!(peer = %connection.peer(), %error, "a certificate is not renewed");
        }
    }
}

async fn ask_first(
    origin: &Connection,
    job: JobAlias,
    url: [u8; 32],
    version: Bytes,
) -> Result<NodeAnswer, StreamError> {
    let kind = StreamKind::Request { topic: NODE_TOPIC };
    let mut stream = origin.open_stream(kind).await?;
    let request = NodeRequest::Pin { job, url, version };
    stream.send_frame(&request).await?;
    stream.finish()?;
    let answer = stream.recv_frame(FRAME_BYTES_MAX).await?;
    answer.ok_or(StreamError::BrokenOff)
}

fn refused(why: impl std::fmt::Display) -> NodeAnswer {
    NodeAnswer::Refused(Refusal::new(why))
}

/// As long as a manager takes to be started anew.
const ANNOUNCEMENTS_MAX: u32 = 60;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(1);
/// Who asks for a pin asks again.
const PIN_TIMEOUT: Duration = Duration::from_secs(10);
