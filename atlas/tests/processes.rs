//! What only a whole process shows: how it dies of a stack overflow, and how much
//! processor time it uses when there is nothing to do.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use atlas::prelude::*;
use support::{is_child, run_as_child, runtime, stderr, wait_until};

#[atlas::spawn]
fn recurse(depth: u64) -> u64 {
    let local = [depth; 64];
    std::hint::black_box(&local);
    recurse(depth + 1) + local[7]
}

#[test]
fn stack_overflow_of_a_strand_is_told_from_other_faults() {
    if is_child() {
        runtime(2).run(|| recurse(0));
        return;
    }
    let output = run_as_child("stack_overflow_of_a_strand_is_told_from_other_faults", &[]);
    let said = stderr(&output);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
    assert!(
        said.contains("atlas: a strand has overflowed its stack"),
        "{said}"
    );
    assert!(said.contains("ATLAS_STACK"), "{said}");
}

#[test]
fn stack_overflow_outside_of_strands_is_reported_by_the_standard_library() {
    if is_child() {
        drop(runtime(1));
        recurse(0);
        return;
    }
    let test = "stack_overflow_outside_of_strands_is_reported_by_the_standard_library";
    let output = run_as_child(test, &[]);
    let said = stderr(&output);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
    assert!(said.contains("has overflowed its stack"), "{said}");
    assert!(!said.contains("ATLAS_STACK"), "{said}");
}

#[test]
fn pool_without_work_uses_no_processor_time() {
    const SPAN: Duration = Duration::from_millis(1500);
    if is_child() {
        let runtime = runtime(4);
        runtime.run(|| atlas::join(|| (), || ()));
        // The span over which it is measured, not a wait for something.
        wait_until_settled();
        let before = processor_time();
        thread::sleep(SPAN);
        let used = processor_time() - before;
        assert!(used < SPAN / 200, "{used:?} in {SPAN:?}");
        return;
    }
    let output = run_as_child("pool_without_work_uses_no_processor_time", &[]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn strand_that_waits_uses_no_processor_time() {
    const SPAN: Duration = Duration::from_secs(1);
    static BEGUN: AtomicBool = AtomicBool::new(false);
    #[atlas::spawn]
    fn sleeps() {
        BEGUN.store(true, Ordering::SeqCst);
        thread::sleep(SPAN);
    }
    if is_child() {
        let used = runtime(4).run(|| {
            let child = spawn!(sleeps());
            wait_until(|| BEGUN.load(Ordering::SeqCst));
            let before = processor_time();
            child.sync();
            processor_time() - before
        });
        assert!(used < SPAN / 10, "{used:?} in {SPAN:?}");
        return;
    }
    let output = run_as_child("strand_that_waits_uses_no_processor_time", &[]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Waits until all workers are asleep: that they do not run is not enough, others may have their processors.
fn wait_until_settled() {
    wait_until(|| sleeping_threads().is_some_and(|(asleep, all)| asleep + 1 == all));
}

/// How many threads of this process sleep, and how many there are; none if one of them has just ended.
fn sleeping_threads() -> Option<(usize, usize)> {
    let threads = fs::read_dir("/proc/self/task").expect("Linux has it");
    let states: Option<Vec<bool>> = threads
        .map(|thread| {
            let stat = fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
            // Behind the name in parentheses.
            let (_, rest) = stat.rsplit_once(") ")?;
            Some(rest.starts_with('S'))
        })
        .collect();
    let states = states?;
    Some((
        states.iter().filter(|asleep| **asleep).count(),
        states.len(),
    ))
}

/// The time that all threads of this process have run so far.
fn processor_time() -> Duration {
    let threads = fs::read_dir("/proc/self/task").expect("Linux has it");
    let nanoseconds = threads.filter_map(|thread| {
        // A thread may end meanwhile.
        let path = thread.ok()?.path().join("schedstat");
        let stat = fs::read_to_string(path).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

const SIGABRT: i32 = 6;
