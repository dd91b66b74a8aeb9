//! Whether an answer is of this version, and where its bytes belong. **Pure**, but for the answer that is looked at.

use std::time::SystemTime;

use http::HeaderMap;

use super::super::error::UrlError;
use super::super::head::{Asked, Head, content_range, text};
use super::super::http::Failure;
use super::super::ways::Answer;
use super::Origin;

/// At which byte of the file an answer's bytes begin, if they are of this version. `asked` is the range that was
/// asked for, if it was one.
pub(super) fn examine(
    origin: &Origin,
    answer: &Answer,
    asked: Option<(u64, u64)>,
) -> Result<u64, Failure> {
    place(origin, answer.status(), answer.headers(), asked)
}

fn place(
    origin: &Origin,
    status: u16,
    headers: &HeaderMap,
    asked: Option<(u64, u64)>,
) -> Result<u64, Failure> {
    let url = &origin.url;
    let kind = if asked.is_some() {
        Asked::Range
    } else {
        Asked::Whole
    };
    let mut found = Head::of(status, headers, kind, SystemTime::now()).version;
    if status == 412 {
        // That of the refusal.
        found.length = None;
    }
    let changed = || Failure::for_good(origin.version.changed(url, &found));
    match (status, asked) {
        (200, _) if origin.version.admits(&found) => Ok(0),
        (206, Some((start, end))) if origin.version.admits(&found) => {
            let bytes = content_range(headers).and_then(|range| range.bytes);
            let said: Option<u64> =
                text(headers, "content-length").and_then(|length| length.parse().ok());
            match bytes {
                Some((first, behind))
                    if said.is_some_and(|said| first.checked_add(said) != Some(behind)) =>
                {
                    let what = format!(
                        "bytes {first}-{behind} as {} bytes",
                        said.unwrap_or_default()
                    );
                    Err(Failure::broken(url, what))
                }
                Some((first, behind)) if first == start && behind <= end => Ok(start),
                Some((first, behind)) => {
                    let what = format!("bytes {first}-{behind} in place of {start}-{end}");
                    Err(Failure::broken(url, what))
                }
                None => Err(Failure::broken(
                    url,
                    "a range that does not say where it belongs",
                )),
            }
        }
        (200 | 206 | 412, _) => Err(changed()),
        // A range that was there is not there any more, or the server counts wrongly.
        (416, Some(_)) if !origin.version.admits(&found) => Err(changed()),
        (404 | 410, _) => Err(Failure::for_good(UrlError::status_of(url, status))),
        _ => Err(Failure::broken(
            url,
            format!("status {status} in answer to a range"),
        )),
    }
}
