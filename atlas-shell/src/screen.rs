//! [`Screen`]: standard output and standard error while a job is followed. The job's bytes go there as they are; a line
//! of progress is below them if standard error is a terminal, and never within a line that the job has begun.
//!
//! Writing is left to a thread that may block: a reader who takes his time, such as a pager, must not keep the shell
//! from telling its manager that it is still there.

use std::cell::RefCell;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use atlas_proto::control::{JobStatus, OutputFrame, OutputStream};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::print::{Format, json, words};

/// Where a job and the shell write.
#[derive(Debug)]
pub struct Screen {
    format: Format,
    quiet: bool,
    /// By [`OutputStream::index`].
    is_terminal: [bool; 2],
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is shown now.
    bar: Option<ProgressBar>,
    /// The job has begun a line on the terminal.
    within_line: bool,
    /// Bytes are on their way to the terminal.
    is_writing: bool,
}

impl Screen {
    /// The process's own.
    #[must_use]
    pub fn new(format: Format, quiet: bool) -> Self {
        Self {
            format,
            quiet,
            is_terminal: [io::stdout().is_terminal(), io::stderr().is_terminal()],
            state: RefCell::default(),
        }
    }

    /// How things are said here.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Writes what a job has printed.
    ///
    /// # Errors
    ///
    /// Nobody takes it.
    pub async fn output(&self, frame: OutputFrame) -> io::Result<()> {
        match self.format {
            Format::Text => self.write(frame.stream, frame.bytes).await,
            Format::Json => self.event(&json::Event::from(&frame)).await,
        }
    }

    /// Writes an event, if events are wanted.
    ///
    /// # Errors
    ///
    /// Nobody takes it.
    pub async fn event(&self, event: &json::Event<'_>) -> io::Result<()> {
        match self.format {
            Format::Text => Ok(()),
            Format::Json => {
                self.write(OutputStream::Out, json::line(event).into())
                    .await
            }
        }
    }

    /// Says a sentence to people, unless they want quiet.
    pub fn say(&self, sentence: &str) {
        if !self.quiet {
            self.warn(sentence);
        }
    }

    /// Says a sentence that people must hear.
    pub fn warn(&self, sentence: &str) {
        self.hide();
        let mut state = self.state.borrow_mut();
        let begin = if state.within_line && self.is_terminal[1] {
            "\n"
        } else {
            ""
        };
        state.within_line = false;
        eprintln!("{begin}atlas-shell: {sentence}");
    }

    /// Shows how a job stands.
    pub fn progress(&self, job: &JobStatus) {
        self.show(&progress_line(job));
    }

    /// Shows how much was sent.
    pub fn upload(&self, sent: u64, all: u64) {
        self.show(&format!(
            "uploading: {} sent, of {} before packing",
            words::bytes(sent),
            words::bytes(all)
        ));
    }

    /// Takes the line of progress away.
    pub fn hide(&self) {
        if let Some(bar) = self.state.borrow_mut().bar.take() {
            bar.finish_and_clear();
        }
    }

    fn show(&self, line: &str) {
        let mut state = self.state.borrow_mut();
        if self.quiet || !self.is_terminal[1] || state.within_line || state.is_writing {
            return;
        }
        let bar = state.bar.get_or_insert_with(|| {
            let target = ProgressDrawTarget::stderr();
            ProgressBar::with_draw_target(None, target).with_style(style())
        });
        bar.set_message(line.to_string());
        bar.tick();
    }

    async fn write(&self, stream: OutputStream, bytes: Bytes) -> io::Result<()> {
        if self.is_terminal[stream.index()] {
            self.hide();
            self.state.borrow_mut().is_writing = true;
        }
        let last = bytes.last().copied();
        let written = tokio::task::spawn_blocking(move || match stream {
            OutputStream::Out => write_all(io::stdout().lock(), &bytes),
            OutputStream::Err => write_all(io::stderr().lock(), &bytes),
        });
        let written = written.await;
        let mut state = self.state.borrow_mut();
        state.is_writing = false;
        if self.is_terminal[stream.index()] && last.is_some() {
            state.within_line = last != Some(b'\n');
        }
        written.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.hide();
    }
}

fn write_all(mut to: impl io::Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

fn progress_line(job: &JobStatus) -> String {
    let mut line = format!(
        "job {}: {}, {}, {}, {}",
        job.id,
        words::duration(Duration::from_secs(job.elapsed.as_secs())),
        words::count(job.closures, "closure"),
        words::count(job.servers.into(), "server"),
        words::count(job.workers.into(), "worker"),
    );
    if let Some(speedup) = words::speedup(job) {
        line += &format!(", speed-up {speedup:.1}");
    }
    line
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg}")
        .expect("the template has no unknown syntax")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_what_is_done_and_by_whom() {
        let mut job = crate::print::example();
        assert_eq!(
            progress_line(&job),
            "job 7: 2s, 1234 closures, 2 servers, 8 workers, speed-up 4.0"
        );
        (job.servers, job.work) = (1, Duration::ZERO);
        assert_eq!(
            progress_line(&job),
            "job 7: 2s, 1234 closures, 1 server, 8 workers"
        );
    }

    #[tokio::test]
    async fn the_shell_begins_no_line_of_its_own_within_the_jobs() {
        let mut screen = Screen::new(Format::Text, false);
        screen.is_terminal = [true, true];
        let frame = |bytes: &'static str| OutputFrame {
            stream: OutputStream::Err,
            offset: 0,
            bytes: bytes.into(),
        };
        let job = crate::print::example();
        screen.output(frame("begun")).await.unwrap();
        screen.progress(&job);
        assert!(screen.state.borrow().bar.is_none());
        screen.output(frame(" and ended\n")).await.unwrap();
        screen.progress(&job);
        assert!(screen.state.borrow().bar.is_some());
        screen.output(frame("more\n")).await.unwrap();
        assert!(screen.state.borrow().bar.is_none());
    }
}
