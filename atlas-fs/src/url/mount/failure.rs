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
    #[error("{doing} took more than {after:?}{}", goes_on(*.so_far))]
    TimedOut {
        doing: String,
        after: Duration,
        /// How many bytes have come of a file that is fetched on.
        so_far: Option<u64>,
    },
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

fn goes_on(so_far: Option<u64>) -> String {
    so_far.map_or_else(String::new, |bytes| {
        format!("; it goes on, {bytes} bytes so far: ask again")
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_too_long_hears_that_it_goes_on() {
        let failure = |so_far| Failure::TimedOut {
            doing: "opening http://example.org/x".to_owned(),
            after: Duration::from_secs(60),
            so_far,
        };
        let said = failure(Some(12)).to_string();
        assert!(said.contains("http://example.org/x took more"), "{said}");
        assert!(said.ends_with("; it goes on, 12 bytes so far: ask again"));
        assert!(failure(None).to_string().ends_with("60s"));
        assert_eq!(
            i32::from(failure(Some(12)).errno()),
            i32::from(Errno::ETIMEDOUT)
        );
    }
}
