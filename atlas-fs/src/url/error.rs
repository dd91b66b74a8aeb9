//! [`UrlError`]: why a file of the web cannot be had. Each carries its URL, the status where there was one, and the cause;
//! [`UrlError::errno`] is what a program that only knows paths is told.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use url::Url;

use super::client::shown;
use crate::file_error::FileError;

/// The cause of an error, shared by all who waited for the same request.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a file or folder of the web cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// No request can be made of this.
    #[error("{} cannot be asked for: {reason}", shown(.url))]
    Name {
        /// What was asked for.
        url: Box<Url>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A name in it is longer than file systems allow.
    #[error("{} has a name of more than 255 bytes", shown(.url))]
    NameTooLong {
        /// What was asked for.
        url: Box<Url>,
    },
    /// The origin has nothing there.
    #[error("there is nothing at {} (status {status})", shown(.url))]
    NotFound {
        /// What was asked for.
        url: Box<Url>,
        /// 404 or 410.
        status: u16,
    },
    /// The origin, or a proxy, does not let us.
    #[error("not allowed to read {} (status {status}): give credentials for its host in {}", shown(.url), may_say_who(.url))]
    Denied {
        /// What was asked for.
        url: Box<Url>,
        /// 401, 403 or 407.
        status: u16,
    },
    /// The origin answers, and not with a file.
    #[error("the origin of {} answers with status {status}, also when asked again", shown(.url))]
    Status {
        /// What was asked for.
        url: Box<Url>,
        /// Its last answer.
        status: u16,
    },
    /// Nobody is there to answer.
    #[error("the origin of {} cannot be reached", shown(.url))]
    Unreachable {
        /// What was asked for.
        url: Box<Url>,
        /// What became of the connection.
        #[source]
        source: Cause,
    },
    /// It is not certain who answers.
    #[error("the origin of {} does not prove who it is", shown(.url))]
    Tls {
        /// What was asked for.
        url: Box<Url>,
        /// What TLS says.
        #[source]
        source: Cause,
    },
    /// The origin takes too long.
    #[error("the origin of {} is too slow: {doing} took more than {after:?}", shown(.url))]
    TimedOut {
        /// What was asked for.
        url: Box<Url>,
        /// What took so long.
        doing: &'static str,
        /// For how long it was waited.
        after: Duration,
    },
    /// The file is no longer the one that was first seen.
    #[error("{} has changed at its origin: {pinned} was read before, there is {found} now", shown(.url))]
    Changed {
        /// What was asked for.
        url: Box<Url>,
        /// The version that was read before.
        pinned: String,
        /// What there is now.
        found: String,
    },
    /// The machines of a job cannot agree on a version of it.
    #[error("it cannot be told which version of {} the job has seen first: {why}", shown(.url))]
    Unpinned {
        /// What was asked for.
        url: Box<Url>,
        /// Why.
        why: String,
    },
    /// What the origin sends contradicts itself, also when it is asked again.
    #[error("the origin of {} sends what cannot be used: {what}", shown(.url))]
    Broken {
        /// What was asked for.
        url: Box<Url>,
        /// What is wrong.
        what: String,
    },
    /// It leads in a circle, too far, or from an encrypted connection to an open one.
    #[error("{} redirects to where it cannot be followed", shown(.url))]
    Redirects {
        /// What was asked for.
        url: Box<Url>,
        /// Where it ended.
        #[source]
        source: Cause,
    },
    /// There is no room to store it.
    #[error("{} cannot be stored", shown(.url))]
    NoRoom {
        /// What was asked for.
        url: Box<Url>,
        /// Where, and what to do.
        #[source]
        source: Arc<FileError>,
    },
    /// The store's disk refuses.
    #[error("{} cannot be kept in, or read from, the store", shown(.url))]
    Disk {
        /// What was asked for.
        url: Box<Url>,
        /// The file, and what to do.
        #[source]
        source: Arc<FileError>,
    },
    /// It is a folder, whose URL ends in `/`, and no file.
    #[error("{} is a folder", shown(.url))]
    IsFolder {
        /// What was asked for.
        url: Box<Url>,
    },
    /// It is no folder.
    #[error("{} is no folder: a folder's URL ends in a slash", shown(.url))]
    NotFolder {
        /// What was asked for.
        url: Box<Url>,
    },
    /// The client whose file it is cannot be asked.
    #[error("{} cannot be had: {why}", shown(.url))]
    Client {
        /// What was asked for.
        url: Box<Url>,
        /// Why, and what to do.
        why: String,
    },
    /// The client does not give it.
    #[error("not allowed to read {}: {why}", shown(.url))]
    NotServed {
        /// What was asked for.
        url: Box<Url>,
        /// Why.
        why: String,
    },
    /// The folder's page is not one that entries can be read from.
    #[error("the entries of {} cannot be read from what its origin sends", shown(.url))]
    Listing {
        /// What was asked for.
        url: Box<Url>,
        /// What is wrong with the page.
        #[source]
        source: Cause,
    },
}

impl UrlError {
    /// The number of the system's error that says the most of it.
    #[must_use]
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::Name { .. } => Errno::INVAL,
            Self::NameTooLong { .. } => Errno::NAMETOOLONG,
            Self::NotFound { .. } => Errno::NOENT,
            Self::Denied { .. } | Self::NotServed { .. } => Errno::ACCESS,
            Self::Unreachable { .. } | Self::Unpinned { .. } | Self::Client { .. } => {
                Errno::HOSTUNREACH
            }
            Self::Tls { .. } => Errno::PROTO,
            Self::TimedOut { .. } => Errno::TIMEDOUT,
            Self::Changed { .. } => Errno::STALE,
            Self::Redirects { .. } => Errno::LOOP,
            Self::NoRoom { .. } => Errno::NOSPC,
            Self::IsFolder { .. } => Errno::ISDIR,
            Self::NotFolder { .. } => Errno::NOTDIR,
            Self::Status { .. }
            | Self::Broken { .. }
            | Self::Disk { .. }
            | Self::Listing { .. } => Errno::IO,
        };
        errno.raw_os_error()
    }

    /// What was asked for.
    #[must_use]
    pub fn url(&self) -> &Url {
        match self {
            Self::Name { url, .. }
            | Self::NameTooLong { url }
            | Self::NotFound { url, .. }
            | Self::Denied { url, .. }
            | Self::Status { url, .. }
            | Self::Unreachable { url, .. }
            | Self::Tls { url, .. }
            | Self::TimedOut { url, .. }
            | Self::Changed { url, .. }
            | Self::Unpinned { url, .. }
            | Self::Broken { url, .. }
            | Self::Redirects { url, .. }
            | Self::NoRoom { url, .. }
            | Self::Disk { url, .. }
            | Self::IsFolder { url }
            | Self::NotFolder { url }
            | Self::Client { url, .. }
            | Self::NotServed { url, .. }
            | Self::Listing { url, .. } => url,
        }
    }

    /// The status that the origin answered with, if that is what went wrong.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        if let Self::NotFound { status, .. }
        | Self::Denied { status, .. }
        | Self::Status { status, .. } = self
        {
            Some(*status)
        } else {
            None
        }
    }

    /// Whether it is for want of the origin, so that what is known may do under `stale-if-error` (RFC 5861, section 4:
    /// no connection, or a status of 500, 502, 503 or 504).
    #[must_use]
    pub fn is_origin_down(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Client { .. } => true,
            Self::Status { status, .. } => matches!(status, 500 | 502 | 503 | 504),
            Self::Name { .. }
            | Self::NameTooLong { .. }
            | Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Tls { .. }
            | Self::Changed { .. }
            | Self::Unpinned { .. }
            | Self::Broken { .. }
            | Self::Redirects { .. }
            | Self::NoRoom { .. }
            | Self::Disk { .. }
            | Self::IsFolder { .. }
            | Self::NotFolder { .. }
            | Self::NotServed { .. }
            | Self::Listing { .. } => false,
        }
    }

    /// Of what the store's disk refuses.
    pub(crate) fn disk(url: &Url, source: FileError) -> Self {
        let (url, full) = (Box::new(url.clone()), source.is_full());
        let source = Arc::new(source);
        if full {
            Self::NoRoom { url, source }
        } else {
            Self::Disk { url, source }
        }
    }

    /// Of what an origin sends.
    pub(crate) fn broken(url: &Url, what: impl Into<String>) -> Self {
        Self::Broken {
            url: Box::new(url.clone()),
            what: what.into(),
        }
    }

    /// Of a status that is no success.
    pub(crate) fn status_of(url: &Url, status: u16) -> Self {
        let url = Box::new(url.clone());
        match status {
            404 | 410 => Self::NotFound { url, status },
            401 | 403 | 407 => Self::Denied { url, status },
            _ => Self::Status { url, status },
        }
    }
}

/// The files from which a URL's host is told who asks.
fn may_say_who(url: &Url) -> &'static str {
    if url.scheme() == "https" {
        "a netrc file or a file of credentials"
    } else {
        "a netrc file, or in a file of credentials with `plain_http = true`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_told_as_what_programs_know() {
        let url = Url::parse("http://example.org/x").unwrap();
        for (status, errno) in [
            (404, Errno::NOENT),
            (410, Errno::NOENT),
            (401, Errno::ACCESS),
            (403, Errno::ACCESS),
            (429, Errno::IO),
            (503, Errno::IO),
        ] {
            let error = UrlError::status_of(&url, status);
            assert_eq!(error.errno(), errno.raw_os_error(), "{status}");
            assert_eq!(error.status(), Some(status));
            assert!(error.to_string().contains("http://example.org/x"));
        }
        assert!(UrlError::status_of(&url, 503).is_origin_down());
        assert!(!UrlError::status_of(&url, 404).is_origin_down());
    }
}
