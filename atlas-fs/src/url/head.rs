//! [`Head`]: what an origin has said of a URL, without the bytes, in the form in which it is kept. **Pure.**

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::source::{Kind, Metadata};
use super::version::Version;

/// An answer's status and headers, and what follows from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, Vec<u8>)>,
    pub(crate) version: Version,
    pub(crate) ranges: Ranges,
    /// A redirect led to the same with a slash: it is a folder.
    pub(crate) is_folder: bool,
    /// When the answer came, in nanoseconds since 1970.
    received: u64,
}

/// Whether an origin sends pieces of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ranges {
    /// It has not been asked for one. Who says nothing of it may well do so, such as nginx.
    Untried,
    Served,
    Refused,
}

/// `Content-Range`, as far as it is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// The first byte and the one behind the last, unless nothing is sent.
    pub(crate) bytes: Option<(u64, u64)>,
    pub(crate) total: Option<u64>,
}

impl Head {
    /// Of an answer to a GET, perhaps for a range, or a HEAD.
    pub(crate) fn of(status: u16, headers: &HeaderMap, asked: Asked, now: SystemTime) -> Self {
        let received = nanos(now);
        let (etag, modified) = (text(headers, "etag"), text(headers, "last-modified"));
        let length = match status {
            206 | 416 => content_range(headers).and_then(|range| range.total),
            _ => text(headers, "content-length").and_then(|length| length.parse().ok()),
        };
        let named =
            modified.is_some() || etag.as_deref().is_some_and(|etag| !etag.starts_with("W/"));
        let ranges = match (status, asked) {
            (206, _) => Ranges::Served,
            (200, Asked::Range) => Ranges::Refused,
            _ if text(headers, "accept-ranges").as_deref() == Some("none") => Ranges::Refused,
            _ => Ranges::Untried,
        };
        let kept = headers
            .iter()
            .filter(|(name, _)| KEPT.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned()))
            .collect();
        Self {
            // A range says of the whole resource what the whole would say; 416 is the answer for an empty one.
            status: if matches!(status, 206 | 416) {
                200
            } else {
                status
            },
            headers: kept,
            version: Version {
                etag,
                modified,
                length,
                seen: (!named).then_some(received),
            },
            ranges,
            is_folder: false,
            received,
        }
    }

    /// The same version, whose headers the origin has said anew.
    pub(crate) fn renewed(&self, headers: &HeaderMap, now: SystemTime) -> Self {
        let mut renewed = self.clone();
        for (name, value) in headers {
            let name = name.as_str();
            // RFC 9111, section 3.2: all but what speaks of the body, which did not come.
            if KEPT.contains(&name) && name != "content-length" && name != "content-range" {
                renewed.headers.retain(|(other, _)| other != name);
                renewed
                    .headers
                    .push((name.to_owned(), value.as_bytes().to_owned()));
            }
        }
        renewed.received = nanos(now);
        renewed
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let pairs = self.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        });
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    /// The same, as if the answer had come then.
    pub(crate) fn received_at(self, time: SystemTime) -> Self {
        let received = nanos(time);
        Self { received, ..self }
    }

    pub(crate) fn received(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.received)
    }

    /// For those who ask for no bytes.
    pub(crate) fn metadata(&self, kind: Kind, stale: bool, valid_for: Duration) -> Metadata {
        let modified = self.version.modified.as_deref();
        Metadata {
            kind,
            size: self.version.length,
            modified: modified.and_then(|date| httpdate::parse_http_date(date).ok()),
            etag: self.version.etag.clone(),
            stale,
            valid_for,
        }
    }
}

/// What an answer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Head,
    Whole,
    Range,
}

/// Where in the file the bytes of a 206 belong, or how long the file is that a 416 is about.
pub(crate) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let text = text(headers, "content-range")?;
    let (bytes, total) = text.strip_prefix("bytes ")?.trim().split_once('/')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    let bytes = match bytes {
        "*" => None,
        bytes => {
            let (first, last) = bytes.split_once('-')?;
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            let end = last.checked_add(1)?;
            if first > last || total.is_some_and(|total| end > total) {
                return None;
            }
            Some((first, end))
        }
    };
    Some(ContentRange { bytes, total })
}

pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.trim().to_owned())
}

/// Since 1970; times before that are 1970.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What freshness, versions and listings go by.
const KEPT: &[&str] = &[
    "age",
    "cache-control",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "pragma",
    "vary",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_range_tells_the_length_of_the_whole() {
        let partial = headers(&[
            ("content-range", "bytes 0-9/100"),
            ("content-length", "10"),
            ("etag", "\"a\""),
        ]);
        let head = Head::of(206, &partial, Asked::Range, SystemTime::now());
        assert_eq!((head.status, head.ranges), (200, Ranges::Served));
        assert_eq!(head.version.length, Some(100));
        assert_eq!(head.version.seen, None);
        let whole = headers(&[("content-length", "100")]);
        let head = Head::of(200, &whole, Asked::Range, SystemTime::now());
        assert_eq!(head.ranges, Ranges::Refused);
        assert!(head.version.seen.is_some());
    }

    #[test]
    fn a_content_range_that_contradicts_itself_is_none() {
        for wrong in [
            "bytes 5-4/10",
            "bytes 0-10/10",
            "0-4/10",
            "bytes -4/10",
            "bytes 0-x/10",
        ] {
            assert_eq!(
                content_range(&headers(&[("content-range", wrong)])),
                None,
                "{wrong}"
            );
        }
        let empty = content_range(&headers(&[("content-range", "bytes */0")])).unwrap();
        assert_eq!((empty.bytes, empty.total), (None, Some(0)));
        let open = content_range(&headers(&[("content-range", "bytes 0-4/*")])).unwrap();
        assert_eq!((open.bytes, open.total), (Some((0, 5)), None));
    }

    #[test]
    fn what_is_said_anew_replaces_what_was_said() {
        let first = headers(&[
            ("etag", "\"a\""),
            ("cache-control", "max-age=1"),
            ("content-length", "7"),
        ]);
        let head = Head::of(200, &first, Asked::Whole, SystemTime::UNIX_EPOCH);
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        let renewed = head.renewed(
            &headers(&[("cache-control", "max-age=5"), ("content-length", "0")]),
            later,
        );
        assert_eq!(renewed.version, head.version);
        assert_eq!(renewed.headers()["cache-control"], "max-age=5");
        assert_eq!(renewed.headers()["content-length"], "7");
        assert_eq!(renewed.received(), later);
    }
}
