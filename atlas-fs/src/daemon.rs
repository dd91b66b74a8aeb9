//! What the daemons have in common as processes: on which runtime they run, where they log, what time it is to their
//! machines, when they end.

use std::error::Error;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use atlas_net::whole_file::replace;
use atlas_proto::time::Time;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
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
        self.time(Instant::now())
    }

    /// The machine's time at that moment.
    #[must_use]
    pub fn time(self, at: Instant) -> Time {
        let nanos = at.saturating_duration_since(self.0).as_nanos();
        Time(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Waits until it is that time; if there is none, for an hour, since a loop that waits for nothing looks up once in a while all the same.
    pub async fn wait_for(self, at: Option<Time>) {
        let until = at.map_or_else(|| Instant::now() + FAR, |at| self.instant(at));
        tokio::time::sleep_until(until.into()).await;
    }

    /// When it is that time.
    #[must_use]
    pub fn instant(self, at: Time) -> Instant {
        self.0 + Duration::from_nanos(at.0)
    }
}

/// Begins a life of a node that keeps the number of its last one in a file: a larger number than those before, whatever has
/// become of the machine's clock.
///
/// # Errors
///
/// The file cannot be written.
pub fn begin_life(file: &Path) -> io::Result<u64> {
    let last = match fs::read_to_string(file) {
        // What is no number was not written to its end, before anybody was told of that life.
        Ok(last) => last.trim().parse::<u64>().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let life = last.map_or(incarnation(), |last| incarnation().max(last + 1));
    replace(file, life.to_string().as_bytes())?;
    Ok(life)
}

/// The number of a node's life by the machine's clock: tenths of a second since 1970.
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
pub fn log_to_stderr() {
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

/// Gives memory back to the system when a daemon has been at rest for a while after something large. Must be used within a tokio runtime.
#[derive(Debug, Default)]
pub struct Thrift {
    resting: Option<JoinHandle<()>>,
}

impl Thrift {
    /// Something large is over.
    pub fn note(&mut self) {
        if let Some(resting) = self.resting.take() {
            resting.abort();
        }
        self.resting = Some(tokio::spawn(async {
            tokio::time::sleep(REST).await;
            atlas_core::give_back_memory();
        }));
    }
}

impl Drop for Thrift {
    fn drop(&mut self) {
        if let Some(resting) = &self.resting {
            resting.abort();
        }
    }
}

/// For how long a loop sleeps at most.
const FAR: Duration = Duration::from_secs(3600);
/// By then what was in use for a job is freed, and jobs that follow each other have no use for what was given back.
const REST: Duration = Duration::from_secs(1);
/// The shortest that Linux grants: what a daemon does at a time takes less.
const SLICE: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_counted_though_the_clock_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("life");
        let first = begin_life(&file).unwrap();
        assert!(first >= incarnation() - 10);
        // As if written before the clock was set back by an hour.
        let ahead = first + 36_000;
        fs::write(&file, ahead.to_string()).unwrap();
        assert_eq!(begin_life(&file).unwrap(), ahead + 1);
        assert_eq!(begin_life(&file).unwrap(), ahead + 2);
        fs::write(&file, "").unwrap();
        assert!(begin_life(&file).unwrap() >= first);
    }
}
