//! Answers to `PROPFIND` with `Depth: 1` (RFC 4918, section 9.1): a `multistatus` of `response`s. Entities beyond XML's own five are not expanded,
//! and nothing is fetched that the document names.

use quick_xml::events::{BytesRef, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

use super::{Entries, Facts, ListingError, dates};
use crate::url::source::Kind;

/// A `response`, as far as it was read.
#[derive(Debug, Default)]
struct Response {
    href: String,
    good: Props,
    /// Of the `propstat` that is being read: they count if its status says so.
    props: Props,
    status: String,
}

#[derive(Debug, Default)]
struct Props {
    is_folder: bool,
    length: String,
    modified: String,
}

pub(super) fn read(entries: &mut Entries<'_>, bytes: &[u8]) -> Result<(), ListingError> {
    let wrong = |error: &dyn std::fmt::Display| ListingError::Dav(error.to_string());
    let text = std::str::from_utf8(bytes).map_err(|e| wrong(&e))?;
    let mut reader = NsReader::from_str(text);
    let mut path: Vec<&'static str> = Vec::new();
    let mut response = Response::default();
    let mut is_multistatus = false;
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|e| wrong(&e))?;
        match event {
            Event::Start(start) => {
                let name = known(&namespace, start.local_name().as_ref());
                is_multistatus |= path.is_empty() && name == "multistatus";
                if path.is_empty() && !is_multistatus {
                    return Err(wrong(&"there is no multistatus"));
                }
                if path.len() == DEPTH_MAX {
                    return Err(wrong(&"it is too deep"));
                }
                path.push(name);
                response.begins(&path);
            }
            Event::Empty(start) => {
                path.push(known(&namespace, start.local_name().as_ref()));
                response.begins(&path);
                path.pop();
            }
            Event::End(_) => {
                if response.ends(&path) {
                    std::mem::take(&mut response).add_to(entries)?;
                }
                path.pop();
            }
            Event::Text(text) => {
                response.push(&path, &text);
            }
            Event::CData(text) => {
                response.push(&path, &text);
            }
            Event::GeneralRef(entity) => {
                let c = entity_char(&entity).ok_or_else(|| wrong(&"an entity is unknown"))?;
                response.push(&path, c.encode_utf8(&mut [0; 4]));
            }
            Event::Eof if path.is_empty() && is_multistatus => return Ok(()),
            Event::Eof => return Err(wrong(&"it ends in the middle")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

impl Response {
    fn begins(&mut self, path: &[&str]) {
        match path {
            [_, "response"] => *self = Self::default(),
            [_, "response", "propstat"] => {
                self.props = Props::default();
                self.status.clear();
            }
            [.., "prop", "resourcetype", "collection"] => self.props.is_folder = true,
            _ => {}
        }
    }

    /// Whether the response is complete.
    fn ends(&mut self, path: &[&str]) -> bool {
        match path {
            [_, "response", "propstat"] => {
                let is_good = self.status.split_whitespace().nth(1) == Some("200");
                if is_good || self.status.trim().is_empty() {
                    let props = std::mem::take(&mut self.props);
                    self.good.is_folder |= props.is_folder;
                    if !props.length.is_empty() {
                        self.good.length = props.length;
                    }
                    if !props.modified.is_empty() {
                        self.good.modified = props.modified;
                    }
                }
                false
            }
            path => matches!(path, [_, "response"]),
        }
    }

    fn push(&mut self, path: &[&str], text: &str) {
        let field = match path {
            [_, "response", "href"] => &mut self.href,
            [_, "response", "propstat", "status"] => &mut self.status,
            [_, _, "propstat", "prop", "getcontentlength"] => &mut self.props.length,
            [_, _, "propstat", "prop", "getlastmodified"] => &mut self.props.modified,
            _ => return,
        };
        field.push_str(text);
    }

    fn add_to(self, entries: &mut Entries<'_>) -> Result<(), ListingError> {
        // The folder itself is among them, under the empty name.
        let Some((name, kind)) = entries.linked(&self.href) else {
            return Ok(());
        };
        let kind = if self.good.is_folder {
            Kind::Folder
        } else {
            kind
        };
        let facts = Facts {
            size: self.good.length.trim().parse().ok(),
            modified: dates::http(&self.good.modified),
        };
        entries.add(&name, kind, facts)
    }
}

/// The element's name, if it is one of DAV's that matter.
fn known(namespace: &ResolveResult<'_>, name: &str) -> &'static str {
    if !matches!(namespace, ResolveResult::Bound(Namespace("DAV:"))) {
        return "";
    }
    let known = NAMES.into_iter().find(|known| *known == name);
    known.unwrap_or_default()
}

fn entity_char(entity: &BytesRef<'_>) -> Option<char> {
    if let Ok(Some(c)) = entity.resolve_char_ref() {
        return Some(c);
    }
    match &**entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

const NAMES: [&str; 10] = [
    "multistatus",
    "response",
    "href",
    "propstat",
    "status",
    "prop",
    "resourcetype",
    "collection",
    "getcontentlength",
    "getlastmodified",
];
/// Answers are six deep; dead properties may go further.
const DEPTH_MAX: usize = 64;
