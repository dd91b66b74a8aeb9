//! Caches that ask one another: what an origin is asked by a tree of them, and what becomes of readers when one of them fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atlas_fs::url::above::{Above, Reaching, Way};
use atlas_fs::url::{Credential, Files, Pins, Source, UrlError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, duplex, split};
use url::Url;

use crate::origin::{Mood, Origin};
use crate::support::{Scratch, random, read, read_file};

/// The way to another store of this process.
#[derive(Debug, Default)]
struct Beside {
    files: Mutex<Option<Files>>,
    reached: AtomicUsize,
    /// Ways break after so many bytes of an answer; zero for those that do not.
    breaks_after: AtomicUsize,
}

impl Beside {
    fn of(files: &Files) -> Arc<Self> {
        let this = Self::default();
        *this.files.lock().unwrap() = Some(files.clone());
        Arc::new(this)
    }

    /// From now on nobody is there.
    fn end(&self) {
        *self.files.lock().unwrap() = None;
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::Relaxed)
    }
}

impl Above for Beside {
    fn reach(&self) -> Reaching<'_> {
        let files = self.files.lock().unwrap().clone();
        let limit = self.breaks_after.load(Ordering::Relaxed);
        Box::pin(async move {
            let files = files?;
            self.reached.fetch_add(1, Ordering::Relaxed);
            let (near, far) = duplex(64 << 10);
            let [(reader, writer), (far_reader, far_writer)] = [near, far].map(split);
            tokio::spawn(async move { files.answer(Way::new(far_reader, far_writer)).await });
            Some(match limit {
                0 => Way::new(reader, writer),
                limit => Way::new(Box::pin(reader.take(limit as u64)), writer),
            })
        })
    }
}

fn below(above: &Arc<Beside>) -> Scratch {
    let above = above.clone();
    Scratch::with(|options| {
        options.above = Some(above);
        // Whoever is above says every two seconds that it is there.
        options.timeouts.idle = Duration::from_secs(10);
    })
}

/// Reads it in so many stores at the same time.
async fn read_all(scratches: &[Scratch], url: &Url) -> Vec<Vec<u8>> {
    let reads = scratches.iter().map(|scratch| {
        let (files, url) = (scratch.files.clone(), url.clone());
        tokio::spawn(async move { read(&files, &url, &Pins::new()).await.unwrap() })
    });
    let mut all = Vec::new();
    for read in reads.collect::<Vec<_>>() {
        all.push(read.await.unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_sends_a_file_once_to_a_tree_of_stores() {
    let (origin, top) = (Origin::start().await, Scratch::new());
    let content = random(20_000_003, 1);
    origin.put("/x", content.clone());
    let above = Beside::of(&top.files);
    let middle = [below(&above), below(&above)];
    let lowest: Vec<_> = middle
        .iter()
        .flat_map(|middle| {
            let above = Beside::of(&middle.files);
            (0..4).map(move |_| below(&above))
        })
        .collect();
    for all in [1, 2] {
        for read in read_all(&lowest, &origin.url("/x")).await {
            assert!(read == content, "other bytes in turn {all}");
        }
    }
    assert_eq!(origin.bytes(), content.len());
    let bytes = content.len() as u64;
    assert_eq!(top.files.figures().origin_bytes, bytes);
    for scratch in middle.iter().chain(&lowest) {
        let figures = scratch.files.figures();
        assert_eq!((figures.origin_bytes, figures.above_bytes), (0, bytes));
    }
    let given: u64 = top.files.figures().stored_bytes;
    assert!(given <= 2 * bytes, "{given}");
    // Here and there, too.
    let (url, pins) = (origin.url("/x"), Pins::new());
    let file = lowest[0].files.open(&url, &pins).await.unwrap();
    let mut some = vec![0; 1000];
    file.read_at(12_345_678, &mut some).await.unwrap();
    assert!(some == content[12_345_678..][..1000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_and_empty_files_missing_names_and_folders_are_asked_for_once() {
    let (origin, top) = (Origin::start().await, Scratch::new());
    origin.put("/small", b"hello".to_vec());
    origin.put("/empty", Vec::new());
    origin.put("/folder/", b"a\nb\n".to_vec());
    let above = Beside::of(&top.files);
    let scratches = [below(&above), below(&above), below(&above)];
    for scratch in &scratches {
        let (files, pins) = (&scratch.files, Pins::new());
        let [small, empty, folder, none] =
            ["/small", "/empty", "/folder/", "/none"].map(|path| origin.url(path));
        let metadata = files.metadata(&small, &pins).await.unwrap();
        assert_eq!(metadata.size, Some(5));
        assert_eq!(read(files, &small, &pins).await.unwrap(), b"hello");
        assert_eq!(read(files, &empty, &pins).await.unwrap(), b"");
        assert_eq!(files.list(&folder, &pins).await.unwrap().len(), 2);
        for _ in 0..2 {
            let error = files.metadata(&none, &pins).await.unwrap_err();
            assert!(matches!(error, UrlError::NotFound { status: 404, .. }));
        }
    }
    let asked = |path: &str| origin.log().iter().filter(|one| one.path == path).count();
    let all = ["/small", "/empty", "/folder/", "/none"].map(asked);
    // The first of them looked before it read.
    assert_eq!(all, [2, 1, 1, 1], "{:?}", origin.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_above_is_as_old_below() {
    let (origin, top) = (Origin::start().await, Scratch::new());
    origin.put("/x", b"one".to_vec());
    origin.change("/x", |resource| {
        resource
            .headers
            .push(("cache-control", "max-age=2".to_owned()));
    });
    let url = origin.url("/x");
    top.files.metadata(&url, &Pins::new()).await.unwrap();
    let (asked, begun) = (origin.requests(), std::time::Instant::now());
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let scratch = below(&Beside::of(&top.files));
    let metadata = scratch.files.metadata(&url, &Pins::new()).await.unwrap();
    assert_eq!(origin.requests(), asked);
    let left = Duration::from_secs(2).saturating_sub(begun.elapsed());
    assert!(
        metadata.valid_for <= left + Duration::from_millis(200),
        "{:?}",
        metadata.valid_for
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_below_and_no_read_mixes_versions() {
    let (origin, top) = (Origin::start().await, Scratch::new());
    let [one, other] = [random(5_000_000, 1), random(5_000_000, 2)];
    origin.put("/x", one.clone());
    origin.change("/x", |resource| {
        resource
            .headers
            .push(("cache-control", "no-cache".to_owned()));
    });
    let scratch = below(&Beside::of(&top.files));
    let url = origin.url("/x");
    let opened = scratch.files.open(&url, &Pins::new()).await.unwrap();
    let mut piece = vec![0; 1000];
    opened.read_at(0, &mut piece).await.unwrap();
    origin.put("/x", other.clone());
    let fresh = read(&scratch.files, &url, &Pins::new()).await.unwrap();
    assert!(fresh == other);
    match read_file(&opened).await {
        Ok(whole) => assert!(whole == one),
        Err(error) => {
            assert!(matches!(error, UrlError::Changed { .. }), "{error:?}");
            assert!(error.to_string().contains(url.as_str()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_above_and_at_the_origin_is_a_change() {
    let (origin, top) = (Origin::start().await, Scratch::new());
    origin.put("/x", random(5_000_000, 1));
    let scratch = below(&Beside::of(&top.files));
    let url = origin.url("/x");
    let file = scratch.files.open(&url, &Pins::new()).await.unwrap();
    let version = file.version().clone();
    origin.put("/x", random(5_000_000, 2));
    let mut piece = vec![0; 1000];
    // Far behind what was fetched in advance.
    let error = file.read_at(4_900_000, &mut piece).await.unwrap_err();
    assert!(matches!(error, UrlError::Changed { .. }), "{error:?}");
    assert_eq!(error.url(), &url);
    assert_eq!(file.version(), &version);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_asked_when_nobody_is_above_and_reads_go_on() {
    let (origin, top) = (Origin::start().await, Scratch::new());
    let content = random(10_000_000, 1);
    origin.put("/x", content.clone());
    let above = Beside::of(&top.files);
    let scratch = below(&above);
    let file = scratch
        .files
        .open(&origin.url("/x"), &Pins::new())
        .await
        .unwrap();
    let mut piece = vec![0; 1000];
    file.read_at(0, &mut piece).await.unwrap();
    above.end();
    assert!(read_file(&file).await.unwrap() == content);
    let figures = scratch.files.figures();
    assert!(figures.above_bytes > 0, "{figures:?}");
    assert!(figures.origin_bytes > 0, "{figures:?}");
    assert!(
        origin
            .log()
            .iter()
            .any(|asked| asked.headers.contains_key("if-match"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_goes_on_at_the_origin() {
    let (origin, top) = (Origin::start().await, Scratch::new());
    let content = random(3_000_000, 1);
    origin.put("/x", content.clone());
    for after in [1, 3, 40, 1000, 100_000] {
        let above = Beside::of(&top.files);
        above.breaks_after.store(after, Ordering::Relaxed);
        let scratch = below(&above);
        let whole = read(&scratch.files, &origin.url("/x"), &Pins::new())
            .await
            .unwrap();
        assert!(whole == content, "other bytes after {after}");
        assert!(above.reached() > 0);
        assert!(scratch.files.figures().origin_bytes > 0, "{after}");
    }
}

/// Says whatever it likes.
#[derive(Debug)]
struct Liar(Vec<u8>);

impl Above for Liar {
    fn reach(&self) -> Reaching<'_> {
        let said = self.0.clone();
        Box::pin(async move {
            let (near, far) = duplex(64 << 10);
            let (reader, writer) = split(near);
            let (mut far_reader, mut far_writer) = split(far);
            tokio::spawn(async move {
                let _ = far_writer.write_all(&said).await;
                drop(far_writer);
                let _ = hear_all(&mut far_reader).await;
            });
            Some(Way::new(reader, writer))
        })
    }
}

async fn hear_all(reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<usize> {
    reader.read_to_end(&mut Vec::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_from_above_is_no_answer() {
    let origin = Origin::start().await;
    origin.put("/x", b"hello".to_vec());
    let said = [
        Vec::new(),
        vec![0xff; 100],
        vec![0, 0, 0, 0],
        // Pieces of nothing that was asked for, and the end.
        vec![3, 0, 0, 0, 3, 1, 65],
        vec![1, 0, 0, 0, 4],
        vec![3, 0, 0, 0, 2, 0, 5],
    ];
    for said in said {
        let liar = Arc::new(Liar(said.clone()));
        let scratch = Scratch::with(|options| options.above = Some(liar));
        let whole = read(&scratch.files, &origin.url("/x"), &Pins::new()).await;
        assert_eq!(whole.unwrap(), b"hello", "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_could_not_be_asked_for_above_is_told_as_such() {
    let origin = Origin::start().await;
    origin.put("/d/", b"a\nb\n".to_vec());
    origin.change("/d/", |resource| {
        let at_once = ("cache-control", "max-age=0".to_owned());
        resource.headers.push(at_once);
    });
    let top = Scratch::with(|options| options.stale = Duration::from_secs(3600));
    let scratch = below(&Beside::of(&top.files));
    let (folder, pins) = (origin.url("/d/"), Pins::new());
    let listing = scratch.files.list(&folder, &pins).await.unwrap();
    assert_eq!((listing.len(), listing.stale), (2, false));
    origin.change("/d/", |resource| resource.moods = vec![Mood::Status(503)]);
    let listing = scratch.files.list(&folder, &pins).await.unwrap();
    assert_eq!((listing.len(), listing.stale), (2, true));
    origin.change("/d/", |resource| resource.moods.clear());
    let listing = scratch.files.list(&folder, &pins).await.unwrap();
    assert_eq!((listing.len(), listing.stale), (2, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_secret_asks_by_itself() {
    let (origin, top) = (Origin::start().await, Scratch::new());
    origin.put("/x", b"hello".to_vec());
    let above = Beside::of(&top.files);
    let secret = Credential::Bearer("s3cret".to_owned());
    let scratch = Scratch::with(|options| {
        options.above = Some(above.clone());
        let credentials = &mut options.credentials;
        credentials.set_also_for_http("127.0.0.1", secret);
    });
    let whole = read(&scratch.files, &origin.url("/x"), &Pins::new()).await;
    assert_eq!(whole.unwrap(), b"hello");
    assert_eq!(above.reached(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_only_this_one_reaches_is_asked_from_here() {
    let origin = Origin::start().await;
    origin.put("/x", b"hello".to_vec());
    let top = Scratch::new();
    origin.put_as("/denied", b"secret".to_vec(), &[Mood::StatusTimes(403, 1)]);
    let above = Beside::of(&top.files);
    let scratch = below(&above);
    let whole = read(&scratch.files, &origin.url("/denied"), &Pins::new()).await;
    assert_eq!(whole.unwrap(), b"secret");
    let reached = above.reached();
    let whole = read(&scratch.files, &origin.url("/x"), &Pins::new()).await;
    assert_eq!(whole.unwrap(), b"hello");
    assert_eq!(above.reached(), reached, "the host is asked from here");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_down_is_told_as_it_is_above() {
    let (origin, top) = (Origin::start().await, Scratch::new());
    origin.put_as("/x", b"hello".to_vec(), &[Mood::Status(503)]);
    let scratch = below(&Beside::of(&top.files));
    let error = read(&scratch.files, &origin.url("/x"), &Pins::new()).await;
    assert!(matches!(
        error.unwrap_err(),
        UrlError::Status { status: 503, .. }
    ));
    // As often as one asks who has patience.
    assert_eq!(origin.requests(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_long_above_is_waited_for() {
    let origin = Origin::start().await;
    origin.put_as("/x", b"hello".to_vec(), &[Mood::Late(3500)]);
    let patient = |above: Option<Arc<Beside>>| {
        Scratch::with(|options| {
            options.timeouts.answer = Duration::from_secs(10);
            // Longer than the pause between two words that it takes its time.
            options.timeouts.idle = Duration::from_secs(3);
            options.above = above.map(|above| above as Arc<dyn Above>);
        })
    };
    let top = patient(None);
    let scratch = patient(Some(Beside::of(&top.files)));
    let whole = read(&scratch.files, &origin.url("/x"), &Pins::new()).await;
    assert_eq!(whole.unwrap(), b"hello");
    assert_eq!(origin.requests(), 1);
    assert_eq!(scratch.files.figures().origin_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_a_name_for_their_version_are_one_version_to_the_tree() {
    let (origin, top) = (Origin::start().await, Scratch::new());
    let content = random(1_000_000, 1);
    origin.put("/x", content.clone());
    origin.put_as("/chunked", content.clone(), &[Mood::Chunked]);
    for path in ["/x", "/chunked"] {
        origin.change(path, |resource| resource.etag = None);
    }
    let above = Beside::of(&top.files);
    let scratches = [below(&above), below(&above)];
    for path in ["/x", "/chunked"] {
        let url = origin.url(path);
        let mut versions = Vec::new();
        for scratch in &scratches {
            let file = scratch.files.open(&url, &Pins::new()).await.unwrap();
            assert!(read_file(&file).await.unwrap() == content, "{path}");
            versions.push(file.version().clone());
        }
        assert_eq!(versions[0], versions[1], "{path}");
        let asked = origin.log().iter().filter(|one| one.path == path).count();
        // What has no length is asked for once more, from its beginning to its end.
        assert!(asked <= 2, "{asked} for {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_a_length_that_cannot_be_takes_no_memory() {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    origin.put_as(
        "/x",
        b"hello".to_vec(),
        &[Mood::NoRanges, Mood::TooLong(1 << 60)],
    );
    let error = read(&scratch.files, &origin.url("/x"), &Pins::new())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("terabyte"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_below_one_without_room_asks_the_origin() {
    let origin = Origin::start().await;
    let top = Scratch::with(|options| options.quota = Some(100_000));
    let content = random(3_000_000, 1);
    origin.put("/x", content.clone());
    let scratch = below(&Beside::of(&top.files));
    let whole = read(&scratch.files, &origin.url("/x"), &Pins::new()).await;
    assert!(whole.unwrap() == content);
    // In pieces of a useful size.
    assert!(origin.requests() < 20, "{}", origin.requests());
}
