//! Files whose length nobody knows before their end.

use std::time::Duration;

use atlas_fs::url::{Pins, Source, UrlError};
use rustix::io::Errno;
use tokio::task::JoinSet;

use crate::origin::{Mood, Origin};
use crate::support::{Scratch, error_of, eventually, random, read, read_file};

/// Sent in one piece, at some speed.
fn unknown_length(speed: Mood) -> [Mood; 3] {
    [Mood::NoRanges, Mood::Chunked, speed]
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_file_of_unknown_length_goes_on_when_who_waits_has_gone() {
    for is_named in [true, false] {
        let (origin, scratch) = (Origin::start().await, Scratch::new());
        let content = random(4 << 20, 1);
        origin.put_as("/x", content.clone(), &unknown_length(Mood::Pace(4_000)));
        if !is_named {
            origin.change("/x", |resource| resource.etag = None);
        }
        let (files, url) = (scratch.files.clone(), origin.url("/x"));
        let place = url.clone();
        let waiting = tokio::spawn(async move { files.open(&place, &Pins::new()).await });
        let under_way = || scratch.files.under_way(&url, &Pins::new());
        eventually("some of it is here", || under_way() > Some(100_000)).await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        let so_far = under_way();
        eventually("there is more of it", || {
            under_way().is_none_or(|bytes| Some(bytes) > so_far)
        })
        .await;
        // All of these wait for what is on its way.
        let mut opens = JoinSet::new();
        for _ in 0..8 {
            let (files, url) = (scratch.files.clone(), url.clone());
            opens.spawn(async move { files.open(&url, &Pins::new()).await.unwrap() });
        }
        for file in opens.join_all().await {
            assert!(read_file(&file).await.unwrap() == content);
        }
        let wholes = origin.bytes().div_ceil(content.len());
        assert!(!is_named || wholes == 1, "it was sent {wholes} times");
        assert_eq!(under_way(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nobody_waits_for_is_given_up_after_a_while() {
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| {
        options.timeouts.unwaited = Duration::from_millis(50);
    });
    let content = random(8 << 20, 1);
    // It would take minutes.
    origin.put_as("/x", content.clone(), &unknown_length(Mood::Pace(50)));
    let (files, url) = (scratch.files.clone(), origin.url("/x"));
    let place = url.clone();
    let waiting = tokio::spawn(async move { files.open(&place, &Pins::new()).await });
    let under_way = || scratch.files.under_way(&url, &Pins::new());
    eventually("some of it is here", || under_way() > Some(0)).await;
    // As long as somebody waits, it goes on.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(under_way().is_some());
    waiting.abort();
    eventually("it is given up", || under_way().is_none()).await;
    assert!(origin.bytes() < content.len());
    origin.change("/x", |resource| resource.moods.pop().map_or((), drop));
    let again = read(&scratch.files, &url, &Pins::new()).await;
    assert!(again.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_bytes_does_not_wait_for_them() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    origin.put_as("/x", random(8 << 20, 1), &unknown_length(Mood::Pace(50)));
    let (files, url) = (scratch.files.clone(), origin.url("/x"));
    let place = url.clone();
    let waiting = tokio::spawn(async move { files.open(&place, &Pins::new()).await });
    eventually("it is on its way", || {
        scratch.files.under_way(&url, &Pins::new()).is_some()
    })
    .await;
    let metadata = scratch.files.metadata(&url, &Pins::new()).await.unwrap();
    assert_eq!(metadata.size, None);
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_wait_are_told_what_has_failed_and_the_next_one_begins_anew() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random(1 << 20, 1);
    let moods = [Mood::NoRanges, Mood::Chunked, Mood::Truncate(500_000)];
    origin.put_as("/x", content.clone(), &moods);
    let url = origin.url("/x");
    let mut opens = JoinSet::new();
    for _ in 0..8 {
        let (files, url) = (scratch.files.clone(), url.clone());
        opens.spawn(async move { files.open(&url, &Pins::new()).await });
    }
    for opened in opens.join_all().await {
        let error = opened.unwrap_err();
        assert!(matches!(error, UrlError::Broken { .. }), "{error:?}");
    }
    origin.change("/x", |resource| resource.moods.truncate(2));
    let again = read(&scratch.files, &url, &Pins::new()).await;
    assert!(again.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_unknown_length_is_counted_and_makes_room_as_it_grows() {
    const QUOTA: u64 = 8 << 20;
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| options.quota = Some(QUOTA));
    for name in 0..6 {
        let path = format!("/{name}");
        origin.put(&path, random(1 << 20, name));
        read(&scratch.files, &origin.url(&path), &Pins::new())
            .await
            .unwrap();
    }
    assert!(scratch.files.usage().unwrap().bytes >= 6 << 20);
    let content = random(6 << 20, 10);
    origin.put_as("/x", content.clone(), &unknown_length(Mood::Pace(5_000)));
    let (files, url) = (scratch.files.clone(), origin.url("/x"));
    let opening = tokio::spawn(async move { files.open(&url, &Pins::new()).await });
    let (mut most, mut seen) = (0, false);
    while !opening.is_finished() {
        // Files may go while they are counted, and then count or not.
        if let Ok(usage) = scratch.files.usage() {
            most = most.max(usage.bytes);
            seen |= usage.files == 0 && usage.bytes > 3 << 20;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let file = opening.await.unwrap().unwrap();
    assert!(
        seen,
        "it was never seen on its way, or the others never went"
    );
    assert!(most <= QUOTA, "{most} bytes");
    assert!(read_file(&file).await.unwrap() == content);
    let usage = scratch.files.usage().unwrap();
    assert_eq!(usage.files, 1);
    // It has become the stored file, and no second one was written.
    assert!(
        (6 << 20..6 << 20 | 1 << 18).contains(&usage.bytes),
        "{usage:?}"
    );
    assert_eq!(spools_in(&scratch), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_unknown_length_takes_no_more_than_the_quota() {
    const QUOTA: u64 = 4 << 20;
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| options.quota = Some(QUOTA));
    let length = 32 << 20;
    origin.put_as("/x", random(length, 1), &[Mood::NoRanges, Mood::Chunked]);
    let error = error_of(&scratch.files, &origin.url("/x")).await;
    assert!(matches!(error, UrlError::NoRoom { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::NOSPC.raw_os_error());
    assert!(origin.bytes() < length, "all of it was sent");
    assert!(scratch.files.usage().unwrap().bytes <= 1 << 16);
    assert_eq!(spools_in(&scratch), 0);
    // What fits to the last piece has its place.
    let content = random(3_900_000, 2);
    origin.put_as("/y", content.clone(), &[Mood::NoRanges, Mood::Chunked]);
    let fits = read(&scratch.files, &origin.url("/y"), &Pins::new()).await;
    assert!(fits.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_kept_has_no_name_while_it_comes() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random(4 << 20, 1);
    origin.put_as("/x", content.clone(), &unknown_length(Mood::Pace(10_000)));
    origin.change("/x", |resource| {
        let forbidden = ("cache-control", "no-store".to_owned());
        resource.headers.push(forbidden);
    });
    let (files, url) = (scratch.files.clone(), origin.url("/x"));
    let place = url.clone();
    let opening = tokio::spawn(async move { files.open(&place, &Pins::new()).await });
    eventually("most of it is here", || {
        scratch.files.under_way(&url, &Pins::new()) > Some(3 << 20)
    })
    .await;
    assert_eq!(spools_in(&scratch), 0);
    let file = opening.await.unwrap().unwrap();
    assert!(file.is_transient());
    assert!(read_file(&file).await.unwrap() == content);
}

/// How many files are seen on their way.
fn spools_in(scratch: &Scratch) -> usize {
    let spools = scratch.folder.path().join("spools");
    std::fs::read_dir(spools).unwrap().count()
}
