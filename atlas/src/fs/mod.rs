//! Files by URL: read where the program runs, fetched once.
//!
//! A task of a job runs anywhere, and finds the files of the machine where the job was submitted nowhere else. What has a URL it
//! can read everywhere:
//!
//! ```no_run
//! use std::io::{BufRead, BufReader};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let scene = atlas::fs::read_to_string("https://example.org/scenes/glass.json")?;
//! for entry in atlas::fs::list("https://example.org/books/")? {
//!     let book = atlas::fs::open(&format!("https://example.org/books/{}", entry.name))?;
//!     println!("{}: {} lines", entry.name, BufReader::new(book).lines().count());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - **Fetched once.** The server that the program runs on keeps what was read, for all programs that run there, and asks the
//!   origin only whether it has changed, when HTTP says that it may have (RFC 9111).
//! - **One version.** The first that a job's engine opens a URL, the server pins the version that it finds, for as long as it knows
//!   the job. When the origin replaces the file, those who go on get the same bytes as before, or an error of the kind
//!   [`StaleNetworkFileHandle`](std::io::ErrorKind::StaleNetworkFileHandle), never some bytes of each.
//! - **Also files of the user's own.** `atlas://client/PATH` is a file of the machine where the job was submitted: below the folder that `atlas-shell submit
//!   --serve DIR` names, or one of the job's inputs. Of a program that runs alone it is below the current folder, or where `ATLAS_CLIENT_FILES`
//!   says.
//! - **Nothing of it is in the program**, which fetches nothing itself: it asks the server that started it, over a Unix socket. A
//!   program that runs alone starts `atlas-shell cache serve` for it, which ends when the program does; the shell is
//!   found beside the program, or by `PATH`, or where [`ATLAS_SHELL`](SHELL_VARIABLE) says.
//!
//! Code that only knows paths reads the same files, in the same versions, by `/atlas/https/example.org/books/emma.txt`, in a job
//! whose server may mount them there. Elsewhere they are in another folder: [`mounted`] says where.
//!
//! A call waits, and keeps its worker: what takes long to fetch is better spread over several tasks.

mod client;
mod error;
mod file;
mod mounted;
mod service;

use std::time::{Duration, SystemTime};

use atlas_engine::{FileAnswer, FileEntry, FileMetadata, FileQuestion};

#[doc(inline)]
pub use atlas_engine::MOUNT_VARIABLE;
pub use error::Error;
pub use file::File;
pub use mounted::{NotMounted, mounted};
#[doc(inline)]
pub use service::SHELL_VARIABLE;

use client::Client;

/// Whether there are bytes or entries behind a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Bytes.
    File,
    /// Entries; the URL ends in a slash.
    Folder,
}

/// What is known of a URL without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// File or folder.
    pub kind: Kind,
    /// In bytes, where the origin tells.
    pub len: Option<u64>,
    /// When it was last changed, where the origin tells.
    pub modified: Option<SystemTime>,
    /// The origin could not be asked; this is what was known of it before.
    pub stale: bool,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Decoded: one component of a path.
    pub name: String,
    /// File or folder.
    pub kind: Kind,
    /// In bytes, where the listing tells exactly.
    pub len: Option<u64>,
    /// When it was last changed, where the listing tells.
    pub modified: Option<SystemTime>,
}

/// All bytes of a file.
///
/// # Errors
/// The file cannot be had: see [`Error`].
pub fn read(url: &str) -> Result<Vec<u8>, Error> {
    open(url)?.read_all()
}

/// All of a file that is text in UTF-8.
///
/// # Errors
/// As of [`read`]; also if it is not UTF-8.
pub fn read_to_string(url: &str) -> Result<String, Error> {
    String::from_utf8(read(url)?).map_err(|error| Error::not_text(url, &error))
}

/// Opens a file to read it in any order; only what is read, and what is likely to be read next, is fetched.
///
/// # Errors
/// As of [`read`].
pub fn open(url: &str) -> Result<File, Error> {
    File::open(Client::get(url)?, url)
}

/// What is known of a file or folder.
///
/// # Errors
/// As of [`read`].
pub fn metadata(url: &str) -> Result<Metadata, Error> {
    let url_owned = url.to_owned();
    let question = FileQuestion::Metadata { url: url_owned };
    let answer = Client::get(url)?.ask(url, &question)?;
    if let FileAnswer::Metadata(metadata) = answer {
        Ok(metadata.into())
    } else {
        Err(Error::other_than_asked(url, &answer))
    }
}

/// The entries of a folder, whose URL ends in a slash, in the order in which the origin lists them.
///
/// # Errors
/// As of [`read`]; also if the origin has no listing of the folder.
pub fn list(url: &str) -> Result<Vec<Entry>, Error> {
    let client = Client::get(url)?;
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let question = FileQuestion::List {
            url: url.to_owned(),
            skip: u64::try_from(all.len()).unwrap_or(u64::MAX),
        };
        let answer = client.ask(url, &question)?;
        let FileAnswer::Entries { entries, more } = answer else {
            return Err(Error::other_than_asked(url, &answer));
        };
        let nothing = entries.is_empty();
        all.extend(entries.into_iter().map(Entry::from));
        if nothing || !more {
            return Ok(all);
        }
    }
}

impl Kind {
    fn of(folder: bool) -> Self {
        if folder { Self::Folder } else { Self::File }
    }
}

impl From<FileMetadata> for Metadata {
    fn from(metadata: FileMetadata) -> Self {
        Self {
            kind: Kind::of(metadata.folder),
            len: metadata.length,
            modified: metadata.modified.and_then(since_1970),
            stale: metadata.stale,
        }
    }
}

impl From<FileEntry> for Entry {
    fn from(entry: FileEntry) -> Self {
        Self {
            name: entry.name,
            kind: Kind::of(entry.folder),
            len: entry.length,
            modified: entry.modified.and_then(since_1970),
        }
    }
}

fn since_1970(time: Duration) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(time)
}
