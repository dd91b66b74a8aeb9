//! [`Version`]: which bytes are meant, by what the origin says of them. **Pure.**
//!
//! | the origin gives | a range is asked with | and believed if |
//! | --- | --- | --- |
//! | a strong ETag | `If-Match`, `If-Range` | ETag, Last-Modified and length are the same |
//! | a weak ETag or none, and Last-Modified | `If-Unmodified-Since`, `If-Range` | Last-Modified, length and any ETag are the same |
//! | neither | no range is asked for | the whole file comes in one answer |
//!
//! Servers that ignore the conditions are found out by what they answer with. An origin that gives two contents one ETag, one date and
//! one length cannot be found out here; see `file/` for what hashes of what was stored add.

use serde::{Deserialize, Serialize};
use url::Url;

use super::error::UrlError;

/// What an origin says of a file that tells its versions apart. Equal versions are the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Version {
    /// As it came, with its quotes.
    pub etag: Option<String>,
    /// `Last-Modified`, as it came.
    pub modified: Option<String>,
    /// In bytes.
    pub length: Option<u64>,
    /// Of a file that has neither: when it was first asked for, in nanoseconds since 1970. Nothing else tells one
    /// answer from the next.
    pub seen: Option<u64>,
}

/// A condition that the origin is to check before it sends a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition<'a> {
    /// `If-Match` and `If-Range`.
    Etag(&'a str),
    /// `If-Unmodified-Since` and `If-Range`.
    Unmodified(&'a str),
    /// Ranges of it may be of different files.
    Nothing,
}

impl Version {
    /// As it is told to others.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("text and numbers have an encoding")
    }

    /// What [`Version::to_bytes`] wrote; none of anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(bytes) {
            Ok((version, [])) => Some(version),
            Ok(_) | Err(_) => None,
        }
    }

    /// How ranges of it are asked for.
    pub(crate) fn condition(&self) -> Condition<'_> {
        match (self.strong_etag(), &self.modified) {
            (Some(etag), _) => Condition::Etag(etag),
            (None, Some(modified)) => Condition::Unmodified(modified),
            (None, None) => Condition::Nothing,
        }
    }

    /// The ETag, if it promises the same bytes.
    pub(crate) fn strong_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| !etag.starts_with("W/"))
    }

    /// Whether an answer with these is of this version. What an answer leaves out contradicts nothing, as long as what
    /// it was asked by is there.
    pub(crate) fn admits(&self, answer: &Version) -> bool {
        let same = |mine: &Option<String>, other: &Option<String>| match (mine, other) {
            (Some(mine), Some(other)) => mine == other,
            (Some(_) | None, None) | (None, Some(_)) => true,
        };
        let asked_by = match self.condition() {
            Condition::Etag(_) => answer.etag == self.etag,
            Condition::Unmodified(_) => answer.modified == self.modified,
            Condition::Nothing => true,
        };
        let length = match (self.length, answer.length) {
            (Some(mine), Some(other)) => mine == other,
            (Some(_) | None, None) | (None, Some(_)) => true,
        };
        asked_by
            && length
            && same(&self.etag, &answer.etag)
            && same(&self.modified, &answer.modified)
    }

    /// Of a file whose origin has another one now.
    pub(crate) fn changed(&self, url: &Url, found: &Version) -> UrlError {
        UrlError::Changed {
            url: Box::new(url.clone()),
            pinned: self.to_string(),
            found: found.to_string(),
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.etag, &self.modified) {
            (Some(etag), _) => write!(f, "version {etag}")?,
            (None, Some(modified)) => write!(f, "the version of {modified}")?,
            (None, None) => write!(f, "a version without a name")?,
        }
        match self.length {
            Some(length) => write!(f, " of {length} bytes"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(etag: Option<&str>, modified: Option<&str>, length: Option<u64>) -> Version {
        Version {
            etag: etag.map(str::to_owned),
            modified: modified.map(str::to_owned),
            length,
            seen: None,
        }
    }

    #[test]
    fn a_lying_etag_is_found_out_by_date_or_length() {
        let first = version(Some("\"a\""), Some("Mon"), Some(10));
        assert!(first.admits(&first));
        assert!(!first.admits(&version(Some("\"a\""), Some("Tue"), Some(10))));
        assert!(!first.admits(&version(Some("\"a\""), Some("Mon"), Some(11))));
        assert!(first.admits(&version(Some("\"a\""), None, None)));
        assert!(!first.admits(&version(None, Some("Mon"), Some(10))));
    }

    #[test]
    fn a_weak_etag_asks_by_date() {
        let weak = version(Some("W/\"a\""), Some("Mon"), Some(10));
        assert_eq!(weak.condition(), Condition::Unmodified("Mon"));
        assert!(!weak.admits(&version(Some("W/\"b\""), Some("Mon"), Some(10))));
        assert!(!weak.admits(&version(Some("W/\"a\""), None, Some(10))));
        let weak = version(Some("W/\"a\""), None, Some(10));
        assert_eq!(weak.condition(), Condition::Nothing);
    }
}
