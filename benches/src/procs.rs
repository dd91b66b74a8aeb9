//! What a process used: CPU time and memory.
//!
//! Memory is measured in a child, which runs one case once: a peak never falls
//! again, so one process has only one to report.

use std::env;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cpu_time::ProcessTime;

use crate::options::Size;
use crate::report::{Bench, Case, name};

/// A stretch of elapsed time and the CPU time that all threads of this process
/// used in it.
pub struct CpuMeter {
    wall: Instant,
    cpu: ProcessTime,
}

impl CpuMeter {
    /// Starts to measure.
    #[must_use]
    pub fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu: ProcessTime::now(),
        }
    }

    /// CPU time over elapsed time since the start: how many cores were busy.
    #[must_use]
    pub fn cores_used(&self) -> f64 {
        let (cpu, wall) = (self.cpu.elapsed(), self.wall.elapsed());
        cpu.as_secs_f64() / wall.max(Duration::from_nanos(1)).as_secs_f64()
    }
}

/// The largest resident set that this process has had so far, in MB.
///
/// # Errors
/// If the kernel does not say.
pub fn own_peak_rss_mb() -> Result<f64> {
    let status = fs::read_to_string(STATUS).context(STATUS)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: f64 = kib
        .with_context(|| format!("{STATUS} has no VmHWM"))?
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// The largest resident set, in MB, of a child that runs this case once.
///
/// # Errors
/// If the child cannot be started or fails.
pub fn child_peak_rss_mb(bench: Bench, case: Case, size: Size) -> Result<f64> {
    let program = env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(&program);
    command.args(["--only", &name(bench), "--peak-rss-of", &name(case)]);
    command.args(size.pick(None, Some("--quick")));
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} {}, measured in a child, failed with {}:\n{}",
        name(bench),
        name(case),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8_lossy(&output.stdout);
    printed
        .trim()
        .parse()
        .with_context(|| format!("the child printed {printed:?}"))
}

/// This machine and this build in one line: what figures must not be quoted without.
#[must_use]
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split_once(": "))
        .map_or(env::consts::ARCH, |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load
        .split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned();
    let build = if cfg!(debug_assertions) {
        ", UNOPTIMISED"
    } else {
        ""
    };
    format!(
        "{cores} x {model}, {} {}, {}, code {}{build}, load {load}",
        env::consts::OS,
        kernel.trim(),
        env!("BENCH_RUSTC"),
        env!("BENCH_ALIGNMENT"),
    )
}

const STATUS: &str = "/proc/self/status";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_rss_sees_touched_memory() {
        let before = own_peak_rss_mb().unwrap();
        assert!(before > 0.1, "{before}");
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(
            own_peak_rss_mb().unwrap() >= before.max(60.0),
            "{}",
            block.len()
        );
    }

    #[test]
    fn one_busy_thread_uses_cpu_time() {
        let meter = CpuMeter::start();
        crate::spin::busy_wait(Duration::from_millis(20));
        assert!(meter.cores_used() > 0.0);
    }
}
