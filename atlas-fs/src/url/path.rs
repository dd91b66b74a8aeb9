//! Paths and URLs: `/https/example.org/data/x` is `https://example.org/data/x`. Pure.
//!
//! The first name is the scheme, the second the host with a port where it is not the usual one, the others are the segments of
//! the URL's path, decoded. **The two forms are one-to-one**: a URL has one path, and a path has one URL, the *plain* one, which
//! encodes what is neither unreserved nor harmless in a segment, and nothing else. Other spellings of a URL lead to the same path.
//!
//! - A `?` in the last name begins a query, which stays encoded as it is, but for its slashes, which become `%2F`.
//! - A `?` that is part of a segment is `%3F` in its name; a `%` that would be taken for that is `%25`.
//! - What has no path: users and passwords, empty segments, `.` and `..`, encoded slashes, NULs, bytes that are no UTF-8, and names of
//!   more than 255 bytes. Fragments are dropped.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::client;
use super::source::Kind;

/// Why a path or a URL has no counterpart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// A name is longer than file systems take.
    #[error("the name {0:?}... has more than {NAME_BYTES_MAX} bytes")]
    TooLong(String),
    /// A name is empty, `.`, `..`, or holds a slash or a NUL, or is no UTF-8.
    #[error(
        "{0:?} cannot be a name: it is empty, `.` or `..`, or has a slash, a NUL or bytes that are no UTF-8 in it"
    )]
    Name(String),
    /// The first name is not a scheme that can be fetched.
    #[error("{0:?} is no scheme of files: there are http, https and atlas")]
    Scheme(String),
    /// The second name is not a host.
    #[error("{0:?} is no host, or not the way to write it")]
    Host(String),
    /// A URL has a user or a password, which paths do not show: credentials belong into a file of their own.
    #[error(
        "the URL has a user or a password in it: credentials belong into a netrc file or a file of credentials"
    )]
    Credentials,
}

impl PathError {
    /// The error's number for who asked by path.
    #[must_use]
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::TooLong(_) => rustix::io::Errno::NAMETOOLONG,
            Self::Name(_) | Self::Credentials => rustix::io::Errno::INVAL,
            Self::Scheme(_) | Self::Host(_) => rustix::io::Errno::NOENT,
        };
        errno.raw_os_error()
    }
}

/// The path of a URL, below where the file system is mounted: it begins with a slash and does not end with one.
///
/// # Errors
///
/// The URL has no path.
pub fn to_path(url: &Url) -> Result<String, PathError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(PathError::Credentials);
    }
    let mut path = format!("/{}/{}", scheme(url)?, authority(url)?);
    let segments = url.path().strip_prefix('/').unwrap_or_default();
    let segments = segments.strip_suffix('/').unwrap_or(segments);
    let is_root = url.path() == "/";
    let mut names = Vec::new();
    if !is_root {
        for segment in segments.split('/') {
            names.push(file_name(&decoded(segment)?)?);
        }
    }
    if let Some(query) = url.query() {
        let mut last = names.pop().unwrap_or_default();
        last.push('?');
        last.push_str(&query.replace('/', "%2F"));
        check_length(&last)?;
        names.push(last);
    }
    for name in names {
        path.push('/');
        path.push_str(&name);
    }
    Ok(path)
}

/// The URL of a path, which may begin or end with a slash. A folder's ends with one.
///
/// # Errors
///
/// The path has no URL: none above hosts has.
pub fn to_url(path: &str, kind: Kind) -> Result<Url, PathError> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut names = path.split('/');
    let scheme = names.next().unwrap_or_default();
    let host = names.next().unwrap_or_default();
    let mut url = host_url(scheme, host)?;
    let mut names = names.peekable();
    while let Some(name) = names.next() {
        let kind = if names.peek().is_some() {
            Kind::Folder
        } else {
            kind
        };
        url = child(&url, name, kind)?;
    }
    Ok(url)
}

/// The URL of a host's root folder.
///
/// # Errors
///
/// There is no such scheme or host, or it is not written in the one way that it is written here.
pub fn host_url(scheme: &str, host: &str) -> Result<Url, PathError> {
    if !SCHEMES.contains(&scheme) {
        return Err(PathError::Scheme(scheme.into()));
    }
    check_length(host)?;
    let no_host = || PathError::Host(host.into());
    let is_clients = scheme != client::SCHEME || host == client::HOST;
    if host.contains(['/', '\\', '?', '#', '@']) || host.is_empty() || !is_clients {
        return Err(no_host());
    }
    let url = Url::parse(&format!("{scheme}://{host}/")).map_err(|_| no_host())?;
    // `EXAMPLE.org` and `example.org:443` are other names of what is there already: files have one path.
    if authority(&url)? == host {
        Ok(url)
    } else {
        Err(no_host())
    }
}

/// The URL of what has this file name in a folder, whose URL ends with a slash.
///
/// # Errors
///
/// There can be no such file.
pub fn child(folder: &Url, file_name: &str, kind: Kind) -> Result<Url, PathError> {
    check_name(file_name)?;
    let (name, query) = match file_name.split_once('?') {
        Some((_, _)) if kind == Kind::Folder => return Err(PathError::Name(file_name.into())),
        Some((name, query)) => (name, Some(query)),
        None => (file_name, None),
    };
    let mut url = folder.clone();
    url.set_query(None);
    url.set_fragment(None);
    let name = unescaped(name);
    if matches!(name.as_str(), "." | "..") || (name.is_empty() && query.is_none()) {
        return Err(PathError::Name(file_name.into()));
    }
    let slash = if kind == Kind::Folder { "/" } else { "" };
    let path = format!("{}{}{slash}", folder.path(), encoded(&name));
    url.set_path(&path);
    if let Some(query) = query {
        url.set_query(Some(query));
        // What the URL's own syntax encodes further would come back under another name.
        if url.query() != Some(query) {
            return Err(PathError::Name(file_name.into()));
        }
    }
    Ok(url)
}

/// The file name of what a folder's listing calls so: its name in the URL, decoded.
///
/// # Errors
///
/// It cannot be a file's name.
pub fn file_name(name: &str) -> Result<String, PathError> {
    check_name(name)?;
    let mut escaped = String::with_capacity(name.len());
    for (at, c) in name.char_indices() {
        match c {
            '?' => escaped.push_str("%3F"),
            '%' if ESCAPES.iter().any(|escape| name[at..].starts_with(escape)) => {
                escaped.push_str("%25");
            }
            c => escaped.push(c),
        }
    }
    check_length(&escaped)?;
    Ok(escaped)
}

/// A segment of a URL's path, decoded, if it can be a name.
pub(crate) fn decoded(segment: &str) -> Result<String, PathError> {
    let name = percent_decode_str(segment).decode_utf8();
    let name = name.map_err(|_| PathError::Name(segment.into()))?;
    check_name(&name)?;
    Ok(name.into_owned())
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, IN_SEGMENTS).to_string()
}

/// The reverse of what [`file_name`] does.
fn unescaped(file_name: &str) -> String {
    let mut name = String::with_capacity(file_name.len());
    let mut rest = file_name;
    while let Some(at) = rest.find('%') {
        name.push_str(&rest[..at]);
        rest = &rest[at..];
        let (c, length) = match rest.get(..3) {
            Some("%3F") => ('?', 3),
            Some("%25") => ('%', 3),
            _ => ('%', 1),
        };
        name.push(c);
        rest = &rest[length..];
    }
    name.push_str(rest);
    name
}

fn scheme(url: &Url) -> Result<&str, PathError> {
    let known = SCHEMES.contains(&url.scheme());
    known
        .then(|| url.scheme())
        .ok_or_else(|| PathError::Scheme(url.scheme().into()))
}

fn authority(url: &Url) -> Result<String, PathError> {
    let no_host = || PathError::Host(url.host_str().unwrap_or_default().into());
    let host = url.host().ok_or_else(no_host)?.to_string();
    if host.is_empty() {
        return Err(no_host());
    }
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    check_name(&authority)?;
    Ok(authority)
}

fn check_name(name: &str) -> Result<(), PathError> {
    check_length(name)?;
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return Err(PathError::Name(name.into()));
    }
    Ok(())
}

fn check_length(name: &str) -> Result<(), PathError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(PathError::TooLong(name.chars().take(SHOWN_MAX).collect()));
    }
    Ok(())
}

/// What can be fetched.
pub const SCHEMES: [&str; 3] = [client::SCHEME, "http", "https"];
/// What Linux takes.
pub const NAME_BYTES_MAX: usize = 255;
/// How much of a name that is too long is shown.
const SHOWN_MAX: usize = 80;
/// What a file name writes with a percent sign of its own.
const ESCAPES: [&str; 2] = ["%3F", "%25"];
/// RFC 3986 lets these stand in a segment as they are. A plus is encoded all the same: some servers read it as a blank.
const IN_SEGMENTS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(url: &str) -> Result<String, PathError> {
        to_path(&Url::parse(url).unwrap())
    }

    #[test]
    fn urls_and_paths_are_two_forms_of_one_thing() {
        for (url, there) in [
            ("https://example.org/data/x", "/https/example.org/data/x"),
            ("http://example.org/", "/http/example.org"),
            ("http://example.org:8080/a", "/http/example.org:8080/a"),
            ("http://[::1]:8080/a", "/http/[::1]:8080/a"),
            ("http://10.0.0.1/a", "/http/10.0.0.1/a"),
            ("https://h/a%20b/c%25d", "/https/h/a b/c%d"),
            ("https://h/a%3Fb", "/https/h/a%3Fb"),
            ("https://h/a%253Fb", "/https/h/a%253Fb"),
            ("https://h/100%25", "/https/h/100%"),
            ("https://h/s?q=1&r=%2F", "/https/h/s?q=1&r=%2F"),
            ("https://h/?q", "/https/h/?q"),
            ("https://h/%C3%A4", "/https/h/\u{e4}"),
            (
                "https://xn--bcher-kva.example/",
                "/https/xn--bcher-kva.example",
            ),
        ] {
            assert_eq!(path(url).as_deref(), Ok(there));
            let kind = if url.ends_with('/') {
                Kind::Folder
            } else {
                Kind::File
            };
            assert_eq!(to_url(there, kind).unwrap().as_str(), url);
        }
    }

    #[test]
    fn other_spellings_lead_to_the_same_path() {
        for (url, there) in [
            ("HTTPS://EXAMPLE.org:443/A", "/https/example.org/A"),
            ("https://h/a%2Bb#part", "/https/h/a+b"),
            ("https://h/%61", "/https/h/a"),
            ("https://h/a/", "/https/h/a"),
            ("https://h/s?a=/b", "/https/h/s?a=%2Fb"),
            ("https://h/x/%2e%2E/y", "/https/h/y"),
        ] {
            assert_eq!(path(url).as_deref(), Ok(there));
        }
        assert_eq!(
            to_url("/https/h/a", Kind::Folder).unwrap().as_str(),
            "https://h/a/"
        );
    }

    #[test]
    fn what_cannot_be_a_path_is_refused() {
        let long = format!("https://h/{}", "x".repeat(256));
        for url in [
            "https://user@h/x",
            "https://user:secret@h/x",
            "https://h/a%2Fb",
            "https://h/a//b",
            "https://h/a%00",
            "https://h/%FF",
            "ftp://h/x",
            "data:text/plain,x",
            &long,
        ] {
            assert!(path(url).is_err(), "{url}");
        }
        for there in [
            "",
            "/https",
            "/ftp/h/x",
            "/https//x",
            "/https/H/x",
            "/https/h:443/x",
            "/https/u@h/x",
            "/https/h/a//b",
            "/https/h/../b",
            "/https/h/./b",
            "/https/h/a?b/c",
            "/https/h?x/a",
            "/https/h/a?b c",
        ] {
            assert!(to_url(there, Kind::File).is_err(), "{there}");
        }
        assert_eq!(
            file_name(&"?".repeat(100)),
            Err(PathError::TooLong("%3F".repeat(27)[..80].into()))
        );
        assert_eq!(
            PathError::TooLong(String::new()).errno(),
            rustix::io::Errno::NAMETOOLONG.raw_os_error()
        );
    }

    proptest! {
        #[test]
        fn a_name_comes_back_from_its_url(name in "[^/\0]{1,60}", folder in any::<bool>()) {
            prop_assume!(name != "." && name != "..");
            let Ok(file_name) = file_name(&name) else { return Ok(()) };
            let kind = if folder { Kind::Folder } else { Kind::File };
            let parent = Url::parse("https://example.org:81/a%20b/").unwrap();
            let url = child(&parent, &file_name, kind).unwrap();
            let there = format!("/https/example.org:81/a b/{file_name}");
            prop_assert_eq!(to_path(&url), Ok(there.clone()));
            prop_assert_eq!(to_url(&there, kind).unwrap(), url);
        }

        #[test]
        fn a_url_has_one_path_and_the_path_one_url(
            https in any::<bool>(),
            host in "[a-z][a-z0-9-]{0,8}(\\.[a-z]{2,4})?|\\[::[1-9a-f]{1,4}\\]|10\\.1\\.2\\.[1-9]",
            port in proptest::option::of(1_u16..),
            segments in proptest::collection::vec("[^/\\\\]{1,12}", 0..5),
            query in proptest::option::of("[ -~]{0,20}"),
        ) {
            let scheme = if https { "https" } else { "http" };
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let Ok(mut url) = Url::parse(&format!("{scheme}://{host}{port}/")) else { return Ok(()) };
            url.set_path(&segments.join("/"));
            url.set_query(query.as_deref());
            let Ok(there) = to_path(&url) else { return Ok(()) };
            let plain = to_url(&there, Kind::File).unwrap();
            prop_assert_eq!(to_path(&plain).unwrap(), there.clone());
            prop_assert_eq!(to_url(&there, Kind::File).unwrap(), plain);
        }

        #[test]
        fn no_path_leads_out_and_nothing_panics(text in "\\PC{0,40}", kind in any::<bool>()) {
            let kind = if kind { Kind::Folder } else { Kind::File };
            let _ = to_url(&text, kind);
            if let Ok(url) = Url::parse(&format!("https://h/{text}")) && let Ok(there) = to_path(&url) {
                prop_assert!(there.starts_with("/https/h"));
                prop_assert!(there.split('/').skip(1).all(|name| !matches!(name, "" | "." | "..")));
            }
        }
    }
}
