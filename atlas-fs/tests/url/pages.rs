//! Folders: one request each, compressed or not, and known afterwards.

use std::io::Write;

use atlas_fs::url::{Kind, Pins, Source, UrlError};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::origin::{Mood, Origin, Resource};
use crate::support::{Scratch, read};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_takes_one_request() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    origin.put("/folder/", b"a\nb\n".to_vec());
    let url = origin.url("/folder/");
    for files in [
        scratch.files.clone(),
        scratch.files.clone(),
        scratch.again(),
    ] {
        let entries = files.list(&url, &Pins::new()).await.unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_may_come_compressed_and_files_may_not() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(b"a\nb\nc\n").unwrap();
    origin.put_as("/folder/", packed.finish().unwrap(), &[Mood::NoRanges]);
    origin.change("/folder/", |resource| {
        resource
            .headers
            .push(("content-encoding", "gzip".to_owned()))
    });
    let (folder, pins) = (origin.url("/folder/"), Pins::new());
    let entries = scratch.files.list(&folder, &pins).await.unwrap();
    assert_eq!(entries.len(), 3);
    let metadata = scratch.files.metadata(&folder, &pins).await.unwrap();
    assert_eq!(metadata.kind, Kind::Folder);
    origin.put("/x", b"hello".to_vec());
    read(&scratch.files, &origin.url("/x"), &Pins::new())
        .await
        .unwrap();
    let accepted: Vec<_> = origin
        .log()
        .iter()
        .map(|asked| asked.headers["accept-encoding"].clone())
        .collect();
    assert_eq!(accepted, ["gzip", "identity", "identity"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_name_that_leads_to_a_compressed_listing_is_a_folder() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let moods = |to: &str| Resource {
        moods: vec![Mood::Redirect(origin.url(to).to_string())],
        ..Resource::default()
    };
    origin.place("/folder", moods("/folder/"));
    origin.place("/file", moods("/other/"));
    for path in ["/folder/", "/other/"] {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(b"a\nb\n").unwrap();
        origin.put_as(path, packed.finish().unwrap(), &[Mood::NoRanges]);
        origin.change(path, |resource| {
            let encoded = ("content-encoding", "gzip".to_owned());
            resource.headers.push(encoded);
        });
    }
    let (url, pins) = (origin.url("/folder"), Pins::new());
    let metadata = scratch.files.metadata(&url, &pins).await.unwrap();
    assert_eq!(metadata.kind, Kind::Folder);
    let opened = scratch.files.open(&url, &pins).await;
    let error = opened.unwrap_err();
    assert!(matches!(error, UrlError::IsFolder { .. }), "{error:?}");
    // What leads elsewhere is a file, and its bytes are not those that were asked for.
    let metadata = scratch.files.metadata(&origin.url("/file"), &pins).await;
    let error = metadata.unwrap_err();
    assert!(matches!(error, UrlError::Broken { .. }), "{error:?}");
}

/// A second answer is as long as the first.
#[tokio::test(flavor = "multi_thread")]
async fn regression_a_page_that_is_too_long_is_fetched_once() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    origin.put_as("/folder/", vec![b'x'; PAGE_MAX + 1], &[Mood::NoRanges]);
    let url = origin.url("/folder/");
    let listed = scratch.files.list(&url, &Pins::new()).await;
    let error = listed.unwrap_err();
    assert!(matches!(error, UrlError::Broken { .. }), "{error:?}");
    assert!(
        error.to_string().contains(&format!("{PAGE_MAX} bytes")),
        "{error}"
    );
    assert_eq!(origin.requests(), 1);
}

/// As it is documented.
const PAGE_MAX: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_no_listing_says_so() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    origin.put("/folder/", vec![0xff, 0xfe]);
    let error = scratch
        .files
        .list(&origin.url("/folder/"), &Pins::new())
        .await
        .unwrap_err();
    assert!(matches!(error, UrlError::Listing { .. }), "{error:?}");
    let error = scratch
        .files
        .list(&origin.url("/none/"), &Pins::new())
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(404));
}
