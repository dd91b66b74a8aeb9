//! `submit`: finds or builds the program, hands it to the manager, and follows the job.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use atlas_net::identity::random;
use atlas_proto::control::{
    Accepted, FilesName, JobState, JobStatus, NATIVE, Submission, SubmissionNumber,
};
use clap::Args;

use super::output::fetch_files;
use super::{CANNOT_PRINT, Context, Reconnect, wait_for};
use crate::blobs::{Added, Blobs};
use crate::client::{Client, ClientError, ServedFolder};
use crate::embedded::{self, Embedded};
use crate::exit::{self, Exit};
use crate::follow::{Followed, follow};
use crate::interrupt::Interrupt;
use crate::login;
use crate::print::{Format, json, print, words};
use crate::program::{self, BuildOptions};
use crate::screen::Screen;
use crate::session::Session;
use crate::state::StateFolder;

#[derive(Debug, Args)]
pub(super) struct Submit {
    /// The path of an executable, or the name of a binary or example of the Cargo workspace here, which is built.
    job: OsString,
    /// The job's own arguments.
    #[arg(last = true)]
    args: Vec<OsString>,
    /// Do not follow the job: print its number and leave.
    #[arg(long, short, conflicts_with = "to")]
    detach: bool,
    /// A file or folder that the job finds in its working directory; may be repeated.
    #[arg(long = "input", short, value_name = "PATH")]
    inputs: Vec<PathBuf>,
    /// A folder of which the job reads files as `atlas://client/PATH`, as long as this command runs.
    #[arg(long, value_name = "DIR", conflicts_with = "detach")]
    serve: Option<PathBuf>,
    /// What people call the job, in place of the program's name.
    #[arg(long)]
    name: Option<String>,
    /// Where the files go that the job leaves; the current folder, unless given.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Show no progress, and nothing but errors of the shell's own.
    #[arg(long, short)]
    quiet: bool,
    /// Build with another of Cargo's profiles.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Build with the profile `release`, as is usual.
    #[arg(long, conflicts_with = "profile")]
    release: bool,
    /// The package of the program, if several have one of its name.
    #[arg(long, short)]
    package: Option<String>,
    #[command(flatten)]
    reconnect: Reconnect,
    /// Workers of the embedded cluster, which runs jobs while nobody is logged in.
    #[arg(long)]
    workers: Option<u32>,
}

/// Who runs the job.
struct Cluster {
    session: Session,
    blobs: Blobs,
    embedded: Option<Embedded>,
}

impl Submit {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<u8> {
        let here = std::env::current_dir().context("the current folder cannot be found")?;
        let executable = program::resolve(&self.job, &here, &self.build_options())?;
        wait_for(self.submit(&executable, context))
    }

    #[cfg(test)]
    pub(super) fn args(&self) -> &[OsString] {
        &self.args
    }

    fn build_options(&self) -> BuildOptions {
        BuildOptions {
            profile: self.profile.clone(),
            package: self.package.clone(),
            quiet: self.quiet,
        }
    }

    async fn submit(&self, executable: &Path, context: &Context) -> anyhow::Result<u8> {
        let screen = Screen::new(context.format, self.quiet);
        let state = context.state()?;
        let is_near = !state.is_logged_in();
        let served = self.serve.as_deref();
        let served = served.map(|folder| ServedFolder::new(folder, is_near));
        let served = served.transpose()?;
        let (cluster, artifact) = if state.is_logged_in() {
            self.log_in(state, executable).await?
        } else {
            self.embed(executable, &screen).await?
        };
        let job = self.submission(executable, &cluster.blobs, artifact).await;
        let ended = match job {
            Ok(job) => {
                let done = self.submit_to(&cluster, &job, served, &screen);
                cluster.session.attend(&screen, done).await
            }
            Err(error) => Err(error),
        };
        cluster.close().await;
        ended
    }

    /// To the manager, and the program.
    async fn log_in(
        &self,
        state: &StateFolder,
        executable: &Path,
    ) -> anyhow::Result<(Cluster, Added)> {
        if self.workers.is_some() {
            return Err(Exit::error(
                exit::USAGE,
                "--workers is for the embedded cluster, but you are logged in: leave it out, or `atlas-shell logout`",
            ));
        }
        let blobs = Blobs::new()?;
        // Reading the program takes about as long as meeting the manager.
        let ready = tokio::try_join!(login::connect(state), blobs.add_program(executable));
        let (client, artifact) = ready?;
        let cluster = Cluster {
            session: Session::lasting(client, state.clone(), self.reconnect.reconnect),
            blobs,
            embedded: None,
        };
        Ok((cluster, artifact))
    }

    /// A cluster of the shell's own, and the program.
    async fn embed(&self, executable: &Path, screen: &Screen) -> anyhow::Result<(Cluster, Added)> {
        if self.detach {
            return Err(Exit::error(
                exit::USAGE,
                "nobody is logged in, and an embedded cluster ends with its shell: leave out --detach, or log in with \
                 `atlas-shell login TOKEN`",
            ));
        }
        screen.say("nobody is logged in: the job runs on an embedded cluster, this machine alone");
        let embedded = embedded::start(self.workers).await?;
        let blobs = embedded.blobs();
        let artifact = blobs.add_program(executable).await?;
        let cluster = Cluster {
            session: Session::once(embedded.client()),
            blobs,
            embedded: Some(embedded),
        };
        Ok((cluster, artifact))
    }

    async fn submit_to(
        &self,
        cluster: &Cluster,
        submission: &Submission,
        served: Option<ServedFolder>,
        screen: &Screen,
    ) -> anyhow::Result<u8> {
        let files = served.as_ref().map(ServedFolder::name);
        let accepted = cluster.session.persist(screen, async |client| {
            Ok(hand_over(client, submission, files, &cluster.blobs, screen).await?)
        });
        let accepted = accepted
            .await
            .with_context(|| format!("cannot submit {}", submission.name))?;
        if self.detach {
            tell_accepted(accepted, screen)?;
            return Ok(exit::DONE);
        }
        screen
            .event(&json::Event::from(accepted))
            .await
            .context(CANNOT_PRINT)?;
        let job = accepted.job;
        if let Some(folder) = &served {
            let serving = cluster.session.serve(job, folder.clone()).await;
            serving.with_context(|| format!("cannot serve files to job {job}"))?;
        }
        let ended = match follow(&cluster.session, job, screen, cluster.interrupt()).await? {
            Followed::Ended(ended) => ended,
            Followed::Detached | Followed::Left => {
                let event = json::Event::Detached { job: job.0 };
                // Nobody may read it any more.
                let _ = screen.event(&event).await;
                return Ok(exit::DETACHED);
            }
        };
        let mut fetched = Ok(());
        if let Some(files) = &ended.files {
            let to = self.to.as_deref().unwrap_or(Path::new("."));
            let client = cluster.session.client();
            fetched = fetch_files(&client, &ended, files, to, screen).await;
        }
        if let (Some(folder), Some(given)) = (&self.serve, &served) {
            let bytes = words::bytes(given.sent());
            screen.say(&format!("the job has read {bytes} of {}", folder.display()));
        }
        // That is told whether or not its files came.
        tell_ended(&ended, screen).await?;
        fetched?;
        Ok(exit::of_job(&ended.state).unwrap_or(exit::FAILED))
    }

    /// What is asked of the manager; the blobs have what is to travel with it.
    async fn submission(
        &self,
        executable: &Path,
        blobs: &Blobs,
        artifact: Added,
    ) -> anyhow::Result<Submission> {
        let mut inputs = None;
        if !self.inputs.is_empty() {
            inputs = Some(blobs.add_inputs(&self.inputs).await?.hash);
        }
        let name = self.name.clone();
        Ok(Submission {
            name: name.unwrap_or_else(|| program::name_of(executable)),
            engine: NATIVE.into(),
            artifact: artifact.hash,
            command_line: self.args.iter().map(|arg| arg.clone().into_vec()).collect(),
            inputs,
            number: SubmissionNumber(random()?),
        })
    }
}

/// Submits, and shows how much was sent.
async fn hand_over(
    client: &Client,
    submission: &Submission,
    files: Option<FilesName>,
    blobs: &Blobs,
    screen: &Screen,
) -> Result<Accepted, ClientError> {
    let submit = client.submit(submission, files, blobs);
    tokio::pin!(submit);
    let mut looks = tokio::time::interval(LOOK);
    let accepted = loop {
        tokio::select! {
            accepted = &mut submit => break accepted,
            _ = looks.tick() => {
                if blobs.sent() > 0 {
                    screen.upload(blobs.sent(), blobs.added());
                }
            }
        }
    };
    screen.hide();
    accepted
}

impl Cluster {
    fn interrupt(&self) -> Interrupt {
        match self.embedded {
            None => Interrupt::default(),
            Some(_) => Interrupt::without_detaching(),
        }
    }

    async fn close(self) {
        match self.embedded {
            None => self.session.client().close().await,
            Some(embedded) => embedded.shut_down().await,
        }
    }
}

/// The number alone, so that scripts can keep it.
fn tell_accepted(accepted: Accepted, screen: &Screen) -> anyhow::Result<()> {
    let text = match screen.format() {
        Format::Text => format!("{}\n", accepted.job),
        Format::Json => json::line(&json::Event::from(accepted)),
    };
    print(&text).context(CANNOT_PRINT)
}

async fn tell_ended(job: &JobStatus, screen: &Screen) -> anyhow::Result<()> {
    let event = json::Event::Ended(Box::new(json::Job::from(job)));
    screen.event(&event).await.context(CANNOT_PRINT)?;
    if !matches!(job.state, JobState::Exited { .. }) {
        // No output of the job tells of it, so that it is said even to who wants quiet.
        screen.warn(&format!("job {}: {}", job.id, words::state(&job.state)));
    }
    Ok(())
}

/// Between two looks at what was sent.
const LOOK: Duration = Duration::from_millis(200);
