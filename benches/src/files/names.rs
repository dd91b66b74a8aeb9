//! Folders and names: `find` over many small files, `stat`, and names that are missing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::figures::{Found, Metric};
use super::mount::{Mount, Who};
use super::origin::Origin;
use crate::options::Size;
use crate::sample::median;

/// What is found of names, against the same on disk.
///
/// # Errors
/// If something cannot be read.
pub fn names(reps: u32, size: Size) -> Result<Found> {
    let count = size.pick(10_000, 200);
    let origin = Origin::start()?;
    let native = origin.small("many", count)?;
    let mut notes = Vec::new();
    // Native cold, native warm, ours cold, ours warm.
    let mut finds = vec![Vec::new(); 4];
    let mut mount = Mount::start(Who::Atlas, &origin)?;
    for turn in 0..reps {
        if turn > 0 {
            mount = Mount::start(Who::Atlas, &origin)?;
        }
        forget_names();
        let ours = mount.at("many");
        for (place, path) in [(0, &native), (2, &ours)] {
            finds[place].push(find(path, count)?);
            finds[place + 1].push(find(path, count)?);
        }
    }
    // That the folder is there was asked before; the listing is one request, and there is to be none for a file.
    let requests = origin.requests("GET /many/")? + origin.requests("HEAD /many/file")?;
    let names = ["file-00077", "missing"];
    let mut stats = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for _ in 0..reps {
        for (place, folder) in [native.clone(), mount.at("many")].iter().enumerate() {
            for (name, stats) in names.iter().zip(&mut stats[place]) {
                stats.push(stat(&folder.join(name), size.pick(20_000, 200)));
            }
        }
    }
    for who in [Who::Rclone, Who::Httpdirfs] {
        if !who.is_installed() {
            notes.push(format!("{who:?} is skipped: it is not installed"));
        } else {
            let mount = Mount::start(who, &origin)?;
            let path = mount.at("many");
            let times = find(&path, count).and_then(|first| Ok([first, find(&path, count)?]));
            notes.push(match times {
                Ok(times) => format!("{who:?}: find {times:.3?} s"),
                // Some do not find all there is.
                Err(error) => format!("{who:?} is not timed: {error}"),
            });
        }
    }
    let finds: Vec<_> = finds.into_iter().map(median).collect();
    let [native, ours] = stats.map(|of| of.map(median));
    notes.push(format!(
        "find: native {:.1} ms cold, {:.1} warm; ours {:.1} cold, {:.1} warm",
        finds[0] * 1e3,
        finds[1] * 1e3,
        finds[2] * 1e3,
        finds[3] * 1e3
    ));
    notes.push(format!(
        "stat: native {:.2} us, ours {:.2}; of a missing name {:.2} and {:.2}",
        native[0] * 1e6,
        ours[0] * 1e6,
        native[1] * 1e6,
        ours[1] * 1e6
    ));
    Ok(Found {
        figures: vec![
            (Metric::FindColdVsNative, finds[2] / finds[0]),
            (Metric::FindWarmVsNative, finds[3] / finds[1]),
            (
                Metric::FindRequestsPerFolder,
                requests as f64 / f64::from(reps),
            ),
            (Metric::StatVsNative, ours[0] / native[0]),
            (Metric::NegativeVsNative, ours[1] / native[1]),
        ],
        notes,
    })
}

/// Seconds that `find` takes to tell all sizes.
fn find(folder: &Path, count: usize) -> Result<f64> {
    let begun = Instant::now();
    let output = Command::new("find")
        .arg(folder)
        .args(["-type", "f", "-printf", "%s\n"])
        .output()?;
    let seconds = begun.elapsed().as_secs_f64();
    let found = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    ensure!(
        output.status.success() && found == count,
        "{found} of {count} files are found"
    );
    Ok(seconds)
}

/// The median seconds of `stat`, after a first one.
fn stat(path: &Path, count: usize) -> f64 {
    let _ = fs::metadata(path);
    let times = (0..count).map(|_| {
        let begun = Instant::now();
        let _ = std::hint::black_box(fs::metadata(path));
        begun.elapsed().as_secs_f64()
    });
    median(times.collect())
}

/// Lets the kernel forget the names that it knows, if it lets us.
fn forget_names() {
    let _ = fs::write("/proc/sys/vm/drop_caches", "2");
}
