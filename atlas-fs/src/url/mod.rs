//! Files by URL: fetched over HTTP in pieces, stored on this machine, read as often as one likes.
//!
//! - [`Source`]: what can be asked, with what it answers ([`Metadata`], [`Entry`], [`UrlFile`], [`UrlError`]).
//! - [`Files`]: the one that asks origins and stores what they send.
//! - [`Pins`]: one version of each URL for a job.
//!
//! | file | owns |
//! | --- | --- |
//! | `version.rs`, `fresh.rs`, `retry.rs`, `plan.rs` | what is the same, what may be served, when to ask again, what to fetch next: pure |
//! | `http/` | requests: credentials, how many at a time, which error is which |
//! | `store/` | files of versions on disk, shared by the processes of this machine; the quota |
//! | `file/` | one version that is read while it is fetched |
//! | `files.rs` | from a URL to a version |

pub mod error;
pub mod file;
mod pins;
pub mod source;
mod version;

pub use error::UrlError;
pub use file::UrlFile;
pub use pins::Pins;
pub use source::{Entry, Kind, Metadata, Source};
pub use version::Version;
