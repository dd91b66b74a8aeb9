//! Files by URL: fetched over HTTP in pieces, stored on this machine, read as often as one likes.
//!
//! - [`Source`]: what can be asked, with what it answers ([`Metadata`], [`Entry`], [`UrlFile`], [`UrlError`]).
//! - [`Files`]: the one that asks origins and stores what they send.
//! - [`Pins`]: one version of each URL for a job; [`Judge`]: for a job on several machines.
//!
//! | file | owns |
//! | --- | --- |
//! | `version.rs`, `fresh.rs`, `retry.rs`, `down.rs`, `plan.rs` | what is the same, what may be served, when to ask again, whom not to wait for, what to fetch next: pure |
//! | `ways/` | who is asked: the next cache above, or the origin |
//! | `above/` | caches that ask one another, what they say, and when it is better to ask the origin |
//! | `client/` | files of clients, as an origin beside those of the web |
//! | `http/` | requests: credentials, how many at a time, which error is which |
//! | `store/` | files of versions on disk, shared by the processes of this machine; the quota |
//! | `file/` | one version that is read while it is fetched |
//! | `path.rs`, `listing/` | what a URL is called here, and the entries of a folder: pure |
//! | `mount/` | all of it as a file system of the kernel's |
//! | `care.rs` | what is stored, for who looks after it |
//! | `service.rs` | what programs of this machine ask over a socket |
//! | `files.rs`, `whole.rs` | from a URL to a version; pages, which come in one piece |
//! | `spool.rs` | files whose length nobody knows before their end |

pub mod above;
mod care;
pub mod client;
mod counts;
mod down;
pub mod error;
mod file;
mod files;
mod fresh;
mod head;
mod http;
pub mod listing;
pub mod mount;
mod options;
pub mod path;
mod pins;
mod plan;
mod retry;
mod service;
mod source;
mod spool;
mod store;
mod version;
mod ways;
mod whole;

pub use counts::Figures;
pub use error::UrlError;
pub use file::UrlFile;
pub use files::{Files, FilesError, ReadListing};
pub use http::{ClientError, Credential, Credentials, CredentialsError};
pub use options::{AccessError, AccessFiles, Options, Timeouts};
pub use pins::{Judge, Judging, Pins};
pub use service::FileService;
pub use source::{Entry, Kind, Listing, Metadata, Source};
pub use store::{Stored, Usage};
pub use version::Version;
