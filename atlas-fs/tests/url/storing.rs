//! Where there is little room, or none.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use atlas_fs::url::{Files, Pins, Source, UrlError};
use rustix::io::Errno;
use tokio::task::JoinSet;

use crate::origin::{Mood, Origin};
use crate::support::{Scratch, eventually, random, read, read_file};

/// Set in the process whose files must not be large.
const IN_CHILD: &str = "ATLAS_TEST_LITTLE_ROOM";
/// Reads of a moment have ended by then, also on a slow machine.
const ALL_END: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_larger_than_the_quota_is_read_and_not_kept() {
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| options.quota = Some(2 << 20));
    let content = random(6 << 20, 1);
    origin.put("/x", content.clone());
    assert!(
        read(&scratch.files, &origin.url("/x"), &Pins::new())
            .await
            .unwrap()
            == content
    );
    let usage = scratch.files.usage().unwrap();
    assert!(usage.bytes <= 2 << 20, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_what_is_not_kept_is_right_where_an_origin_sends_no_ranges() {
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| options.quota = Some(1));
    let content = random(2 << 20, 1);
    origin.put_as("/x", content.clone(), &[Mood::NoRanges]);
    let (url, pins) = (origin.url("/x"), Pins::new());
    // Nothing tells yet that there are no ranges.
    scratch.files.metadata(&url, &pins).await.unwrap();
    let file = scratch.files.open(&url, &pins).await.unwrap();
    let mut buffer = vec![0; 100_000];
    file.read_at(1_500_000, &mut buffer).await.unwrap();
    assert!(buffer == content[1_500_000..1_600_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_many_who_read_what_is_not_kept_wait_for_one_another_and_end() {
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| {
        options.quota = Some(1);
        options.requests_per_host_max = 2;
        options.timeouts.answer = ALL_END;
    });
    let content = random(6 << 20, 1);
    // So late that all want to ask for their ranges before the first is told that there are none.
    let moods = [Mood::NoRanges, Mood::Late(300)];
    origin.put_as("/x", content.clone(), &moods);
    let (url, pins) = (origin.url("/x"), Pins::new());
    // Nothing tells yet that there are no ranges.
    scratch.files.metadata(&url, &pins).await.unwrap();
    let file = scratch.files.open(&url, &pins).await.unwrap();
    let mut reads = JoinSet::new();
    let mut begin = |offset: usize| {
        let (file, content) = (file.clone(), content.clone());
        reads.spawn(async move {
            let mut buffer = vec![0; 100_000];
            file.read_at(offset as u64, &mut buffer).await.unwrap();
            assert!(buffer == content[offset..offset + 100_000]);
        });
    };
    begin(5_900_000);
    eventually("the end is asked for", || origin.requests() >= 2).await;
    // Behind it, the answer has to begin again.
    for _ in 0..8 {
        begin(0);
    }
    let ended = tokio::time::timeout(ALL_END, reads.join_all()).await;
    assert!(ended.is_ok(), "they wait for one another");
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_an_answer_that_has_ended_keeps_nobody_from_asking() {
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| {
        options.quota = Some(1);
        options.requests_per_host_max = 1;
        // For so long an answer that nobody reads on would stay.
        options.timeouts.idle = 2 * ALL_END;
    });
    let content = random(2 << 20, 1);
    origin.put_as("/x", content.clone(), &[Mood::NoRanges]);
    origin.put("/y", b"another".to_vec());
    let (x, y) = (origin.url("/x"), origin.url("/y"));
    let pins = Pins::new();
    let file = scratch.files.open(&x, &pins).await.unwrap();
    assert!(read_file(&file).await.unwrap() == content);
    let asking = scratch.files.metadata(&y, &pins);
    let asked = tokio::time::timeout(ALL_END, asking).await;
    assert_eq!(asked.expect("there is room to ask").unwrap().size, Some(7));
    // What has come lately is there still.
    let (before, mut buffer) = (origin.requests(), vec![0; 1000]);
    file.read_at(2_000_000, &mut buffer).await.unwrap();
    assert!(buffer == content[2_000_000..2_001_000]);
    assert_eq!(origin.requests(), before);
}

/// Two small files that are kept, and how much was sent of them.
async fn keep_others(origin: &Origin, files: &Files) -> usize {
    for path in ["/a", "/b"] {
        origin.put(path, random(1 << 20, 3));
        read(files, &origin.url(path), &Pins::new()).await.unwrap();
    }
    origin.bytes()
}

/// What was kept of the others is there.
async fn assert_others_stay(origin: &Origin, files: &Files) {
    let before = origin.bytes();
    for path in ["/a", "/b"] {
        read(files, &origin.url(path), &Pins::new()).await.unwrap();
    }
    assert_eq!(origin.bytes(), before, "they are not fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_length_that_is_a_lie_drives_no_other_file_out() {
    for (quota, lie) in [
        (Some(16 << 20), 1 << 30),
        // More than most disks have.
        (None, 1 << 36),
    ] {
        let origin = Origin::start().await;
        let scratch = Scratch::with(|options| options.quota = quota);
        keep_others(&origin, &scratch.files).await;
        let moods = [Mood::NoRanges, Mood::TooLong(lie)];
        origin.put_as("/lie", random(1 << 20, 1), &moods);
        let lie = read(&scratch.files, &origin.url("/lie"), &Pins::new()).await;
        let error = lie.map(|content| content.len()).unwrap_err();
        assert!(
            matches!(error, UrlError::NoRoom { .. } | UrlError::Broken { .. }),
            "{error:?}"
        );
        let usage = scratch.files.usage().unwrap();
        assert!(usage.bytes < 16 << 20, "{usage:?}");
        assert_others_stay(&origin, &scratch.files).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_file_in_one_piece_that_does_not_fit_drives_no_other_out() {
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| {
        options.quota = Some(4 << 20);
        // An answer that nobody reads on for so long begins again.
        options.timeouts.idle = ALL_END;
    });
    keep_others(&origin, &scratch.files).await;
    let content = random(6 << 20, 1);
    origin.put_as("/x", content.clone(), &[Mood::NoRanges]);
    let read = read(&scratch.files, &origin.url("/x"), &Pins::new()).await;
    assert!(read.unwrap() == content, "it is read without being kept");
    let log = origin.log();
    let asked = log.iter().filter(|logged| logged.path == "/x").count();
    assert_eq!(asked, 2, "to open it, and to read all of it");
    assert_others_stay(&origin, &scratch.files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_stored_is_read_while_it_is_open_and_leaves_nothing() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random(3 << 20, 1);
    for (path, moods) in [
        ("/x", &[][..]),
        ("/whole", &[Mood::NoRanges]),
        ("/unknown-length", &[Mood::Chunked]),
    ] {
        origin.put_as(path, content.clone(), moods);
        origin.change(path, |resource| {
            let forbidden = ("cache-control", "no-store".to_owned());
            resource.headers.push(forbidden);
        });
        let (url, pins) = (origin.url(path), Pins::new());
        for pins in [&Pins::new(), &pins, &pins] {
            let before = origin.bytes();
            let file = scratch.files.open(&url, pins).await.unwrap();
            assert!(read_file(&file).await.unwrap() == content, "{path}");
            let fetched = origin.bytes() - before;
            assert!(fetched >= content.len(), "{path}: {fetched} bytes");
            // As long as it is open, it is there.
            assert!(read_file(&file).await.unwrap() == content, "{path}");
            assert_eq!(origin.bytes() - before, fetched, "{path}");
            assert!(file.is_transient(), "{path}");
            let names = names_below(scratch.folder.path());
            assert_eq!(names, [""; 0], "{path}");
            drop(file);
            // Whoever has fetched it ends a moment later.
            let is_gone = || open_below(scratch.folder.path()) == 0;
            eventually("it is gone with who read it", is_gone).await;
        }
        assert!(scratch.files.pin(&url, |_, _| {}).await.is_err(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_goes_when_its_origin_forbids_that() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let url = origin.url("/x");
    origin.put("/x", random(1 << 20, 1));
    origin.change("/x", |resource| {
        let asked_again = ("cache-control", "no-cache".to_owned());
        resource.headers.push(asked_again);
    });
    read(&scratch.files, &url, &Pins::new()).await.unwrap();
    assert_ne!(names_below(scratch.folder.path()), [""; 0]);
    origin.change("/x", |resource| {
        resource.headers.clear();
        let forbidden = ("cache-control", "no-store".to_owned());
        resource.headers.push(forbidden);
    });
    read(&scratch.files, &url, &Pins::new()).await.unwrap();
    assert_eq!(names_below(scratch.folder.path()), [""; 0]);
}

/// How many files of this folder this process has open.
fn open_below(folder: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let paths = open.filter_map(|open| fs::read_link(open.path()).ok());
    paths.filter(|path| path.starts_with(folder)).count()
}

/// The names of all files, but for those that every store has.
fn names_below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.extend(names_below(&entry.path()));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names.retain(|name| !["ledger", "sums"].contains(&name.as_str()));
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_least_recently_goes_first_and_what_is_open_stays() {
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| options.quota = Some(8 << 20));
    let open_path = "/open";
    origin.put(open_path, random(1 << 20, 100));
    let open = scratch
        .files
        .open(&origin.url(open_path), &Pins::new())
        .await
        .unwrap();
    open.fetch_all().await.unwrap();
    for name in 0..20 {
        let path = format!("/{name}");
        origin.put(&path, random(1 << 20, name));
        assert!(
            read(&scratch.files, &origin.url(&path), &Pins::new())
                .await
                .unwrap()
                == random(1 << 20, name)
        );
        let usage = scratch.files.usage().unwrap();
        assert!(usage.bytes <= 8 << 20, "{usage:?}");
    }
    let bytes = origin.bytes();
    read(&scratch.files, &origin.url("/19"), &Pins::new())
        .await
        .unwrap();
    open.read_at(1000, &mut [0; 1000]).await.unwrap();
    assert_eq!(origin.bytes(), bytes, "they are still there");
    read(&scratch.files, &origin.url("/0"), &Pins::new())
        .await
        .unwrap();
    assert!(origin.bytes() > bytes, "it is gone");
    // Whoever has fetched the last one ends a moment later.
    let one_is_left = || scratch.files.shrink_to(0).unwrap().files == 1;
    eventually("the open one alone is left", one_is_left).await;
}

/// A limit of file sizes stands for a full disk: it needs no rights to be set.
#[test]
fn a_full_disk_is_told_with_the_folder() {
    if env::var_os(IN_CHILD).is_some() {
        return;
    }
    let script = r#"trap "" XFSZ; ulimit -f 256; exec "$0" "$@""#;
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "storing::with_little_room", "--nocapture"])
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    assert!(said.contains("refused for want of room"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_little_room() {
    if env::var_os(IN_CHILD).is_none() {
        return;
    }
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    origin.put("/small", random(1000, 1));
    origin.put("/large", random(4 << 20, 2));
    assert!(
        read(&scratch.files, &origin.url("/small"), &Pins::new())
            .await
            .is_ok()
    );
    let error = scratch
        .files
        .open(&origin.url("/large"), &Pins::new())
        .await
        .unwrap_err();
    assert!(matches!(error, UrlError::NoRoom { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::NOSPC.raw_os_error());
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("no room left in")
    );
    println!("refused for want of room");
}
