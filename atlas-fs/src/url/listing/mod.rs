//! Listings: from what an origin sends for a folder to the folder's entries. Pure, and believes nothing.
//!
//! | form | from | sizes |
//! | --- | --- | --- |
//! | `html.rs` | the index pages of nginx, Apache, Caddy, Python's `http.server` and their like | where exact |
//! | `json.rs` | nginx (`autoindex_format json`), Caddy | yes |
//! | `dav.rs` | an answer to `PROPFIND` with `Depth: 1` | yes |
//! | `plain.rs` | an `atlas.index` file | yes |
//!
//! **An entry is a name in this folder, and nothing else**: links to elsewhere are no entries. Names that cannot be a file's are dropped: those with an
//! encoded slash or a NUL, `.` and `..`, bytes that are no UTF-8, and more than 255 bytes. Of two entries with one name the first counts.
//! A page that is damaged in the middle is an error, as far as its form tells; a part of a folder must not pass for the whole.

mod dates;
mod dav;
mod html;
mod json;
mod plain;

use std::collections::HashSet;
use std::time::SystemTime;

use url::Url;

use super::path;
use super::source::{Entry, Kind};

/// Why no entries can be read from what came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListingError {
    /// It is of no form that is known here.
    #[error(
        "a listing of type {0:?} is not known: it may be HTML, nginx's JSON, a PROPFIND answer or an atlas.index"
    )]
    Form(String),
    /// The JSON is none, or not of a listing.
    #[error("the listing's JSON is not a listing")]
    Json(#[source] serde_json::Error),
    /// The XML is none, or not of an answer to PROPFIND.
    #[error("the listing's XML is not an answer to PROPFIND: {0}")]
    Dav(String),
    /// A line is not of an `atlas.index`.
    #[error("line {line} of atlas.index is not `SIZE MODIFIED NAME`")]
    Line {
        /// Which, from one.
        line: usize,
    },
    /// There are more than anybody can use.
    #[error("the folder has more than {ENTRIES_MAX} entries")]
    TooMany,
}

/// The entries of a folder, whose URL ends with a slash, in the order of the listing. The `content_type` is the answer's; where it says nothing of use, the
/// first bytes tell.
///
/// # Errors
///
/// It is no listing, or it is damaged.
pub fn parse(
    url: &Url,
    content_type: Option<&str>,
    bytes: &[u8],
) -> Result<Vec<Entry>, ListingError> {
    let mut entries = Entries::of(url);
    match form(content_type, bytes) {
        Some(Form::Html) => html::read(&mut entries, bytes)?,
        Some(Form::Json) => json::read(&mut entries, bytes)?,
        Some(Form::Dav) => dav::read(&mut entries, bytes)?,
        Some(Form::Plain) => plain::read(&mut entries, bytes)?,
        None => {
            let said = content_type.unwrap_or("unknown");
            return Err(ListingError::Form(said.chars().take(SHOWN_MAX).collect()));
        }
    }
    Ok(entries.entries)
}

/// The first line of an `atlas.index`.
pub const PLAIN_HEAD: &str = plain::HEAD;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Json,
    Dav,
    Plain,
}

fn form(content_type: Option<&str>, bytes: &[u8]) -> Option<Form> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if text.starts_with(plain::HEAD.as_bytes()) {
        return Some(Form::Plain);
    }
    let said = content_type.and_then(|said| said.split(';').next());
    match said
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
        .as_str()
    {
        "text/html" | "application/xhtml+xml" => return Some(Form::Html),
        "application/json" | "text/json" => return Some(Form::Json),
        "application/xml" | "text/xml" => return Some(Form::Dav),
        _ => {}
    }
    let start = text.trim_ascii_start();
    let start = &start[..start.len().min(SNIFFED_MAX)].to_ascii_lowercase();
    match start.first()? {
        b'[' => Some(Form::Json),
        b'<' if start.starts_with(b"<?xml") => Some(Form::Dav),
        b'<' if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") => {
            Some(Form::Html)
        }
        _ => None,
    }
}

/// The entries so far.
#[derive(Debug)]
struct Entries<'a> {
    folder: &'a Url,
    entries: Vec<Entry>,
    names: HashSet<String>,
    entries_max: usize,
}

/// What a listing says of a file beside its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Facts {
    size: Option<u64>,
    modified: Option<SystemTime>,
}

impl<'a> Entries<'a> {
    fn of(folder: &'a Url) -> Self {
        Self {
            folder,
            entries: Vec::new(),
            names: HashSet::new(),
            entries_max: ENTRIES_MAX,
        }
    }

    /// What a link leads to, if that is in this folder: its name, decoded, and its kind. A name that cannot be a file's is none.
    fn linked(&self, href: &str) -> Option<(String, Kind)> {
        let url = self.folder.join(href.trim()).ok()?;
        let is_here = url.scheme() == self.folder.scheme()
            && url.host() == self.folder.host()
            && url.port_or_known_default() == self.folder.port_or_known_default()
            && url.query().is_none();
        if !is_here {
            return None;
        }
        let name = url.path().strip_prefix(self.folder.path())?;
        let (name, kind) = match name.strip_suffix('/') {
            Some(name) => (name, Kind::Folder),
            None => (name, Kind::File),
        };
        if name.contains('/') {
            return None;
        }
        Some((path::decoded(name).ok()?, kind))
    }

    /// Adds an entry with a decoded name, unless the name cannot be a file's, or is there.
    fn add(&mut self, name: &str, kind: Kind, facts: Facts) -> Result<(), ListingError> {
        if path::file_name(name).is_err() || !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        if self.entries.len() == self.entries_max {
            return Err(ListingError::TooMany);
        }
        self.entries.push(Entry {
            name: name.to_owned(),
            kind,
            size: facts.size.filter(|_| kind == Kind::File),
            modified: facts.modified,
        });
        Ok(())
    }
}

/// A million names are some hundred megabytes in memory; programs that list such folders are rare, and lists beyond them are attacks.
pub const ENTRIES_MAX: usize = 1_000_000;
/// How much of a content type is shown.
const SHOWN_MAX: usize = 80;
/// How much of the beginning tells a form.
const SNIFFED_MAX: usize = 16;

#[cfg(test)]
mod tests;
