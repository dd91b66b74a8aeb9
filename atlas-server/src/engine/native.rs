//! The task that drives one native engine: carries commands in and events out, and says how it ended.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atlas_engine::{FromEngine, ROOT_TASK, ReadError, ToEngine, frame};
use atlas_fs::daemon::{Clock, chain};
use atlas_fs::url::Pins;
use atlas_fs::{BlobName, FileTree};
use atlas_proto::control::{NATIVE, NativeOptions};
use atlas_proto::engine::{CrashKind, EngineCommand, EngineEvent};
use atlas_proto::job::{Finished, JobSpec, Outcome};
use atlas_proto::pulse::{Beat, Pulse};
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::client_files::Reader;
use super::fetch::Fetch;
use super::process::{self, Folder, Process};
use super::results::{Results, Way};
use super::root::Root;
use super::sharing::{Admitted, Sharing};
use super::{Gauge, Surroundings, Teller};

/// An engine, and its way to the node.
pub(super) struct Engine {
    pub(super) surroundings: Arc<Surroundings>,
    pub(super) teller: Teller,
    pub(super) gauge: Arc<Gauge>,
    /// The versions of files that the job has read here.
    pub(super) pins: Pins,
    pub(super) orders: mpsc::UnboundedReceiver<EngineCommand>,
}

/// Why an engine ended, or never began.
struct End {
    message: String,
    kind: CrashKind,
}

impl Engine {
    /// Runs until the engine is stopped or is gone.
    pub(super) async fn run(mut self, spec: Arc<JobSpec>, mut stopped: oneshot::Receiver<()>) {
        let begun = tokio::select! {
            begun = self.begin(&spec) => begun,
            _ = &mut stopped => return,
        };
        let end = match begun {
            // What its client's files are ends with it.
            Ok((mut process, options, _reader)) => {
                let end = tokio::select! {
                    end = self.drive(&mut process, &options) => Some(end),
                    _ = &mut stopped => None,
                };
                stop(process).await;
                end
            }
            Err(end) => Some(end),
        };
        if let Some(End { message, kind }) = end {
            self.teller.tell_crash(message, kind).await;
        }
    }

    async fn begin(&self, spec: &JobSpec) -> Result<(Process, NativeOptions, Reader), End> {
        let hopeless = |error: &(dyn Error + 'static)| End {
            message: chain(error),
            kind: CrashKind::Hopeless,
        };
        let perhaps = |error: &(dyn Error + 'static)| End {
            message: chain(error),
            kind: CrashKind::NotBegun,
        };
        if spec.engine != NATIVE {
            let message = format!(
                "this server has no engine of the kind `{}`: upgrade it, or submit a native program",
                spec.engine
            );
            return Err(End {
                message,
                kind: CrashKind::Hopeless,
            });
        }
        let options = NativeOptions::from_bytes(&spec.options).map_err(|error| hopeless(&error))?;
        let fetch = Fetch::new(&self.surroundings, self.teller.job);
        let program = fetch.plain(BlobName(spec.artifact), true);
        let program = program.await.map_err(|error| perhaps(&error))?;
        let inputs = match options.inputs {
            Some(tree) => fetch.tree(BlobName(tree)).await,
            None => Ok(FileTree::default()),
        };
        let inputs = inputs.map_err(|error| perhaps(&error))?;
        let (reader, client) = self.surroundings.client_files.begin(
            self.teller.job,
            options.files,
            options
                .inputs
                .map(|tree| (BlobName(tree), Arc::new(inputs.clone()))),
            &self.surroundings.store,
        );
        let (surroundings, name) = (self.surroundings.clone(), options.name.clone());
        let folder = tokio::task::spawn_blocking(move || Folder::new(&surroundings, &name, inputs));
        let folder = folder.await.map_err(|error| perhaps(&error))?;
        let folder = folder.map_err(|error| perhaps(&error))?;
        let begun = process::begin(
            &self.surroundings,
            &program,
            &options,
            folder,
            self.pins.clone().with_client(client),
        )
        .await;
        let process = begun.map_err(|error| End {
            kind: error.kind(),
            message: chain(&error),
        })?;
        let id = process.child.id().unwrap_or(0);
        self.gauge.process.store(id, Ordering::Relaxed);
        Ok((process, options, reader))
    }

    async fn drive(&mut self, process: &mut Process, options: &NativeOptions) -> End {
        let Process {
            child,
            reader,
            writer,
            folder,
            files: _,
        } = process;
        let mut root: Option<Root> = None;
        let mut sharing = Sharing::new(&self.surroundings, &self.teller, folder.shared());
        let mut results = Results::new(&self.surroundings, &self.teller, folder.shared());
        // Written while the engine is read from: it may wait for that before it reads on.
        let mut unwritten = BytesMut::new();
        let clock = Clock::start();
        let mut pulse = Pulse::new(clock.now(), self.surroundings.engine_timeout);
        let broken = loop {
            // A frame is read to its end once it has begun: `next` is polled in one place, and not dropped half-way.
            let said = reader.next();
            tokio::pin!(said);
            let said = loop {
                let order = tokio::select! {
                    said = &mut said => break said,
                    Some(order) = self.orders.recv() => {
                        self.hold_back(order, &mut sharing, &mut results).await
                    }
                    admitted = sharing.next() => self.judge(admitted, &sharing).await,
                    (way, finished) = results.next() => self.deliver(way, finished).await,
                    () = clock.wait_for(pulse.poll_timeout()) => {
                        match pulse.handle_timeout(clock.now()) {
                            Beat::Wait => {}
                            Beat::Ask => say(&mut unwritten, &ToEngine::Ping),
                            Beat::GiveUp => return silent(options),
                        }
                        None
                    }
                    written = writer.write_buf(&mut unwritten), if !unwritten.is_empty() => {
                        if written.is_err() {
                            // Why will be known when its words end.
                            unwritten.clear();
                        }
                        None
                    }
                };
                let Some(order) = order else {
                    continue;
                };
                root = self.begin_root(&order, folder).or(root);
                if let Some(order) = order.to_engine() {
                    say(&mut unwritten, &order);
                }
            };
            pulse.heard(clock.now());
            match said {
                Ok(Some(FromEngine::Share { name })) => sharing.take_from_engine(name),
                Ok(Some(FromEngine::Load(load))) => {
                    sharing.note_load(load);
                    self.tell_load(&sharing).await;
                }
                Ok(Some(said)) => self.pass_on(said, &mut root, &mut results).await,
                Ok(None) | Err(ReadError::Io(_)) => break None,
                Err(error) => break Some(error),
            }
        };
        drop(sharing);
        match broken {
            Some(error) => garbled(options, &error),
            None => end_of(child, folder, options, root).await,
        }
    }

    /// The root, if the engine is about to be given it.
    fn begin_root(&self, order: &EngineCommand, folder: &Folder) -> Option<Root> {
        let EngineCommand::Accept {
            ticket, closure, ..
        } = order
        else {
            return None;
        };
        let begin = || Root::begin(&self.surroundings, &self.teller, folder, *ticket);
        (closure.kind.task == ROOT_TASK).then(begin)
    }

    /// What the engine is told now: not of closures that wait for their shared values, nor of results on their way.
    async fn hold_back(
        &self,
        order: EngineCommand,
        sharing: &mut Sharing,
        results: &mut Results,
    ) -> Option<EngineCommand> {
        match order {
            EngineCommand::Abort { ticket, .. } if sharing.abort(ticket) => {
                self.tell_load(sharing).await;
                None
            }
            EngineCommand::Abort { ticket, .. } if results.abort(Way::Out(ticket)) => None,
            EngineCommand::Accept {
                job,
                ticket,
                closure,
            } => {
                let closure = sharing.admit(ticket, closure)?;
                Some(EngineCommand::Accept {
                    job,
                    ticket,
                    closure,
                })
            }
            EngineCommand::ReturnResult {
                job,
                lease,
                finished,
            } => {
                let finished = results.admit(Way::In(lease), finished)?;
                Some(EngineCommand::ReturnResult {
                    job,
                    lease,
                    finished,
                })
            }
            EngineCommand::Start { .. }
            | EngineCommand::SetWorkers { .. }
            | EngineCommand::Abort { .. }
            | EngineCommand::Lend { .. }
            | EngineCommand::Reclaim { .. }
            | EngineCommand::Stop { .. }
            | EngineCommand::Remember { .. } => Some(order),
        }
    }

    /// A result is where it has to be: it is the node's, or the engine's.
    async fn deliver(&self, way: Way, finished: Finished) -> Option<EngineCommand> {
        let job = self.teller.job;
        match way {
            Way::In(lease) => Some(EngineCommand::ReturnResult {
                job,
                lease,
                finished,
            }),
            Way::Out(ticket) => {
                let event = EngineEvent::Finished {
                    job,
                    ticket,
                    finished,
                };
                self.teller.tell(event).await;
                None
            }
        }
    }

    /// What becomes of a closure that has waited for its shared values: the engine's, or its lender's.
    async fn judge(&self, admitted: Admitted, sharing: &Sharing) -> Option<EngineCommand> {
        let job = self.teller.job;
        match admitted {
            Admitted::Accept(ticket, closure) => Some(EngineCommand::Accept {
                job,
                ticket,
                closure,
            }),
            Admitted::Refuse(ticket, finished) => {
                let event = EngineEvent::Finished {
                    job,
                    ticket,
                    finished,
                };
                self.teller.tell(event).await;
                self.tell_load(sharing).await;
                None
            }
        }
    }

    async fn tell_load(&self, sharing: &Sharing) {
        let (job, load) = (self.teller.job, sharing.load());
        self.teller.tell(EngineEvent::Load { job, load }).await;
    }

    async fn pass_on(&self, said: FromEngine, root: &mut Option<Root>, results: &mut Results) {
        let said = if let FromEngine::Finished { ticket, finished } = said {
            if let Some(root) = root.take_if(|root| root.ticket() == ticket) {
                return root.finish_apart(finished);
            }
            let Some(finished) = results.admit(Way::Out(ticket), finished) else {
                return;
            };
            FromEngine::Finished { ticket, finished }
        } else {
            said
        };
        if let FromEngine::Unwanted { lease } = &said {
            results.abort(Way::In(*lease));
        }
        if let FromEngine::Measured { samples } = &said {
            let finished = samples.iter().map(|sample| u64::from(sample.finished));
            let finished = finished.sum();
            self.gauge.closures.fetch_add(finished, Ordering::Relaxed);
        }
        if let Some(event) = EngineEvent::from_engine(self.teller.job, said) {
            self.teller.tell(event).await;
        }
    }
}

fn say(unwritten: &mut BytesMut, order: &ToEngine) {
    if let Ok(bytes) = frame::encode(order) {
        unwritten.extend_from_slice(&bytes);
    }
}

/// The end of an engine that this server does not understand.
fn garbled(options: &NativeOptions, error: &ReadError) -> End {
    End {
        message: format!(
            "{} says what makes no sense: {}",
            options.name,
            chain(error)
        ),
        kind: CrashKind::Hopeless,
    }
}

/// The end of an engine that does not answer any more.
fn silent(options: &NativeOptions) -> End {
    End {
        message: format!(
            "{} has given no sign of life for long (something has stopped it, or it waits for a disk), and was ended",
            options.name
        ),
        kind: CrashKind::Died,
    }
}

/// Waits for a process that has closed its socket, and says how it ended.
async fn end_of(
    child: &mut Child,
    folder: &Folder,
    options: &NativeOptions,
    root: Option<Root>,
) -> End {
    let status = timeout(EXIT_TIMEOUT, child.wait()).await;
    let Ok(Ok(status)) = status else {
        return End {
            message: format!("{} has closed its socket to the server", options.name),
            kind: CrashKind::Died,
        };
    };
    // A program may end by itself while `main` runs.
    if let (Some(code), Some(root)) = (status.code(), root) {
        let code = u8::try_from(code).unwrap_or(u8::MAX);
        let outcome = Outcome::Value(Bytes::from(vec![code]));
        let work = Duration::ZERO;
        root.finish(Finished { outcome, work }).await;
    }
    let words = folder.last_words();
    let said = if words.is_empty() {
        String::new()
    } else {
        format!(". It said last: {words}")
    };
    End {
        message: format!("{} {}{said}", options.name, process::describe(status)),
        kind: CrashKind::Died,
    }
}

/// Asks the process to end, and makes it end if it does not.
async fn stop(mut process: Process) {
    if let Ok(bytes) = frame::encode(&ToEngine::Stop) {
        let _ = timeout(STOP_TIMEOUT, process.writer.write_all(&bytes)).await;
    }
    drop(process.writer);
    if timeout(STOP_TIMEOUT, process.child.wait()).await.is_err() {
        // One that waits for a disk ends when that answers.
        let _ = timeout(STOP_TIMEOUT, process.child.kill()).await;
    }
    let (files, folder) = (process.files, process.folder);
    // Many files take their time. What is mounted among them goes first.
    let removed = tokio::task::spawn_blocking(move || {
        drop(files);
        drop(folder);
    });
    let _ = removed.await;
}

/// After its socket has closed, a process ends.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);
/// An engine ends as soon as it is told to.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);
