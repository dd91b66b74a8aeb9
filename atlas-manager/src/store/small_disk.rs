//! For tests: a store on a disk that can be full, or fail at any moment.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use atlas_proto::control::JobState;
use redb::StorageBackend;

use super::tests::record;
use super::*;

/// A disk in memory. Clones share it.
#[derive(Clone, Debug, Default)]
struct SmallDisk(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// The blocks that have a place on the disk; others are holes.
    blocks: BTreeSet<usize>,
    is_open: bool,
    is_full: bool,
    /// So many changes go well from now on, and then none.
    changes_left: Option<u32>,
}

impl SmallDisk {
    fn store(&self) -> Store {
        let disk = self.clone();
        let path = Path::new("small disk");
        // Whoever had it before has it a moment longer.
        while self.0.lock().unwrap().is_open {
            std::thread::yield_now();
        }
        let open = move || {
            let was_open = std::mem::replace(&mut disk.0.lock().unwrap().is_open, true);
            assert!(!was_open, "it is opened twice");
            let database = configured().create_with_backend(disk.clone());
            // What could not be opened is not closed, but dropped.
            disk.0.lock().unwrap().is_open = database.is_ok();
            opened(Path::new("small disk"), database)
        };
        Store::with(open().unwrap(), Box::new(open), path).unwrap()
    }

    fn set_full(&self, is_full: bool) {
        self.0.lock().unwrap().is_full = is_full;
    }

    fn fail_after(&self, changes: Option<u32>) {
        self.0.lock().unwrap().changes_left = changes;
    }
}

impl Content {
    fn change(&mut self) -> io::Result<()> {
        match &mut self.changes_left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the disk fails")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl StorageBackend for SmallDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.0.lock().unwrap().bytes.len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let content = self.0.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        let bytes = content.bytes.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        content.change()?;
        let len = usize::try_from(len).unwrap();
        content.bytes.resize(len, 0);
        content.blocks.retain(|block| block * BLOCK_BYTES < len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().unwrap().change()
    }

    fn close(&self) -> io::Result<()> {
        self.0.lock().unwrap().is_open = false;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        content.change()?;
        let offset = usize::try_from(offset).unwrap();
        let end = offset + data.len();
        let blocks = offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES);
        let known = |block| content.blocks.contains(&block);
        if content.is_full && !blocks.clone().all(known) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.blocks.extend(blocks);
        content.bytes[offset..end].copy_from_slice(data);
        Ok(())
    }
}

fn large(id: u64) -> JobRecord {
    let options = vec![1; 4 << 20];
    JobRecord {
        options,
        ..record(id)
    }
}

fn ids(store: &Store) -> Vec<u64> {
    let jobs = store.jobs().unwrap().into_iter();
    jobs.map(|job| job.status.id.0).collect()
}

#[test]
fn regression_a_full_disk_is_no_end_of_the_store() {
    let disk = SmallDisk::default();
    let store = disk.store();
    store.save_new_job(record(1)).blocking().unwrap();
    assert!(store.trouble().is_none());
    disk.set_full(true);
    for id in 2..5 {
        let refused = store.save_new_job(large(id)).blocking().unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("no storage space"), "{said}");
        let trouble = store.trouble().unwrap().to_string();
        assert!(trouble.contains("small disk"), "{trouble}");
        // What is there is still to be read.
        assert_eq!(ids(&store), [1]);
    }
    disk.set_full(false);
    store.save_new_job(large(5)).blocking().unwrap();
    assert!(store.trouble().is_none());
    drop(store);
    assert_eq!(ids(&disk.store()), [1, 5]);
}

#[test]
fn regression_what_is_owed_is_written_in_its_order_when_there_is_room() {
    let disk = SmallDisk::default();
    let store = disk.store();
    for id in 1..=3 {
        store.save_new_job(record(id)).blocking().unwrap();
    }
    disk.fail_after(Some(0));
    let mut ended = large(1);
    ended.status.state = JobState::Killed;
    let told = store.save_ended_job(ended.clone());
    store.save_ended_job(large(2));
    store.forget(vec![JobId(2)]);
    store.save_new_job(record(4)).blocking().unwrap_err();
    disk.fail_after(None);
    // Nobody asks for anything but waits.
    told.blocking().unwrap();
    store.save_new_job(record(5)).blocking().unwrap();
    assert_eq!(store.jobs().unwrap(), [ended, record(3), record(5)]);
}

#[test]
fn at_whatever_moment_the_disk_fails_what_was_told_holds() {
    for changes in 0.. {
        let disk = SmallDisk::default();
        let store = disk.store();
        store.save_new_job(record(1)).blocking().unwrap();
        disk.fail_after(Some(changes));
        let second = store.save_new_job(record(2)).blocking();
        if second.is_err() {
            store.forget(vec![JobId(2)]);
        }
        disk.fail_after(None);
        store.save_new_job(record(3)).blocking().unwrap();
        let expected = match second {
            Ok(()) => vec![1, 2, 3],
            Err(_) => vec![1, 3],
        };
        assert_eq!(ids(&store), expected, "after {changes} changes");
        drop(store);
        assert_eq!(ids(&disk.store()), expected, "after {changes} changes");
        if second.is_ok() {
            assert!(changes > 4, "a commit is less than can be");
            return;
        }
    }
}

const BLOCK_BYTES: usize = 4096;
