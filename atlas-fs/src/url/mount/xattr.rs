//! What there is to know of a file beyond `stat`, as extended attributes.

use fuser::{Errno, ReplyXattr};

use super::shared::Shared;
use crate::url::Source;

impl<S: Source> Shared<S> {
    /// All attributes of a node.
    fn xattrs(&self, ino: u64) -> Vec<(&'static str, String)> {
        let nodes = self.nodes();
        let Some((node, url)) = nodes
            .find(ino)
            .and_then(|node| node.url().map(|url| (node, url)))
        else {
            return Vec::new();
        };
        let version = node.version.as_ref().map(ToString::to_string);
        let is_stale = node.facts.stale
            || node.opened.file().is_some_and(|file| file.stale())
            || node.items.as_ref().is_some_and(|items| items.stale);
        let mut xattrs = vec![(URL, url.to_string())];
        xattrs.extend(version.map(|version| (VERSION, version)));
        xattrs.extend(is_stale.then(|| (STALE, "1".into())));
        xattrs
    }

    pub(super) fn handle_getxattr(&self, ino: u64, name: &str, size: u32, reply: ReplyXattr) {
        if ![URL, VERSION, STALE].contains(&name) {
            return reply.error(Errno::ENODATA);
        }
        let xattrs = self.xattrs(ino);
        let value = xattrs.iter().find(|(known, _)| *known == name);
        match value {
            Some((_, value)) => fill(value.as_bytes(), size, reply),
            None => reply.error(Errno::ENODATA),
        }
    }

    pub(super) fn handle_listxattr(&self, ino: u64, size: u32, reply: ReplyXattr) {
        let mut names = Vec::new();
        for (name, _) in self.xattrs(ino) {
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        fill(&names, size, reply);
    }
}

/// Without room, the length is asked for.
fn fill(bytes: &[u8], size: u32, reply: ReplyXattr) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    match size {
        0 => reply.size(length),
        size if size < length => reply.error(Errno::ERANGE),
        _ => reply.data(bytes),
    }
}

/// The URL.
const URL: &str = "user.atlas.url";
/// Which version this is, by what the origin says of it.
const VERSION: &str = "user.atlas.version";
/// There if the origin could not be asked, and this is what was known of it before; of a folder, its listing.
const STALE: &str = "user.atlas.stale";
