//! `output`: what a job has printed, and the files that it has left.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use atlas_fs::FileTree;
use atlas_proto::control::{Files, JobId, JobStatus};
use clap::Args;

use super::{CANNOT_PRINT, Context, Reconnect};
use crate::blobs::Blobs;
use crate::client::Client;
use crate::exit::{self, Exit};
use crate::follow;
use crate::print::{json, words};
use crate::screen::Screen;
use crate::session::Session;

#[derive(Debug, Args)]
pub(super) struct Output {
    /// Its number, as `submit` and `ps` print it.
    job: JobId,
    /// Go on until the job has ended.
    #[arg(long, short)]
    follow: bool,
    /// Put the files that the job has left there, once it has ended.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    #[command(flatten)]
    reconnect: Reconnect,
}

impl Output {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<u8> {
        let session = context.session(self.reconnect).await?;
        let screen = Screen::new(context.format, false);
        session
            .attend(&screen, self.show(&session, &screen))
            .await?;
        session.client().close().await;
        Ok(exit::DONE)
    }

    async fn show(&self, session: &Session, screen: &Screen) -> anyhow::Result<()> {
        if self.follow {
            follow::show_to_end(session, self.job, screen).await?;
        } else {
            follow::show(session, self.job, screen).await?;
        }
        if let Some(to) = &self.to {
            let job = self.status(session, screen).await?;
            match job.files {
                Some(files) => {
                    fetch_files(&session.client(), &job, &files, to, screen).await?;
                }
                None if job.state.has_ended() => {
                    screen.say(&format!("job {} has left no files", job.id))
                }
                None => bail!(
                    "job {} is {}, and has no files before its end: add --follow to wait for it",
                    job.id,
                    words::state(&job.state)
                ),
            }
        }
        Ok(())
    }

    /// How the job stands; once it has ended, if that is waited for.
    async fn status(&self, session: &Session, screen: &Screen) -> anyhow::Result<JobStatus> {
        if self.follow {
            return follow::end_of(session, self.job, screen).await;
        }
        let status = session.persist(screen, async |client| {
            Ok(client.watch(self.job).await?.next().await?)
        });
        let status = status.await?;
        status.with_context(|| {
            let job = self.job;
            format!("the manager does not say how job {job} stands: ask again")
        })
    }
}

/// Gets the files that a job has left, and puts them into a folder, in the place of what is there. Ctrl-C ends that:
/// nobody else listens for it any more.
pub(super) async fn fetch_files(
    client: &Client,
    job: &JobStatus,
    files: &Files,
    to: &Path,
    screen: &Screen,
) -> anyhow::Result<()> {
    let fetched = tokio::select! {
        fetched = fetch(client, files, to, screen) => fetched,
        _ = tokio::signal::ctrl_c() => Err(Exit::error(exit::DETACHED, "broken off by Ctrl-C")),
    };
    fetched.with_context(|| {
        let job = job.id;
        format!(
            "not all files of job {job} are here; get them with `atlas-shell output {job} --to DIR`"
        )
    })
}

async fn fetch(client: &Client, files: &Files, to: &Path, screen: &Screen) -> anyhow::Result<()> {
    if files.files == 0 {
        return Ok(());
    }
    let blobs = Blobs::new()?;
    client
        .fetch(files.tree, FileTree::BYTES_MAX as u64, &blobs)
        .await?;
    let tree = blobs.tree(files.tree).await?;
    client.fetch_files(&tree, &blobs).await?;
    let paths: Vec<_> = tree
        .files()
        .map(|(path, _)| to.join(path.as_str()))
        .collect();
    blobs.copy_out(tree, to).await?;
    for path in &paths {
        let path = path.to_string_lossy();
        screen
            .event(&json::Event::File { path: &path })
            .await
            .context(CANNOT_PRINT)?;
    }
    screen.say(&format!(
        "put {} ({}) into {}",
        words::count(files.files, "file"),
        words::bytes(files.bytes),
        to.display()
    ));
    Ok(())
}
