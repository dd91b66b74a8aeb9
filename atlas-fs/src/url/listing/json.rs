//! Listings in JSON: an array of objects, by nginx (`{"name", "type", "mtime", "size"}`) or Caddy (`{"name", "is_dir", "mod_time", "size"}`).

use serde::Deserialize;

use super::{Entries, Facts, ListingError, dates};
use crate::url::source::Kind;

#[derive(Debug, Deserialize)]
struct Object {
    /// Decoded. Caddy's folders end with a slash.
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    is_dir: Option<bool>,
    mtime: Option<String>,
    mod_time: Option<String>,
    size: Option<u64>,
}

pub(super) fn read(entries: &mut Entries<'_>, bytes: &[u8]) -> Result<(), ListingError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let objects: Vec<Object> = serde_json::from_slice(bytes).map_err(ListingError::Json)?;
    for object in objects {
        let kind = match (object.kind.as_deref(), object.is_dir) {
            (Some("directory"), _) | (None, Some(true)) => Kind::Folder,
            (Some("file"), _) | (None, _) => Kind::File,
            // Devices and the like.
            (Some(_), _) => continue,
        };
        let modified = object.mtime.as_deref().and_then(dates::http);
        let modified = modified.or_else(|| object.mod_time.as_deref().and_then(dates::iso));
        let size = object.size;
        let name = match kind {
            Kind::Folder => object.name.strip_suffix('/').unwrap_or(&object.name),
            Kind::File => &object.name,
        };
        entries.add(name, kind, Facts { size, modified })?;
    }
    Ok(())
}
