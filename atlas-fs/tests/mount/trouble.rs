//! Origins that do not answer as one likes: each has its number, within its time.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::bed::Bed;
use crate::origin::File;

fn errno<T: std::fmt::Debug>(done: io::Result<T>) -> Errno {
    Errno::from_io_error(&done.unwrap_err()).unwrap()
}

#[test]
fn each_trouble_has_its_number() {
    let Some(bed) = Bed::new(|options, _| {
        options.timeouts.attempts_max = 2;
        options.timeouts.first_pause = Duration::from_millis(1);
    }) else {
        return;
    };
    let with = |status| File {
        status,
        ..File::new("x")
    };
    for (status, wanted) in [
        (403, Errno::ACCESS),
        (401, Errno::ACCESS),
        (404, Errno::NOENT),
        (500, Errno::IO),
    ] {
        let name = format!("s{status}");
        bed.origin.put(&format!("/d/{name}"), with(status));
        assert_eq!(
            errno(fs::read(bed.at(&format!("d/{name}")))),
            wanted,
            "{status}"
        );
    }
    let long = "x".repeat(256);
    assert_eq!(errno(fs::metadata(bed.at(&long))), Errno::NAMETOOLONG);
    bed.origin.put("/d/x", File::new("x"));
    assert_eq!(errno(fs::read(bed.at("d/x/y"))), Errno::NOTDIR);
    assert_eq!(errno(fs::read_dir(bed.at("d/x"))), Errno::NOTDIR);
    assert_eq!(errno(fs::write(bed.at("d/x"), "y")), Errno::ROFS);
    assert_eq!(errno(fs::write(bed.at("d/new"), "y")), Errno::ROFS);
    assert_eq!(errno(fs::remove_file(bed.at("d/x"))), Errno::ROFS);
    // Nobody listens there.
    let nobody = bed.mounted.folder().join("http/127.0.0.1:1/x");
    assert_eq!(errno(fs::read(nobody)), Errno::HOSTUNREACH);
}

#[test]
fn an_origin_that_says_nothing_keeps_nobody_longer_than_the_timeout() {
    let Some(bed) = Bed::new(|_, mount| mount.timeout = Duration::from_millis(500)) else {
        return;
    };
    let slow = File {
        delay: Duration::from_secs(3600),
        ..File::new("x")
    };
    bed.origin.put("/slow", slow);
    bed.origin.put("/quick", File::new("q"));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| errno(fs::read(bed.at("slow")))))
            .collect();
        // Nobody waits behind them.
        assert_eq!(fs::read(bed.at("quick")).unwrap(), b"q");
        for slow in slow {
            assert_eq!(slow.join().unwrap(), Errno::TIMEDOUT);
        }
    });
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn regression_a_file_of_unknown_length_may_take_longer_than_a_call() {
    let Some(bed) = Bed::new(|_, mount| mount.timeout = Duration::from_millis(300)) else {
        return;
    };
    let bytes: Vec<u8> = (0..251).cycle().take(1_500_000).collect();
    let slow = File {
        drip: Some(Duration::from_millis(50)),
        ..File::new(bytes.clone())
    };
    bed.origin.put("/slow", slow);
    let begun = Instant::now();
    assert_eq!(errno(fs::read(bed.at("slow"))), Errno::TIMEDOUT);
    let read = loop {
        match fs::read(bed.at("slow")) {
            Ok(read) => break read,
            Err(error) => assert_eq!(Errno::from_io_error(&error), Some(Errno::TIMEDOUT)),
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
    };
    assert!(read == bytes);
    // It is whole now, and nobody waits for it again.
    assert!(fs::read(bed.at("slow")).unwrap() == bytes);
    let asked = bed.origin.asked();
    let gets = asked.iter().filter(|asked| *asked == "GET /slow");
    assert_eq!(gets.count(), 1, "{asked:?}");
}

#[test]
fn a_stopped_origin_serves_what_is_known_and_says_so() {
    let Some(bed) = Bed::new(|options, mount| {
        options.stale = Duration::from_secs(3600);
        options.timeouts.attempts_max = 1;
        mount.listed_for = Duration::ZERO;
    }) else {
        return;
    };
    let file = File {
        cache_control: "max-age=0",
        ..File::new("known")
    };
    bed.origin.put("/x", file);
    let xattr = |name: &str| {
        let mut value = vec![0; 300];
        let length = rustix::fs::getxattr(bed.at("x"), name, value.as_mut_slice())?;
        value.truncate(length);
        Ok::<_, Errno>(String::from_utf8(value).unwrap())
    };
    assert_eq!(fs::read(bed.at("x")).unwrap(), b"known");
    assert_eq!(xattr("user.atlas.stale"), Err(Errno::NODATA));
    assert_eq!(xattr("user.atlas.url"), Ok(bed.origin.url("/x")));
    assert!(xattr("user.atlas.version").unwrap().contains("of 5 bytes"));
    bed.origin.stop();
    assert_eq!(fs::read(bed.at("x")).unwrap(), b"known");
    assert_eq!(xattr("user.atlas.stale").as_deref(), Ok("1"));
    assert_eq!(xattr("user.other"), Err(Errno::NODATA));
}

#[test]
fn a_mount_that_is_busy_goes_when_it_is_closed() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    bed.origin.put("/x", File::new("x"));
    let folder = bed.mounted.folder().to_owned();
    let open = fs::File::open(bed.at("x")).unwrap();
    assert!(!bed.mounted.unmount().unwrap());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(io::read_to_string(&open).unwrap(), "x");
}

#[test]
fn two_mounts_at_one_folder_are_refused() {
    let Some(bed) = Bed::new(|_, _| {}) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let cache = tempfile::tempdir().unwrap();
    let files = atlas_fs::url::Files::open(atlas_fs::url::Options::new(cache.path())).unwrap();
    let folder = bed.mounted.folder();
    let again = atlas_fs::url::mount::Mounted::start(files, folder, Default::default());
    assert!(again.unwrap_err().to_string().contains("already"));
    let schemes = atlas_fs::url::path::SCHEMES.len();
    assert_eq!(fs::read_dir(folder).unwrap().count(), schemes);
}
