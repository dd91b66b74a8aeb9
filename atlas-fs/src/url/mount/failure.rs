//! [`Failure`]: why a call of the kernel's ends with an error, and with which number.

use std::time::Duration;

use fuser::Errno;
use url::Url;

use crate::url::UrlError;
use crate::url::path::PathError;

/// Why a call ends with an error.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Path(#[from] PathError),
    /// The inode's version is no longer the file's: the kernel looks the name up again, and finds the new one.
    #[error("{0} has another version now")]
    Superseded(Box<Url>),
    /// The kernel asks for what it was not told of, or has forgotten.
    #[error("there is no such inode")]
    Unknown,
    #[error("a folder was asked for as a file, or a file as a folder")]
    WrongKind(Errno),
    #[error("{doing} took more than {after:?}")]
    TimedOut { doing: String, after: Duration },
}

impl Failure {
    pub(super) fn errno(&self) -> Errno {
        match self {
            Self::Url(error) => Errno::from_i32(error.errno()),
            Self::Path(error) => Errno::from_i32(error.errno()),
            Self::Superseded(_) | Self::Unknown => Errno::ESTALE,
            Self::WrongKind(errno) => *errno,
            Self::TimedOut { .. } => Errno::ETIMEDOUT,
        }
    }

    /// Says what programs are not told: an error's number is all that they get.
    pub(super) fn tell(&self) {
        match self {
            Self::Url(UrlError::NotFound { .. }) | Self::Path(_) | Self::WrongKind(_) => {}
            Self::Superseded(_) => tracing::debug!("{self}"),
            Self::Url(error) => tracing::warn!("{}", Chain(error)),
            Self::Unknown | Self::TimedOut { .. } => tracing::warn!("{self}"),
        }
    }
}

/// An error with all its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
