//! The command line of `atlas-server`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use atlas_fs::daemon::stop_signal;
use atlas_net::enrol;
use atlas_net::identity::{NodeKey, Role, Token, check_writable};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::state::StateFolder;
use crate::{ServerNode, ServerOptions};

/// Lends this machine to its domain.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// Where the server keeps what it knows [default: ~/.local/state/atlas/server].
    #[arg(long, global = true, value_name = "DIR", env = "ATLAS_SERVER_STATE")]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join a domain, with a token from its administrator.
    Join {
        /// The token.
        token: Token,
        /// Run as soon as it has joined.
        #[arg(long)]
        run: bool,
        #[command(flatten)]
        options: RunArgs,
    },
    /// Run the server until it is interrupted.
    Run(RunArgs),
    /// Print completions for a shell.
    Completions {
        /// Which.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Lend so many processors [default: all that this process may use].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Option<u32>,
    /// Listen at this UDP address for other servers of the domain.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))]
    listen: SocketAddr,
    /// Keep so many bytes of programs and files for jobs to come.
    #[arg(long, default_value_t = 10_000_000_000, value_name = "BYTES")]
    blobs_max: u64,
    /// Keep so many bytes of files by URL that jobs have read.
    #[arg(long, default_value_t = 10_000_000_000, value_name = "BYTES")]
    urls_max: u64,
    /// For how many seconds after it was fresh a file is served while its origin cannot be asked, unless the file's own answer allows more.
    #[arg(long, value_name = "SECS", default_value_t = 0)]
    urls_stale: u64,
    /// Tokens, or names and secrets, by host, in TOML, for files by URL; nobody else may read the file. What is fetched with them is
    /// given to all who may run jobs here.
    #[arg(long, value_name = "FILE")]
    urls_credentials: Option<PathBuf>,
    /// Names and secrets by host, in a netrc file, for files by URL. What is fetched with them is given to all who may run jobs here.
    #[arg(long, value_name = "FILE")]
    urls_netrc: Option<PathBuf>,
    /// Certificates, in PEM, of authorities that are trusted beside the system's, for files by URL.
    #[arg(long, value_name = "FILE")]
    urls_ca: Option<PathBuf>,
    /// Where jobs find files by URL as paths, if this process may mount (root). Made if it is not there; no other program sees the mount.
    #[arg(long, value_name = "DIR", default_value = "/atlas")]
    mount_at: PathBuf,
    /// Compute for the domain above, as a guest, when no manager of this server's own domain has been reached for so many seconds, until
    /// one is there again. 0: never.
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=86_400))]
    guest_after: u64,
    /// End a process of a job that has given no sign of life for so many seconds (it was stopped, or waits for a disk that does not
    /// answer): others run what it had. How long it computes has no part in it. 0: never.
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=86_400))]
    engine_timeout: u64,
    /// Run jobs at this priority, as of `nice`: 19 gives way to everything else.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(0..=19))]
    nice: i32,
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    ///
    /// It cannot be done; the error says what to do.
    pub async fn run(self) -> Result<()> {
        let state = StateFolder::find(self.state)?;
        match self.command {
            Command::Join {
                token,
                run,
                options,
            } => {
                join(&state, &token).await?;
                if run {
                    return serve(&state, &options).await;
                }
                println!("next: atlas-server run");
                Ok(())
            }
            Command::Run(options) => serve(&state, &options).await,
            Command::Completions { shell } => {
                let mut command = Self::command();
                clap_complete::generate(
                    shell,
                    &mut command,
                    "atlas-server",
                    &mut std::io::stdout(),
                );
                Ok(())
            }
        }
    }
}

/// So long; none for 0.
fn some_seconds(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

async fn join(state: &StateFolder, token: &Token) -> Result<()> {
    if token.role != Role::Server {
        bail!(
            "this token lets in a {}: ask the administrator of {} for one made with `--role server`",
            token.role,
            token.domain
        );
    }
    // What is refused here uses up no token.
    check_writable(state.path()).context("this server can keep nothing")?;
    let key = NodeKey::generate().context("cannot make a key")?;
    let identity = enrol::join(token, key).await;
    let identity =
        identity.with_context(|| format!("{} does not let this server in", token.domain))?;
    state.enrolled(&identity, &token.addresses)?;
    println!("joined {} as {}", token.domain, identity.peer().node);
    Ok(())
}

async fn serve(state: &StateFolder, options: &RunArgs) -> Result<()> {
    let (identity, manager) = state.load()?;
    if identity.ends_at() <= SystemTime::now() {
        bail!(
            "the server's certificate has ended, since it was not connected for too long: join again with a new token from the \
             administrator of {}",
            identity.peer().domain
        );
    }
    let mount_at = std::path::absolute(&options.mount_at).context("--mount-at names no folder")?;
    let domain = identity.peer().domain.clone();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = options
        .workers
        .unwrap_or(u32::try_from(processors).unwrap_or(1));
    let mut urls = atlas_fs::url::Options::new(state.urls_folder());
    urls.quota = Some(options.urls_max);
    urls.stale = Duration::from_secs(options.urls_stale);
    urls.add_access(atlas_fs::url::AccessFiles {
        credentials: options.urls_credentials.as_deref(),
        netrc: options.urls_netrc.as_deref(),
        authorities: options.urls_ca.as_deref(),
    })?;
    let server = ServerNode::start(ServerOptions {
        identity,
        manager,
        listen: options.listen,
        workers,
        folder: state.engines_folder(),
        store: atlas_fs::Store::open(state.blobs_folder())?,
        blobs_bytes_max: options.blobs_max,
        urls,
        mount_at,
        nice: Some(options.nice),
        engine_timeout: some_seconds(options.engine_timeout),
        inherit_environment: false,
        identity_folder: Some(state.identity_folder()),
        state_folder: Some(state.path().to_owned()),
        guest_after: some_seconds(options.guest_after),
    })
    .await?;
    println!(
        "lends {workers} workers to {domain} at {}",
        server.address()
    );
    stop_signal().await.context("cannot wait for signals")?;
    server.stop().await;
    Ok(())
}
