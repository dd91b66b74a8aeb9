//! A cache under more than it may hold: four mounts share it, and each reads ten times its quota.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::figures::{Found, Metric};
use super::mount::Mount;
use super::origin::Origin;
use crate::options::Size;

/// What one mount has seen.
struct Scanned {
    errors: usize,
    descriptors_more: usize,
}

/// How far the cache goes beyond its quota, what fails, and what is left open.
///
/// # Errors
/// If nothing can be mounted or looked at.
pub fn scan(size: Size) -> Result<Found> {
    let quota: u64 = size.pick(1 << 30, 16 << 20);
    let (file_bytes, names) = (quota / 8, 80);
    let origin = Origin::start()?;
    let large = origin.large("large", file_bytes)?;
    origin.names(&large, names)?;
    let content = blake3::hash(&fs::read(&large)?);
    let folder = tempfile::tempdir()?;
    let mounts = (0..MOUNTS)
        .map(|_| Mount::start_sharing(&origin, folder.path(), quota))
        .collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    let done = AtomicBool::new(false);
    let (scanned, most) = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Acquire) {
                most = most.max(held(folder.path()));
                thread::sleep(Duration::from_millis(10));
            }
            most
        });
        let scans = mounts
            .iter()
            .map(|mount| scope.spawn(|| read_all(mount, names, content)));
        let scans: Vec<_> = scans.collect();
        let scanned: Vec<_> = scans
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        // Pairs with the load of who watches.
        done.store(true, Ordering::Release);
        (scanned, watching.join())
    });
    let gone = |_| anyhow!("a thread of the benchmark has panicked");
    let most = most.map_err(gone)?;
    let scanned = scanned.into_iter().map(|scanned| scanned.map_err(gone)?);
    let scanned = scanned.collect::<Result<Vec<_>>>()?;
    let seconds = begun.elapsed().as_secs_f64();
    let read = MOUNTS as u64 * names as u64 * file_bytes;
    let errors: usize = scanned.iter().map(|scanned| scanned.errors).sum();
    let leaked = scanned.iter().map(|scanned| scanned.descriptors_more).max();
    let above = most.saturating_sub(quota) as f64 / file_bytes as f64;
    Ok(Found {
        figures: vec![
            (Metric::FilesAboveQuota, above),
            (Metric::ScanErrors, errors as f64),
            (Metric::DescriptorsLeaked, leaked.unwrap_or_default() as f64),
        ],
        notes: vec![format!(
            "{MOUNTS} mounts read {:.1} GiB each in {seconds:.1} s, {:.2} GB/s together; the cache of {:.3} GiB held {:.3} GiB at most",
            (names as u64 * file_bytes) as f64 / GIB,
            read as f64 / seconds / 1e9,
            quota as f64 / GIB,
            most as f64 / GIB
        )],
    })
}

/// Reads all files from their beginning to their end, and compares.
fn read_all(mount: &Mount, names: usize, content: blake3::Hash) -> Result<Scanned> {
    let (mut errors, mut in_the_middle) = (0, 0);
    for name in 0..names {
        if name == names / 2 {
            in_the_middle = mount.descriptors()?;
        }
        let read = hash(&mount.at(&name.to_string()));
        errors += usize::from(read.ok() != Some(content));
    }
    Ok(Scanned {
        errors,
        descriptors_more: mount.descriptors()?.saturating_sub(in_the_middle),
    })
}

fn hash(path: &Path) -> Result<blake3::Hash> {
    let (mut file, mut hasher) = (File::open(path)?, blake3::Hasher::new());
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            came => hasher.update(&buffer[..came]),
        };
    }
}

/// Bytes on the disk of all that is in a cache.
fn held(folder: &Path) -> u64 {
    let parts = ["files", "heads"].map(|part| fs::read_dir(folder.join(part)));
    let entries = parts.into_iter().flatten().flatten().flatten();
    // What goes while it is counted is gone.
    let held = entries.filter_map(|entry| Some(entry.metadata().ok()?.blocks() * 512));
    held.sum()
}

const MOUNTS: usize = 4;
const GIB: f64 = (1_u64 << 30) as f64;
