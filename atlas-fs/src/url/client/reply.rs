//! What is said of what was found. **Pure.**

use std::ops::Range;
use std::time::{Duration, SystemTime};

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::above::words::{Known, Question, Said, Trouble};
use super::super::head::{Asked, Head};
use super::super::http::Ask;
use super::super::listing::PLAIN_HEAD;
use super::super::source::{Entry, Kind};
use super::super::version::Version;

/// What is at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    File(Version),
    Folder,
    Nothing,
    /// It is not to be read, for this reason.
    Refused(String),
}

/// What is said, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// That is all.
    Say(Said),
    /// These bytes of the file follow.
    Bytes(Said, Range<u64>),
    /// The folder is to be listed first.
    List,
}

/// For how long others may keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// They ask again after some seconds, and keep it when nobody answers.
    Kept,
    /// As long as it is open.
    Passing,
}

pub(super) fn reply(
    question: &Question,
    found: &Found,
    keeping: Keeping,
    now: SystemTime,
) -> Reply {
    let fail = |trouble| Reply::Say(Said::Failed(trouble));
    match (found, question.ask) {
        (Found::Refused(why), _) => fail(Trouble::NotServed(why.clone())),
        (Found::Folder, Ask::Head) => {
            let mut head = Head::of(200, &headers(keeping, now), Asked::Head, now);
            head.is_folder = true;
            Reply::Say(known(head, None))
        }
        (Found::Folder, Ask::Bytes) => fail(Trouble::Folder),
        (Found::Folder, Ask::Page) => Reply::List,
        (Found::Folder, Ask::Entries) => fail(Trouble::Status(405)),
        (Found::File(version), Ask::Bytes) => of_file(question, version, keeping, now),
        (Found::File(version), Ask::Head) => {
            Reply::Say(known(head_of(version, keeping, now), None))
        }
        (Found::Nothing, Ask::Bytes) if question.version.is_some() => fail(Trouble::Status(404)),
        (Found::Nothing, Ask::Head | Ask::Bytes) => {
            let head = Head::of(404, &headers(keeping, now), Asked::Head, now);
            Reply::Say(known(head, None))
        }
        (Found::Nothing | Found::File(_), Ask::Page | Ask::Entries) => fail(Trouble::Status(404)),
    }
}

fn of_file(question: &Question, version: &Version, keeping: Keeping, now: SystemTime) -> Reply {
    let length = version.length.unwrap_or_default();
    let wanted = question.range.clone().unwrap_or(0..length);
    let bytes = wanted.start.min(length)..wanted.end.min(length);
    match &question.version {
        Some(asked) if asked != version => Reply::Say(changed(asked, version)),
        Some(_) if wanted.start > wanted.end || wanted.start > length => {
            let what = "bytes are asked for beyond the end".to_owned();
            Reply::Say(Said::Failed(Trouble::Broken(what)))
        }
        Some(_) => Reply::Bytes(Said::Bytes(bytes.clone()), bytes),
        None if question.known.as_ref() == Some(version) => {
            Reply::Say(known(head_of(version, keeping, now), None))
        }
        None => {
            let bytes = 0..bytes.end;
            let said = known(head_of(version, keeping, now), Some(bytes.clone()));
            Reply::Bytes(said, bytes)
        }
    }
}

/// The file is another one now.
pub(super) fn changed(asked: &Version, found: &Version) -> Said {
    Said::Failed(Trouble::Changed {
        pinned: asked.to_string(),
        found: found.to_string(),
    })
}

/// A folder's page with its entries, and what is said before it, unless the asker has it.
pub(super) fn page(
    question: &Question,
    entries: &[Entry],
    keeping: Keeping,
    now: SystemTime,
) -> (Said, Vec<u8>) {
    let mut page = PLAIN_HEAD.to_owned();
    for entry in entries {
        let size = entry.size.map_or("-".to_owned(), |size| size.to_string());
        let modified = entry.modified.map_or("-".to_owned(), |modified| {
            humantime::format_rfc3339_seconds(modified).to_string()
        });
        let slash = if entry.kind == Kind::Folder { "/" } else { "" };
        page.push_str(&format!("{size} {modified} {}{slash}\n", entry.name));
    }
    let page = page.into_bytes();
    let mut headers = headers(keeping, now);
    put(&mut headers, ETAG, &format!("\"{}\"", blake3::hash(&page)));
    put(&mut headers, CONTENT_TYPE, "text/plain");
    headers.insert(CONTENT_LENGTH, page.len().into());
    let head = Head::of(200, &headers, Asked::Whole, now);
    if question.known.as_ref() == Some(&head.version) {
        return (known(head, None), Vec::new());
    }
    (known(head, Some(0..page.len() as u64)), page)
}

/// The version of a file of a folder: another one if it was written to, or put in the place of another.
pub(super) fn version(length: u64, modified: Duration, inode: u64) -> Version {
    let date = SystemTime::UNIX_EPOCH.checked_add(modified);
    Version {
        etag: Some(format!(
            "\"{length:x}-{:x}-{inode:x}\"",
            modified.as_nanos()
        )),
        modified: date.filter(is_dated).map(httpdate::fmt_http_date),
        length: Some(length),
        seen: None,
    }
}

/// HTTP has no dates beyond.
fn is_dated(date: &SystemTime) -> bool {
    *date < SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800)
}

fn head_of(version: &Version, keeping: Keeping, now: SystemTime) -> Head {
    let mut headers = headers(keeping, now);
    if let Some(etag) = &version.etag {
        put(&mut headers, ETAG, etag);
    }
    if let Some(modified) = &version.modified {
        put(&mut headers, LAST_MODIFIED, modified);
    }
    headers.insert(CONTENT_LENGTH, version.length.unwrap_or_default().into());
    Head::of(200, &headers, Asked::Head, now)
}

fn headers(keeping: Keeping, now: SystemTime) -> HeaderMap {
    let mut headers = HeaderMap::new();
    put(&mut headers, DATE, &httpdate::fmt_http_date(now));
    let cache_control = match keeping {
        Keeping::Kept => KEPT,
        Keeping::Passing => "no-store",
    };
    put(&mut headers, CACHE_CONTROL, cache_control);
    headers
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).expect("digits, letters and dates are a value");
    headers.insert(name, value);
}

fn known(head: Head, bytes: Option<Range<u64>>) -> Said {
    Said::Known(Box::new(Known {
        head,
        age: Duration::ZERO,
        stale: false,
        at: None,
        bytes,
    }))
}

/// A file that was opened is one version to its job in any case. What was not is asked for again soon, and by one of those who read it; and what was
/// known when the client went away is all that there will be.
const KEPT: &str = "max-age=5, stale-if-error=31536000";

#[cfg(test)]
mod tests {
    use url::Url;

    use super::super::super::fresh::{Verdict, may_be_kept, serves_on_error, verdict};
    use super::super::super::listing;
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn question(ask: Ask) -> Question {
        Question {
            url: "atlas://0/x".to_owned(),
            ask,
            range: None,
            version: None,
            known: None,
        }
    }

    fn one() -> Version {
        version(1000, Duration::from_nanos(1_700_000_000_000_000_001), 7)
    }

    fn said(question: &Question, found: &Found) -> Reply {
        reply(question, found, Keeping::Kept, now())
    }

    fn head(reply: &Reply) -> Head {
        match reply {
            Reply::Say(Said::Known(known)) | Reply::Bytes(Said::Known(known), _) => {
                known.head.clone()
            }
            Reply::Say(_) | Reply::Bytes(..) | Reply::List => panic!("{reply:?}"),
        }
    }

    #[test]
    fn a_version_tells_size_time_and_file_apart() {
        let nanos = |nanos: u64| Duration::from_nanos(1_700_000_000_000_000_000 + nanos);
        let all = [
            version(1000, nanos(1), 7),
            version(1001, nanos(1), 7),
            version(1000, nanos(2), 7),
            version(1000, nanos(1), 8),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(one.strong_etag().is_some());
            assert!(all[..at].iter().all(|other| other != one), "{one}");
        }
        // A file from the far future has no date, and a version all the same.
        let far = version(1, Duration::from_secs(1 << 50), 1);
        assert_eq!(far.modified, None);
    }

    #[test]
    fn bytes_are_of_the_version_that_is_asked_for_or_there_are_none() {
        let mut asked = question(Ask::Bytes);
        let found = Found::File(one());
        let Reply::Bytes(Said::Known(known), bytes) = said(&asked, &found) else {
            panic!("it is not given");
        };
        assert_eq!((known.bytes, bytes), (Some(0..1000), 0..1000));
        assert_eq!(known.head.version, one());

        asked.range = Some(900..2000);
        asked.version = Some(one());
        let given = said(&asked, &found);
        assert_eq!(given, Reply::Bytes(Said::Bytes(900..1000), 900..1000));
        let other = Found::File(version(1000, Duration::from_secs(5), 7));
        let changed = said(&asked, &other);
        let is_change = matches!(changed, Reply::Say(Said::Failed(Trouble::Changed { .. })));
        assert!(is_change, "{changed:?}");
        let gone = said(&asked, &Found::Nothing);
        assert_eq!(gone, Reply::Say(Said::Failed(Trouble::Status(404))));
        asked.range = Some(1001..1002);
        let beyond = said(&asked, &found);
        let is_broken = matches!(beyond, Reply::Say(Said::Failed(Trouble::Broken(_))));
        assert!(is_broken, "{beyond:?}");
    }

    #[test]
    fn who_knows_it_is_told_that_it_is_still_so_and_gets_no_bytes() {
        let mut asked = question(Ask::Bytes);
        asked.known = Some(one());
        let same = said(&asked, &Found::File(one()));
        assert!(matches!(&same, Reply::Say(Said::Known(known)) if known.bytes.is_none()));
        assert_eq!(head(&same).version, one());
    }

    #[test]
    fn what_is_said_holds_for_seconds_and_when_the_client_is_gone_for_good() {
        let url = Url::parse("atlas://0/x").unwrap();
        for found in [Found::File(one()), Found::Nothing, Found::Folder] {
            let head = head(&said(&question(Ask::Head), &found));
            let later = |seconds| now() + Duration::from_secs(seconds);
            let fresh = verdict(&url, &head, later(4));
            assert!(matches!(fresh, Verdict::Fresh(_)), "{found:?} {fresh:?}");
            assert_eq!(verdict(&url, &head, later(6)), Verdict::Ask);
            let day = later(24 * 3600);
            assert!(serves_on_error(&url, &head, day, Duration::ZERO));
            assert!(may_be_kept(&head.headers()));
        }
        let passing = reply(
            &question(Ask::Head),
            &Found::File(one()),
            Keeping::Passing,
            now(),
        );
        assert!(!may_be_kept(&head(&passing).headers()));
    }

    #[test]
    fn what_is_not_to_be_read_is_refused_whatever_is_asked() {
        let found = Found::Refused("it is elsewhere".to_owned());
        for ask in [Ask::Head, Ask::Bytes, Ask::Page, Ask::Entries] {
            let refused = said(&question(ask), &found);
            let trouble = Trouble::NotServed("it is elsewhere".to_owned());
            assert_eq!(refused, Reply::Say(Said::Failed(trouble)));
        }
    }

    #[test]
    fn a_folder_is_one_and_its_page_is_read_as_its_entries() {
        let found = Found::Folder;
        assert!(head(&said(&question(Ask::Head), &found)).is_folder);
        let bytes = said(&question(Ask::Bytes), &found);
        assert_eq!(bytes, Reply::Say(Said::Failed(Trouble::Folder)));
        assert_eq!(said(&question(Ask::Page), &found), Reply::List);

        let entry = |name: &str, kind| Entry {
            name: name.to_owned(),
            kind,
            size: (kind == Kind::File).then_some(5),
            modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        };
        let entries = [
            entry("a b", Kind::File),
            entry("#x%41?", Kind::File),
            entry("more", Kind::Folder),
        ];
        let mut asked = question(Ask::Page);
        let (said, page) = page(&asked, &entries, Keeping::Kept, now());
        let url = Url::parse("atlas://0/x/").unwrap();
        let read = listing::parse(&url, Some("text/plain"), &page).unwrap();
        assert_eq!(read, entries);
        let Said::Known(known) = said else { panic!() };
        assert_eq!(known.bytes, Some(0..page.len() as u64));
        asked.known = Some(known.head.version.clone());
        let (said, page) = super::page(&asked, &entries, Keeping::Kept, now());
        assert!(page.is_empty());
        assert!(matches!(said, Said::Known(known) if known.bytes.is_none()));
    }
}
