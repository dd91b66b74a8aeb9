//! What the daemons have in common as processes: on which runtime they run, where they log, what time it is to their
//! machines, when they end.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant, SystemTime};

use atlas_proto::time::Time;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// A machine's time: it begins with the clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now, at [`Time::ZERO`].
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time now.
    #[must_use]
    pub fn now(self) -> Time {
        let nanos = self.0.elapsed().as_nanos();
        Time(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// When it is that time.
    #[must_use]
    pub fn instant(self, at: Time) -> Instant {
        self.0 + Duration::from_nanos(at.0)
    }
}

/// The number of this life of a node, larger than those before it: tenths of a second since 1970.
#[must_use]
pub fn incarnation() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis() / 100).unwrap_or(0)
    })
}

/// An error and its causes, on one line.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Runs a daemon's command to its end: on one thread, with its log on standard error.
///
/// # Errors
///
/// There is no runtime, or what the command says.
pub fn run<E: From<io::Error>>(command: impl Future<Output = Result<(), E>>) -> Result<(), E> {
    log_to_stderr();
    // A steal waits for two daemons, and may come while all processors compute.
    atlas_core::ask_for_time_slice(SLICE);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build()?.block_on(command)
}

/// Waits until somebody wants the daemon to end: SIGTERM, or Ctrl-C.
///
/// # Errors
///
/// Signals cannot be waited for.
pub async fn stop_signal() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

/// Logs to standard error what `RUST_LOG` asks for, as in `info` or `warn,atlas_server=debug`; warnings and errors, if it asks
/// for nothing.
///
/// The filter is the one without patterns on fields, whose regular expressions would be a tenth of a daemon.
fn log_to_stderr() {
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let usual = Targets::new().with_default(LevelFilter::WARN);
    let (filter, wrong) = match asked.parse::<Targets>() {
        Ok(filter) if !asked.is_empty() => (filter, None),
        Ok(_) => (usual, None),
        Err(error) => (usual, Some(error)),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    if let Some(error) = wrong {
        tracing::warn!(RUST_LOG = asked, %error, "this is no filter of log lines, and is not used");
    }
}

/// The shortest that Linux grants: what a daemon does at a time takes less.
const SLICE: Duration = Duration::from_micros(100);
