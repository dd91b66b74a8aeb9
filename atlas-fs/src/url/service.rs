//! [`FileService`]: answers the programs of this machine, which ask over Unix sockets in the words of
//! [`atlas_engine::files`], and the caches below.

use std::io;
use std::os::unix::ffi::OsStringExt as _;
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
use super::mount::{Apart, MountOptions, OnDemand, Unserved};
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
    /// A program, on its connection.
    Program(StdStream, Guest),
    /// A cache below.
    Below(Way),
    /// The kernel, for programs that only know paths.
    Kernel(Box<Unserved<Files>>),
}

/// What is a program's own, and that of those that share it.
#[derive(Clone, Debug)]
struct Guest {
    /// The versions that are pinned for it.
    pins: Pins,
    /// Where it may have them mounted.
    place: Option<Arc<OnDemand>>,
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

    /// Answers what comes on this connection until it ends. Whoever shares `pins` reads the same versions, and those are mounted at
    /// `place` if a program asks for that.
    ///
    /// # Errors
    ///
    /// There can be no more threads.
    pub fn serve(
        &self,
        stream: StdStream,
        pins: Pins,
        place: Option<Arc<OnDemand>>,
    ) -> io::Result<()> {
        self.call(Caller::Program(stream, Guest { pins, place }))
    }

    /// Answers for a mount as soon as somebody wants something of it, until it ends.
    ///
    /// # Errors
    ///
    /// It cannot be waited for, or there can be no more threads.
    pub async fn attend(&self, mount: Unserved<Files>) -> io::Result<()> {
        if mount.touched().await? {
            self.call(Caller::Kernel(Box::new(mount)))?;
        }
        Ok(())
    }

    /// How files are mounted for a program that reads the versions that are pinned for it.
    #[must_use]
    pub fn mount_options(&self, pins: Pins) -> MountOptions {
        mount_options(&self.options, pins)
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
            .spawn(move || runtime.block_on(answer_all(options, opened, receiver)))?;
        // The thread has only just begun to receive.
        let _ = sender.send(caller);
        *callers = Some(sender);
        Ok(())
    }
}

/// Until nobody can call any more.
async fn answer_all(
    options: Options,
    opened: Arc<OnceLock<Files>>,
    mut callers: mpsc::UnboundedReceiver<Caller>,
) {
    let host = Arc::new(Host { options, opened });
    while let Some(caller) = callers.recv().await {
        let host = host.clone();
        tokio::spawn(async move {
            let answered = match (caller, host.files()) {
                (Caller::Program(stream, guest), _) => host.answer_one(&guest, stream).await,
                (Caller::Below(way), Ok(files)) => files.answer(way).await,
                (Caller::Below(way), Err(_)) => above::refuse(way).await,
                (Caller::Kernel(mount), Ok(files)) => mount.serve(files).map(drop),
                // Without anybody to answer for it, all calls of it end.
                (Caller::Kernel(_), Err(_)) => Ok(()),
            };
            // A caller that is gone, or makes no sense, is not answered; it sees its connection end.
            if let Err(error) = answered {
                tracing::debug!(%error, "whoever asked for files is gone");
            }
        });
    }
}

/// Who answers programs.
#[derive(Debug)]
struct Host {
    options: Options,
    opened: Arc<OnceLock<Files>>,
}

impl Host {
    /// They are opened when somebody asks, and again until that has gone well: what is wrong with a disk is mended while daemons run.
    fn files(&self) -> Result<Files, FileFailure> {
        if let Some(files) = self.opened.get() {
            return Ok(files.clone());
        }
        let files = Files::open(self.options.clone()).map_err(|error| {
            let message = chain(&error);
            tracing::warn!(error = %message, "no program can read files by URL");
            FileFailure::new(Errno::IO.raw_os_error(), None, message)
        })?;
        // There is one such thread, but for one that has come to grief.
        Ok(self.opened.get_or_init(|| files).clone())
    }

    async fn answer_one(&self, guest: &Guest, stream: StdStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let (reader, mut writer) = UnixStream::from_std(stream)?.into_split();
        let mut reader = BufReader::new(reader);
        let mut open = None;
        while let Some(question) = frames::next(&mut reader).await.map_err(io::Error::other)? {
            let answer = match self.files() {
                Ok(files) => self.answer(&files, guest, &mut open, question).await,
                Err(failure) => Err(failure),
            };
            let answer = answer.unwrap_or_else(FileAnswer::Failed);
            let bytes = frame::encode(&answer).map_err(io::Error::other)?;
            writer.write_all(&bytes).await?;
        }
        Ok(())
    }

    async fn answer(
        &self,
        source: &Files,
        guest: &Guest,
        open: &mut Option<Arc<UrlFile>>,
        question: FileQuestion,
    ) -> Result<FileAnswer, FileFailure> {
        match question {
            FileQuestion::Metadata { url } => {
                let metadata = source.metadata(&parse(&url)?, &guest.pins).await;
                let metadata = metadata.map_err(|error| failure(&error))?;
                Ok(FileAnswer::Metadata(metadata_of(&metadata)))
            }
            FileQuestion::Open { url } => {
                *open = None;
                let file = source.open(&parse(&url)?, &guest.pins).await;
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
                let entries = source.list(&parse(&url)?, &guest.pins).await;
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
            FileQuestion::Mount => self.mount(source, guest).await,
        }
    }

    async fn mount(&self, files: &Files, guest: &Guest) -> Result<FileAnswer, FileFailure> {
        let Some(place) = guest.place.clone() else {
            return Err(no_mount("whoever fetches files here mounts none"));
        };
        let (files, pins) = (files.clone(), guest.pins.clone());
        let options = mount_options(&self.options, pins);
        let mounted = tokio::task::spawn_blocking(move || place.mount(files, options)).await;
        let mounted = mounted.map_err(|error| no_mount(&chain(&error)))?;
        let folder = mounted.map_err(|error| no_mount(&chain(&error)))?;
        Ok(FileAnswer::Mounted(
            folder.into_os_string().into_vec().into(),
        ))
    }
}

fn mount_options(options: &Options, pins: Pins) -> MountOptions {
    MountOptions {
        pins: Some(pins),
        // The kernel lets nobody else pass files on to it.
        passthrough: Apart::may_be(),
        cache: Some(options.folder.clone()),
        ..MountOptions::default()
    }
}

fn no_mount(why: &str) -> FileFailure {
    FileFailure::new(Errno::OPNOTSUPP.raw_os_error(), None, why.to_owned())
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
