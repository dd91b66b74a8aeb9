//! `mount`: files by URL as a folder of this machine, for as long as the command runs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use atlas_fs::url::client::{ClientFiles, LocalFiles, Shelf};
use atlas_fs::url::mount::{MountOptions, Mounted};
use atlas_fs::url::{Files, Options, Pins};
use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{CANNOT_PRINT, Context};
use crate::access::Access;
use crate::downloads::Downloads;
use crate::exit;
use crate::print::{Format, json, print};
use crate::state::urls_folder;

#[derive(Debug, Args)]
pub(super) struct Mount {
    /// Where: a folder that is there. DIR/https/example.org/data/x is https://example.org/data/x.
    dir: PathBuf,
    /// Where what was fetched is kept, for all who name the same folder [default: ~/.cache/atlas/urls].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// How much may be kept, as in `20GiB`; what was used least recently goes first.
    #[arg(long, value_name = "BYTES")]
    quota: Option<ByteSize>,
    /// For how many seconds after it was fresh a file is served while its origin cannot be asked, unless the file's own answer allows more.
    #[arg(long, value_name = "SECS", default_value_t = 0)]
    stale: u64,
    /// For how many seconds a folder's listing is believed.
    #[arg(long, value_name = "SECS", default_value_t = 30)]
    listed: u64,
    /// Each file stays the version that was seen first: whoever reads a file that has changed meanwhile is told ESTALE.
    #[arg(long)]
    pin: bool,
    /// A folder that is found at DIR/atlas/client, where programs of jobs have what `submit --serve` names.
    #[arg(long, value_name = "FOLDER")]
    serve: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
    /// After how many seconds at the latest any call ends. A file whose origin does not tell its length is fetched on, for who asks again.
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Let no file be read by the kernel itself.
    #[arg(long)]
    no_passthrough: bool,
    /// No progress and no notices; errors are still told.
    #[arg(long, short)]
    quiet: bool,
}

/// Something has become of the mount.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    /// It is there.
    Mounted {
        dir: &'a str,
        cache: &'a str,
        /// A killed process had left one there.
        cleaned: bool,
    },
    /// It is gone, at once or as soon as nobody has a file open in it.
    Unmounted { dir: &'a str, at_once: bool },
}

impl Mount {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<u8> {
        // Programs are told numbers alone: why a file cannot be read is said here.
        atlas_fs::daemon::log_to_stderr();
        // Fetching, hashing and storing are work; the kernel's calls have threads of their own.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("the system gives no sockets, timers or threads: see its limits")?;
        let ended = runtime.block_on(self.serve(context.format));
        runtime.shutdown_background();
        ended
    }

    async fn serve(self, format: Format) -> anyhow::Result<u8> {
        let mut ends = Ends::listen().context("signals cannot be listened to")?;
        let cache = urls_folder(self.cache.clone())?;
        let mut options = Options::new(&cache);
        options.quota = self.quota.map(|quota| quota.as_u64());
        options.stale = Duration::from_secs(self.stale);
        self.access.add_to(&mut options)?;
        let mut client = ClientFiles::default();
        if let Some(folder) = &self.serve {
            let (files, own) = LocalFiles::new(Shelf::of_own_folder(folder)?);
            options.clients = Some(files);
            client = own;
        }
        let files = Files::open(options)
            .with_context(|| format!("cannot keep files in {}", cache.display()))?;
        let downloads = Downloads::new(self.quiet || format == Format::Json);
        let options = MountOptions {
            pins: self.pin.then(|| Pins::new().with_client(client.clone())),
            client: client.clone(),
            listed_for: Duration::from_secs(self.listed),
            timeout: Duration::from_secs(self.timeout),
            passthrough: !self.no_passthrough,
            cache: Some(cache.clone()),
            progress: downloads.progress(),
            ..MountOptions::default()
        };
        let mounted = Mounted::start(files, &self.dir, options)?;
        let dir = mounted.folder().to_string_lossy().into_owned();
        let cleaned = mounted.has_cleaned();
        if cleaned && !self.quiet {
            eprintln!("atlas-shell: took off what a killed process had left mounted at {dir}");
        }
        let event = Event::Mounted {
            dir: &dir,
            cache: &cache.to_string_lossy(),
            cleaned,
        };
        tell(
            format,
            &event,
            &format!("files by URL are at {dir}; Ctrl-C ends that\n"),
        )?;
        tokio::select! {
            () = ends.next() => {}
            () = mounted.ended() => {}
        }
        downloads.hide();
        let at_once = mounted
            .unmount()
            .with_context(|| format!("{dir} is still mounted: try `umount -l {dir}`"))?;
        let sentence = if at_once {
            format!("unmounted {dir}\n")
        } else {
            format!("unmounted {dir}; files in it were open, and can be read no more\n")
        };
        let event = Event::Unmounted { dir: &dir, at_once };
        tell(format, &event, &sentence)?;
        Ok(exit::DONE)
    }
}

fn tell(format: Format, event: &Event<'_>, sentence: &str) -> anyhow::Result<()> {
    let text = match format {
        Format::Text => sentence.to_owned(),
        Format::Json => json::line(event),
    };
    print(&text).context(CANNOT_PRINT)
}

/// The signals that end a mount.
struct Ends([tokio::signal::unix::Signal; 3]);

impl Ends {
    fn listen() -> std::io::Result<Self> {
        let [interrupt, terminate, hang_up] = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ]
        .map(signal);
        Ok(Self([interrupt?, terminate?, hang_up?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}
