//! Random reads of random files from origins of every temper, against the bytes themselves.

use std::os::unix::fs::FileExt;

use atlas_fs::url::{Pins, Source};
use proptest::prelude::*;
use tokio::runtime::Runtime;

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

fn story() -> impl Strategy<Value = (usize, Vec<Mood>, bool, Vec<Step>)> {
    (1usize..2_000_000).prop_flat_map(|length| {
        let steps = prop::collection::vec(step(length), 1..20);
        (Just(length), temper(), any::<bool>(), steps)
    })
}

async fn play(length: usize, moods: &[Mood], dated: bool, steps: &[Step]) {
    let (origin, scratch) = (Origin::start().await, Scratch::new());
    let content = random(length, 1);
    origin.put_as("/x", content.clone(), moods);
    if dated {
        let date = "Thu, 01 Jan 2026 00:00:00 GMT";
        origin.change("/x", |resource| {
            (resource.etag, resource.modified) = (None, Some(date.to_owned()));
        });
    }
    let (url, pins) = (origin.url("/x"), Pins::new());
    let mut files = scratch.files.clone();
    let mut file = files.open(&url, &pins).await.unwrap();
    for step in steps {
        match step {
            Step::Read(at, bytes) => {
                let mut buffer = vec![0; *bytes];
                let read = file.read_at(*at as u64, &mut buffer).await.unwrap();
                let wanted = &content[length.min(*at)..length.min(at + bytes)];
                assert!(&buffer[..read] == wanted, "{bytes} bytes at {at}");
            }
            Step::Reopen => {
                files = scratch.again();
                file = files.open(&url, &pins).await.unwrap();
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
                files = scratch.again();
                file = files.open(&url, &pins).await.unwrap();
            }
            Step::Shrink => drop(files.shrink_to(0).unwrap()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_time: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn all_that_is_read_is_what_the_origin_has((length, moods, dated, steps) in story()) {
        Runtime::new().unwrap().block_on(play(length, &moods, dated, &steps));
    }
}
