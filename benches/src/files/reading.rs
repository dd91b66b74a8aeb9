//! Reading large files: when they are stored, and for the first time.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::figures::{Found, Metric};
use super::mount::{Mount, Who};
use super::origin::Origin;
use crate::options::Size;
use crate::sample::median;

/// A file that is stored as a whole, with and without passthrough, against the same file on disk, all in memory.
///
/// # Errors
/// If something cannot be read.
pub fn warm(reps: u32, size: Size) -> Result<Found> {
    let bytes = size.pick(1 << 30, 16 << 20);
    let origin = Origin::start()?;
    let native = origin.large("large", bytes)?;
    let passed = Mount::start(Who::Atlas, &origin)?;
    let copied = Mount::start(Who::AtlasCopies, &origin)?;
    let paths = [native, passed.at("large"), copied.at("large")];
    for path in &paths {
        dd(path)?;
        dd(path)?;
    }
    let (mut sequential, mut random) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
    for turn in 0..reps as usize {
        for place in 0..paths.len() {
            let place = (place + turn) % paths.len();
            sequential[place].push(dd(&paths[place])?);
            random[place].push(random_reads(&paths[place], bytes, size.pick(50_000, 500))?);
        }
    }
    let sequential: Vec<_> = sequential.into_iter().map(median).collect();
    let random: Vec<_> = random.into_iter().map(median).collect();
    let gigabytes = |seconds: f64| bytes as f64 / seconds / 1e9;
    Ok(Found {
        figures: vec![
            (Metric::SeqVsNative, sequential[0] / sequential[1]),
            (Metric::SeqCopiedVsNative, sequential[0] / sequential[2]),
            (Metric::Rand4kP50VsNative, random[1] / random[0]),
        ],
        notes: vec![
            format!(
                "dd bs=128k: native {:.2} GB/s, passthrough {:.2}, copied {:.2}",
                gigabytes(sequential[0]),
                gigabytes(sequential[1]),
                gigabytes(sequential[2])
            ),
            format!(
                "4 KiB at random, p50: native {:.2} us, passthrough {:.2}, copied {:.2}",
                random[0] * 1e6,
                random[1] * 1e6,
                random[2] * 1e6
            ),
        ],
    })
}

/// A file that nobody has read yet, by each mount, and by `curl` to a file.
///
/// # Errors
/// If something cannot be read.
pub fn cold(reps: u32, size: Size) -> Result<Found> {
    let bytes = size.pick(1 << 30, 16 << 20);
    let origin = Origin::start()?;
    dd(&origin.large("large", bytes)?)?;
    let mut notes = Vec::new();
    let peers = [Who::Rclone, Who::Httpdirfs].into_iter().filter(|who| {
        let is_there = who.is_installed();
        if !is_there {
            notes.push(format!("{who:?} is skipped: it is not installed"));
        }
        is_there
    });
    let whos: Vec<_> = std::iter::once(Who::Atlas).chain(peers).collect();
    let mut times = vec![Vec::new(); whos.len()];
    let mut of_curl = Vec::new();
    for turn in 0..reps {
        of_curl.push(curl(&origin.url("large"))?);
        for (who, times) in whos.iter().zip(&mut times) {
            // It takes half a minute.
            if *who != Who::Httpdirfs || turn == 0 {
                let read = Mount::start(*who, &origin).and_then(|mount| dd(&mount.at("large")));
                match read {
                    Ok(seconds) => times.push(seconds),
                    Err(error) if *who == Who::Atlas => return Err(error),
                    // A peer's trouble is no reason to measure nothing.
                    Err(error) => notes.push(format!("{who:?} is skipped: {error:#}")),
                }
            }
        }
    }
    let curl = median(of_curl);
    let gigabytes = |seconds: f64| bytes as f64 / seconds / 1e9;
    notes.push(format!("curl to a file: {:.2} GB/s", gigabytes(curl)));
    let measured = whos
        .iter()
        .zip(times)
        .filter(|(_, times)| !times.is_empty());
    let measured: Vec<_> = measured.map(|(who, times)| (*who, median(times))).collect();
    for (who, seconds) in &measured {
        notes.push(format!("{who:?}: {:.3} GB/s", gigabytes(*seconds)));
    }
    let took = |wanted| {
        let found = measured.iter().find(|(who, _)| *who == wanted);
        found.map(|(_, seconds)| *seconds)
    };
    let ours = took(Who::Atlas).context("nothing was read")?;
    let mut figures = vec![(Metric::ColdVsCurl, curl / ours)];
    if let Some(rclone) = took(Who::Rclone) {
        figures.push((Metric::ColdVsRclone, rclone / ours));
    }
    Ok(Found { figures, notes })
}

/// Seconds that `dd` takes to read a file.
fn dd(path: &Path) -> Result<f64> {
    let begun = Instant::now();
    let status = Command::new("dd")
        .arg(format!("if={}", path.display()))
        .args(["of=/dev/null", "bs=128k"])
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "dd cannot read {}", path.display());
    Ok(begun.elapsed().as_secs_f64())
}

/// Seconds that `curl` takes to write a file.
fn curl(url: &str) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let begun = Instant::now();
    let status = Command::new("curl")
        .args(["-sf", "-o"])
        .arg(folder.path().join("file"))
        .arg(url)
        .status()?;
    ensure!(status.success(), "curl cannot fetch {url}");
    Ok(begun.elapsed().as_secs_f64())
}

/// The median seconds of a read of 4 KiB at a place that nobody expects.
fn random_reads(path: &Path, bytes: u64, count: usize) -> Result<f64> {
    let file = File::open(path)?;
    let mut buffer = [0; 4096];
    let mut state = 88_172_645_463_325_252_u64;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let offset = state % (bytes / 4096) * 4096;
        let begun = Instant::now();
        file.read_exact_at(&mut buffer, offset)?;
        times.push(begun.elapsed().as_secs_f64());
        black_box(&buffer);
    }
    Ok(median(times))
}
