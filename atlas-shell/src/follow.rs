//! Following a job to its end: its output and its progress on a [`Screen`], and Ctrl-C as [`Interrupt`] says.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use atlas_proto::control::{JobId, JobStatus};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{ClientError, Output};
use crate::interrupt::{Interrupt, PATIENCE, Reaction};
use crate::screen::Screen;
use crate::session::Session;

/// How following a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The job has ended, and all of its output is shown.
    Ended(Box<JobStatus>),
    /// It goes on without the shell.
    Detached,
    /// The manager was asked to kill it, and has not said that it did.
    Left,
}

/// Why a job's output is not shown, though it has come.
#[derive(Debug, thiserror::Error)]
enum ShowError {
    #[error("nobody reads the output any more")]
    Closed,
    #[error("the job's output cannot be written: see that there is room")]
    Write(#[source] io::Error),
}

/// Follows a job until it ends, or until Ctrl-C ends that.
///
/// # Errors
///
/// The manager is gone, or the output cannot be written.
pub async fn follow(
    session: &Session,
    job: JobId,
    screen: &Screen,
    mut interrupt: Interrupt,
) -> anyhow::Result<Followed> {
    let mut signals = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let run = run(session, job, screen, |job| screen.progress(job));
    tokio::pin!(run);
    let mut killing = None;
    loop {
        let due = interrupt.poll_timeout().map(tokio::time::Instant::from_std);
        let reaction = tokio::select! {
            ended = &mut run => return finish(job, screen, ended),
            Some(()) = signals.recv() => Some(interrupt.handle_signal(Instant::now())),
            () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {
                interrupt.handle_timeout(Instant::now())
            }
            Some(killed) = next(&mut killing) => {
                killing = None;
                // It may have ended by itself just now; what it was is told by its state.
                if let Err(error) = killed {
                    screen.warn(&format!("job {job} could not be killed: {error}"));
                }
                None
            }
        };
        match reaction {
            None => {}
            Some(Reaction::Ask) => screen.warn(&format!(
                "job {job} goes on detached in {} seconds; press Ctrl-C again to kill it. See it again with `atlas-shell \
                 output {job} --follow`",
                PATIENCE.as_secs()
            )),
            Some(Reaction::Kill) => {
                screen.warn(&format!("killing job {job}"));
                killing = Some(Box::pin(kill(session, job)));
            }
            Some(Reaction::Detach) => {
                screen.warn(&format!("job {job} goes on detached"));
                return Ok(Followed::Detached);
            }
            Some(Reaction::Leave) => {
                screen.warn(&format!("the manager has not said yet that job {job} is killed: see `atlas-shell ps`"));
                return Ok(Followed::Left);
            }
        }
    }
}

/// Shows what a job has printed so far.
///
/// # Errors
///
/// The manager refuses or is gone, or the output cannot be written. That nobody reads it any more is the end, too.
pub async fn show(session: &Session, job: JobId, screen: &Screen) -> anyhow::Result<()> {
    let shown = Cell::new([0, 0]);
    let shown = session.persist(screen, async |client| {
        let mut output = client.output(job, shown.get(), false).await?;
        pump(&mut output, screen, &shown).await
    });
    let shown = shown.await;
    shown.or_else(read_enough)
}

/// Shows what a job has printed, and goes on until its end.
///
/// # Errors
///
/// As [`show`].
pub async fn show_to_end(session: &Session, job: JobId, screen: &Screen) -> anyhow::Result<()> {
    let ended = run(session, job, screen, |_| {}).await;
    ended.map(drop).or_else(read_enough)
}

/// How a job stands once it has ended.
///
/// # Errors
///
/// The manager refuses or is gone.
pub async fn end_of(session: &Session, job: JobId, screen: &Screen) -> anyhow::Result<JobStatus> {
    let ended = session.persist(screen, async |client| {
        Ok(client.watch(job).await?.ended(|_| {}).await?)
    });
    ended.await
}

fn read_enough(error: anyhow::Error) -> anyhow::Result<()> {
    match error.downcast_ref() {
        Some(ShowError::Closed) => Ok(()),
        Some(ShowError::Write(_)) | None => Err(error),
    }
}

/// To the job's end, whatever becomes of the connection meanwhile.
async fn run(
    session: &Session,
    job: JobId,
    screen: &Screen,
    progress: impl Fn(&JobStatus),
) -> anyhow::Result<JobStatus> {
    // The bytes of each stream that were shown.
    let shown = Cell::new([0, 0]);
    let ended = session.persist(screen, async |client| {
        let opened = tokio::try_join!(client.output(job, shown.get(), true), client.watch(job));
        let (mut output, watch) = opened?;
        // The output ends with the job, or with a manager that is stopped: which it was is said by the other.
        let ended = async { Ok(watch.ended(&progress).await?) };
        let ((), ended) = tokio::try_join!(pump(&mut output, screen, &shown), ended)?;
        Ok(ended)
    });
    let ended = ended.await?;
    screen.hide();
    Ok(ended)
}

/// Kills a job, as soon as the manager can be asked.
async fn kill(session: &Session, job: JobId) -> Result<JobStatus, ClientError> {
    loop {
        match session.client().kill(job).await {
            Err(ClientError::Lost(_)) => tokio::time::sleep(KILL_AGAIN).await,
            answered => return answered,
        }
    }
}

async fn pump(output: &mut Output, screen: &Screen, shown: &Cell<[u64; 2]>) -> anyhow::Result<()> {
    while let Some(frame) = output.next().await? {
        let mut after = shown.get();
        after[frame.stream.index()] = frame.offset + frame.bytes.len() as u64;
        // Before it is waited for: what was begun to be written is not to be written again.
        shown.set(after);
        screen.output(frame).await.map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                return ShowError::Closed;
            }
            ShowError::Write(error)
        })?;
    }
    Ok(())
}

fn finish(
    job: JobId,
    screen: &Screen,
    ended: anyhow::Result<JobStatus>,
) -> anyhow::Result<Followed> {
    let error = match ended {
        Ok(status) => return Ok(Followed::Ended(Box::new(status))),
        Err(error) => error,
    };
    match error.downcast_ref() {
        Some(closed @ ShowError::Closed) => {
            screen.warn(&format!("{closed}; job {job} goes on detached"));
            Ok(Followed::Detached)
        }
        Some(ShowError::Write(_)) => Err(error.context(format!("job {job} goes on detached"))),
        None => Err(no_longer(job, error)),
    }
}

fn no_longer(job: JobId, error: anyhow::Error) -> anyhow::Error {
    error.context(format!(
        "job {job} is followed no longer; if it goes on, see it again with `atlas-shell output {job} --follow`"
    ))
}

/// What an optional future gives; none if there is none.
async fn next<T>(future: &mut Option<std::pin::Pin<Box<impl Future<Output = T>>>>) -> Option<T> {
    match future {
        Some(future) => Some(future.await),
        None => None,
    }
}

/// Between two attempts to kill a job while there is no connection.
const KILL_AGAIN: Duration = Duration::from_millis(200);
