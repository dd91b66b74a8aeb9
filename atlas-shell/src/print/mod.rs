//! What the shell prints of jobs, servers and domains: tables for people, JSON for programs.
//!
//! The two say the same things. JSON is one object per line, whatever the command, so that what is followed can be read as it
//! comes; its fields are in `docs/shell.md` and are only ever added to.

pub mod cache;
pub mod json;
pub mod table;
pub mod words;

use std::io::{self, Write as _};

/// How a command prints what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Tables and sentences.
    Text,
    /// One JSON object per line.
    Json,
}

impl Format {
    /// Prints a list: with this table, or with these objects.
    ///
    /// # Errors
    ///
    /// Standard output takes no more.
    pub fn list<T, J: serde::Serialize>(
        self,
        items: &[T],
        table: impl FnOnce(&[T]) -> String,
        object: impl Fn(&T) -> J,
    ) -> io::Result<()> {
        let text = match self {
            Self::Text => table(items),
            Self::Json => items.iter().map(|item| json::line(&object(item))).collect(),
        };
        print(&text)
    }
}

/// Writes to standard output. Nobody reads any more: that is no error, as with `head`.
///
/// # Errors
///
/// Standard output takes no more, for another reason.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A job for tests.
#[cfg(test)]
pub(crate) fn example() -> atlas_proto::control::JobStatus {
    use atlas_proto::control::{JobId, JobState, JobStatus};
    use std::time::Duration;
    JobStatus {
        id: JobId(7),
        name: "fib".into(),
        args: vec!["24".into()],
        state: JobState::Exited { code: 0 },
        submitted_ms: 1_700_000_000_000,
        elapsed: Duration::from_millis(2500),
        closures: 1234,
        work: Duration::from_secs(10),
        servers: 2,
        workers: 8,
        output_bytes: [2048, 0],
        files: None,
    }
}
