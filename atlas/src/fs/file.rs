use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use atlas_engine::limits::FILE_BYTES_MAX;
use atlas_engine::{FileAnswer, FileQuestion, OpenedFile};
use bytes::Bytes;

use super::client::{Client, Connection};
use super::error::Error;

/// A file by URL that is read: one version of it, the same bytes whenever they are read.
///
/// It reads some bytes more than it is asked for, so that a [`BufReader`](std::io::BufReader) around it gains little.
#[derive(Debug)]
pub struct File {
    url: String,
    opened: OpenedFile,
    client: Arc<Client>,
    /// None once it has failed.
    connection: Option<Connection>,
    position: u64,
    /// What was read last, and where it begins.
    buffer: Bytes,
    buffered_from: u64,
}

impl File {
    pub(super) fn open(client: Arc<Client>, url: &str) -> Result<Self, Error> {
        let mut connection = client.connection(url)?;
        let question = FileQuestion::Open {
            url: url.to_owned(),
        };
        let answer = connection.ask(url, &question)?;
        let FileAnswer::Opened(opened) = answer else {
            client.give_back(connection);
            return Err(Error::other_than_asked(url, &answer));
        };
        Ok(Self {
            url: url.to_owned(),
            opened,
            client,
            connection: Some(connection),
            position: 0,
            buffer: Bytes::new(),
            buffered_from: 0,
        })
    }

    /// What was opened.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// In bytes.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "it is a file's length, and an empty file is one of length 0"
    )]
    pub fn len(&self) -> u64 {
        self.opened.length
    }

    /// What the origin calls this version, for people.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.opened.version
    }

    /// The origin could not be asked whether this is still the present version when the file was opened.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.opened.stale
    }

    /// All bytes from here on.
    pub(super) fn read_all(&mut self) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        loop {
            let bytes = self.fill(FILE_BYTES_MAX)?;
            if bytes.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(&bytes);
            self.position += length(&bytes);
        }
    }

    /// Bytes from the position on, at least one unless the file ends there.
    fn fill(&mut self, wanted: usize) -> Result<Bytes, Error> {
        if let Some(skip) = self.position.checked_sub(self.buffered_from)
            && skip < length(&self.buffer)
        {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            return Ok(self.buffer.slice(skip..));
        }
        if self.position >= self.len() {
            return Ok(Bytes::new());
        }
        // One who jumps about is given what it asks for; one who reads on, more at a time.
        let reads_on = self.position == self.buffered_from + length(&self.buffer);
        let least = if reads_on { READ_ON_BYTES } else { 0 };
        let bytes_max = wanted.clamp(least, FILE_BYTES_MAX);
        let question = FileQuestion::Read {
            offset: self.position,
            bytes_max: u32::try_from(bytes_max).unwrap_or(u32::MAX),
        };
        let Some(connection) = &mut self.connection else {
            return Err(Error::no_service(&self.url, "its connection is gone"));
        };
        let answer = connection.ask(&self.url, &question);
        let bytes = match answer {
            Ok(FileAnswer::Bytes(bytes)) => bytes,
            Ok(other) => return Err(Error::other_than_asked(&self.url, &other)),
            Err(error) => {
                self.connection = None;
                return Err(error);
            }
        };
        (self.buffer, self.buffered_from) = (bytes.clone(), self.position);
        Ok(bytes)
    }
}

impl Read for File {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        let bytes = self.fill(to.len())?;
        let count = bytes.len().min(to.len());
        to[..count].copy_from_slice(&bytes[..count]);
        self.position += length(&bytes[..count]);
        Ok(count)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let sought = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.len().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "before the file's beginning");
        self.position = sought.ok_or_else(before)?;
        Ok(self.position)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.client.close(&self.url, connection);
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// What a question costs is little beside copying so much.
const READ_ON_BYTES: usize = 256 << 10;
