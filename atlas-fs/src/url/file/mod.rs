//! [`UrlFile`]: one version of a file, read while it is fetched.
//!
//! | file | owns |
//! | --- | --- |
//! | `shared.rs` | what all who read it share: which blocks are there, who waits, what has failed |
//! | `fetch.rs` | one request's way onto the disk |
//! | `passing.rs` | bytes that there is no room to keep |
//! | `wanted.rs` | ranges for those who read them once |
//! | `answer.rs` | whether an answer is of this version: pure |
//!
//! **Bytes are given to nobody before they have been compared** with their hash, as it was when they were stored. A block that is
//! not what it was is asked for again. When what comes then is neither what was stored nor what is there, the origin has given two
//! contents one name, and the file has changed.

mod answer;
mod fetch;
mod passing;
mod shared;
mod wanted;

use std::fs::File;
use std::sync::Arc;

use url::Url;

use super::error::UrlError;
use super::version::Version;
use crate::blocking::blocking;

pub(crate) use shared::{Origin, Shared};
pub(crate) use wanted::Wanted;

/// One version of a file: the same bytes whenever and however often they are read.
#[derive(Debug)]
pub struct UrlFile {
    shared: Arc<Shared>,
    stale: bool,
}

impl UrlFile {
    pub(crate) fn new(shared: Arc<Shared>, stale: bool) -> Self {
        Self { shared, stale }
    }

    /// What was asked for.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.shared.origin.url
    }

    /// In bytes.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "it is a file's length, and an empty file is one of length 0"
    )]
    pub fn len(&self) -> u64 {
        self.shared.entry.length()
    }

    /// Equal versions are the same bytes.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.shared.origin.version
    }

    /// Whether the origin could not be asked whether this is still its version when this was opened.
    #[must_use]
    pub fn stale(&self) -> bool {
        self.stale
    }

    /// Whether its origin forbids that it is kept (`no-store`): it is gone when nobody has it open any more.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.shared.is_transient()
    }

    /// Reads bytes from there on, until the buffer is full or the file ends; fetches what is missing, and what is likely
    /// to be read next.
    ///
    /// What is there already is read on the calling thread.
    ///
    /// # Errors
    ///
    /// What is missing cannot be had, or not of this version any more.
    pub async fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, UrlError> {
        self.read(offset, buffer, None).await
    }

    async fn read(
        &self,
        offset: u64,
        buffer: &mut [u8],
        wanted: Option<Wanted>,
    ) -> Result<usize, UrlError> {
        let length = self.readable(offset, buffer.len());
        let buffer = &mut buffer[..length];
        if self.ready_for(offset, length, wanted).await? {
            self.copy(offset, buffer)?;
        } else {
            self.pass(offset, buffer).await?;
        }
        Ok(length)
    }

    /// How many of so many bytes there are from there on.
    pub(crate) fn readable(&self, offset: u64, length: usize) -> usize {
        let left = self.len().saturating_sub(offset);
        usize::try_from(left).map_or(length, |left| left.min(length))
    }

    /// Whether these bytes, which are [`readable`](Self::readable), can be copied at once. What is likely to be read next is fetched all the
    /// same.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub(crate) fn is_ready(&self, offset: u64, length: usize) -> bool {
        length == 0
            || self
                .shared
                .has_now(&shared::blocks_around(offset, length as u64))
    }

    /// Waits until these bytes, which are [`readable`](Self::readable), can be copied; or says that they can only be passed on, since there is no room to keep
    /// them.
    pub(crate) async fn ready(&self, offset: u64, length: usize) -> Result<bool, UrlError> {
        self.ready_for(offset, length, None).await
    }

    async fn ready_for(
        &self,
        offset: u64,
        length: usize,
        wanted: Option<Wanted>,
    ) -> Result<bool, UrlError> {
        if length == 0 {
            return Ok(true);
        }
        let blocks = shared::blocks_around(offset, length as u64);
        let begun = wanted.map(|wanted| wanted.failed_before);
        match self.shared.have(blocks, begun).await {
            Ok(()) => Ok(true),
            Err(UrlError::NoRoom { .. }) if wanted.is_none() && self.shared.can_pass() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Copies bytes that are ready.
    pub(crate) fn copy(&self, offset: u64, buffer: &mut [u8]) -> Result<(), UrlError> {
        self.shared.copy(offset, buffer)
    }

    /// Fetches all that is missing.
    ///
    /// # Errors
    ///
    /// Some of it cannot be had, or cannot be kept.
    pub async fn fetch_all(&self) -> Result<(), UrlError> {
        self.shared.have_all().await
    }

    /// A descriptor of the whole file on disk, if all of it is there and nobody has written to it since it was checked.
    /// As long as it is open, nobody removes the file.
    #[must_use]
    pub fn complete(&self) -> Option<File> {
        self.shared.complete()
    }

    /// Counts that the kernel reads it itself.
    pub(crate) fn note_passed(&self) {
        self.shared.origin.counts.passed();
    }

    /// Compares all that is stored with its hashes; what is not right is fetched again when it is read. Gives how
    /// many blocks that was.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub async fn verify(&self) -> Result<u64, UrlError> {
        let shared = self.shared.clone();
        blocking(move || shared.verify()).await
    }

    /// Reads bytes that there is no room to keep.
    pub(crate) async fn pass(&self, offset: u64, buffer: &mut [u8]) -> Result<(), UrlError> {
        self.shared.pass(offset, buffer).await
    }
}
