//! The command line of `atlas-manager`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use atlas_fs::daemon::stop_signal;
use atlas_net::enrol;
use atlas_net::identity::{DomainAuthority, NodeKey, Role, Token};
use atlas_proto::control::{ClientAnswer, ClientRequest, TokenRequest};
use atlas_proto::domain::Domain;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::state::{Parent, Settings, StateFolder};
use crate::{ManagerNode, ManagerOptions, Store, ask_local};

/// Coordinates one domain: its servers, those who submit jobs, the domains below.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    state: StateArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct StateArgs {
    /// Where the manager keeps what it knows [default: ~/.local/state/atlas/manager].
    #[arg(long, global = true, value_name = "DIR", env = "ATLAS_MANAGER_STATE")]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Begin a domain: make its authority and its state folder.
    Init {
        /// The domain's name, as `cs.example.edu`.
        #[arg(long)]
        domain: Domain,
        #[command(flatten)]
        place: Place,
    },
    /// Begin a domain below another one: its authority is signed by the one above.
    Join {
        /// A join token of the domain above, made with `--role manager`.
        token: Token,
        /// The new domain's name, as `lab.cs.example.edu`.
        #[arg(long)]
        domain: Domain,
        #[command(flatten)]
        place: Place,
    },
    /// Stand by for the manager of a domain: follow it, and take over when it dies.
    Standby {
        /// A join token of the domain, made with `--role standby`.
        token: Token,
        /// Run as soon as it has joined.
        #[arg(long)]
        run: bool,
        #[command(flatten)]
        place: Place,
        /// Serve /metrics and /healthz at this TCP address; `none` serves them nowhere.
        #[arg(long, default_value = "127.0.0.1:7118", value_name = "ADDRESS")]
        http: Http,
        #[command(flatten)]
        urls: Urls,
    },
    /// Run the manager until it is interrupted.
    Run {
        /// Listen at this UDP address, rather than at the one that was set when the domain began.
        #[arg(long)]
        listen: Option<SocketAddr>,
        /// Serve /metrics and /healthz at this TCP address; `none` serves them nowhere.
        #[arg(long, default_value = "127.0.0.1:7118", value_name = "ADDRESS")]
        http: Http,
        #[command(flatten)]
        urls: Urls,
    },
    /// Let nodes in.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Print completions for a shell.
    Completions {
        /// Which.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// The UDP address to listen at.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)))]
    listen: SocketAddr,
    /// Where others reach the manager, as `host:port` [default: this machine's name, or where it listens].
    #[arg(long, value_name = "HOST:PORT")]
    public: Vec<String>,
}

/// How files by URL are kept for the servers of the domain and for the domains below.
#[derive(Debug, Args)]
struct Urls {
    /// Keep so many bytes of files by URL that jobs have read.
    #[arg(long, default_value_t = 10_000_000_000, value_name = "BYTES")]
    urls_max: u64,
    /// For how many seconds after it was fresh a file is served while its origin cannot be asked, unless the file's own answer allows more.
    #[arg(long, value_name = "SECS", default_value_t = 0)]
    urls_stale: u64,
    /// Tokens, or names and secrets, by host, in TOML, for files by URL; nobody else may read the file. What is fetched with them is
    /// given to all below who ask.
    #[arg(long, value_name = "FILE")]
    urls_credentials: Option<PathBuf>,
    /// Names and secrets by host, in a netrc file, for files by URL. What is fetched with them is given to all below who ask.
    #[arg(long, value_name = "FILE")]
    urls_netrc: Option<PathBuf>,
    /// Certificates, in PEM, of authorities that are trusted beside the system's, for files by URL.
    #[arg(long, value_name = "FILE")]
    urls_ca: Option<PathBuf>,
}

impl Urls {
    /// As a manager can do it, which has little memory: so many requests with a megabyte or two each.
    fn options(&self, state: &StateFolder) -> Result<atlas_fs::url::Options> {
        let mut options = atlas_fs::url::Options::new(state.urls_folder());
        options.quota = Some(self.urls_max);
        options.stale = Duration::from_secs(self.urls_stale);
        options.requests_max = 8;
        options.range_bytes_max = 4 << 20;
        options.ranges_parallel_max = 2;
        options.read_ahead_bytes_max = 32 << 20;
        options.add_access(atlas_fs::url::AccessFiles {
            credentials: self.urls_credentials.as_deref(),
            netrc: self.urls_netrc.as_deref(),
            authorities: self.urls_ca.as_deref(),
        })?;
        Ok(options)
    }
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a join token, and print it. The manager must be running.
    Create {
        /// What the token lets in: server, client, admin (a client who may make tokens for servers and clients), manager (of a
        /// sub-domain), or standby (for this manager).
        #[arg(long, default_value = "server")]
        role: String,
        /// For how long, as 30min or 7days.
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
        ttl: Duration,
        /// How many nodes it lets in.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// Where the manager is reached, as `host:port`, if that differs from what was set when the domain began.
        #[arg(long, value_name = "HOST:PORT")]
        address: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug)]
enum Http {
    At(SocketAddr),
    Nowhere,
}

impl std::str::FromStr for Http {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::Nowhere);
        }
        text.parse().map(Self::At)
    }
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    ///
    /// It cannot be done; the error says what to do.
    pub async fn run(self) -> Result<()> {
        let state = StateFolder::find(self.state.state)?;
        match self.command {
            Command::Init { domain, place } => {
                let authority = DomainAuthority::init(domain.clone(), SystemTime::now())?;
                state.init(&authority, &place.settings(None))?;
                println!(
                    "began {domain} in {}; its fingerprint is {}\nnext: atlas-manager run",
                    state.path().display(),
                    authority.fingerprint()
                );
                Ok(())
            }
            Command::Join {
                token,
                domain,
                place,
            } => join(&state, &token, domain, &place).await,
            Command::Standby {
                token,
                run: at_once,
                place,
                http,
                urls,
            } => {
                stand_by(&state, &token, &place).await?;
                if at_once {
                    return run(&state, None, http, &urls).await;
                }
                println!("next: atlas-manager run");
                Ok(())
            }
            Command::Run { listen, http, urls } => run(&state, listen, http, &urls).await,
            Command::Token {
                command:
                    TokenCommand::Create {
                        role,
                        ttl,
                        uses,
                        address,
                    },
            } => {
                let wanted = TokenRequest {
                    role,
                    lifetime: ttl,
                    uses,
                    addresses: address,
                };
                create_token(&state, wanted).await
            }
            Command::Completions { shell } => {
                let mut command = Self::command();
                clap_complete::generate(
                    shell,
                    &mut command,
                    "atlas-manager",
                    &mut std::io::stdout(),
                );
                Ok(())
            }
        }
    }
}

impl Place {
    fn settings(&self, parent: Option<Parent>) -> Settings {
        let public = if self.public.is_empty() && self.listen.ip().is_unspecified() {
            let name = rustix::system::uname();
            let name = name.nodename().to_string_lossy();
            vec![format!("{name}:{}", self.listen.port())]
        } else {
            self.public.clone()
        };
        Settings::new(self.listen, public, parent)
    }
}

async fn join(state: &StateFolder, token: &Token, domain: Domain, place: &Place) -> Result<()> {
    // What is refused here uses up no token.
    state.check_free()?;
    let parent = Parent {
        domain: token.domain.clone(),
        addresses: token.addresses.clone(),
    };
    let joined = enrol::join_sub_domain(token, domain.clone()).await;
    let authority =
        joined.with_context(|| format!("{domain} is not taken in below {}", parent.domain))?;
    let above = parent.domain.clone();
    state.init(&authority, &place.settings(Some(parent)))?;
    println!(
        "began {domain} below {above} in {}; its fingerprint is {}\nnext: atlas-manager run",
        state.path().display(),
        authority.fingerprint()
    );
    Ok(())
}

async fn stand_by(state: &StateFolder, token: &Token, place: &Place) -> Result<()> {
    if token.role != Role::Standby {
        bail!(
            "this token lets in a {}: make one with `--role standby` at the manager of {}",
            token.role,
            token.domain
        );
    }
    state.check_free()?;
    let key = NodeKey::generate().context("cannot make a key")?;
    let identity = enrol::join(token, key).await;
    let identity =
        identity.with_context(|| format!("{} does not let this standby in", token.domain))?;
    let settings = place.settings(None);
    state.init_standby(&identity, token.addresses.clone(), &settings)?;
    println!("stands by for {} as {}", token.domain, identity.peer().node);
    Ok(())
}

async fn run(
    state: &StateFolder,
    listen: Option<SocketAddr>,
    http: Http,
    urls: &Urls,
) -> Result<()> {
    let (authority, identity) = if state.is_new_standby() {
        (None, state.standby_identity()?)
    } else {
        let authority = state.authority()?;
        let identity = state.identity(&authority)?;
        (Some(authority), identity)
    };
    let settings = state.settings()?;
    let domain = identity.peer().domain.clone();
    let options = ManagerOptions {
        identity,
        listen: listen.unwrap_or(settings.listen),
        public: settings.public.clone(),
        parent: settings
            .parent
            .clone()
            .map(|parent| (parent.domain, parent.addresses)),
        policy: settings.policy()?,
        store: Store::open(state.path())?,
        blobs: atlas_fs::Store::open(state.blobs_folder())?,
        blobs_bytes_max: settings.blobs_bytes_max,
        urls: Some(urls.options(state)?),
        folder: state.path().to_owned(),
        http: match http {
            Http::At(address) => Some(address),
            Http::Nowhere => None,
        },
        local: true,
        state: Some(state.clone()),
        authority,
    };
    let mut manager = ManagerNode::start(options).await?;
    if manager.acts() {
        println!("{domain} is managed at {}", manager.address());
    } else {
        println!("stands by for {domain} at {}", manager.address());
    }
    if let Some(address) = manager.http_address() {
        println!("metrics are at http://{address}/metrics");
    }
    let ended = tokio::select! {
        signal = stop_signal() => {
            signal.context("cannot wait for signals")?;
            None
        }
        ended = manager.ended() => Some(ended),
    };
    if let Some(error) = ended {
        let says = "this manager is to act, and cannot: mend that and start it again; until then a standby, if there is one, can act";
        return Err(error).context(says);
    }
    manager.stop().await;
    Ok(())
}

async fn create_token(state: &StateFolder, wanted: TokenRequest) -> Result<()> {
    // So that a mistyped folder is told from a manager that does not run.
    state.authority()?;
    let answer = ask_local(state.path(), &ClientRequest::CreateToken(wanted)).await?;
    if let ClientAnswer::Refused(refusal) = answer {
        bail!("{refusal}");
    }
    let ClientAnswer::Token(token) = answer else {
        bail!("the manager answers something else: run the same version of Atlas on both sides");
    };
    println!("{token}");
    Ok(())
}

/// Where managers listen.
const PORT: u16 = 7117;
