//! What is said between caches: a [`Question`], then [`Said`] again and again. Each is behind four bytes of its length, least
//! significant first, in postcard's encoding. New cases go to the end.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use url::Url;

use super::super::error::UrlError;
use super::super::head::Head;
use super::super::http::Ask;
use super::super::version::Version;

/// What somebody below wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) url: String,
    pub(crate) ask: Ask,
    /// The first byte and the one behind the last; all, if none.
    pub(crate) range: Option<Range<u64>>,
    /// Of this version; of the present one, if none.
    pub(crate) version: Option<Version>,
    /// What is known below: if that is still so, no bytes are sent.
    pub(crate) known: Option<Version>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Said {
    /// The answer takes its time. Said every [`WAIT_INTERVAL`].
    Wait,
    /// What is known of a URL now. Bytes may follow.
    Known(Box<Known>),
    /// These bytes of the version that was asked for follow.
    Bytes(Range<u64>),
    /// Some of them, in their order.
    Piece(Bytes),
    /// That was all.
    End,
    /// There is no answer, or no more of it.
    Failed(Trouble),
}

/// What somebody above knows of a URL now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) head: Head,
    /// How long ago the origin has said so.
    pub(crate) age: Duration,
    /// The origin could not be asked now.
    pub(crate) stale: bool,
    /// Where redirects led, of a page.
    pub(crate) at: Option<String>,
    /// Which bytes follow; none, if what was known is still so.
    pub(crate) bytes: Option<Range<u64>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Trouble {
    /// Whoever is asked keeps no files.
    KeepsNone,
    /// It cannot keep them, or read what it has kept.
    Disk(String),
    /// Nobody answers it at the origin.
    Unreachable(String),
    /// It is not certain who answers there.
    Tls(String),
    /// The origin takes too long.
    TimedOut { doing: String, after: Duration },
    /// The origin answers with this.
    Status(u16),
    /// The origin has another version now.
    Changed { pinned: String, found: String },
    /// What the origin sends cannot be used.
    Broken(String),
    /// Redirects lead nowhere.
    Redirects(String),
    /// It makes no request of this.
    Name,
    /// It is a folder.
    Folder,
    /// The client whose file it is cannot be asked, for this reason.
    Client(String),
    /// The client does not give it, for this reason.
    NotServed(String),
}

impl Trouble {
    /// What there is to say of an error.
    pub(crate) fn of(error: &UrlError) -> Self {
        let text = || crate::daemon::chain(error);
        match error {
            UrlError::Name { .. } | UrlError::NameTooLong { .. } | UrlError::NotFolder { .. } => {
                Self::Name
            }
            UrlError::NotFound { status, .. }
            | UrlError::Denied { status, .. }
            | UrlError::Status { status, .. } => Self::Status(*status),
            UrlError::Unreachable { .. } => Self::Unreachable(text()),
            UrlError::Tls { .. } => Self::Tls(text()),
            UrlError::TimedOut { doing, after, .. } => Self::TimedOut {
                doing: (*doing).to_owned(),
                after: *after,
            },
            UrlError::Changed { pinned, found, .. } => Self::Changed {
                pinned: pinned.clone(),
                found: found.clone(),
            },
            UrlError::Broken { what, .. } => Self::Broken(what.clone()),
            UrlError::Redirects { .. } => Self::Redirects(text()),
            UrlError::NoRoom { .. } | UrlError::Disk { .. } => Self::Disk(text()),
            UrlError::IsFolder { .. } => Self::Folder,
            UrlError::Client { why, .. } => Self::Client(why.clone()),
            UrlError::NotServed { why, .. } => Self::NotServed(why.clone()),
            UrlError::Listing { .. } | UrlError::Unpinned { .. } => Self::Broken(text()),
        }
    }

    /// The error that it is below.
    pub(crate) fn error(self, url: &Url) -> UrlError {
        let place = || Box::new(url.clone());
        let cause = |text: String| Arc::new(io::Error::other(text));
        match self {
            Self::KeepsNone | Self::Name => UrlError::broken(url, "the cache above refuses it"),
            Self::Disk(text) => {
                UrlError::broken(url, format!("the cache above cannot keep it: {text}"))
            }
            Self::Unreachable(text) => UrlError::Unreachable {
                url: place(),
                source: cause(text),
            },
            Self::Tls(text) => UrlError::Tls {
                url: place(),
                source: cause(text),
            },
            Self::TimedOut { after, .. } => UrlError::TimedOut {
                url: place(),
                doing: "what the cache above asked for",
                after,
            },
            Self::Status(status) => UrlError::status_of(url, status),
            Self::Changed { pinned, found } => UrlError::Changed {
                url: place(),
                pinned,
                found,
            },
            Self::Broken(what) => UrlError::broken(url, what),
            Self::Redirects(text) => UrlError::Redirects {
                url: place(),
                source: cause(text),
            },
            Self::Folder => UrlError::IsFolder { url: place() },
            Self::Client(why) => UrlError::Client { url: place(), why },
            Self::NotServed(why) => UrlError::NotServed { url: place(), why },
        }
    }
}

/// Says something.
pub(crate) async fn say(
    writer: &mut (impl AsyncWrite + Unpin),
    words: &impl Serialize,
) -> io::Result<()> {
    let frame = atlas_engine::frame::append(words, vec![0; 4]).map_err(io::Error::other)?;
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    let mut frame = frame;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    writer.write_all(&frame).await?;
    writer.flush().await
}

/// Hears what is said next; none at the end. **Not cancel-safe.**
pub(crate) async fn hear<W: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<W>> {
    let length = match reader.read_u32_le().await {
        Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > WORDS_MAX {
        return Err(io::Error::other("more words than fit"));
    }
    let mut frame = Vec::new();
    // Memory is taken as bytes come.
    let read = reader.take(length as u64).read_to_end(&mut frame).await?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match postcard::take_from_bytes(&frame).map_err(io::Error::other)? {
        (words, []) => Ok(Some(words)),
        (_, _) => Err(io::Error::other("more words than are meant")),
    }
}

/// How often somebody says that the answer takes its time.
pub(crate) const WAIT_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of a file in one piece.
pub(crate) const PIECE: usize = 64 << 10;
/// A piece, or a head, with what is around it.
const WORDS_MAX: usize = 2 * PIECE;

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> Url {
        Url::parse("http://example.org/x").unwrap()
    }

    #[tokio::test]
    async fn what_is_said_is_heard_and_garbage_is_an_error() {
        let question = Question {
            url: url().into(),
            ask: Ask::Bytes,
            range: Some(5..70),
            version: None,
            known: None,
        };
        let mut bytes = Vec::new();
        say(&mut bytes, &question).await.unwrap();
        say(&mut bytes, &Said::Piece(Bytes::from_static(b"some")))
            .await
            .unwrap();
        let mut reader = &bytes[..];
        assert_eq!(hear(&mut reader).await.unwrap(), Some(question));
        let piece = Said::Piece(Bytes::from_static(b"some"));
        assert_eq!(hear(&mut reader).await.unwrap(), Some(piece));
        assert_eq!(hear::<Said>(&mut reader).await.unwrap(), None);

        let long = u32::MAX.to_le_bytes();
        assert!(hear::<Said>(&mut &long[..]).await.is_err());
        let cut = &bytes[..bytes.len() - 1];
        let mut reader = cut;
        hear::<Question>(&mut reader).await.unwrap();
        assert!(hear::<Said>(&mut reader).await.is_err());
        let unknown = [1, 0, 0, 0, 99];
        assert!(hear::<Said>(&mut &unknown[..]).await.is_err());
    }

    #[test]
    fn an_error_is_the_same_to_programs_below() {
        let file_error = |kind: io::ErrorKind| {
            let error = crate::file_error::FileError::reading("x".as_ref(), kind.into());
            UrlError::disk(&url(), error)
        };
        let errors = [
            UrlError::status_of(&url(), 404),
            UrlError::status_of(&url(), 403),
            UrlError::status_of(&url(), 503),
            UrlError::broken(&url(), "nonsense"),
            UrlError::IsFolder {
                url: Box::new(url()),
            },
            UrlError::Unreachable {
                url: Box::new(url()),
                source: Arc::new(io::Error::other("no route")),
            },
            UrlError::Changed {
                url: Box::new(url()),
                pinned: "one".to_owned(),
                found: "another".to_owned(),
            },
            file_error(io::ErrorKind::PermissionDenied),
            UrlError::Client {
                url: Box::new(url()),
                why: "it is gone".to_owned(),
            },
            UrlError::NotServed {
                url: Box::new(url()),
                why: "it is elsewhere".to_owned(),
            },
        ];
        for error in errors {
            let below = Trouble::of(&error).error(&url());
            assert_eq!(below.errno(), error.errno(), "{error}");
            assert_eq!(below.status(), error.status(), "{error}");
            assert!(below.to_string().contains("http://example.org/x"));
        }
    }
}
