//! What is kept of files by URL, for people and for programs. As with jobs, fields are only ever added.

use std::time::{SystemTime, UNIX_EPOCH};

use atlas_fs::url::{Figures, Stored, Usage};
use serde::Serialize;

use super::table::{NOTHING, text};
use super::words;

/// A kept file: `cache ls`, and `cache pin`.
#[derive(Debug, Serialize)]
pub struct File {
    url: String,
    etag: Option<String>,
    modified: Option<String>,
    bytes: u64,
    bytes_stored: u64,
    complete: bool,
    pinned: bool,
    used_ms: u64,
}

/// What `cache verify` has found of a file.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// The file.
    #[serde(flatten)]
    pub file: File,
    /// How many of its blocks were not what they had been.
    pub damaged_blocks: u64,
}

/// `cache stat`.
#[derive(Debug, Serialize)]
pub struct Totals {
    folder: String,
    files: usize,
    complete: usize,
    pinned: usize,
    hosts: usize,
    bytes: u64,
    bytes_stored: u64,
    disk_bytes: u64,
    hits: u64,
    misses: u64,
    questions: u64,
    origin_bytes: u64,
    above_bytes: u64,
    passed_through: u64,
}

/// `cache gc`.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// How many versions of files.
    pub files: u64,
    /// On the disk.
    pub bytes: u64,
    /// What is there still.
    pub bytes_left: u64,
}

/// `cache pin --off`.
#[derive(Debug, Serialize)]
pub struct Unpinned<'a> {
    /// Of this file.
    pub url: &'a str,
    /// So many versions were pinned.
    pub versions: u64,
}

impl From<&Stored> for File {
    fn from(stored: &Stored) -> Self {
        Self {
            url: stored.url.to_string(),
            etag: stored.version.etag.clone(),
            modified: stored.version.modified.clone(),
            bytes: stored.bytes,
            bytes_stored: stored.bytes_stored,
            complete: stored.is_complete(),
            pinned: stored.is_pinned,
            used_ms: millis(stored.used),
        }
    }
}

impl Totals {
    /// The sums of these, with what they take of the disk, and of what was asked for and fetched since the cache was made.
    #[must_use]
    pub fn of(stored: &[Stored], usage: Usage, sums: Figures, folder: String) -> Self {
        let mut hosts: Vec<_> = stored.iter().map(|stored| stored.url.authority()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        Self {
            folder,
            files: stored.len(),
            complete: stored.iter().filter(|stored| stored.is_complete()).count(),
            pinned: stored.iter().filter(|stored| stored.is_pinned).count(),
            hosts: hosts.len(),
            bytes: stored.iter().map(|stored| stored.bytes).sum(),
            bytes_stored: stored.iter().map(|stored| stored.bytes_stored).sum(),
            disk_bytes: usage.bytes,
            hits: sums.hits,
            misses: sums.misses,
            questions: sums.questions,
            origin_bytes: sums.origin_bytes,
            above_bytes: sums.above_bytes,
            passed_through: sums.passed_through,
        }
    }

    /// As people read it.
    #[must_use]
    pub fn text(&self) -> String {
        let rows = [
            ("folder", self.folder.clone()),
            ("files", self.files.to_string()),
            ("of them complete", self.complete.to_string()),
            ("of them pinned", self.pinned.to_string()),
            ("hosts", self.hosts.to_string()),
            ("their bytes", words::bytes(self.bytes)),
            ("of them stored", words::bytes(self.bytes_stored)),
            ("on the disk", words::bytes(self.disk_bytes)),
            ("reads from here", self.hits.to_string()),
            ("reads that waited", self.misses.to_string()),
            ("questions", self.questions.to_string()),
            ("from origins", words::bytes(self.origin_bytes)),
            ("from caches above", words::bytes(self.above_bytes)),
            ("read by the kernel", self.passed_through.to_string()),
        ];
        let rows = rows.map(|(what, value)| format!("{what:<19}{value}\n"));
        rows.concat()
    }
}

/// Kept files, in the order given.
#[must_use]
pub fn table(stored: &[Stored]) -> String {
    let head = ["URL", "SIZE", "STORED", "VERSION", "USED", "PINNED"];
    text(&head, stored.iter().map(row), &[1, 2])
}

/// What was found of them.
#[must_use]
pub fn verified(verified: &[(Stored, u64)]) -> String {
    let rows = verified.iter().map(|(stored, damaged)| {
        let found = match damaged {
            0 => "intact".into(),
            damaged => format!("{damaged} damaged"),
        };
        vec![
            words::printable(stored.url.as_str()),
            words::bytes(stored.bytes_stored),
            found,
        ]
    });
    text(&["URL", "STORED", "BLOCKS"], rows, &[1])
}

fn row(stored: &Stored) -> Vec<String> {
    let (etag, modified) = (&stored.version.etag, &stored.version.modified);
    let version = etag.as_ref().or(modified.as_ref());
    let version = version.map_or(NOTHING.into(), |version| {
        words::shortened(&words::printable(version), VERSION_CHARS_MAX)
    });
    let share = match stored.bytes {
        0 => "100%".into(),
        bytes => format!(
            "{}%",
            u128::from(stored.bytes_stored) * 100 / u128::from(bytes)
        ),
    };
    let age = SystemTime::now().duration_since(stored.used);
    let age = std::time::Duration::from_secs(age.unwrap_or_default().as_secs());
    let pinned = if stored.is_pinned { "pinned" } else { NOTHING };
    vec![
        words::printable(stored.url.as_str()),
        words::bytes(stored.bytes),
        share,
        version,
        format!("{} ago", words::age(age)),
        pinned.into(),
    ]
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Dates are as long.
const VERSION_CHARS_MAX: usize = 32;
