//! One file that eight servers read at the same time, four in each of two domains below a third: what its origin sends, and what the
//! managers hold.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use atlas_testbed::{Cluster, Manager, Shell, program};

use super::figures::{Found, Metric};
use super::origin::Origin;
use crate::cluster::process::memory;
use crate::options::Size;
use crate::sample::median;

/// What is found of a file in a tree of domains, which is another one each time.
///
/// # Errors
/// If the cluster does not come to be, or the job fails.
pub fn tree(reps: u32, size: Size) -> Result<Found> {
    let bytes = size.pick(100 << 20, 4 << 20);
    let (mut ratios, mut peaks, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..reps {
        let once = once(bytes)?;
        ratios.push(once.ratio);
        peaks.push(once.peak_mb);
        seconds.push(once.seconds);
    }
    Ok(Found {
        figures: vec![
            (Metric::OriginBytesRatio, median(ratios)),
            (Metric::ManagerPeakMb, median(peaks)),
        ],
        notes: vec![format!(
            "{SERVERS} servers in two domains read {:.0} MB each; the job took {:.2} s",
            bytes as f64 / 1e6,
            median(seconds)
        )],
    })
}

struct Once {
    ratio: f64,
    peak_mb: f64,
    seconds: f64,
}

fn once(bytes: u64) -> Result<Once> {
    let origin = Origin::start()?;
    origin.large("large", bytes)?;
    let cluster = Cluster::new();
    let root = cluster.root("bench.example");
    let below = ["a.bench.example", "b.bench.example"].map(|name| cluster.below(&root, name));
    let _servers: Vec<_> = below
        .iter()
        .flat_map(|manager| cluster.servers(manager, SERVERS / 2))
        .collect();
    root.wait_for_workers(SERVERS);
    let shell = cluster.login(&below[0]);
    let begun = std::time::Instant::now();
    read(&shell, &origin.url("large"), bytes)?;
    let seconds = begun.elapsed().as_secs_f64();
    let sent = origin.bytes_sent("GET /large")?;
    let managers = below.iter().chain([&root]);
    let peaks: Result<Vec<f64>> = managers.map(peak_mb).collect();
    Ok(Once {
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
        ratio: sent as f64 / bytes as f64,
        peak_mb: peaks?.into_iter().fold(0.0, f64::max),
        seconds,
    })
}

fn peak_mb(manager: &Manager) -> Result<f64> {
    Ok(memory(manager.pid())?.peak)
}

/// Has all servers read it, each when all are ready to.
fn read(shell: &Shell, url: &str, bytes: u64) -> Result<()> {
    let meeting = shell.here().join("meeting");
    fs::create_dir(&meeting)?;
    let meeting = meeting.to_str().context("a folder's name is no text")?;
    let servers = SERVERS.to_string();
    let line = ["fetch-afar", servers.as_str(), meeting, url];
    let output = shell.submit(program("testbed-job"), line);
    let (said, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "{error}");
    let expected = format!("{bytes} bytes, ");
    ensure!(said.starts_with(&expected), "the job has seen `{said}`");
    let all = format!("\n{SERVERS} processes\n");
    ensure!(said.ends_with(&all), "some have not read: `{said}`");
    Ok(())
}

const SERVERS: u64 = 8;
