//! `atlas.index`: a folder's entries for servers that list nothing, written by hand or by `find`. The form is in `docs/files.md`.

use super::{Entries, Facts, ListingError, dates};
use crate::url::source::Kind;

pub(super) const HEAD: &str = "atlas.index 1\n";

pub(super) fn read(entries: &mut Entries<'_>, bytes: &[u8]) -> Result<(), ListingError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate().skip(1) {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let wrong = || ListingError::Line { line: at + 1 };
        // A name that is no UTF-8 is dropped like others that cannot be a file's; what is before it must be right.
        let mut fields = line.splitn(3, |byte| matches!(byte, b' ' | b'\t'));
        let mut field = || fields.next().ok_or_else(wrong);
        let (size, modified, name) = (text(field()?), text(field()?), field()?);
        let size = match size.ok_or_else(wrong)? {
            "-" => None,
            size => Some(size.parse().map_err(|_| wrong())?),
        };
        let modified = match modified.ok_or_else(wrong)? {
            "-" => None,
            modified => Some(dates::iso(modified).ok_or_else(wrong)?),
        };
        let Some(name) = text(name) else { continue };
        let (name, kind) = match name.strip_suffix('/') {
            Some(name) => (name, Kind::Folder),
            None => (name, Kind::File),
        };
        entries.add(name, kind, Facts { size, modified })?;
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
