//! A job that makes one step after the other until it is told how many they are to be: one that runs as long as a test wants, and whose output
//! shows whether all of it was delivered, once.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::binaries::program;
use crate::running::Running;
use crate::shell::{Shell, code};

/// Such a job, on its way.
#[derive(Debug)]
pub struct Steps {
    folder: PathBuf,
    job: Running,
}

impl Steps {
    pub(crate) fn begin(shell: &Shell, name: &str) -> Self {
        let folder = shell.here().join(name);
        fs::create_dir(&folder).expect("there is none of this name");
        let args = ["steps-on".as_ref(), "100".as_ref(), folder.as_os_str()];
        let job = shell.begin_submit(program("testbed-job"), args);
        Self { folder, job }
    }

    /// The processes that have begun a task of it.
    ///
    /// # Panics
    ///
    /// The folder is gone.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<OsString> {
        let entries = fs::read_dir(&self.folder).expect("it was made").flatten();
        entries.map(|entry| entry.file_name()).collect()
    }

    /// How many steps it has shown.
    #[must_use]
    pub fn shown(&self) -> u64 {
        lines(&self.job.stdout())
    }

    /// How many steps it has begun. Who looks may not have been shown as many: he was without a manager, and comes back when his turn is.
    fn begun(&self) -> u64 {
        let last = |process: OsString| {
            let step = fs::read_to_string(self.folder.join(process)).ok()?;
            step.parse().ok()
        };
        let last: Option<u64> = self.processes().into_iter().filter_map(last).max();
        last.map_or(0, |last| last + 1)
    }

    /// Ends it some steps later, and sees that it has gone well and shown all of them, once and in order.
    ///
    /// # Panics
    ///
    /// It has not.
    #[track_caller]
    pub fn end(self) {
        let count = self.begun() + AHEAD_MAX;
        let new = self.folder.join("new");
        fs::write(&new, count.to_string()).expect("the cluster's own folder can be written to");
        let told = fs::rename(new, self.folder.join("go"));
        told.expect("the cluster's own folder can be written to");
        assert_steps(&self.job.wait(), count);
    }
}

/// A job of so many steps has gone well, and printed each of them, once and in order.
///
/// # Panics
///
/// It has not.
#[track_caller]
pub fn assert_steps(ended: &Output, count: u64) {
    let error = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(code(ended), 0, "{error}");
    let lines = (0..count).map(|index| format!("step {index}: {}\n", 4 * index + 1));
    let expected: String = lines.collect();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), expected);
}

fn lines(text: &[u8]) -> u64 {
    text.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// Far more steps than may be begun until the job has heard how many they are to be: those of two seconds.
const AHEAD_MAX: u64 = 20;
