//! [`FileService`]: answers the programs of this machine, which ask over Unix sockets in the words of
//! [`atlas_engine::files`], and the caches below.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use atlas_engine::limits::{FILE_BYTES_MAX, FILE_ENTRIES_MAX};
use atlas_engine::{
    FileAnswer, FileEntry, FileFailure, FileMetadata, FileQuestion, OpenedFile, frame,
};
use bytes::Bytes;
use rustix::io::Errno;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::runtime;
use tokio::sync::mpsc;
use url::Url;

use super::above::{self, Way};
use super::counts::Figures;
use super::error::UrlError;
use super::file::UrlFile;
use super::files::Files;
use super::options::Options;
use super::pins::Pins;
use super::source::{Entry, Kind, Metadata, Source};
use crate::daemon::chain;
use crate::frames;

/// Answers programs and caches below, on a thread of its own: what reads disks must not keep a daemon's thread from what others wait for. Neither
/// the thread nor the store is there before somebody has asked.
#[derive(Debug)]
pub struct FileService {
    options: Options,
    callers: Mutex<Option<mpsc::UnboundedSender<Caller>>>,
    files: Arc<OnceLock<Files>>,
}

/// Who asks.
#[derive(Debug)]
enum Caller {
    /// A program, on its connection, with the versions that are pinned for it.
    Program(StdStream, Pins),
    /// A cache below.
    Below(Way),
}

impl FileService {
    /// Files that are fetched and kept as the options say.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            callers: Mutex::default(),
            files: Arc::default(),
        }
    }

    /// Answers what comes on this connection until it ends. Whoever shares `pins` reads the same versions.
    ///
    /// # Errors
    ///
    /// There can be no more threads.
    pub fn serve(&self, stream: StdStream, pins: Pins) -> io::Result<()> {
        self.call(Caller::Program(stream, pins))
    }

    /// Answers one question of a cache below.
    ///
    /// # Errors
    ///
    /// There can be no more threads.
    pub fn answer(&self, way: Way) -> io::Result<()> {
        self.call(Caller::Below(way))
    }

    /// Sums since somebody asked first.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.files.get().map(Files::figures).unwrap_or_default()
    }

    fn call(&self, caller: Caller) -> io::Result<()> {
        // Each change is one assignment.
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let caller = match &*callers {
            Some(sender) => match sender.send(caller) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::SendError(caller)) => caller,
            },
            None => caller,
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        let (options, opened) = (self.options.clone(), self.files.clone());
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name("atlas-files".to_owned())
            .spawn(move || runtime.block_on(answer_all(options, &opened, receiver)))?;
        // The thread has only just begun to receive.
        let _ = sender.send(caller);
        *callers = Some(sender);
        Ok(())
    }
}

/// Until nobody can call any more.
async fn answer_all(
    options: Options,
    opened: &OnceLock<Files>,
    mut callers: mpsc::UnboundedReceiver<Caller>,
) {
    let files = Files::open(options).map_err(|error| {
        let message = chain(&error);
        tracing::warn!(error = %message, "no program can read files by URL");
        FileFailure::new(Errno::IO.raw_os_error(), None, message)
    });
    if let Ok(files) = &files {
        // There is one such thread, but for one that has come to grief.
        let _ = opened.set(files.clone());
    }
    let files = Arc::new(files);
    while let Some(caller) = callers.recv().await {
        let files = files.clone();
        tokio::spawn(async move {
            let answered = match (caller, &*files) {
                (Caller::Program(stream, pins), files) => answer_one(files, &pins, stream).await,
                (Caller::Below(way), Ok(files)) => files.answer(way).await,
                (Caller::Below(way), Err(_)) => above::refuse(way).await,
            };
            // A caller that is gone, or makes no sense, is not answered; it sees its connection end.
            if let Err(error) = answered {
                tracing::debug!(%error, "whoever asked for files is gone");
            }
        });
    }
}

async fn answer_one(
    files: &Result<Files, FileFailure>,
    pins: &Pins,
    stream: StdStream,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let (reader, mut writer) = UnixStream::from_std(stream)?.into_split();
    let mut reader = BufReader::new(reader);
    let mut open = None;
    while let Some(question) = frames::next(&mut reader).await.map_err(io::Error::other)? {
        let answer = match files {
            Ok(files) => {
                let answer = answer(files, pins, &mut open, question).await;
                answer.unwrap_or_else(FileAnswer::Failed)
            }
            Err(failure) => FileAnswer::Failed(failure.clone()),
        };
        let bytes = frame::encode(&answer).map_err(io::Error::other)?;
        writer.write_all(&bytes).await?;
    }
    Ok(())
}

async fn answer(
    source: &impl Source,
    pins: &Pins,
    open: &mut Option<Arc<UrlFile>>,
    question: FileQuestion,
) -> Result<FileAnswer, FileFailure> {
    match question {
        FileQuestion::Metadata { url } => {
            let metadata = source.metadata(&parse(&url)?, pins).await;
            let metadata = metadata.map_err(|error| failure(&error))?;
            Ok(FileAnswer::Metadata(metadata_of(&metadata)))
        }
        FileQuestion::Open { url } => {
            *open = None;
            let file = source.open(&parse(&url)?, pins).await;
            let file = file.map_err(|error| failure(&error))?;
            let opened = OpenedFile {
                length: file.len(),
                version: file.version().to_string(),
                stale: file.stale(),
            };
            *open = Some(file);
            Ok(FileAnswer::Opened(opened))
        }
        FileQuestion::Read { offset, bytes_max } => {
            let Some(file) = open else {
                let message = "bytes are asked for of a file that is not open".to_owned();
                return Err(FileFailure::new(Errno::BADF.raw_os_error(), None, message));
            };
            let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
            let mut bytes = vec![0; bytes_max.min(FILE_BYTES_MAX)];
            let count = file.read_at(offset, &mut bytes).await;
            bytes.truncate(count.map_err(|error| failure(&error))?);
            Ok(FileAnswer::Bytes(Bytes::from(bytes)))
        }
        FileQuestion::List { url, skip } => {
            let entries = source.list(&parse(&url)?, pins).await;
            let entries = entries.map_err(|error| failure(&error))?;
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            let rest = entries.get(skip..).unwrap_or_default();
            let told = &rest[..rest.len().min(FILE_ENTRIES_MAX)];
            Ok(FileAnswer::Entries {
                entries: told.iter().map(entry_of).collect(),
                more: told.len() < rest.len(),
            })
        }
        FileQuestion::Close => {
            *open = None;
            Ok(FileAnswer::Closed)
        }
    }
}

fn parse(url: &str) -> Result<Url, FileFailure> {
    Url::parse(url).map_err(|error| {
        let message = format!("`{url}` is no URL: {error}");
        FileFailure::new(Errno::INVAL.raw_os_error(), None, message)
    })
}

fn failure(error: &UrlError) -> FileFailure {
    FileFailure::new(error.errno(), error.status(), chain(error))
}

fn metadata_of(metadata: &Metadata) -> FileMetadata {
    FileMetadata {
        folder: metadata.kind == Kind::Folder,
        length: metadata.size,
        modified: metadata.modified.and_then(since_1970),
        stale: metadata.stale,
    }
}

fn entry_of(entry: &Entry) -> FileEntry {
    FileEntry {
        name: entry.name.clone(),
        folder: entry.kind == Kind::Folder,
        length: entry.size,
        modified: entry.modified.and_then(since_1970),
    }
}

fn since_1970(time: SystemTime) -> Option<Duration> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok()
}
