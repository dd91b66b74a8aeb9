//! A job of tasks that write down when they begin and end, and by which process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use atlas_testbed::{Running, Shell, program, wait_until};

use crate::cluster::job::{SUBMIT, seconds};

/// What the tasks of a job are.
#[derive(Clone, Copy, Debug)]
pub struct Tasks {
    /// How many.
    pub count: u32,
    /// Processor time of each, in milliseconds.
    pub ms: u64,
    /// What each returns, in bytes.
    pub bytes: usize,
    /// They are split by halves.
    pub halves: bool,
}

/// Such a job, on its way.
#[derive(Debug)]
pub struct Trial {
    tasks: Tasks,
    log: PathBuf,
    job: Running,
}

/// Something that a task said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// `main`, `begin` or `end`.
    pub what: String,
    /// The task.
    pub index: u32,
    /// The process of its engine.
    pub process: u32,
    /// When, in microseconds since 1970.
    pub us: u64,
}

impl Trial {
    /// Submits the job, and returns when one of its tasks has begun.
    ///
    /// # Errors
    /// If a former job's log cannot be removed.
    pub fn begin(shell: &Shell, tasks: Tasks) -> Result<Self> {
        let log = shell.here().join("tasks.log");
        if log.exists() {
            fs::remove_file(&log).context("cannot remove the last job's log")?;
        }
        let Tasks {
            count, ms, bytes, ..
        } = tasks;
        let mut args: Vec<String> = SUBMIT.iter().map(ToString::to_string).collect();
        args.extend([program("job_tasks").display().to_string(), "--".into()]);
        args.extend([count.to_string(), format!("--ms={ms}")]);
        args.extend([
            format!("--bytes={bytes}"),
            format!("--log={}", log.display()),
        ]);
        args.extend(tasks.halves.then(|| "--halves".to_owned()));
        let job = shell.begin(&args);
        let this = Self { tasks, log, job };
        wait_until("a task begins", || {
            this.said().iter().any(|said| said.what == "begin")
        });
        Ok(this)
    }

    /// All that was said so far.
    #[must_use]
    pub fn said(&self) -> Vec<Said> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        // The last line may be half written.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(parse).collect()
    }

    /// Waits until the job is so old.
    pub fn wait_until_s(&self, age: f64) {
        let Some(first) = self.said().first().map(|said| said.us) else {
            return;
        };
        let age = Duration::from_secs_f64(age);
        let passed = Duration::from_micros(now_us().saturating_sub(first));
        sleep(age.saturating_sub(passed));
    }

    /// The process that `main` runs in.
    #[must_use]
    pub fn main(&self) -> Option<u32> {
        let said = self.said();
        let mut mains = said.iter().filter(|said| said.what == "main");
        mains.next_back().map(|said| said.process)
    }

    /// The processes that have said something.
    #[must_use]
    pub fn engines(&self) -> BTreeSet<u32> {
        self.said().iter().map(|said| said.process).collect()
    }

    /// Waits for the end. Gives the seconds from the first begin of `main`, and how many tasks were begun once more.
    ///
    /// # Errors
    /// If the job fails.
    pub fn end(self) -> Result<(f64, u32)> {
        let Self { tasks, log, job } = self;
        let output = job.wait();
        let ended = now_us();
        let said = Self::all(&log);
        ensure!(
            output.status.success(),
            "the job has failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        // It says how long its last `main` took, which shows that its output is whole, and there once.
        seconds(&String::from_utf8_lossy(&output.stdout))?;
        let mut begun: BTreeMap<u32, u32> = BTreeMap::new();
        for said in said.iter().filter(|said| said.what == "begin") {
            *begun.entry(said.index).or_default() += 1;
        }
        ensure!(
            begun.len() == tasks.count as usize,
            "only {} tasks have begun",
            begun.len()
        );
        let began = said.first().context("nothing was said")?.us;
        let took = Duration::from_micros(ended.saturating_sub(began));
        let again = begun.values().map(|begun| begun - 1).sum();
        Ok((took.as_secs_f64(), again))
    }

    fn all(log: &PathBuf) -> Vec<Said> {
        let log = fs::read_to_string(log).unwrap_or_default();
        log.lines().filter_map(parse).collect()
    }
}

/// Microseconds since 1970.
#[must_use]
pub fn now_us() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}

fn parse(line: &str) -> Option<Said> {
    let [what, index, process, us] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    Some(Said {
        what: what.to_owned(),
        index: index.parse().ok()?,
        process: process.parse().ok()?,
        us: us.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_or_left_out() {
        let said = parse("begin 3 41 1700").unwrap();
        assert_eq!(
            (said.what.as_str(), said.index, said.process, said.us),
            ("begin", 3, 41, 1700)
        );
        assert_eq!(parse("begin 3 41"), None);
        assert_eq!(parse("begin x 41 1700"), None);
    }
}
