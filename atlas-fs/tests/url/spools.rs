//! Files whose length nobody knows before their end.

use std::time::Duration;

use atlas_fs::url::{Pins, Source, UrlError};
use tokio::task::JoinSet;

use crate::origin::{Mood, Origin};
use crate::support::{Scratch, eventually, random, read, read_file};

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
