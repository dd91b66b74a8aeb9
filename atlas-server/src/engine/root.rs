//! The root of a job, while this server runs it: what `main` prints and leaves goes to the manager, and its result after that.
//!
//! A root that was run before, elsewhere or here, is run again from its beginning: the manager takes what comes twice once, by
//! its place in the stream.

use std::path::PathBuf;
use std::sync::Arc;

use atlas_engine::Failure;
use atlas_fs::daemon::chain;
use atlas_fs::{AddAs, FileTree};
use atlas_proto::control::OutputStream;
use atlas_proto::engine::EngineEvent;
use atlas_proto::ids::Ticket;
use atlas_proto::job::{Finished, Outcome};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::output::{Output, OutputError, over};
use super::process::Folder;
use super::{Surroundings, Teller};

/// A root that runs.
pub(super) struct Root {
    ticket: Ticket,
    finished: oneshot::Sender<Finished>,
    task: JoinHandle<()>,
}

/// What is needed to tell of it.
struct Report {
    ticket: Ticket,
    teller: Teller,
    output: Output,
    work: PathBuf,
    inputs: FileTree,
    surroundings: Arc<Surroundings>,
}

impl Root {
    /// The engine is about to be given the root.
    pub(super) fn begin(
        surroundings: &Arc<Surroundings>,
        teller: &Teller,
        folder: &Folder,
        ticket: Ticket,
    ) -> Self {
        let files = OutputStream::BOTH.map(|stream| folder.printed(stream));
        let (finished, finish) = oneshot::channel();
        let report = Report {
            ticket,
            teller: teller.clone(),
            output: Output::new(surroundings.manager.clone(), teller.job, files),
            work: folder.work(),
            inputs: folder.inputs.clone(),
            surroundings: surroundings.clone(),
        };
        let task = tokio::spawn(report.run(finish));
        Self {
            ticket,
            finished,
            task,
        }
    }

    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// It has ended so; the node hears of it when all that it has printed and left is in safety.
    pub(super) fn finish_apart(self, finished: Finished) {
        let _ = self.finished.send(finished);
    }

    /// As [`Root::finish_apart`], and waits for it.
    pub(super) async fn finish(self, finished: Finished) {
        let _ = self.finished.send(finished);
        let _ = self.task.await;
    }
}

impl Report {
    async fn run(mut self, finish: oneshot::Receiver<Finished>) {
        let finished = tokio::select! {
            never = self.output.follow() => match never {},
            finished = finish => finished,
        };
        // Otherwise the engine is gone, and whoever runs the root next tells all again.
        let Ok(finished) = finished else {
            return;
        };
        let membership_over = over(self.surroundings.manager.clone());
        let delivered = tokio::select! {
            delivered = self.deliver() => delivered,
            () = membership_over => return,
        };
        let finished = match delivered {
            Ok(()) => finished,
            Err(error) => {
                let (task, message) = (None, chain(&error));
                let failure = Failure::Panicked { task, message };
                let outcome = Outcome::Panic(failure.to_bytes());
                Finished {
                    outcome,
                    ..finished
                }
            }
        };
        let (job, ticket) = (self.teller.job, self.ticket);
        let event = EngineEvent::Finished {
            job,
            ticket,
            finished,
        };
        self.teller.tell(event).await;
    }

    async fn deliver(&mut self) -> Result<(), OutputError> {
        let (work, inputs) = (self.work.clone(), self.inputs.clone());
        let store = self.surroundings.store.clone();
        let gather = move || {
            let gathered = FileTree::of_outputs(&work, &inputs, &store, AddAs::Linked);
            let tree = gathered
                .map_err(|error| OutputError::Gather(error.into()))?
                .tree;
            let name = store.add_bytes(&tree.to_bytes());
            let name = name.map_err(|error| OutputError::Gather(error.into()))?;
            Ok((tree, name))
        };
        let gathered = tokio::task::spawn_blocking(gather).await;
        let (tree, name) = gathered.map_err(|error| OutputError::Gather(error.into()))??;
        self.output.finish(&tree, name).await
    }
}
