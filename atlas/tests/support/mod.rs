//! What the scheduler's tests share: conditions with a deadline, values whose
//! drops are counted, and child processes.
//!
//! No test sleeps to let something happen: it waits until it has happened, and
//! fails loudly if that takes longer than [`DEADLINE`].
#![allow(dead_code, reason = "each test binary uses a part")]

use std::process::{Command, Output};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Far beyond what any condition takes, even on a machine that is busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A runtime with so many workers.
pub(crate) fn runtime(workers: usize) -> atlas::Runtime {
    atlas::Runtime::builder()
        .workers(workers)
        .build()
        .expect("threads can be started")
}

/// Waits without joins: the calling worker serves no thief meanwhile.
#[track_caller]
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "the condition never came true");
        thread::yield_now();
    }
}

/// Joins until the condition holds, so that the calling worker polls; returns
/// the number of joins.
#[track_caller]
pub(crate) fn join_until(condition: impl Fn() -> bool) -> u64 {
    let began = Instant::now();
    let mut joins = 0;
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "the condition never came true");
        atlas::join(|| (), || ());
        joins += 1;
        thread::yield_now();
    }
    joins
}

/// Joins for much longer than any test may take.
pub(crate) fn join_endlessly() {
    let began = Instant::now();
    while began.elapsed() < 5 * DEADLINE {
        atlas::join(|| (), || ());
        thread::yield_now();
    }
}

/// Names the calling thread.
pub(crate) fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NAME: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NAME.with(|name| *name)
}

/// Counts the [`Token`]s that one test has made and dropped.
pub(crate) struct Ledger {
    made: AtomicI64,
    dropped: AtomicI64,
}

impl Ledger {
    pub(crate) const fn new() -> Self {
        Self {
            made: AtomicI64::new(0),
            dropped: AtomicI64::new(0),
        }
    }

    pub(crate) fn token(&'static self) -> Token {
        self.made.fetch_add(1, Ordering::SeqCst);
        Token(self)
    }

    pub(crate) fn made(&self) -> i64 {
        self.made.load(Ordering::SeqCst)
    }

    pub(crate) fn is_balanced(&self) -> bool {
        self.made() == self.dropped.load(Ordering::SeqCst)
    }

    /// Each token was dropped, and none twice.
    #[track_caller]
    pub(crate) fn assert_balanced(&self) {
        let (made, dropped) = (self.made(), self.dropped.load(Ordering::SeqCst));
        assert!(made > 0, "the test has made no token");
        assert_eq!(made, dropped, "tokens made and tokens dropped");
    }
}

/// A value whose drop is counted. It stays in its process.
pub(crate) struct Token(&'static Ledger);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Clone for Token {
    fn clone(&self) -> Self {
        self.0.token()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a token stays in its process"))
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("a token stays in its process"))
    }
}

/// Runs the calling test again in a process of its own, with `environment`.
/// There [`is_child`] holds.
pub(crate) fn run_as_child(test: &str, environment: &[(&str, &str)]) -> Output {
    let program = std::env::current_exe().expect("the test has a file");
    Command::new(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .envs(environment.iter().copied())
        .output()
        .expect("the test can be started again")
}

/// True in the process that [`run_as_child`] has started.
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const CHILD: &str = "ATLAS_TEST_CHILD";
