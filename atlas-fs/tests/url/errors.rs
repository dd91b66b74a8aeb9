//! What origins do wrong: each has its error, with URL, status and cause, within the stated time.

use std::error::Error;
use std::time::Instant;

use atlas_fs::url::{Pins, Source, UrlError};
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use url::Url;

use crate::origin::{Mood, Origin, Resource};
use crate::support::{PATIENCE, Scratch, error_of, eventually, random, read, read_file};

async fn error_with(moods: &[Mood]) -> (UrlError, usize) {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    origin.put_as("/x", random(1 << 20, 1), moods);
    let error = error_of(&scratch.files, &origin.url("/x")).await;
    (error, origin.requests())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_down_is_unreachable() {
    let mut origin = Origin::start().await;
    let url = origin.url("/x");
    origin.stop().await;
    let scratch = Scratch::new();
    let error = error_of(&scratch.files, &url).await;
    assert!(matches!(error, UrlError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::HOSTUNREACH.raw_os_error());
    assert!(error.source().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_told_and_asked_for_again_only_where_that_may_help() {
    for (status, errno, requests) in [
        (404, Errno::NOENT, 1),
        (410, Errno::NOENT, 1),
        (401, Errno::ACCESS, 1),
        (403, Errno::ACCESS, 1),
        (500, Errno::IO, 3),
        (503, Errno::IO, 3),
    ] {
        let (error, asked) = error_with(&[Mood::Status(status)]).await;
        assert_eq!(error.status(), Some(status));
        assert_eq!(error.errno(), errno.raw_os_error());
        assert_eq!(asked, requests, "{status}");
        assert!(error.to_string().contains(&status.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_that_passes_is_waited_for() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random(1000, 2);
    origin.put_as("/x", content.clone(), &[Mood::StatusTimes(503, 2)]);
    assert_eq!(
        read(&scratch.files, &origin.url("/x"), &Pins::new())
            .await
            .unwrap(),
        content
    );
    assert_eq!(origin.requests(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_asked_for_from_there_on() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random(250_000, 3);
    origin.put_as("/x", content.clone(), &[Mood::TruncateOnce(200_000)]);
    assert!(
        read(&scratch.files, &origin.url("/x"), &Pins::new())
            .await
            .unwrap()
            == content
    );
    let ranges: Vec<_> = origin
        .log()
        .iter()
        .map(|asked| asked.headers["range"].clone())
        .collect();
    assert_eq!(ranges, ["bytes=0-262143", "bytes=196608-249999"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_what_they_say_are_broken() {
    for moods in [
        vec![Mood::Truncate(1000)],
        vec![Mood::TooLong(10)],
        vec![Mood::TooShort(10)],
        vec![Mood::NoRanges, Mood::Truncate(1000)],
        vec![Mood::NoRanges, Mood::Chunked, Mood::Truncate(1000)],
    ] {
        let (error, _) = error_with(&moods).await;
        assert!(
            matches!(error, UrlError::Broken { .. }),
            "{moods:?}: {error:?}"
        );
        assert_eq!(error.errno(), Errno::IO.raw_os_error());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_or_silent_is_not_waited_for() {
    for moods in [
        vec![Mood::Drip(100)],
        vec![Mood::DripHead(100)],
        vec![Mood::NoRanges, Mood::Chunked, Mood::Drip(100)],
        vec![Mood::Late(60_000)],
    ] {
        let (error, _) = error_with(&moods).await;
        assert!(
            matches!(error, UrlError::TimedOut { .. }),
            "{moods:?}: {error:?}"
        );
        assert_eq!(error.errno(), Errno::TIMEDOUT.raw_os_error());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_in_a_circle_is_not_followed_for_ever() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let url = origin.url("/x");
    origin.place(
        "/x",
        Resource {
            moods: vec![Mood::Redirect(url.to_string())],
            ..Resource::default()
        },
    );
    let error = error_of(&scratch.files, &url).await;
    assert!(matches!(error, UrlError::Redirects { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::LOOP.raw_os_error());
    assert!(origin.requests() < 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_from_an_encrypted_connection_to_an_open_one_is_not_followed() {
    let (origin, certificate) = Origin::start_tls("localhost").await;
    let other = Origin::start().await;
    other.put("/x", b"for all to see".to_vec());
    origin.put_as(
        "/x",
        Vec::new(),
        &[Mood::Redirect(other.url("/x").to_string())],
    );
    let url = format!("https://localhost:{}/x", origin.address.port());
    let scratch = Scratch::with(|options| options.authorities_pem = certificate);
    let error = error_of(&scratch.files, &Url::parse(&url).unwrap()).await;
    assert!(matches!(error, UrlError::Redirects { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::LOOP.raw_os_error());
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    assert!(
        causes
            .iter()
            .any(|cause| cause.contains("from https to http")),
        "{causes:?}"
    );
    assert_eq!((origin.requests(), other.requests()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_in_the_middle_of_a_read_is_waited_for_or_told_and_the_read_goes_on_after_it() {
    const RANGE: usize = 256 << 10;
    let content = random(8 * RANGE, 4);
    for passes in [true, false] {
        let origin = Origin::start().await;
        let scratch = Scratch::with(|options| {
            options.range_bytes_max = RANGE as u64;
            options.read_ahead_bytes_max = 0;
        });
        origin.put("/x", content.clone());
        let url = origin.url("/x");
        let file = scratch.files.open(&url, &Pins::new()).await.unwrap();
        let mut begin = vec![0; 1000];
        file.read_at(0, &mut begin).await.unwrap();
        assert!(begin == content[..1000]);
        let before = origin.requests();
        origin.change("/x", |resource| resource.moods = vec![Mood::Status(503)]);
        let at = 4 * RANGE as u64;
        if passes {
            let reading = tokio::spawn({
                let file = file.clone();
                async move {
                    let mut piece = vec![0; 1000];
                    file.read_at(at, &mut piece).await.map(|_| piece)
                }
            });
            eventually("it is asked in the storm", || origin.requests() > before).await;
            origin.change("/x", |resource| resource.moods.clear());
            assert!(reading.await.unwrap().unwrap() == content[4 * RANGE..][..1000]);
        } else {
            let begun = Instant::now();
            let error = file.read_at(at, &mut begin).await.unwrap_err();
            assert!(begun.elapsed() < 2 * PATIENCE, "{:?}", begun.elapsed());
            assert_eq!(error.status(), Some(503));
            assert_eq!(error.errno(), Errno::IO.raw_os_error());
            origin.change("/x", |resource| resource.moods.clear());
        }
        // Whoever has it open goes on.
        assert!(read_file(&file).await.unwrap() == content, "{passes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_does_not_prove_who_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}/x", listener.local_addr().unwrap())).unwrap();
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 So\r\n\r\n").await.unwrap();
        }
    });
    let error = error_of(&Scratch::new().files, &url).await;
    answering.abort();
    assert!(matches!(error, UrlError::Tls { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::PROTO.raw_os_error());
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_not_opened_and_files_are_not_listed() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let pins = Pins::new();
    let error = scratch
        .files
        .open(&origin.url("/folder/"), &pins)
        .await
        .unwrap_err();
    assert_eq!(error.errno(), Errno::ISDIR.raw_os_error());
    let error = scratch
        .files
        .list(&origin.url("/file"), &pins)
        .await
        .unwrap_err();
    assert_eq!(error.errno(), Errno::NOTDIR.raw_os_error());
    assert_eq!(origin.requests(), 0);
}
