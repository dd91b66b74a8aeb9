//! A client's own files, `atlas://client/..` to its job: they are an origin like any other, reached by way of the managers.
//!
//! ```text
//!   task --socket--> server --FILES_TOPIC--> managers --> the job's manager --> client: a folder
//! ```
//!
//! To caches such a file is `atlas://NAME/..`, where NAME is the job's alone ([`FilesName`]): what two clients call the same never meets. Programs
//! and people see `atlas://client/..`, also in errors.
//!
//! | file | owns |
//! | --- | --- |
//! | `name.rs` | what a URL of such a file is to programs, and to caches: pure |
//! | `reply.rs` | what is said of what was found: pure |
//! | `shelf.rs` | a folder, or a job's inputs, and what is found there |
//! | `answer.rs` | answers to questions for what is on a shelf |
//! | `ask.rs` | questions, and their answers as the store wants them |
//! | `local.rs` | shelves of this very process |
//!
//! **Nothing but what is below the folder is read**, whatever the names are and wherever symbolic links lead.

mod answer;
mod ask;
mod local;
mod name;
mod reply;
mod shelf;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use atlas_proto::control::FilesName;
use url::Url;

use super::above::Way;

pub use answer::answer;
pub(crate) use ask::ClientAsker;
pub use local::{LocalFiles, Shelves};
pub use name::{ClientFiles, name_of};
pub(crate) use name::{check, is_within, shown};
pub use shelf::{Shelf, ShelfError};

/// Ways to the files of clients.
pub trait ClientWays: fmt::Debug + Send + Sync + 'static {
    /// A new way, for one question, towards the client whose files are called so.
    fn reach(&self, files: FilesName) -> ReachingClient<'_>;
}

/// What [`ClientWays::reach`] gives.
pub type ReachingClient<'a> = Pin<Box<dyn Future<Output = Result<Reached, NoWay>> + Send + 'a>>;

/// A way, and who is at its end.
#[derive(Debug)]
pub struct Reached {
    /// For one question.
    pub way: Way,
    /// The client itself, or a cache that is nearer to it.
    pub is_client: bool,
}

/// There is no way to a client, and why, for people, with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoWay(pub String);

impl NoWay {
    /// The client is gone.
    #[must_use]
    pub fn gone() -> Self {
        Self(
            "the client that has submitted the job is not connected any more: leave its `atlas-shell submit` running to the job's end, \
             or give the files by --input, which the job keeps"
                .to_owned(),
        )
    }

    /// The job has none, or is over.
    #[must_use]
    pub fn none() -> Self {
        Self(
            "no files of a client are served to this job: submit it with --serve DIR and without --detach, or give the files by \
             --input, which the job keeps"
                .to_owned(),
        )
    }
}

/// The name of the files of which this is a URL, as caches have it.
pub(crate) fn files_of(url: &Url) -> Option<FilesName> {
    if url.scheme() != SCHEME {
        return None;
    }
    url.host_str()?.parse().ok()
}

/// Of the URLs of such files.
pub const SCHEME: &str = "atlas";
/// The host that they have to programs.
pub const HOST: &str = "client";
