//! What the loop does with each event.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlas_engine::{Above, ROOT_TASK};
use atlas_fs::BlobName;
use atlas_fs::daemon::{Clock, Thrift, chain};
use atlas_proto::control::{DomainStatus, JobId, JobProgress, JobState, Refusal, ServerStatus};
use atlas_proto::ids::{GlobalJobId, JobAlias, NodeId};
use atlas_proto::job::{Closure, ClosureKind, JobSpec};
use atlas_proto::manager::JobOrigin;
use atlas_proto::message::Load;
use atlas_proto::{Manager, ManagerEvent};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::ask::{Ask, Counts, Origin, Reply, Watched};
use crate::jobs::{Job, JobRecord, JobTable};
use crate::node::{Event, Shared, StartError};
use crate::output::Sink;
use crate::peers::Peers;
use crate::relayed::{self, Relayed};
use crate::shared_values::SharedValues;
use crate::standing::State;
use crate::store::TIDY_EVERY;
use crate::submit::Newcomers;
use crate::url_pins::{Pinned, UrlPins};

/// Everything that the loop owns.
pub(crate) struct Loop {
    pub(crate) machine: Manager,
    pub(crate) clock: Clock,
    pub(crate) peers: Peers,
    pub(crate) jobs: JobTable,
    pub(crate) newcomers: Newcomers,
    pub(crate) thrift: Thrift,
    pub(crate) relayed: Relayed,
    pub(crate) values: SharedValues,
    pub(crate) pins: UrlPins,
    pub(crate) last_job: u64,
    /// When it looks next for what is kept of jobs that others have forgotten.
    pub(crate) tidy_at: Instant,
    pub(crate) folder: PathBuf,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tell: mpsc::Sender<Event>,
    pub(crate) standing: watch::Receiver<State>,
}

impl Loop {
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut stopped: mpsc::Receiver<oneshot::Sender<()>>,
        mut tasks: JoinSet<()>,
    ) {
        let done = loop {
            let tidy = self.clock.time(self.tidy_at);
            let due = self.machine.poll_timeout();
            let due = due.map_or(tidy, |due| due.min(tidy));
            let event = tokio::select! {
                Some(event) = events.recv() => Some(event),
                () = self.clock.wait_for(Some(due)) => None,
                Some(done) = stopped.recv() => break done,
            };
            // What it did while it is not sure to act, another might do as well.
            tokio::select! {
                () = holds(&mut self.standing) => {}
                Some(done) = stopped.recv() => break done,
            }
            match event {
                Some(event) => self.handle(event),
                None => self.machine.handle_timeout(self.clock.now()),
            }
            self.carry_out();
            self.tidy();
        };
        tasks.shutdown().await;
        let _ = done.send(());
    }

    /// Takes up the jobs of an earlier life: those that had not ended begin anew, and what they print twice counts once.
    pub(crate) fn restore(&mut self) -> Result<(), StartError> {
        for mut record in self.shared.store.jobs()? {
            let id = record.status.id;
            self.last_job = self.last_job.max(id.0);
            for (url, version) in self.shared.store.pins(id)? {
                self.pins.pin(id, url, &version.into());
            }
            let output = self.sink(id)?;
            let alias = if record.status.state.has_ended() {
                None
            } else {
                self.submit_again(&mut record)?
            };
            if let (Some(_), Some(files)) = (alias, record.files()) {
                self.shared.client_files.begin(id, files);
            }
            self.jobs.insert(alias, record, output);
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Packet { from, packet, path } => {
                // It came before its sender was found not to act.
                if self.peers.connection(from).is_none() {
                    return;
                }
                if let Some(path) = path {
                    self.machine.handle_path(now, from, path);
                }
                self.machine.handle_packet(now, from, packet);
            }
            Event::Child(connection) => {
                let known = self.peers.connection(connection.peer().node);
                if known.is_some_and(|known| known.is_same(&connection)) {
                    return;
                }
                let path = connection.path();
                self.machine.handle_path(now, connection.peer().node, path);
                self.peers.insert(connection, self.tell.clone());
            }
            Event::Parent(connection) => {
                let parent = connection.peer().node;
                self.machine.handle_path(now, parent, connection.path());
                self.peers.insert(connection, self.tell.clone());
                self.machine.handle_parent(now, parent);
                // What was due while there was no connection is due now.
                self.machine.handle_timeout(now);
            }
            Event::NoParent(node) => self.peers.forget(node),
            Event::Over(node, id) => {
                if self.peers.remove(node, id) {
                    self.jobs.forget_neighbour(node);
                }
            }
            Event::Ask(ask) => self.answer(ask),
        }
    }

    fn carry_out(&mut self) {
        while let Some(transmit) = self.machine.poll_transmit() {
            self.peers.send(&transmit);
        }
        while let Some(event) = self.machine.poll_event() {
            match event {
                ManagerEvent::JobFinished { job, finished } => {
                    let ended = self.jobs.finish(job, &finished);
                    self.save_ended(ended);
                }
                ManagerEvent::CheckpointRecorded { job, entries } => {
                    if let Some(job) = self.jobs.by_alias(job) {
                        let id = job.record.status.id;
                        self.shared.store.save_records(id, entries);
                    }
                }
                ManagerEvent::ForeignJobBegun { job, id } => self.restore_foreign(job, id),
                ManagerEvent::ForeignCheckpointRecorded { id, entries } => {
                    self.shared.store.save_foreign_records(id, entries);
                }
                ManagerEvent::ForeignJobEnded { id } => self.shared.store.end_foreign(id),
            }
        }
        let machine = &self.machine;
        self.jobs.note_waiting(|job| machine.root_waits(job));
    }

    /// Gives back at once what is kept of a foreign job, so that who asks for it next finds it. Mostly there is nothing.
    fn restore_foreign(&mut self, job: JobAlias, id: GlobalJobId) {
        match self.shared.store.foreign_records(id) {
            Ok(entries) => self.machine.restore_checkpoint(job, entries),
            // It is computed again.
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(job = %id, error, "what was recorded of a job cannot be read");
            }
        }
    }

    /// What is kept of jobs that others have forgotten goes some time.
    fn tidy(&mut self) {
        if self.tidy_at <= Instant::now() {
            self.tidy_at = Instant::now() + TIDY_EVERY;
            let known = self.machine.foreign_jobs().collect();
            self.shared.store.tidy_foreign(known);
        }
    }

    fn answer(&mut self, ask: Ask) {
        // Whoever does not wait for the answer any more does not get it.
        match ask {
            Ask::Submit(taken, reply) => self.take_in(taken, reply),
            Ask::Kept(id, kept) => self.begin_kept(id, kept),
            Ask::Jobs(reply) => {
                let all = self.jobs.iter().map(|job| job.status.borrow().clone());
                let _ = reply.send(all.collect());
            }
            Ask::Watch(id, reply) => {
                let _ = reply.send(self.jobs.get(id).map(watched));
            }
            Ask::Kill(id, reply) => {
                self.kill(id);
                let _ = reply.send(self.jobs.get(id).map(watched));
            }
            Ask::Servers(reply) => {
                let _ = reply.send(self.servers());
            }
            Ask::Domains(reply) => {
                let _ = reply.send(self.domains());
            }
            Ask::Origin(node, alias, reply) => {
                let _ = reply.send(self.origin(node, alias));
            }
            Ask::Progress(node, progress) => self.progress(node, &progress),
            Ask::Share(node, alias, name, reply) => {
                let _ = reply.send(self.keep_shared(node, alias, name));
            }
            Ask::Pin(id, url, version, reply) => self.pin(id, url, version, reply),
            Ask::Files(id, files, blobs) => self.jobs.note_files(id, files, blobs),
            Ask::Saved(id) => self.jobs.tell(id),
            Ask::Connection(node, reply) => {
                let _ = reply.send(self.peers.connection(node).cloned());
            }
            Ask::Counts(reply) => {
                let _ = reply.send(self.counts());
            }
        }
    }

    pub(crate) fn submit(
        &mut self,
        record: &JobRecord,
    ) -> Result<JobAlias, atlas_proto::manager::SubmitError> {
        let (spec, root) = self.begin(record);
        self.machine.submit(self.clock.now(), spec, root)
    }

    /// Begins a job anew that an earlier life of this manager had, with what was recorded of it at hand. One that cannot begin has
    /// failed.
    fn submit_again(&mut self, record: &mut JobRecord) -> Result<Option<JobAlias>, StartError> {
        let (spec, root) = self.begin(record);
        let known = self.shared.store.records(record.status.id)?;
        let now = self.clock.now();
        match self.machine.submit_again(now, spec, root, known) {
            Ok(alias) => Ok(Some(alias)),
            Err(error) => {
                let message = format!(
                    "the manager was started again, and the job cannot begin anew: {error}"
                );
                record.status.state = JobState::Failed { message };
                drop(self.shared.store.save_ended_job(record.clone()));
                Ok(None)
            }
        }
    }

    /// What the machine is told of a job.
    fn begin(&self, record: &JobRecord) -> (JobSpec, Closure) {
        let spec = JobSpec {
            id: record.global_id,
            origin: self.shared.domain.clone(),
            engine: record.engine.clone(),
            artifact: record.artifact,
            options: Bytes::from(record.options.clone()),
        };
        let root = Closure {
            kind: ClosureKind {
                task: ROOT_TASK,
                depth: 0,
            },
            args: Bytes::from(record.root.clone()),
            expected: Duration::ZERO,
            shared: Vec::new(),
            above: Above::NONE,
        };
        (spec, root)
    }

    fn kill(&mut self, id: JobId) {
        if let Some(alias) = self.jobs.alias(id) {
            self.machine.kill(self.clock.now(), alias);
            let ended = self.jobs.kill(alias);
            self.save_ended(ended);
        }
    }

    fn save_ended(&mut self, record: Option<JobRecord>) {
        if let Some(record) = record {
            self.save_and_tell(record);
            let old = self.jobs.forget_old();
            if !old.is_empty() {
                self.shared.store.forget(old);
            }
            let lives = |id| self.jobs.alias(id).is_some();
            self.pins.retain(lives);
            self.shared.client_files.retain(lives);
            self.trim_blobs();
            self.thrift.note();
        }
    }

    /// Where there is another manager, nobody hears of a job's end before that has it, too, with all that the job has printed and left,
    /// or cannot take over: one that was struck from the list a moment ago still may.
    fn save_and_tell(&mut self, record: JobRecord) {
        let id = record.status.id;
        let saved = self.shared.store.save_ended_job(record);
        if self.standing.borrow().is_only_one() {
            return self.jobs.tell(id);
        }
        let asker = self.shared.asker.clone();
        tokio::spawn(async move {
            // A disk that is full keeps it waiting. It is not to be told at all if another manager acts by now.
            if saved.safe().await.is_ok() {
                asker.tell(Ask::Saved(id)).await;
            }
        });
    }

    /// Notes that a job has a shared value, so that it is kept.
    fn keep_shared(
        &mut self,
        from: NodeId,
        alias: JobAlias,
        name: BlobName,
    ) -> Result<(), Refusal> {
        let Some((job, _)) = self.machine.origin_of(from, alias) else {
            return Err("the job is over".into());
        };
        // What the last ones have left must make room for it.
        self.trim_blobs();
        if self.values.insert(job, name) {
            Ok(())
        } else {
            Err("the job has too many shared values".into())
        }
    }

    /// Answers with the version of a URL that a job has seen first, when that is safe: what is computed with it may be printed or recorded
    /// at once.
    fn pin(&mut self, id: JobId, url: [u8; 32], version: Bytes, reply: Reply<Bytes>) {
        let first = match self.pins.pin(id, url, &version) {
            Pinned::First => {
                let saved = self.shared.store.save_pin(id, (url, version.to_vec()));
                tokio::spawn(async move {
                    if saved.safe().await.is_ok() {
                        let _ = reply.send(version);
                    }
                });
                return;
            }
            Pinned::Before(first) => first,
            Pinned::Forgotten => {
                tracing::warn!(job = %id, "too many files by URL are read to remember their versions: each server sees to its own");
                version
            }
        };
        let _ = reply.send(first);
    }

    fn trim_blobs(&mut self) {
        self.values.retain(|job| self.machine.has_job(job));
        self.shared.blobs.trim(Instant::now(), || {
            let mut wanted = self.jobs.wanted_blobs();
            wanted.extend(self.newcomers.wanted_blobs());
            wanted.extend(self.values.names());
            Some(wanted)
        });
    }

    pub(crate) fn sink(&self, id: JobId) -> Result<Arc<Sink>, StartError> {
        let folder = self.folder.join("jobs").join(id.to_string());
        let sink = Sink::open(&folder);
        let sink = sink.map_err(|source| StartError::Output { folder, source })?;
        Ok(Arc::new(sink))
    }

    fn origin(&self, node: NodeId, alias: JobAlias) -> Option<Origin> {
        let (job, origin) = self.machine.origin_of(node, alias)?;
        Some(match origin {
            JobOrigin::Here => {
                let job = self.jobs.by_alias(job)?;
                Origin::Here(job.record.status.id, job.output.clone())
            }
            JobOrigin::Peer { node, alias } => match self.peers.connection(node) {
                Some(connection) => Origin::Peer(connection.clone(), alias),
                None => Origin::Away,
            },
        })
    }

    fn progress(&mut self, from: NodeId, progress: &[JobProgress]) {
        for one in progress {
            match self.machine.origin_of(from, one.job) {
                Some((job, JobOrigin::Here)) => self.jobs.progress(job, from, *one),
                Some((job, JobOrigin::Peer { node, alias })) => {
                    let sum = self.relayed.note(Instant::now(), job, from, *one, alias);
                    if let (Some(sum), Some(origin)) = (sum, self.peers.connection(node)) {
                        tokio::spawn(relayed::tell(origin.clone(), sum));
                    }
                }
                None => {}
            }
        }
    }

    pub(crate) fn workers(&self) -> u32 {
        self.machine.children().map(|(_, load)| load.workers).sum()
    }

    fn servers(&self) -> Vec<ServerStatus> {
        let servers = self.machine.children();
        let servers = servers.filter(|(node, _)| self.machine.domain_of(*node).is_none());
        let status = |(node, load): (NodeId, &Load)| ServerStatus {
            node,
            domain: self.peers.domain(node),
            address: self.peers.address(node),
            load: *load,
        };
        servers.map(status).collect()
    }

    fn domains(&self) -> Vec<DomainStatus> {
        let children = self.machine.children().count();
        let own = DomainStatus {
            domain: self.shared.domain.clone(),
            load: self.machine.load(),
            children: u32::try_from(children).ok(),
            connected: true,
        };
        let below = self.machine.children().filter_map(|(node, load)| {
            Some(DomainStatus {
                domain: self.machine.domain_of(node)?.clone(),
                load: *load,
                children: None,
                connected: self.peers.connection(node).is_some(),
            })
        });
        std::iter::once(own).chain(below).collect()
    }

    fn counts(&self) -> Counts {
        let load = self.machine.load();
        let jobs = |wanted: fn(&JobState) -> bool| {
            let jobs = self.jobs.iter();
            let jobs = jobs.filter(|job| wanted(&job.record.status.state));
            u64::try_from(jobs.count()).unwrap_or(u64::MAX)
        };
        let children = self.machine.children();
        let (domains, servers): (Vec<_>, Vec<_>) =
            children.partition(|(node, _)| self.machine.domain_of(*node).is_some());
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let (blobs_fetched, blob_bytes_fetched) = self.shared.blobs.fetched();
        Counts {
            acting: 1,
            servers: count(servers.len()),
            sub_domains: count(domains.len()),
            workers: u64::from(self.workers()),
            hungry: u64::from(load.hungry),
            surplus: u64::from(load.surplus),
            jobs_waiting: jobs(|state| *state == JobState::Waiting),
            jobs_running: jobs(|state| *state == JobState::Running),
            jobs_ended: jobs(JobState::has_ended),
            connections: count(self.peers.len()),
            closures_held: count(self.machine.ledger().len()),
            blobs_fetched,
            blob_bytes_fetched,
            urls: self.shared.url_figures(),
            stats: *self.machine.stats(),
        }
    }
}

/// Waits until this manager is sure to act.
async fn holds(standing: &mut watch::Receiver<State>) {
    loop {
        if standing.borrow_and_update().holds() {
            return;
        }
        if standing.changed().await.is_err() {
            // The process ends.
            std::future::pending::<()>().await;
        }
    }
}

fn watched(job: &Job) -> Watched {
    Watched {
        status: job.status.subscribe(),
        output: job.output.clone(),
    }
}
