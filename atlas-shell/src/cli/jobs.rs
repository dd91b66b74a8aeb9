//! `ps`, `wait`, `kill`.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use atlas_proto::control::{JobId, JobStatus};
use clap::Args;

use super::{CANNOT_PRINT, Context, Reconnect};
use crate::client::ClientError;
use crate::exit;
use crate::follow;
use crate::print::{Format, json, print, table, words};
use crate::screen::Screen;
use crate::session::Session;

#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Those that have ended, too, as far as the manager remembers them.
    #[arg(long, short)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Their numbers, as `submit` and `ps` print them.
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobId>,
    #[command(flatten)]
    reconnect: Reconnect,
}

#[derive(Debug, Args)]
pub(super) struct Kill {
    /// Their numbers, as `submit` and `ps` print them.
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobId>,
}

impl Ps {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        let mut jobs = client.jobs().await?;
        client.close().await;
        if !self.all {
            jobs.retain(|job| !job.state.has_ended());
        }
        let table = |jobs: &[JobStatus]| table::jobs(jobs, now_ms());
        let printed = context
            .format
            .list(&jobs, table, |job| json::Job::from(job));
        printed.context(CANNOT_PRINT)?;
        Ok(exit::DONE)
    }
}

impl Wait {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let session = context.session(self.reconnect).await?;
        let screen = Screen::new(context.format, false);
        let ended = session.attend(&screen, self.tell_ends(&session, &screen));
        let ended = ended.await?;
        session.client().close().await;
        Ok(exit::of_jobs(&ended))
    }

    /// One after the other: they go on all the same, and their ends are told in the order asked for.
    async fn tell_ends(
        &self,
        session: &Session,
        screen: &Screen,
    ) -> anyhow::Result<Vec<JobStatus>> {
        let mut ended = Vec::new();
        for &job in &self.jobs {
            let status = follow::end_of(session, job, screen).await;
            let status = status.with_context(|| format!("cannot wait for job {job}"))?;
            tell(screen.format(), &status)?;
            ended.push(status);
        }
        Ok(ended)
    }
}

impl Kill {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let client = context.client().await?;
        let mut code = exit::DONE;
        for job in self.jobs {
            match client.kill(job).await {
                Ok(status) => tell(context.format, &status)?,
                // The others are to be killed all the same.
                Err(error @ ClientError::Refused(_)) => {
                    eprintln!("atlas-shell: cannot kill job {job}: {error}");
                    code = exit::REFUSED;
                }
                Err(error) => return Err(error).context(format!("cannot kill job {job}")),
            }
        }
        client.close().await;
        Ok(code)
    }
}

fn tell(format: Format, job: &JobStatus) -> anyhow::Result<()> {
    let text = match format {
        Format::Text => {
            let name = words::printable(&job.name);
            format!("job {} ({name}): {}\n", job.id, words::state(&job.state))
        }
        Format::Json => json::line(&json::Job::from(job)),
    };
    print(&text).context(CANNOT_PRINT)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
