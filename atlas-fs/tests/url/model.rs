//! Random reads of random files from origins of every temper, against the bytes themselves.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use atlas_fs::url::{Files, Pins, Source, UrlError, UrlFile};
use proptest::prelude::*;
use tokio::runtime::Runtime;
use url::Url;

use crate::origin::{Mood, Origin};
use crate::support::{Scratch, random};

#[derive(Clone, Debug)]
enum Step {
    /// Reads so many bytes from there, perhaps beyond the end.
    Read(usize, usize),
    /// Opens it again, as another process.
    Reopen,
    /// Writes into the stored file, as by hand, and opens it again.
    Spoil(usize),
    /// Makes room, which what is open is not concerned by.
    Shrink,
}

fn step(length: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..length + 100, 0usize..300_000).prop_map(|(at, bytes)| Step::Read(at, bytes)),
        1 => Just(Step::Reopen),
        1 => (0..length).prop_map(Step::Spoil),
        1 => Just(Step::Shrink),
    ]
}

fn temper() -> impl Strategy<Value = Vec<Mood>> {
    prop_oneof![
        Just(vec![]),
        Just(vec![Mood::NoRanges]),
        Just(vec![Mood::NoConditions]),
        Just(vec![Mood::NoHead, Mood::Chunked]),
        Just(vec![Mood::NoRanges, Mood::Chunked]),
        (0usize..500_000).prop_map(|after| vec![Mood::TruncateOnce(after)]),
        (0usize..500_000).prop_map(|after| vec![Mood::NoRanges, Mood::TruncateOnce(after)]),
        Just(vec![Mood::StatusTimes(503, 1)]),
    ]
}

/// From none at all to more than any of the files.
fn quota() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(1)),
        1 => Just(Some(300_000)),
        1 => Just(Some(8 << 20)),
    ]
}

#[derive(Clone, Debug)]
struct Story {
    length: usize,
    moods: Vec<Mood>,
    /// Whether versions are told apart by their date alone.
    dated: bool,
    quota: Option<u64>,
    /// Whether HEAD goes before the first GET, so that nothing tells whether there are ranges.
    asked_before: bool,
    steps: Vec<Step>,
}

fn story() -> impl Strategy<Value = Story> {
    (1usize..2_000_000).prop_flat_map(|length| {
        let steps = prop::collection::vec(step(length), 1..20);
        let told = (any::<bool>(), quota(), any::<bool>());
        (Just(length), temper(), told, steps).prop_map(|(length, moods, told, steps)| {
            let (dated, quota, asked_before) = told;
            Story {
                length,
                moods,
                dated,
                quota,
                asked_before,
                steps,
            }
        })
    })
}

impl Story {
    /// Of a file that comes in one piece, does not fit, and is as long as nobody knows.
    fn may_have_no_room(&self) -> bool {
        let wanted = [Mood::NoRanges, Mood::Chunked];
        self.quota.is_some() && wanted.iter().all(|mood| self.moods.contains(mood))
    }

    /// Nothing if there is no room, and need be none.
    fn granted<T>(&self, done: Result<T, UrlError>) -> Option<T> {
        match done {
            Err(UrlError::NoRoom { .. }) if self.may_have_no_room() => None,
            done => Some(done.unwrap()),
        }
    }

    async fn open(&self, files: &Files, url: &Url) -> Option<Arc<UrlFile>> {
        let pins = Pins::new();
        if self.asked_before {
            files.metadata(url, &pins).await.unwrap();
        }
        self.granted(files.open(url, &pins).await)
    }
}

async fn play(story: &Story) {
    let length = story.length;
    let origin = Origin::start().await;
    let scratch = Scratch::with(|options| options.quota = story.quota);
    let again = || scratch.again_with(|options| options.quota = story.quota);
    let content = random(length, 1);
    origin.put_as("/x", content.clone(), &story.moods);
    if story.dated {
        let date = "Thu, 01 Jan 2026 00:00:00 GMT";
        origin.change("/x", |resource| {
            (resource.etag, resource.modified) = (None, Some(date.to_owned()));
        });
    }
    let url = origin.url("/x");
    let mut files = scratch.files.clone();
    let mut file = story.open(&files, &url).await;
    for step in &story.steps {
        match step {
            Step::Read(at, bytes) => {
                let Some(file) = &file else {
                    continue;
                };
                let mut buffer = vec![0; *bytes];
                let read = file.read_at(*at as u64, &mut buffer).await;
                let Some(read) = story.granted(read) else {
                    continue;
                };
                let wanted = &content[length.min(*at)..length.min(at + bytes)];
                assert!(&buffer[..read] == wanted, "{bytes} bytes at {at}");
            }
            Step::Reopen => {
                files = again();
                file = story.open(&files, &url).await;
            }
            Step::Spoil(at) => {
                for entry in std::fs::read_dir(scratch.folder.path().join("files")).unwrap() {
                    let path = entry.unwrap().path();
                    if path
                        .extension()
                        .is_some_and(|extension| extension == "data")
                    {
                        let data = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                        data.write_all_at(b"!", *at as u64).unwrap();
                    }
                }
                files = again();
                file = story.open(&files, &url).await;
            }
            Step::Shrink => drop(files.shrink_to(0).unwrap()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_time: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn all_that_is_read_is_what_the_origin_has(story in story()) {
        Runtime::new().unwrap().block_on(play(&story));
    }
}
