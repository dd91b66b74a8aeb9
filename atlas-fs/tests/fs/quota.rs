//! A store is kept within its quota, and what is needed stays.

use std::fs::File;
use std::time::{Duration, SystemTime};

use atlas_fs::{AddAs, BlobName, Trimmed};

use crate::support::{Scratch, random};

const BYTES: usize = 10_000;

/// Plain blobs, the first of which was used longest ago.
fn add_three(scratch: &Scratch) -> [BlobName; 3] {
    [0u8, 1, 2].map(|index| {
        let file = scratch.file("content", &random(BYTES, index.into()));
        let name = scratch.store.add_file(&file, AddAs::Plain).unwrap().name;
        let used = SystemTime::now() - Duration::from_secs(3600 * (4 - u64::from(index)));
        let blob = File::open(scratch.store.plain_path(name).unwrap()).unwrap();
        blob.set_times(std::fs::FileTimes::new().set_accessed(used))
            .unwrap();
        name
    })
}

#[test]
fn what_was_used_last_stays() {
    let scratch = Scratch::new();
    let names = add_three(&scratch);
    assert!(scratch.store.has_plain(names[0]), "which is a use");
    let trimmed = scratch.store.trim(2 * BYTES as u64, |_| false).unwrap();
    let expected = Trimmed {
        files_removed: 1,
        bytes_removed: BYTES as u64,
        bytes_left: 2 * BYTES as u64,
    };
    assert_eq!(trimmed, expected);
    let left = names.map(|name| scratch.store.has_plain(name));
    assert_eq!(left, [true, false, true]);
}

#[test]
fn what_is_to_be_kept_stays_whatever_the_quota() {
    let scratch = Scratch::new();
    let names = add_three(&scratch);
    let trimmed = scratch.store.trim(0, |name| *name == names[0]).unwrap();
    assert_eq!(trimmed.bytes_left, BYTES as u64);
    let left = names.map(|name| scratch.store.has_plain(name));
    assert_eq!(left, [true, false, false]);
}

#[test]
fn a_store_within_its_quota_is_left_alone() {
    let scratch = Scratch::new();
    add_three(&scratch);
    std::fs::write(scratch.store.folder().join("README"), "not ours").unwrap();
    let trimmed = scratch.store.trim(3 * BYTES as u64, |_| false).unwrap();
    assert_eq!(trimmed.files_removed, 0);
    scratch.store.trim(0, |_| false).unwrap();
    assert_eq!(scratch.files(), ["README"]);
}
