//! Following a job to its end: its output and its progress on a [`Screen`], and Ctrl-C as [`Interrupt`] says.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use atlas_proto::control::{JobId, JobStatus};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{Client, ClientError, Output};
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

/// Why a job's output is not shown.
#[derive(Debug)]
enum ShowError {
    Client(ClientError),
    /// The manager, for good.
    Gone(anyhow::Error),
    /// Nobody reads any more.
    Closed,
    Write(io::Error),
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
    let run = run(session, job, screen);
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

/// Shows output to its end.
///
/// # Errors
///
/// The manager refuses or is gone, or the output cannot be written. That nobody reads it any more is the end, too.
pub async fn show(mut output: Output, screen: &Screen) -> anyhow::Result<()> {
    match pump(&mut output, screen, &Cell::default()).await {
        Ok(()) | Err(ShowError::Closed) => Ok(()),
        Err(ShowError::Client(error)) => Err(error.into()),
        Err(ShowError::Gone(error)) => Err(error),
        Err(ShowError::Write(error)) => Err(error).context(CANNOT_WRITE),
    }
}

/// To the job's end, whatever becomes of the connection meanwhile.
async fn run(session: &Session, job: JobId, screen: &Screen) -> Result<JobStatus, ShowError> {
    let shown = Cell::new([0, 0]);
    loop {
        let client = session.client();
        match run_connected(&client, job, screen, &shown).await {
            Err(ShowError::Client(lost @ ClientError::Lost(_))) => {
                let lost = anyhow::Error::from(lost);
                screen.say(&format!("{lost:#}; connecting again"));
                session.come_back(lost).await.map_err(ShowError::Gone)?;
                screen.say("connected again");
            }
            ended => return ended,
        }
    }
}

/// To the job's end, or that of the connection. `shown` are the bytes of each stream that were.
async fn run_connected(
    client: &Client,
    job: JobId,
    screen: &Screen,
    shown: &Cell<[u64; 2]>,
) -> Result<JobStatus, ShowError> {
    let opened = tokio::try_join!(client.output(job, shown.get(), true), client.watch(job));
    let (mut output, watch) = opened.map_err(ShowError::Client)?;
    let ended = async {
        let ended = watch.ended(|job| screen.progress(job)).await;
        ended.map_err(ShowError::Client)
    };
    let ((), ended) = tokio::try_join!(pump(&mut output, screen, shown), ended)?;
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

async fn pump(
    output: &mut Output,
    screen: &Screen,
    shown: &Cell<[u64; 2]>,
) -> Result<(), ShowError> {
    while let Some(frame) = output.next().await.map_err(ShowError::Client)? {
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
    ended: Result<JobStatus, ShowError>,
) -> anyhow::Result<Followed> {
    match ended {
        Ok(status) => Ok(Followed::Ended(Box::new(status))),
        Err(ShowError::Closed) => {
            screen.warn(&format!(
                "nobody reads the output any more; job {job} goes on detached"
            ));
            Ok(Followed::Detached)
        }
        Err(ShowError::Write(error)) => {
            let goes_on = format!("{CANNOT_WRITE}; job {job} goes on detached");
            Err(error).context(goes_on)
        }
        Err(ShowError::Client(error)) => Err(no_longer(job, error.into())),
        Err(ShowError::Gone(error)) => Err(no_longer(job, error)),
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

const CANNOT_WRITE: &str = "the job's output cannot be written: see that there is room";
/// Between two attempts to kill a job while there is no connection.
const KILL_AGAIN: Duration = Duration::from_millis(200);
