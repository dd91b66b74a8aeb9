//! Looking after the store: what is in it, whether it is still right, what may go, and what is to stay.

use url::Url;

use super::error::UrlError;
use super::file::UrlFile;
use super::files::Files;
use super::pins::Pins;
use super::source::Source as _;
use super::store::Stored;
use crate::blocking::blocking;
use crate::file_error::FileError;

impl Files {
    /// All that is stored, by URL.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn stored(&self) -> Result<Vec<Stored>, FileError> {
        self.core.store.stored()
    }

    /// Compares a stored file with the hashes of its blocks; what is not right is as if it had never come, and is fetched again when it is read.
    /// Gives how many blocks that was.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub async fn verify(&self, stored: &Stored) -> Result<u64, UrlError> {
        let shared = self.core.shared(&stored.url, &stored.version).await?;
        UrlFile::new(shared, false).verify().await
    }

    /// Fetches what is missing of a file, and lets it stay, whatever room is needed. `progress` is called with the bytes that are there and all that there are.
    ///
    /// # Errors
    ///
    /// The file cannot be had, or cannot be kept.
    pub async fn pin(&self, url: &Url, progress: impl Fn(u64, u64)) -> Result<Stored, UrlError> {
        let file = self.open(url, &Pins::new()).await?;
        if file.is_transient() {
            let what = "a file that its origin forbids to keep (no-store)";
            return Err(UrlError::broken(url, what));
        }
        let mut piece = vec![0; PIECE_BYTES];
        let mut at = 0;
        while at < file.len() {
            progress(at, file.len());
            at += file.read_at(at, &mut piece).await? as u64;
        }
        file.fetch_all().await?;
        let (core, version, place) = (self.core.clone(), file.version().clone(), url.clone());
        let pinned = blocking(move || {
            let all = core.store.stored()?;
            let stored = all
                .into_iter()
                .find(|stored| stored.url == place && stored.version == version);
            let pinned = stored.map(|stored| {
                core.store.pin(&stored, true)?;
                Ok::<_, FileError>(Stored {
                    is_pinned: true,
                    ..stored
                })
            });
            pinned.transpose()
        });
        let pinned = pinned.await.map_err(|error| UrlError::disk(url, error))?;
        pinned.ok_or_else(|| UrlError::broken(url, "another file as soon as it is stored"))
    }

    /// Lets all versions of a file go when room is needed, as they would without [`Files::pin`]. How many were pinned.
    ///
    /// # Errors
    ///
    /// The folder cannot be read or written to.
    pub fn unpin(&self, url: &Url) -> Result<u64, FileError> {
        let mut unpinned = 0;
        for stored in self.stored()? {
            if stored.url == *url && stored.is_pinned {
                self.core.store.pin(&stored, false)?;
                unpinned += 1;
            }
        }
        Ok(unpinned)
    }

    /// Removes what nobody will ask for any more: versions that are not the last that was seen of their URL, unless they are open or pinned. How many, and
    /// their bytes on the disk.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn remove_superseded(&self) -> Result<(u64, u64), FileError> {
        let mut superseded = Vec::new();
        for stored in self.stored()? {
            let head = self.core.store.head(&stored.url)?;
            if !stored.is_pinned && head.is_some_and(|head| head.version != stored.version) {
                superseded.push(stored);
            }
        }
        self.core.store.remove(&superseded)
    }
}

/// What is read at a time, and thrown away.
const PIECE_BYTES: usize = 1 << 20;
