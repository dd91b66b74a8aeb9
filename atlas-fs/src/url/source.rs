//! [`Source`]: what a mount, a server and a program ask of the files of the web. `Files` is the one that fetches and stores;
//! who only passes paths on, such as a mount, knows nothing else of it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use url::Url;

use super::error::UrlError;
use super::file::UrlFile;
use super::pins::Pins;

/// Files and folders by their URLs.
pub trait Source: Send + Sync + 'static {
    /// Status and size, by HEAD or, where a server refuses HEAD, a ranged GET. What is known is used as long as RFC 9111
    /// allows, and so is that there is nothing. Of a file whose origin tells its version and its length, that is pinned by this.
    fn metadata(
        &self,
        url: &Url,
        pins: &Pins,
    ) -> impl Future<Output = Result<Metadata, UrlError>> + Send;

    /// A file's version: the one that is pinned or, if none is, the present one, which is pinned by this.
    fn open(
        &self,
        url: &Url,
        pins: &Pins,
    ) -> impl Future<Output = Result<Arc<UrlFile>, UrlError>> + Send;

    /// The entries of a folder, whose URL ends in `/`, as they are now: they are never pinned. One request a folder.
    fn list(
        &self,
        url: &Url,
        pins: &Pins,
    ) -> impl Future<Output = Result<Listing, UrlError>> + Send;

    /// How many bytes have come of a file whose length nobody knows before its end, if it is being fetched. It goes on for a while
    /// when nobody waits for it.
    fn under_way(&self, _url: &Url, _pins: &Pins) -> Option<u64> {
        None
    }
}

/// What is known of a URL without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// File or folder.
    pub kind: Kind,
    /// In bytes, where the server tells.
    pub size: Option<u64>,
    /// When it was last changed, where the server tells.
    pub modified: Option<SystemTime>,
    /// The server's name for this version, as it came.
    pub etag: Option<String>,
    /// Whether the origin could not be asked, and this is what was known of it before.
    pub stale: bool,
    /// For how long this need not be asked again.
    pub valid_for: Duration,
}

/// Whether there are bytes or entries behind a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Bytes.
    File,
    /// Entries: the URL ends in `/`.
    Folder,
}

/// The entries of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// In the order in which the origin lists them.
    pub entries: Arc<[Entry]>,
    /// Whether the origin could not be asked, and this is what was known of it before.
    pub stale: bool,
}

impl Deref for Listing {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.entries
    }
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Decoded: one component of a path.
    pub name: String,
    /// File or folder.
    pub kind: Kind,
    /// In bytes, where the listing tells exactly.
    pub size: Option<u64>,
    /// When it was last changed, where the listing tells.
    pub modified: Option<SystemTime>,
}
