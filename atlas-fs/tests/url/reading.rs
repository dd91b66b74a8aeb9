//! What is read is what the origin has, and it is asked for once.

use std::collections::HashMap;

use atlas_fs::url::{Credential, Kind, Pins, Source, UrlError};

use crate::origin::{Mood, Origin, Resource};
use crate::support::{Scratch, eventually, random, read, read_file};

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_takes_one_request_and_none_again() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    origin.put("/x", b"hello".to_vec());
    let url = origin.url("/x");
    assert_eq!(
        read(&scratch.files, &url, &Pins::new()).await.unwrap(),
        b"hello"
    );
    assert_eq!(
        read(&scratch.files, &url, &Pins::new()).await.unwrap(),
        b"hello"
    );
    assert_eq!(
        read(&scratch.again(), &url, &Pins::new()).await.unwrap(),
        b"hello"
    );
    assert_eq!(origin.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_fetched_once_in_few_requests_and_is_complete_then() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random((20 << 20) + 12_345, 1);
    origin.put("/x", content.clone());
    let file = scratch
        .files
        .open(&origin.url("/x"), &Pins::new())
        .await
        .unwrap();
    assert!(read_file(&file).await.unwrap() == content);
    assert_eq!(origin.bytes(), content.len());
    assert!(origin.requests() < 20, "{} requests", origin.requests());
    eventually("complete", || file.complete().is_some()).await;
    let mut whole = Vec::new();
    std::io::Read::read_to_end(&mut file.complete().unwrap(), &mut whole).unwrap();
    assert!(whole == content);
    assert_eq!(scratch.files.figures().origin_bytes, content.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_here_and_there_fetch_little() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random(32 << 20, 2);
    origin.put("/x", content.clone());
    let file = scratch
        .files
        .open(&origin.url("/x"), &Pins::new())
        .await
        .unwrap();
    let mut buffer = [0; 4096];
    for at in [31 << 20, 5 << 20, 17 << 20, 9 << 20] {
        assert_eq!(file.read_at(at as u64, &mut buffer).await.unwrap(), 4096);
        assert!(buffer == content[at..at + 4096]);
    }
    assert!(origin.bytes() < 1 << 20, "{} bytes", origin.bytes());
    assert!(file.complete().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_miss_at_once_are_served_by_one_request() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random(6 << 20, 3);
    origin.put_as("/x", content.clone(), &[Mood::Late(50)]);
    let readers = (0..20).map(|_| {
        let (files, url) = (scratch.files.clone(), origin.url("/x"));
        tokio::spawn(async move { read(&files, &url, &Pins::new()).await.unwrap() })
    });
    for reader in readers.collect::<Vec<_>>() {
        assert!(reader.await.unwrap() == content);
    }
    assert_eq!(origin.bytes(), content.len());
    origin.put_as("/y", Vec::new(), &[Mood::Late(50), Mood::Status(404)]);
    let before = origin.requests();
    let asking = (0..20).map(|_| {
        let (files, url) = (scratch.files.clone(), origin.url("/y"));
        tokio::spawn(async move { files.metadata(&url, &Pins::new()).await.unwrap_err() })
    });
    for asked in asking.collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap().status(), Some(404));
    }
    assert_eq!(origin.requests(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_at_a_time_than_a_host_is_meant_to_bear() {
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| options.requests_per_host_max = 3);
    for name in 0..30 {
        origin.put_as(&format!("/{name}"), random(1000, name), &[Mood::Late(5)]);
    }
    let readers = (0..30).map(|name| {
        let (files, url) = (scratch.files.clone(), origin.url(&format!("/{name}")));
        tokio::spawn(async move { read(&files, &url, &Pins::new()).await.unwrap() })
    });
    for (name, reader) in readers.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(reader.await.unwrap(), random(1000, name as u64));
    }
    assert!(
        origin.at_once_max() <= 3,
        "{} at once",
        origin.at_once_max()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_without_ranges_validators_or_lengths_are_read_in_one_piece() {
    let content = random((3 << 20) + 77, 4);
    for (named, moods) in [
        (true, vec![Mood::NoRanges]),
        (false, vec![]),
        (false, vec![Mood::NoRanges]),
        (true, vec![Mood::Chunked, Mood::NoRanges]),
        (false, vec![Mood::Chunked, Mood::NoRanges]),
    ] {
        let (origin, scratch) = (Origin::start().await, Scratch::new());
        origin.put_as("/x", content.clone(), &moods);
        if !named {
            origin.change("/x", |resource| resource.etag = None);
        }
        let file = scratch
            .files
            .open(&origin.url("/x"), &Pins::new())
            .await
            .unwrap();
        let mut last = [0; 100];
        file.read_at(content.len() as u64 - 100, &mut last)
            .await
            .unwrap();
        assert!(last == content[content.len() - 100..]);
        assert!(
            read_file(&file).await.unwrap() == content,
            "{named} {moods:?}"
        );
        let wholes = origin
            .log()
            .iter()
            .filter(|asked| !asked.headers.contains_key("range"))
            .count();
        assert!(wholes <= 1, "{named} {moods:?}: {wholes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_files_are_files() {
    for moods in [vec![], vec![Mood::NoRanges]] {
        let (origin, scratch) = (Origin::start().await, Scratch::new());
        origin.put_as("/x", Vec::new(), &moods);
        let file = scratch
            .files
            .open(&origin.url("/x"), &Pins::new())
            .await
            .unwrap();
        assert_eq!(file.len(), 0);
        assert_eq!(read_file(&file).await.unwrap(), b"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_comes_by_head_or_where_that_is_refused_by_a_byte() {
    for (moods, methods) in [
        (vec![], vec!["HEAD"]),
        (vec![Mood::NoHead], vec!["HEAD", "GET"]),
    ] {
        let (origin, scratch) = (Origin::start().await, Scratch::new());
        origin.put_as("/x", random(5000, 5), &moods);
        let (url, pins) = (origin.url("/x"), Pins::new());
        for _ in 0..3 {
            let metadata = scratch.files.metadata(&url, &pins).await.unwrap();
            assert_eq!((metadata.kind, metadata.size), (Kind::File, Some(5000)));
            assert!(metadata.etag.is_some() && !metadata.stale && !metadata.valid_for.is_zero());
        }
        let asked: Vec<_> = origin.log().into_iter().map(|asked| asked.method).collect();
        assert_eq!(asked, methods);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_there_is_nothing_is_remembered() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    for _ in 0..3 {
        let error = scratch
            .files
            .metadata(&origin.url("/x"), &Pins::new())
            .await
            .unwrap_err();
        assert_eq!(error.status(), Some(404));
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_asked_again_is_asked_with_its_validators() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    origin.put("/x", random(500_000, 6));
    origin.change("/x", |resource| {
        resource
            .headers
            .push(("cache-control", "no-cache".to_owned()))
    });
    let url = origin.url("/x");
    let first = read(&scratch.files, &url, &Pins::new()).await.unwrap();
    let bytes = origin.bytes();
    assert_eq!(
        read(&scratch.files, &url, &Pins::new()).await.unwrap(),
        first
    );
    assert_eq!(origin.bytes(), bytes);
    assert!(
        origin
            .log()
            .last()
            .unwrap()
            .headers
            .contains_key("if-none-match")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_range_is_asked_for_of_one_version() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let date = "Thu, 01 Jan 2026 00:00:00 GMT";
    for path in ["/etag", "/date"] {
        origin.put(path, random(2 << 20, 1));
    }
    origin.change("/date", |resource| {
        (resource.etag, resource.modified) = (Some("W/\"x\"".to_owned()), Some(date.to_owned()));
    });
    origin.change("/etag", |resource| {
        (resource.etag, resource.modified) = (Some("\"x\"".to_owned()), Some(date.to_owned()));
    });
    let by_etag = [("if-match", "\"x\""), ("if-range", "\"x\"")];
    let by_date = [("if-unmodified-since", date), ("if-range", date)];
    for (path, wanted) in [("/etag", by_etag), ("/date", by_date)] {
        let file = scratch.files.open(&origin.url(path), &Pins::new()).await;
        let file = file.unwrap();
        file.read_at(1_500_000, &mut [0; 1000]).await.unwrap();
        let log = origin.log();
        let mut ranges = log.iter().filter(|logged| logged.path == path);
        let first = &ranges.next().unwrap().headers;
        let conditions = ["if-match", "if-unmodified-since", "if-range"];
        let of = |headers: &HashMap<String, String>| {
            let said = conditions.into_iter().filter_map(|name| {
                let value = headers.get(name)?;
                Some((name, value.clone()))
            });
            said.collect::<Vec<_>>()
        };
        assert_eq!(of(first), [], "no version is known yet");
        let mut later = 0;
        for range in ranges {
            assert!(range.headers.contains_key("range"));
            let wanted = wanted.map(|(name, value)| (name, value.to_owned()));
            assert_eq!(of(&range.headers), wanted, "{path}");
            later += 1;
        }
        assert!(later > 0, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_an_encoding_that_nobody_asked_for_is_no_content() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    for (path, said, is_refused) in [
        ("/x.txt", "gzip", true),
        ("/x.txt.gz", "x-gzip", false),
        ("/y.txt", "aws-chunked", false),
    ] {
        origin.put(path, random(1000, 1));
        origin.change(path, |resource| {
            let encoded = ("content-encoding", said.to_owned());
            resource.headers.push(encoded);
        });
        let (url, pins) = (origin.url(path), Pins::new());
        let read = read(&scratch.files, &url, &pins).await;
        if is_refused {
            let error = read.unwrap_err();
            assert!(error.to_string().contains("encoding gzip"), "{error}");
            let error = scratch.files.metadata(&url, &pins).await.unwrap_err();
            assert!(matches!(error, UrlError::Broken { .. }), "{error:?}");
        } else {
            assert!(read.unwrap() == random(1000, 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_to_their_host_and_not_to_where_it_redirects() {
    let (origin, other) = (Origin::start().await, Origin::start().await);
    other.put("/there", b"there".to_vec());
    let there = other.url("/there").to_string();
    origin.place(
        "/x",
        Resource {
            moods: vec![Mood::Redirect(there)],
            ..Resource::default()
        },
    );
    let scratch = Scratch::with(|options| {
        let host = origin.address.to_string();
        let secret = Credential::Bearer("secret".to_owned());
        options.credentials.set_also_for_http(host, secret);
    });
    assert_eq!(
        read(&scratch.files, &origin.url("/x"), &Pins::new())
            .await
            .unwrap(),
        b"there"
    );
    assert_eq!(origin.log()[0].headers["authorization"], "Bearer secret");
    assert!(!other.log()[0].headers.contains_key("authorization"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_trusted_makes_an_origin_known() {
    let (origin, certificate) = Origin::start_tls("localhost").await;
    origin.put("/x", b"hello".to_vec());
    let url = url::Url::parse(&format!("https://localhost:{}/x", origin.address.port())).unwrap();
    let trusting = Scratch::with(|options| options.authorities_pem = certificate);
    assert_eq!(
        read(&trusting.files, &url, &Pins::new()).await.unwrap(),
        b"hello"
    );
    let error = crate::support::error_of(&Scratch::new().files, &url).await;
    assert!(
        matches!(error, atlas_fs::url::UrlError::Tls { .. }),
        "{error:?}"
    );
    // Its own words stand in the cause.
    assert!(std::error::Error::source(&error).is_some());
}
