//! `cache ls|stat|verify|gc|pin|serve`: the files by URL that are kept on this machine.

use std::path::PathBuf;

use anyhow::Context as _;
use atlas_fs::daemon::stop_signal;
use atlas_fs::url::client::{ClientFiles, LocalFiles, Shelf};
use atlas_fs::url::{FileService, Files, Options, Pins, Stored};
use bytesize::ByteSize;
use clap::{Args, Subcommand};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;
use url::Url;

use super::{CANNOT_PRINT, Context};
use crate::access::Access;
use crate::downloads::Downloads;
use crate::exit;
use crate::print::{Format, cache as show, json, print, words};
use crate::state::urls_folder;

#[derive(Debug, Args)]
pub(super) struct Cache {
    /// Where the files are kept [default: ~/.cache/atlas/urls].
    #[arg(long, value_name = "DIR", global = true)]
    cache: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what is kept, by URL.
    Ls,
    /// Say how much is kept.
    Stat,
    /// Compare what is kept with its hashes; what is damaged is fetched again when it is read.
    Verify {
        /// These alone.
        urls: Vec<Url>,
    },
    /// Remove versions that are not the last ones of their files and not pinned.
    Gc {
        /// Then remove what was used least recently, until no more than so much is left, as in `5GiB`.
        #[arg(long, value_name = "BYTES")]
        to: Option<ByteSize>,
    },
    /// Fetch files whole, and keep them, whatever room is needed.
    Pin {
        /// Which.
        #[arg(required = true)]
        urls: Vec<Url>,
        /// Let them go when room is needed, as others.
        #[arg(long)]
        off: bool,
    },
    /// Print the path of a socket at which a program can ask for files by URL, and answer until standard input ends. Programs that
    /// run alone start this themselves.
    Serve,
}

impl Cache {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<u8> {
        let format = context.format;
        let folder = urls_folder(self.cache)?;
        // Fetching, hashing and storing are work.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("the system gives no sockets, timers or threads: see its limits")?;
        let ended = runtime.block_on(async {
            let mut options = Options::new(&folder);
            if self.command.fetches() {
                self.access.add_to(&mut options)?;
            }
            if matches!(self.command, Command::Serve) {
                let (options, own) = with_own_files(options)?;
                return serve(options, own).await;
            }
            let files = Files::open(options)
                .with_context(|| format!("cannot keep files in {}", folder.display()))?;
            match self.command {
                Command::Ls => list(&files, format),
                Command::Stat => stat(&files, format, folder),
                Command::Verify { urls } => verify(&files, format, &urls).await,
                Command::Gc { to } => gc(&files, format, to),
                Command::Pin { urls, off: true } => unpin(&files, format, &urls),
                Command::Pin { urls, off: false } => pin(&files, format, &urls).await,
                Command::Serve => Ok(exit::DONE),
            }
        });
        runtime.shutdown_background();
        ended
    }
}

impl Command {
    /// Whether it asks origins: the others work whatever the credentials are.
    fn fetches(&self) -> bool {
        matches!(self, Self::Serve | Self::Pin { off: false, .. })
    }
}

/// A program that runs alone reads `atlas://client/..` of its user's own folder, the one that it was started in unless [`CLIENT_FILES`] names another: what
/// `submit --serve` would name.
fn with_own_files(mut options: Options) -> anyhow::Result<(Options, ClientFiles)> {
    let named = std::env::var_os(CLIENT_FILES);
    let is_named = named.is_some();
    let folder = named.map_or_else(|| ".".into(), PathBuf::from);
    match Shelf::of_own_folder(&folder) {
        Ok(shelf) => {
            let (files, own) = LocalFiles::new(shelf);
            options.clients = Some(files);
            Ok((options, own))
        }
        Err(error) if is_named => {
            Err(error).with_context(|| format!("the environment variable {CLIENT_FILES} is wrong"))
        }
        // Most programs read none.
        Err(_) => Ok((options, ClientFiles::default())),
    }
}

async fn serve(options: Options, own: ClientFiles) -> anyhow::Result<u8> {
    let folder = tempfile::Builder::new().prefix("atlas-files-").tempdir();
    let folder = folder.context("cannot make a folder for a socket")?;
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path);
    let listener = listener.with_context(|| format!("cannot listen at {}", path.display()))?;
    print(&format!("{}\n", path.display())).context(CANNOT_PRINT)?;
    let service = FileService::new(options);
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 64];
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("cannot let programs in")?;
                service.serve(stream.into_std()?, Pins::new().with_client(own.clone()), None).context("cannot answer programs")?;
            }
            read = input.read(&mut ignored) => if !matches!(read, Ok(1..)) {
                return Ok(exit::DONE);
            },
            signal = stop_signal() => {
                signal.context("signals cannot be listened to")?;
                return Ok(exit::DONE);
            }
        }
    }
}

fn list(files: &Files, format: Format) -> anyhow::Result<u8> {
    let stored = files.stored()?;
    let printed = format.list(&stored, show::table, |stored| show::File::from(stored));
    printed.context(CANNOT_PRINT)?;
    Ok(exit::DONE)
}

fn stat(files: &Files, format: Format, folder: PathBuf) -> anyhow::Result<u8> {
    let (stored, usage, sums) = (files.stored()?, files.usage()?, files.sums()?);
    let folder = folder.to_string_lossy().into_owned();
    let totals = show::Totals::of(&stored, usage, sums, folder);
    tell(format, &totals.text(), &totals)
}

async fn verify(files: &Files, format: Format, urls: &[Url]) -> anyhow::Result<u8> {
    let mut code = exit::DONE;
    let mut verified = Vec::new();
    for stored in files.stored()? {
        if !urls.is_empty() && !urls.contains(&stored.url) {
            continue;
        }
        let damaged = files.verify(&stored).await;
        let damaged = damaged.with_context(|| format!("cannot verify {}", stored.url))?;
        if damaged > 0 {
            code = exit::LOCAL;
        }
        verified.push((stored, damaged));
    }
    if let Some(url) = urls
        .iter()
        .find(|url| verified.iter().all(|(stored, _)| stored.url != **url))
    {
        anyhow::bail!("nothing is kept of {url}");
    }
    let table = |verified: &[(Stored, u64)]| show::verified(verified);
    let printed = format.list(&verified, table, |(stored, damaged)| show::Verified {
        file: show::File::from(stored),
        damaged_blocks: *damaged,
    });
    printed.context(CANNOT_PRINT)?;
    Ok(code)
}

fn gc(files: &Files, format: Format, to: Option<ByteSize>) -> anyhow::Result<u8> {
    let before = files.usage()?;
    files.remove_superseded()?;
    let after = match to {
        Some(to) => files.shrink_to(to.as_u64())?,
        None => files.usage()?,
    };
    let removed = show::Removed {
        files: before.files.saturating_sub(after.files),
        bytes: before.bytes.saturating_sub(after.bytes),
        bytes_left: after.bytes,
    };
    let sentence = format!(
        "removed {} ({}); {} are left",
        words::count(removed.files, "file"),
        words::bytes(removed.bytes),
        words::bytes(removed.bytes_left)
    );
    tell(format, &format!("{sentence}\n"), &removed)
}

async fn pin(files: &Files, format: Format, urls: &[Url]) -> anyhow::Result<u8> {
    let downloads = Downloads::new(format == Format::Json);
    for url in urls {
        let progress = |to, length| {
            if let Some(progress) = downloads.progress() {
                (progress.0)(url, to, length);
            }
        };
        let pinned = files.pin(url, progress).await;
        downloads.hide();
        let pinned = pinned.with_context(|| format!("cannot pin {url}"))?;
        let sentence = format!("pinned {url} ({})\n", words::bytes(pinned.bytes));
        tell(format, &sentence, &show::File::from(&pinned))?;
    }
    Ok(exit::DONE)
}

fn unpin(files: &Files, format: Format, urls: &[Url]) -> anyhow::Result<u8> {
    for url in urls {
        let versions = files.unpin(url)?;
        let sentence = if versions > 0 {
            format!("{url} may go when room is needed\n")
        } else {
            format!("{url} was not pinned\n")
        };
        let url = url.as_str();
        tell(format, &sentence, &show::Unpinned { url, versions })?;
    }
    Ok(exit::DONE)
}

fn tell(format: Format, text: &str, object: &impl serde::Serialize) -> anyhow::Result<u8> {
    match format {
        Format::Text => print(text),
        Format::Json => print(&json::line(object)),
    }
    .context(CANNOT_PRINT)?;
    Ok(exit::DONE)
}

/// The environment variable with the folder of which programs that run alone read `atlas://client/..`.
const CLIENT_FILES: &str = "ATLAS_CLIENT_FILES";
