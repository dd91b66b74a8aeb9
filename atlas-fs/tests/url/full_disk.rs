//! A disk that is full: a small one, mounted where nobody else sees it, with a store that may hold more.

use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use atlas_fs::url::{Files, Pins, Source, UrlError};
use rustix::io::Errno;

use crate::origin::{Mood, Origin};
use crate::support::{Scratch, random, read};

/// Set in the process that sees the disk: where it is.
const IN_CHILD: &str = "ATLAS_TEST_FULL_DISK";
/// Mounts the disk at the folder that comes first, and becomes the command behind it. It goes with the last process that sees it.
const ON_DISK: &str = r#"mount -t tmpfs -o size=8m atlas-test "$0" && exec "$@""#;
const DISK_BYTES: u64 = 8 << 20;

#[test]
fn a_disk_that_is_full_is_read_past_and_nothing_is_left_broken() {
    if env::var_os(IN_CHILD).is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let on_disk = || {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--", "sh", "-c", ON_DISK]);
        command.arg(folder.path());
        command
    };
    let tried = on_disk().arg("true").output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: no small disk can be mounted here: {tried:?}");
        return;
    }
    let child = on_disk()
        .arg(env::current_exe().unwrap())
        .args(["--exact", "full_disk::with_a_full_disk", "--nocapture"])
        .env(IN_CHILD, folder.path())
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}{errors}");
    assert!(said.contains("all read past it"), "{said}{errors}");
    // What was mounted is seen by nobody any more.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_disk() {
    let Some(disk) = env::var_os(IN_CHILD).map(PathBuf::from) else {
        return;
    };
    let origin = Origin::start().await;
    // More than the disk has.
    let scratch = Scratch::with(|options| options.quota = Some(1 << 30));
    assert!(scratch.folder.path().starts_with(&disk));
    let files = &scratch.files;
    what_is_old_goes_for_what_is_new(&origin, files).await;
    what_is_larger_than_the_disk_is_read(&origin, files).await;
    let others = fill(&disk);
    what_is_kept_goes_when_others_fill_the_disk(&origin, files).await;
    files.shrink_to(0).unwrap();
    let more = fill(&disk);
    what_has_no_room_at_all_is_read_all_the_same(&origin, files).await;
    // Also by whoever opens the store only now.
    what_has_no_room_at_all_is_read_all_the_same(&origin, &scratch.again()).await;
    for file in [others, more] {
        file.set_len(0).unwrap();
    }
    assert!(is_kept(&origin, files, "/late", 1 << 20).await);
    for stored in files.stored().unwrap() {
        assert_eq!(files.verify(&stored).await.unwrap(), 0, "{stored:?}");
    }
    println!("all read past it");
}

async fn what_is_old_goes_for_what_is_new(origin: &Origin, files: &Files) {
    for name in 0..10 {
        let path = format!("/{name}");
        assert!(is_kept(origin, files, &path, 2 << 20).await, "{path}");
        let usage = files.usage().unwrap();
        assert!(usage.bytes <= DISK_BYTES, "{usage:?}");
    }
    // Of the first one, nothing is left.
    let before = origin.bytes();
    let first = read(files, &origin.url("/0"), &Pins::new()).await;
    assert!(first.unwrap() == random(2 << 20, 2 << 20));
    assert!(origin.bytes() > before);
}

async fn what_is_larger_than_the_disk_is_read(origin: &Origin, files: &Files) {
    for moods in [&[][..], &[Mood::NoRanges]] {
        let content = random(20 << 20, 20);
        origin.put_as("/larger", content.clone(), moods);
        let url = origin.url("/larger");
        assert!(read(files, &url, &Pins::new()).await.unwrap() == content);
    }
    // Its length is known at its end alone, which does not come.
    let unknown = [Mood::NoRanges, Mood::Chunked];
    origin.put_as("/unknown", random(20 << 20, 21), &unknown);
    no_room(files, origin, "/unknown").await;
    assert!(is_kept(origin, files, "/after", 2 << 20).await);
}

async fn what_is_kept_goes_when_others_fill_the_disk(origin: &Origin, files: &Files) {
    assert!(files.usage().unwrap().bytes > 2 << 20);
    assert!(is_kept(origin, files, "/pressed", 1 << 20).await);
}

async fn what_has_no_room_at_all_is_read_all_the_same(origin: &Origin, files: &Files) {
    for (path, moods) in [("/full", &[][..]), ("/whole", &[Mood::NoRanges])] {
        let content = random(1 << 20, 30);
        origin.put_as(path, content.clone(), moods);
        let url = origin.url(path);
        let metadata = files.metadata(&url, &Pins::new()).await.unwrap();
        assert_eq!(metadata.size, Some(1 << 20), "{path}");
        let read = read(files, &url, &Pins::new()).await;
        assert!(read.unwrap() == content, "{path}");
    }
    origin.put("/nameless", random(1 << 20, 31));
    origin.change("/nameless", |resource| resource.etag = None);
    no_room(files, origin, "/nameless").await;
    let unknown = [Mood::NoRanges, Mood::Chunked];
    origin.put_as("/little", random(100_000, 32), &unknown);
    no_room(files, origin, "/little").await;
}

/// What cannot be read without being kept is refused, by a number that says why.
async fn no_room(files: &Files, origin: &Origin, path: &str) {
    let read = read(files, &origin.url(path), &Pins::new()).await;
    let error = read.map(|content| content.len()).unwrap_err();
    assert!(
        matches!(error, UrlError::NoRoom { .. }),
        "{path}: {error:?}"
    );
    assert_eq!(error.errno(), Errno::NOSPC.raw_os_error());
}

/// Reads a file of so many bytes, which are right. Whether it is kept: to who reads it again no more is sent than what comes along when it
/// has to be asked which version there is.
async fn is_kept(origin: &Origin, files: &Files, path: &str, bytes: usize) -> bool {
    let content = random(bytes, bytes as u64);
    origin.put(path, content.clone());
    let url = origin.url(path);
    let first = read(files, &url, &Pins::new()).await.unwrap();
    assert!(first == content, "{path}");
    let before = origin.bytes();
    let again = read(files, &url, &Pins::new()).await.unwrap();
    assert!(again == content, "{path}");
    let sent = origin.bytes() - before;
    println!("{path}: {sent} bytes again");
    sent <= 256 << 10
}

/// Takes all the room that the disk has left.
fn fill(disk: &Path) -> File {
    let number = (0..).find(|number| !disk.join(format!("others-{number}")).exists());
    let path = disk.join(format!("others-{}", number.unwrap()));
    let mut file = File::create(path).unwrap();
    let page = [1; 4096];
    loop {
        match file.write(&page) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return file,
            Err(error) => panic!("{error}"),
        }
    }
}
