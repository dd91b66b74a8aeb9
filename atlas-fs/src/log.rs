//! What daemons log, and where: lines on standard error, for the system's journal or whoever started them.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Logs to standard error what `RUST_LOG` asks for, as in `info` or `warn,atlas_server=debug`; warnings and errors, if it asks
/// for nothing. Call it once, at the start of a program.
///
/// The filter is the one without patterns on fields, whose regular expressions would be a tenth of a daemon.
pub fn to_stderr() {
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
