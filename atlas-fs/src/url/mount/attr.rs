//! What `stat` tells: sizes and times are the file's, the owner is who mounts, and nobody may write.

use std::time::SystemTime;

use fuser::{FileAttr, FileType, INodeNo};

use super::nodes::Facts;
use crate::url::Kind;

/// To whom all files belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    pub(super) fn of_this_process() -> Self {
        Self {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        }
    }

    pub(super) fn is_root(self) -> bool {
        self.uid == 0
    }

    pub(super) fn attr(self, ino: u64, kind: Kind, facts: &Facts) -> FileAttr {
        let size = facts.size.unwrap_or_default();
        // A file whose origin tells no date has none.
        let time = facts.modified.unwrap_or(SystemTime::UNIX_EPOCH);
        let (kind, perm, nlink) = match kind {
            Kind::File => (FileType::RegularFile, 0o444, 1),
            Kind::Folder => (FileType::Directory, 0o555, 2),
        };
        FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(BLOCK_BYTES),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: READ_BYTES,
            flags: 0,
        }
    }
}

/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;
/// How much programs had better read at once.
const READ_BYTES: u32 = 128 << 10;
