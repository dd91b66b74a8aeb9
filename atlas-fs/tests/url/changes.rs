//! Files that change while they are read, and origins that hide it.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlas_fs::url::{Pins, Source, Timeouts, UrlError};
use rustix::io::Errno;
use url::Url;

use crate::origin::{Mood, Origin, Resource};
use crate::support::{Scratch, eventually, random, read, read_file};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_in_mid_read_is_never_mixed() {
    for moods in [
        vec![],
        vec![Mood::NoConditions],
        vec![Mood::NoConditions, Mood::NoRanges],
    ] {
        let (origin, scratch) = (Origin::start().await, Scratch::new());
        let (old, new) = (random(24 << 20, 1), random(24 << 20, 2));
        let url = origin.url("/x");
        origin.put_as("/x", old.clone(), &moods);
        // Slow, so that not all of it is there when it is replaced.
        origin.change("/x", |resource| resource.moods.push(Mood::Pace(20_000)));
        let pins = Pins::new();
        let file = scratch.files.open(&url, &pins).await.unwrap();
        let mut first = vec![0; 1000];
        file.read_at(0, &mut first).await.unwrap();
        assert!(first == old[..1000]);
        origin.put_as("/x", new.clone(), &moods);
        match read_file(&file).await {
            // An answer that had begun goes on with what was there.
            Ok(read) => assert!(read == old, "{moods:?}"),
            Err(error) => {
                assert!(
                    matches!(error, UrlError::Changed { .. }),
                    "{moods:?}: {error:?}"
                );
                assert_eq!(error.errno(), Errno::STALE.raw_os_error());
                assert!(error.to_string().contains(url.as_str()));
            }
        }
        // The same job goes on with what it has seen, as far as it is there.
        let again = scratch.files.open(&url, &pins).await.unwrap();
        assert_eq!(again.version(), file.version());
        again.read_at(0, &mut first).await.unwrap();
        assert!(first == old[..1000]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_an_error_for_one_job_and_news_for_the_next() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let (old, new) = (random(8 << 20, 1), random(8 << 20, 2));
    let url = origin.url("/x");
    origin.put("/x", old);
    origin.change("/x", |resource| {
        resource
            .headers
            .push(("cache-control", "no-cache".to_owned()))
    });
    let pins = Pins::new();
    let file = scratch.files.open(&url, &pins).await.unwrap();
    file.read_at(0, &mut [0; 10]).await.unwrap();
    origin.put("/x", new.clone());
    let error = file.read_at(7 << 20, &mut [0; 10]).await.unwrap_err();
    assert!(matches!(error, UrlError::Changed { .. }), "{error:?}");
    let error = read(&scratch.files, &url, &pins)
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(error.errno(), Errno::STALE.raw_os_error());
    assert!(read(&scratch.files, &url, &Pins::new()).await.unwrap() == new);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_that_lies_of_another_length_is_found_out() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let url = origin.url("/x");
    origin.put("/x", random(8 << 20, 1));
    let file = scratch.files.open(&url, &Pins::new()).await.unwrap();
    file.read_at(0, &mut [0; 10]).await.unwrap();
    origin.change("/x", |resource| resource.body = random(9 << 20, 2).into());
    let error = file.read_at(7 << 20, &mut [0; 10]).await.unwrap_err();
    assert!(matches!(error, UrlError::Changed { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_file_that_is_changed_by_hand_is_fetched_again() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let url = origin.url("/x");
    let content = random(3 << 20, 1);
    origin.put("/x", content.clone());
    assert!(read(&scratch.files, &url, &Pins::new()).await.unwrap() == content);
    spoil(scratch.folder.path(), 1 << 20);
    let bytes = origin.bytes();
    let file = scratch.again().open(&url, &Pins::new()).await.unwrap();
    assert!(file.complete().is_none());
    assert!(read_file(&file).await.unwrap() == content);
    assert_eq!(origin.bytes() - bytes, 64 << 10, "one block and no more");
    eventually("complete", || file.complete().is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_that_lies_is_found_out_by_what_was_stored() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let url = origin.url("/x");
    let content = random(3 << 20, 1);
    origin.put("/x", content.clone());
    assert!(read(&scratch.files, &url, &Pins::new()).await.unwrap() == content);
    spoil(scratch.folder.path(), 1 << 20);
    // The same ETag and length, and other bytes.
    origin.change("/x", |resource| resource.body = random(3 << 20, 2).into());
    let error = read(&scratch.again(), &url, &Pins::new())
        .await
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, UrlError::Changed { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_origin_what_is_known_is_served_as_far_as_is_allowed() {
    for (cache_control, patience, allowed) in [
        ("max-age=0, stale-if-error=600", Duration::ZERO, true),
        ("max-age=0", Duration::from_secs(600), true),
        ("max-age=0", Duration::ZERO, false),
        (
            "max-age=0, must-revalidate",
            Duration::from_secs(600),
            false,
        ),
    ] {
        let mut origin = Origin::start().await;
        let scratch = Scratch::with(|options| options.stale = patience);
        let url = origin.url("/x");
        origin.put("/x", b"hello".to_vec());
        origin.change("/x", |resource| {
            resource
                .headers
                .push(("cache-control", cache_control.to_owned()));
        });
        assert!(
            !scratch
                .files
                .open(&url, &Pins::new())
                .await
                .unwrap()
                .stale()
        );
        assert_eq!(
            read(&scratch.files, &url, &Pins::new()).await.unwrap(),
            b"hello"
        );
        origin.stop().await;
        let opened = scratch.files.open(&url, &Pins::new()).await;
        assert_eq!(opened.is_ok(), allowed, "{cache_control}: {opened:?}");
        if let Ok(file) = opened {
            assert!(file.stale());
            assert_eq!(read_file(&file).await.unwrap(), b"hello");
            assert!(
                scratch
                    .files
                    .metadata(&url, &Pins::new())
                    .await
                    .unwrap()
                    .stale
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_who_can_do_without_an_origin_waits_for_it_once() {
    let mut origin = Origin::start().await;
    let scratch = Scratch::with(|options| {
        options.stale = Duration::from_secs(3600);
        options.timeouts = Timeouts::default();
    });
    let paths: Vec<_> = (0..100).map(|number| format!("/d/{number}")).collect();
    for path in paths.iter().map(String::as_str).chain(["/d/"]) {
        origin.put(path, path.as_bytes().to_vec());
        origin.change(path, |resource| {
            let at_once = ("cache-control", "max-age=0".to_owned());
            resource.headers.push(at_once);
        });
    }
    // A version that is pinned would not be asked for.
    let pins = Pins::new;
    let folder = origin.url("/d/");
    let listing = scratch.files.list(&folder, &pins()).await.unwrap();
    assert!(!listing.stale);
    for path in &paths {
        read(&scratch.files, &origin.url(path), &pins())
            .await
            .unwrap();
    }
    origin.stop().await;
    // Its connections go a moment later.
    let is_stale = async || {
        let metadata = scratch
            .files
            .metadata(&origin.url(&paths[0]), &pins())
            .await;
        metadata.unwrap().stale
    };
    while !is_stale().await {}
    let (begun, before) = (Instant::now(), scratch.files.figures().questions);
    for path in &paths {
        let url = origin.url(path);
        let listing = scratch.files.list(&folder, &pins()).await.unwrap();
        assert!(listing.stale);
        assert!(scratch.files.metadata(&url, &pins()).await.unwrap().stale);
        let content = read(&scratch.files, &url, &pins()).await.unwrap();
        assert_eq!(content, path.as_bytes());
    }
    // Again after ten seconds, on a machine that is as slow as that.
    let asked = scratch.files.figures().questions - before;
    let spans = begun.elapsed().as_secs() / 10 + 1;
    assert!(asked <= spans, "{asked} in {:?}", begun.elapsed());
}

/// A file of which what its origin says is known, and no byte is stored.
async fn known_and_not_stored(origin: &Origin, scratch: &Scratch) -> Url {
    let url = origin.url("/x");
    origin.put("/x", random(1 << 20, 1));
    origin.change("/x", |resource| {
        let allowed = ("cache-control", "max-age=0, stale-if-error=600".to_owned());
        resource.headers.push(allowed);
    });
    let metadata = scratch.files.metadata(&url, &Pins::new()).await.unwrap();
    assert!(!metadata.stale);
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_what_is_not_stored_does_not_do_without_its_origin_after_one_failure() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let url = known_and_not_stored(&origin, &scratch).await;
    let new = random(1 << 20, 2);
    // Once more after the first question.
    origin.put_as("/x", new.clone(), &[Mood::StatusTimes(503, 2)]);
    let file = scratch.files.open(&url, &Pins::new()).await.unwrap();
    assert!(!file.stale());
    assert!(read_file(&file).await.unwrap() == new);
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_what_is_not_stored_is_asked_for_though_its_origin_was_silent_just_now() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let url = known_and_not_stored(&origin, &scratch).await;
    origin.change("/x", |resource| resource.moods.push(Mood::Late(60_000)));
    let metadata = scratch.files.metadata(&url, &Pins::new()).await.unwrap();
    assert!(metadata.stale);
    let new = random(1 << 20, 2);
    origin.put("/x", new.clone());
    let file = scratch.files.open(&url, &Pins::new()).await.unwrap();
    assert!(!file.stale());
    assert!(read_file(&file).await.unwrap() == new);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_while_it_is_asked_for_is_news_soon() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let url = origin.url("/x");
    origin.put("/x", b"old".to_vec());
    origin.change("/x", |resource| {
        resource.headers.push((
            "cache-control",
            "max-age=0, stale-while-revalidate=600".to_owned(),
        ));
    });
    assert_eq!(
        read(&scratch.files, &url, &Pins::new()).await.unwrap(),
        b"old"
    );
    origin.put("/x", b"new bytes".to_vec());
    assert_eq!(
        read(&scratch.files, &url, &Pins::new()).await.unwrap(),
        b"old"
    );
    eventually("asked", || origin.requests() >= 2).await;
    for _ in 0..1000 {
        if read(&scratch.files, &url, &Pins::new()).await.unwrap() == b"new bytes" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the new version is not served");
}

/// It was an error for as long as the old version was to be good, though nobody had pinned that.
#[tokio::test(flavor = "multi_thread")]
async fn regression_a_file_that_has_changed_before_it_was_read_is_an_error_once() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let files = &scratch.files;
    let url = origin.url("/x");
    let (first, second) = (random(200_000, 1), random(300_000, 2));
    for body in [&first, &second] {
        origin.put("/x", body.clone());
        origin.change("/x", |resource| {
            let value = "max-age=3600".to_owned();
            resource.headers.push(("cache-control", value));
        });
        if body == &first {
            files.metadata(&url, &Pins::new()).await.unwrap();
        }
    }
    let error = read(files, &url, &Pins::new()).await.unwrap_err();
    assert!(matches!(error, UrlError::Changed { .. }), "{error:?}");
    // The refusal of the range is no version's length.
    assert!(!error.to_string().contains("of 0 bytes"), "{error}");
    assert!(read(files, &url, &Pins::new()).await.unwrap() == second);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_are_served_meanwhile_bring_about_one_question() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let url = origin.url("/x");
    origin.put("/x", b"hello".to_vec());
    origin.change("/x", |resource| {
        let value = "max-age=0, stale-while-revalidate=600".to_owned();
        resource.headers.push(("cache-control", value));
    });
    read(&scratch.files, &url, &Pins::new()).await.unwrap();
    // So late that it gives up on it, and nobody waits for that.
    origin.change("/x", |resource| resource.moods.push(Mood::Late(60_000)));
    for _ in 0..50 {
        scratch.files.open(&url, &Pins::new()).await.unwrap();
    }
    eventually("asked", || origin.requests() >= 2).await;
    // With what it tries again.
    assert!(origin.requests() <= 4, "{} requests", origin.requests());
}

/// Writes into the one stored file, as by hand.
fn spoil(folder: &Path, at: u64) {
    let data = data_files(folder).pop().unwrap();
    let file = OpenOptions::new().write(true).open(data).unwrap();
    file.write_all_at(b"spoilt", at).unwrap();
}

fn data_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("files")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "data")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_date_alone_is_asked_for_by_it_and_comes_once() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let (first, second) = (random(300_000, 1), random(300_000, 2));
    let dates = [
        "Thu, 26 Nov 2026 17:01:09 GMT",
        "Thu, 26 Nov 2026 17:01:10 GMT",
    ];
    let resource = |body: &Vec<u8>, date: &str| Resource {
        body: Arc::new(body.clone()),
        modified: Some(date.to_owned()),
        headers: vec![("cache-control", "max-age=0".to_owned())],
        ..Resource::default()
    };
    origin.place("/x", resource(&first, dates[0]));
    let url = origin.url("/x");
    assert!(read(&scratch.files, &url, &Pins::new()).await.unwrap() == first);
    let (requests, bytes) = (origin.requests(), origin.bytes());
    assert!(read(&scratch.files, &url, &Pins::new()).await.unwrap() == first);
    let log = origin.log();
    let [asked] = &log[requests..] else {
        panic!("{log:?}")
    };
    assert_eq!(asked.headers["if-modified-since"], dates[0]);
    assert!(!asked.headers.contains_key("if-none-match"), "{asked:?}");
    assert_eq!(origin.bytes(), bytes);
    // Of the same length: the date is all that tells.
    origin.place("/x", resource(&second, dates[1]));
    assert!(read(&scratch.files, &url, &Pins::new()).await.unwrap() == second);
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_what_a_job_has_looked_at_is_what_it_opens_or_it_is_told_that_it_is_gone() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let files = &scratch.files;
    let (first, second) = (random(200_000, 1), random(300_000, 2));
    for path in ["/gone", "/kept"] {
        origin.put(path, first.clone());
    }
    let (gone, kept) = (origin.url("/gone"), origin.url("/kept"));
    let (job, other) = (Pins::new(), Pins::new());
    for url in [&gone, &kept] {
        let metadata = files.metadata(url, &job).await.unwrap();
        assert_eq!(metadata.size, Some(200_000));
    }
    // Somebody else reads one of them.
    assert!(read(files, &kept, &other).await.unwrap() == first);
    for path in ["/gone", "/kept"] {
        origin.put(path, second.clone());
    }
    let error = files.open(&gone, &job).await.unwrap_err();
    assert!(matches!(error, UrlError::Changed { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::STALE.raw_os_error());
    assert!(error.to_string().contains(gone.as_str()), "{error}");
    assert!(read(files, &kept, &job).await.unwrap() == first);
    for url in [&gone, &kept] {
        let metadata = files.metadata(url, &job).await.unwrap();
        assert_eq!(metadata.size, Some(200_000), "it is what was seen");
    }
    // The next job sees what there is, where nothing else is known of it.
    let (elsewhere, next) = (Scratch::new(), Pins::new());
    assert!(read(&elsewhere.files, &gone, &next).await.unwrap() == second);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tells_no_version_without_its_bytes_is_pinned_by_who_opens_it() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let (first, second) = (random(200_000, 1), random(300_000, 2));
    origin.put("/nameless", first.clone());
    origin.change("/nameless", |resource| resource.etag = None);
    origin.put_as("/chunked", first, &[Mood::NoRanges, Mood::Chunked]);
    origin.put("/empty", Vec::new());
    for path in ["/nameless", "/chunked", "/empty"] {
        let (url, job) = (origin.url(path), Pins::new());
        scratch.files.metadata(&url, &job).await.unwrap();
        assert_eq!(job.pinned(&url), None, "{path}");
        origin.put(path, second.clone());
        // Nothing is known any more of what there was.
        let files = Scratch::new();
        let found = read(&files.files, &url, &job).await.unwrap();
        assert!(found == second, "{path}");
        assert!(job.pinned(&url).is_some(), "{path}");
    }
}
