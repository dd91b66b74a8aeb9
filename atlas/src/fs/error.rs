use std::io;
use std::string::FromUtf8Error;

use atlas_engine::{FileAnswer, FileFailure};
use serde::{Deserialize, Serialize};

/// Why a file or folder cannot be had. Its text names the URL, the origin's status where there was one, the causes, and what to do.
///
/// It can be a task's result, or part of one, and become an [`io::Error`] of its [kind](Error::kind).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    url: String,
    errno: Option<i32>,
    status: Option<u16>,
    message: String,
}

impl Error {
    /// What was asked for.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The status with which the origin answered, if that is what went wrong.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// What kind of error it is, in the words of the standard library: [`NotFound`](io::ErrorKind::NotFound),
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied),
    /// [`StaleNetworkFileHandle`](io::ErrorKind::StaleNetworkFileHandle) where the file has changed at its origin, and others.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self.errno {
            // The standard library has a kind for it, and does not give it to the number.
            Some(INVALID_TEXT) => io::ErrorKind::InvalidData,
            Some(errno) => io::Error::from_raw_os_error(errno).kind(),
            None => io::ErrorKind::Other,
        }
    }

    pub(super) fn failed(url: &str, failure: FileFailure) -> Self {
        let FileFailure {
            errno,
            status,
            message,
        } = failure;
        Self {
            url: url.to_owned(),
            errno: Some(errno),
            status,
            message,
        }
    }

    /// Whoever is to fetch files is not there, or is gone.
    pub(super) fn no_service(url: &str, why: &str) -> Self {
        Self::of_own(url, format!("{url} cannot be asked for: {why}"))
    }

    pub(super) fn not_text(url: &str, error: &FromUtf8Error) -> Self {
        Self {
            errno: Some(INVALID_TEXT),
            ..Self::of_own(url, format!("{url} is no text in UTF-8: {error}"))
        }
    }

    /// The failure that was answered, or that the answer makes no sense.
    pub(super) fn other_than_asked(url: &str, answer: &FileAnswer) -> Self {
        let what = match answer {
            FileAnswer::Failed(failure) => return Self::failed(url, failure.clone()),
            FileAnswer::Metadata(_) => "what is known of it",
            FileAnswer::Opened(_) => "that it is open",
            FileAnswer::Bytes(_) => "bytes",
            FileAnswer::Entries { .. } => "entries",
            FileAnswer::Closed => "that it is closed",
            FileAnswer::Mounted(_) => "where it is mounted",
        };
        let why = format!("whoever fetches files answered {what}, which was not the question");
        Self::no_service(url, &why)
    }

    fn of_own(url: &str, message: String) -> Self {
        Self {
            url: url.to_owned(),
            errno: None,
            status: None,
            message,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

/// `EILSEQ` on Linux: bytes that are no characters.
const INVALID_TEXT: i32 = 84;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_kind_and_keeps_its_words_on_the_way() {
        let message = "there is nothing at http://x/ (status 404)".to_owned();
        let error = Error::failed("http://x/", FileFailure::new(2, Some(404), message.clone()));
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!((error.url(), error.status()), ("http://x/", Some(404)));
        let bytes = postcard::to_allocvec(&error).unwrap();
        assert_eq!(postcard::from_bytes::<Error>(&bytes).unwrap(), error);
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn regression_what_is_no_text_is_invalid_data_as_of_any_file() {
        let no_text = String::from_utf8(vec![0xff]).unwrap_err();
        let error = Error::not_text("http://x/", &no_text);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_changed_file_is_a_stale_handle() {
        let stale = FileFailure::new(116, None, String::new());
        let error = Error::failed("http://x/", stale);
        assert_eq!(error.kind(), io::ErrorKind::StaleNetworkFileHandle);
    }
}
