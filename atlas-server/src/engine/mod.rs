//! The engines of this machine: for each job a process of the job's own program, and a task that drives it.
//!
//! ```text
//! node's loop --EngineCommand--> Engines --> task of the engine --[Unix socket]--> process
//!      ^                                          |    |
//!      +-------- EngineSaid (with its life) ------+    +-- output of the root, shared values --> manager
//! ```
//!
//! A job may have several engines one after the other: each is a *life*. What is said by a life that is over, because its
//! engine was stopped or has crashed, is nobody's any more and is dropped here.

mod client_files;
mod fetch;
mod files;
mod leftovers;
mod mounts;
mod native;
mod output;
mod pins;
mod process;
mod results;
mod root;
mod sharing;
#[cfg(test)]
mod stage;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atlas_fs::daemon::Thrift;
use atlas_fs::url::{FileService, Pins};
use atlas_fs::{BlobName, Store, Turns};
use atlas_net::Connection;
use atlas_proto::control::JobProgress;
use atlas_proto::engine::{Crash, CrashKind, EngineCommand, EngineEvent};
use atlas_proto::ids::JobAlias;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::cpu;
pub(crate) use client_files::JobFiles;
pub(crate) use leftovers::{Leftover, find as find_leftovers};
use pins::JobJudge;
pub(crate) use sharing::SharedBlobs;

/// What all engines of a server share.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Where engines have their folders.
    pub(crate) folder: PathBuf,
    /// Programs and inputs.
    pub(crate) store: Store,
    /// How many bytes of them are kept. Engines have links to what they use, so that nothing is missed that is removed.
    pub(crate) blobs_bytes_max: u64,
    /// Who is fetching which of them.
    pub(crate) turns: Turns,
    /// Those that engines share now.
    pub(crate) shared: SharedBlobs,
    /// Files by URL, for all programs that run here.
    pub(crate) files: Arc<FileService>,
    /// Where programs that only know paths look for them.
    pub(crate) mount_at: PathBuf,
    /// Those that clients serve.
    pub(crate) client_files: Arc<JobFiles>,
    /// The most workers that an engine can be given.
    pub(crate) workers_max: u32,
    /// The scheduling priority of engines, as of `nice`; none leaves it as this process's.
    pub(crate) nice: Option<i32>,
    /// How long an engine may give no sign of life; for ever, if none.
    pub(crate) engine_timeout: Option<Duration>,
    /// Engines see the environment of this process; otherwise only what any program needs.
    pub(crate) inherit_environment: bool,
    /// The connection to the manager, while there is one.
    pub(crate) manager: watch::Receiver<Option<Connection>>,
    /// Where engines are heard.
    pub(crate) said: mpsc::Sender<EngineSaid>,
}

/// Tells one engine of a job from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life(u64);

/// Something that an engine has said.
#[derive(Debug)]
pub(crate) struct EngineSaid {
    life: Life,
    event: EngineEvent,
}

/// What is counted of an engine while it runs.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Closures finished.
    closures: AtomicU64,
    /// Its process; zero while there is none.
    process: AtomicU32,
    workers: AtomicU32,
}

/// The engines that run.
#[derive(Debug)]
pub(crate) struct Engines {
    surroundings: Arc<Surroundings>,
    running: HashMap<JobAlias, Handle>,
    /// What engines did that are no more, by job, while the job has another.
    past: HashMap<JobAlias, (u64, Duration)>,
    /// The versions of files by URL that jobs have read, for the engines that come after.
    pins: HashMap<JobAlias, Pins>,
    last_life: u64,
    trimmed: Option<Instant>,
    thrift: Thrift,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Handle {
    life: Life,
    commands: mpsc::UnboundedSender<EngineCommand>,
    gauge: Arc<Gauge>,
    /// Dropped to stop the engine.
    _stop: oneshot::Sender<()>,
}

/// How a task tells the node what its engine says.
#[derive(Clone, Debug)]
struct Teller {
    job: JobAlias,
    life: Life,
    said: mpsc::Sender<EngineSaid>,
}

impl Engines {
    pub(crate) fn new(surroundings: Surroundings) -> Self {
        Self {
            surroundings: Arc::new(surroundings),
            running: HashMap::new(),
            past: HashMap::new(),
            pins: HashMap::new(),
            last_life: 0,
            trimmed: None,
            thrift: Thrift::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Does what the machine wants.
    pub(crate) fn obey(&mut self, command: EngineCommand) {
        let job = command.job();
        match command {
            EngineCommand::Start { job, spec } => self.start(job, spec),
            EngineCommand::Stop { job } => {
                self.running.remove(&job);
                self.past.remove(&job);
                self.pins.remove(&job);
                self.trim();
                self.thrift.note();
            }
            command @ (EngineCommand::SetWorkers { .. }
            | EngineCommand::Accept { .. }
            | EngineCommand::Abort { .. }
            | EngineCommand::Lend { .. }
            | EngineCommand::ReturnResult { .. }
            | EngineCommand::Reclaim { .. }
            | EngineCommand::Remember { .. }) => {
                if let Some(handle) = self.running.get(&job) {
                    if let EngineCommand::SetWorkers { workers, .. } = &command {
                        handle.gauge.workers.store(*workers, Ordering::Relaxed);
                    }
                    // A task that has ended has said why, or is about to.
                    let _ = handle.commands.send(command);
                }
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// What was said, if the engine that said it is still the job's.
    pub(crate) fn hear(&mut self, said: EngineSaid) -> Option<EngineEvent> {
        let job = said.event.job();
        let handle = self.running.get(&job)?;
        if handle.life != said.life {
            return None;
        }
        if let EngineEvent::Crashed { crash, .. } = &said.event {
            let failure = atlas_engine::Failure::from_bytes(&crash.failure);
            tracing::warn!(%job, ?failure, "an engine is gone");
            let past = self.past.entry(job).or_default();
            let (closures, work) = handle.gauge.done();
            *past = (past.0 + closures, past.1 + work);
            self.running.remove(&job);
            self.thrift.note();
        }
        Some(said.event)
    }

    /// How the jobs go on that have an engine here.
    pub(crate) fn progress(&self) -> Vec<JobProgress> {
        let progress = |(&job, handle): (&JobAlias, &Handle)| {
            let (closures, work) = handle.gauge.done();
            let past = self.past.get(&job).copied().unwrap_or_default();
            let workers = handle.gauge.workers.load(Ordering::Relaxed);
            JobProgress {
                job,
                closures: closures + past.0,
                work: work + past.1,
                servers: u32::from(workers > 0),
                workers,
            }
        };
        let mut all: Vec<_> = self.running.iter().map(progress).collect();
        all.sort_by_key(|progress| progress.job);
        all
    }

    /// No job has an engine here.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Stops all engines and waits for their processes to end.
    pub(crate) async fn stop(mut self) {
        self.running.clear();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Removes what was not used for longest, down to the quota; now and then.
    fn trim(&mut self) {
        if self.trimmed.is_some_and(|at| at.elapsed() < TRIM_INTERVAL) {
            return;
        }
        self.trimmed = Some(Instant::now());
        let surroundings = self.surroundings.clone();
        tokio::task::spawn_blocking(move || {
            let wanted = surroundings.shared.all();
            let keep = |name: &BlobName| wanted.contains(name);
            let trimmed = surroundings.store.trim(surroundings.blobs_bytes_max, keep);
            if let Err(error) = trimmed {
                tracing::warn!(%error, "old blobs cannot be removed");
            }
        });
    }

    /// The versions that the job has read, on all machines.
    fn pins_of(&mut self, job: JobAlias) -> Pins {
        let judge = || {
            let manager = self.surroundings.manager.clone();
            Pins::judged(Arc::new(JobJudge::new(manager, job)))
        };
        self.pins.entry(job).or_insert_with(judge).clone()
    }

    fn start(&mut self, job: JobAlias, spec: Arc<atlas_proto::job::JobSpec>) {
        self.last_life += 1;
        let life = Life(self.last_life);
        let (commands, orders) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let gauge = Arc::new(Gauge::default());
        let teller = Teller {
            job,
            life,
            said: self.surroundings.said.clone(),
        };
        let engine = native::Engine {
            surroundings: self.surroundings.clone(),
            teller,
            gauge: gauge.clone(),
            pins: self.pins_of(job),
            orders,
        };
        self.tasks.spawn(engine.run(spec, stopped));
        let handle = Handle {
            life,
            commands,
            gauge,
            _stop: stop,
        };
        self.running.insert(job, handle);
    }
}

impl Gauge {
    /// Closures and processor time.
    fn done(&self) -> (u64, Duration) {
        let process = self.process.load(Ordering::Relaxed);
        let work = cpu::time_of(process).unwrap_or_default();
        (self.closures.load(Ordering::Relaxed), work)
    }
}

impl Teller {
    async fn tell(&self, event: EngineEvent) {
        let life = self.life;
        // Without a node there is nobody to be told.
        let _ = self.said.send(EngineSaid { life, event }).await;
    }

    async fn tell_crash(&self, message: String, kind: CrashKind) {
        let task = None;
        let failure = atlas_engine::Failure::Panicked { task, message }.to_bytes();
        let crash = Crash { failure, kind };
        let job = self.job;
        self.tell(EngineEvent::Crashed { job, crash }).await;
    }
}

/// Looking at all blobs takes its time.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);
