//! Who fetches which blocks, among the processes that share a store: whoever has locked their numbers as a range of bytes of the map. Such locks
//! of open file descriptions (`fcntl`) belong to one opening of the map, whichever thread takes them, and are gone with their process. They
//! are for saving requests alone: who fetches without one does nothing wrong.

use std::fs::File;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::super::plan::Blocks;
use super::Entry;

impl Entry {
    /// Of these blocks, those from the first one on that no other process fetches; nobody else does until [`Entry::release`]. None if another process fetches
    /// the first one.
    pub(crate) fn claim(&self, blocks: &Blocks) -> Option<Blocks> {
        claim(self.map(), blocks.clone())
    }

    /// Lets others fetch them.
    pub(crate) fn release(&self, blocks: &Blocks) {
        // What fails here fails when the file is closed at the latest.
        let _ = fcntl(
            self.map(),
            FcntlArg::F_OFD_SETLK(&range(libc::F_UNLCK, blocks)),
        );
    }
}

fn claim(map: &File, mut wanted: Blocks) -> Option<Blocks> {
    while wanted.start < wanted.end {
        let mut lock = range(libc::F_WRLCK, &wanted);
        match fcntl(map, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => return Some(wanted),
            Err(Errno::EAGAIN | Errno::EACCES) => {}
            // Some file systems have no such locks: then each process fetches for itself.
            Err(_) => return Some(wanted),
        }
        match fcntl(map, FcntlArg::F_OFD_GETLK(&mut lock)) {
            Ok(_) if i32::from(lock.l_type) == libc::F_UNLCK => {}
            Ok(_) => {
                let locked = u64::try_from(lock.l_start).unwrap_or_default();
                wanted.end = locked.clamp(wanted.start, wanted.end);
            }
            Err(_) => return Some(wanted),
        }
    }
    None
}

fn range(kind: i32, blocks: &Blocks) -> libc::flock {
    let position = |block| i64::try_from(block).unwrap_or(i64::MAX);
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: 0,
        l_start: position(blocks.start),
        l_len: position(blocks.end - blocks.start),
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_claimed_once_and_what_is_free_before_it_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        let open = || {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            options.open(&path).unwrap()
        };
        let (one, other) = (open(), open());
        assert_eq!(claim(&one, 10..20), Some(10..20));
        assert_eq!(claim(&other, 5..30), Some(5..10));
        assert_eq!(claim(&other, 15..30), None);
        assert_eq!(claim(&other, 20..30), Some(20..30));
        drop(one);
        assert_eq!(claim(&other, 10..20), Some(10..20));
    }
}
