//! What origins have said, as small files: a [`Head`] a URL, a [`Page`] a folder. Each begins with the hash of the rest; what is
//! damaged is as if it were not there.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use super::super::head::Head;
use super::UrlStore;
use super::entry::INCOMING;
use crate::file_error::FileError;

/// A whole resource that is small.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) head: Head,
    /// Where redirects led.
    pub(crate) at: String,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl UrlStore {
    pub(crate) fn head(&self, url: &Url) -> Result<Option<Head>, FileError> {
        read(&self.record_path(url, "head"))
    }

    pub(crate) fn keep_head(&self, url: &Url, head: &Head) -> Result<(), FileError> {
        self.keep(&self.record_path(url, "head"), head)
    }

    /// As if nothing had been said of the URL.
    pub(crate) fn forget_head(&self, url: &Url) -> Result<(), FileError> {
        forget(&self.record_path(url, "head"))
    }

    /// As if nothing had been said of the folder.
    pub(crate) fn forget_page(&self, url: &Url) -> Result<(), FileError> {
        forget(&self.record_path(url, "page"))
    }

    pub(crate) fn page(&self, url: &Url) -> Result<Option<Page>, FileError> {
        read(&self.record_path(url, "page"))
    }

    pub(crate) fn keep_page(&self, url: &Url, page: &Page) -> Result<(), FileError> {
        self.keep(&self.record_path(url, "page"), page)
    }

    fn keep<T: Serialize>(&self, path: &Path, record: &T) -> Result<(), FileError> {
        let body = postcard::to_stdvec(record).expect("text, bytes and numbers have an encoding");
        self.ledger().take_note_of(body.len() as u64)?;
        self.ledger().with_room(|| write(path, &body))
    }
}

fn write(path: &Path, body: &[u8]) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(path);
    let writing = |error| FileError::writing(folder, error);
    let mut file = tempfile::Builder::new()
        .prefix(INCOMING)
        .tempfile_in(folder)
        .map_err(writing)?;
    file.write_all(blake3::hash(body).as_bytes())
        .map_err(writing)?;
    file.write_all(body).map_err(writing)?;
    file.persist(path).map_err(|error| writing(error.error))?;
    Ok(())
}

fn forget(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::refused("remove", path, error)),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::reading(path, error)),
    };
    let Some((hash, body)) = bytes.split_first_chunk::<32>() else {
        return Ok(None);
    };
    if blake3::hash(body) != *hash {
        return Ok(None);
    }
    Ok(postcard::from_bytes(body).ok())
}
