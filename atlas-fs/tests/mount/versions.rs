//! Files that change at their origin: whoever reads gets one version, never a mixture.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use atlas_fs::url::Pins;
use rustix::io::Errno;

use crate::bed::Bed;
use crate::origin::File;

/// Nothing holds without being asked again.
fn uncached(bytes: Vec<u8>) -> File {
    File {
        cache_control: "max-age=0",
        ..File::new(bytes)
    }
}

const LENGTH: usize = 40 << 20;

#[test]
fn a_file_replaced_in_the_middle_of_a_read_is_never_mixed() {
    let Some(bed) = Bed::new(|options, _| options.read_ahead_bytes_max = 1 << 20) else {
        return;
    };
    bed.origin.put("/x", uncached(vec![b'a'; LENGTH]));
    let mut open = fs::File::open(bed.at("x")).unwrap();
    let old = open.metadata().unwrap().ino();
    let mut first = vec![0; 1 << 20];
    open.read_exact(&mut first).unwrap();
    bed.origin.put("/x", uncached(vec![b'b'; LENGTH]));
    let mut rest = Vec::new();
    match open.read_to_end(&mut rest) {
        Ok(_) => assert!(rest.iter().all(|byte| *byte == b'a')),
        Err(error) => assert_eq!(Errno::from_io_error(&error), Some(Errno::STALE)),
    }
    // Who opens it now gets the new one, whole, under another number.
    let mut again = fs::File::open(bed.at("x")).unwrap();
    assert_ne!(again.metadata().unwrap().ino(), old);
    let mut whole = Vec::new();
    again.read_to_end(&mut whole).unwrap();
    assert!(whole.len() == LENGTH && whole.iter().all(|byte| *byte == b'b'));
    // The old one stays what it was.
    open.seek(SeekFrom::Start(0)).unwrap();
    open.read_exact(&mut first).unwrap();
    assert!(first.iter().all(|byte| *byte == b'a'));
}

#[test]
fn another_length_is_another_file() {
    let Some(bed) = Bed::new(|_, mount| mount.listed_for = Duration::ZERO) else {
        return;
    };
    for length in [10, 5000, 3, 0, 100_000] {
        bed.origin.put("/x", uncached(vec![b'x'; length]));
        assert_eq!(fs::read(bed.at("x")).unwrap().len(), length);
        assert_eq!(fs::metadata(bed.at("x")).unwrap().len(), length as u64);
    }
}

#[test]
fn a_listing_that_is_out_of_date_does_not_cut_a_file() {
    let Some(bed) = Bed::new(|_, mount| mount.listed_for = Duration::from_secs(3600)) else {
        return;
    };
    bed.origin.put("/d/x", uncached(vec![b'x'; 10]));
    assert_eq!(fs::read_dir(bed.at("d")).unwrap().count(), 1);
    assert_eq!(fs::metadata(bed.at("d/x")).unwrap().len(), 10);
    bed.origin.put("/d/x", uncached(vec![b'y'; 5000]));
    assert_eq!(fs::read(bed.at("d/x")).unwrap(), vec![b'y'; 5000]);
    assert_eq!(fs::metadata(bed.at("d/x")).unwrap().len(), 5000);
}

#[test]
fn what_a_job_has_opened_stays_or_is_stale() {
    let of_mount = Pins::new();
    let Some(bed) = Bed::new(|options, mount| {
        options.range_bytes_max = 1 << 20;
        options.read_ahead_bytes_max = 1 << 20;
        mount.pins = Some(of_mount);
    }) else {
        return;
    };
    bed.origin.put("/x", uncached(b"first".to_vec()));
    bed.origin.put("/large", uncached(vec![b'a'; LENGTH]));
    assert_eq!(fs::read(bed.at("x")).unwrap(), b"first");
    let mut first = [0; 10];
    let mut large = fs::File::open(bed.at("large")).unwrap();
    large.read_exact(&mut first).unwrap();
    drop(large);
    bed.origin.asked();
    bed.origin.put("/x", uncached(b"second".to_vec()));
    bed.origin.put("/large", uncached(vec![b'b'; LENGTH]));
    // It is stored: nobody needs to be asked.
    assert_eq!(fs::read(bed.at("x")).unwrap(), b"first");
    assert!(
        !bed.origin
            .asked()
            .iter()
            .any(|asked| asked.ends_with(" /x"))
    );
    // Of this one only the beginning is, and the rest is gone.
    let error = fs::read(bed.at("large")).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::STALE));
}
