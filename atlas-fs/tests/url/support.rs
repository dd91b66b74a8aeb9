//! Stores and contents for the tests.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlas_fs::url::{Entry, Files, Kind, Options, Pins, Source, Timeouts, UrlError, UrlFile};
use tempfile::TempDir;
use url::Url;

/// Files in a folder of their own.
pub(crate) struct Scratch {
    pub(crate) folder: TempDir,
    pub(crate) files: Files,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path());
        change(&mut options);
        let files = Files::open_store(options, read_lines).unwrap();
        Self { folder, files }
    }

    /// The same store, as another process has it.
    pub(crate) fn again(&self) -> Files {
        self.again_with(|_| {})
    }

    pub(crate) fn again_with(&self, change: impl FnOnce(&mut Options)) -> Files {
        let mut options = options(self.folder.path());
        change(&mut options);
        Files::open_store(options, read_lines).unwrap()
    }
}

/// As little patience as the tests can do with.
pub(crate) fn options(folder: &Path) -> Options {
    let mut options = Options::new(folder);
    options.timeouts = Timeouts {
        connect: Duration::from_millis(1000),
        answer: Duration::from_millis(1000),
        idle: Duration::from_millis(500),
        bytes_per_second_min: 1024,
        attempts_max: 3,
        give_up_after: PATIENCE,
        first_pause: Duration::from_millis(10),
        unwaited: Duration::from_secs(30),
    };
    options
}

/// No read that fails takes longer than this and one attempt.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The whole file, in pieces of an odd length.
pub(crate) async fn read(files: &Files, url: &Url, pins: &Pins) -> Result<Vec<u8>, UrlError> {
    let file = files.open(url, pins).await?;
    read_file(&file).await
}

pub(crate) async fn read_file(file: &Arc<UrlFile>) -> Result<Vec<u8>, UrlError> {
    let mut whole = Vec::new();
    let mut buffer = vec![0; 100_001];
    loop {
        let read = file.read_at(whole.len() as u64, &mut buffer).await?;
        if read == 0 {
            return Ok(whole);
        }
        whole.extend_from_slice(&buffer[..read]);
    }
}

/// The error of reading it all, which comes within the stated time and names the URL.
pub(crate) async fn error_of(files: &Files, url: &Url) -> UrlError {
    let begun = Instant::now();
    let read = read(files, url, &Pins::new()).await;
    let error = read.map(|content| content.len()).unwrap_err();
    assert!(begun.elapsed() < 2 * PATIENCE, "{:?}", begun.elapsed());
    assert!(error.to_string().contains(url.as_str()), "{error}");
    assert_eq!(error.url(), url);
    error
}

/// Bytes that are the same for the same seed.
pub(crate) fn random(bytes: usize, seed: u64) -> Vec<u8> {
    let mut content = vec![0; bytes];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut content);
    content
}

/// A listing that is one name a line.
fn read_lines(
    _: &Url,
    _: Option<&str>,
    bytes: &[u8],
) -> Result<Vec<Entry>, Arc<dyn std::error::Error + Send + Sync>> {
    let text = std::str::from_utf8(bytes).map_err(|error| Arc::new(error) as Arc<_>)?;
    let entries = text.lines().map(|name| Entry {
        name: name.to_owned(),
        kind: Kind::File,
        size: None,
        modified: None,
    });
    Ok(entries.collect())
}

/// Waits for what others bring about.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("still not so: {what}");
}
