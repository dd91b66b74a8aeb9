//! Ways into a runtime, several runtimes at once, and their ends.

#[path = "support/fibonacci.rs"]
mod fibonacci;
mod support;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use atlas::prelude::*;
use fibonacci::{fib, fib_next};
use support::{is_child, run_as_child, runtime, stderr, this_thread, wait_until};

#[test]
fn threads_that_are_no_workers_enter_by_every_construct() {
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert_eq!(atlas::run(|| fib(12)), 144);
                assert_eq!(fib(12), 144);
                assert_eq!(join!(fib(10), fib(11)), (55, 89));
                assert_eq!(atlas::join(|| fib(10), || fib(11)), (55, 89));
                assert_eq!(spawn!(fib(12)).sync(), 144);
                assert_eq!(fib_next(12).sync(), 144);
                let mut results = [0; 4];
                atlas::scope(|scope| {
                    for result in &mut results {
                        scope.spawn(|_| *result = fib(10));
                    }
                });
                assert_eq!(results, [55; 4]);
            });
        }
    });
}

#[test]
fn two_runtimes_run_at_once_and_inside_each_other() {
    let (one, two) = (runtime(2), runtime(3));
    assert_eq!((one.workers(), two.workers()), (2, 3));
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(one.run(|| fib(18)), 2584));
        scope.spawn(|| assert_eq!(two.run(|| fib(18)), 2584));
    });
    let nested = one.run(|| {
        let here = this_thread();
        two.run(|| {
            assert_ne!(this_thread(), here);
            fib(15)
        })
    });
    assert_eq!(nested, 610);
}

#[test]
fn run_on_its_own_worker_is_a_plain_call() {
    let runtime = runtime(1);
    let same = runtime.run(|| {
        let here = this_thread();
        runtime.run(|| this_thread() == here)
    });
    assert!(same);
}

#[test]
fn handle_is_synced_where_it_was_not_spawned() {
    let (one, two) = (runtime(2), runtime(2));
    let handle = one.run(|| spawn!(fib(15)));
    assert_eq!(two.run(|| handle.sync()), 610);
    let handle = one.run(|| spawn!(fib(15)));
    assert_eq!(handle.sync(), 610);
}

#[test]
fn runtime_ends_with_all_its_work_done_while_handles_are_outstanding() {
    static RUN: AtomicUsize = AtomicUsize::new(0);
    #[atlas::spawn]
    fn count() -> u64 {
        RUN.fetch_add(1, Ordering::SeqCst);
        fib(10)
    }
    let runtime = runtime(2);
    let handles = runtime.run(|| [(); 100].map(|()| spawn!(count())));
    drop(runtime);
    assert_eq!(RUN.load(Ordering::SeqCst), 100);
    for handle in handles {
        assert!(handle.is_done());
        assert_eq!(handle.sync(), 55);
    }
}

#[test]
fn handle_may_be_dropped_after_its_runtime() {
    let runtime = runtime(2);
    let (done, other) = runtime.run(|| (spawn!(fib(5)), spawn!(fib_next(5))));
    drop(runtime);
    drop((done, other));
}

#[test]
fn end_of_a_runtime_waits_for_what_runs() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    static MAY_END: AtomicBool = AtomicBool::new(false);
    #[atlas::spawn]
    fn long() {
        BEGUN.store(true, Ordering::SeqCst);
        wait_until(|| MAY_END.load(Ordering::SeqCst));
    }
    let runtime = runtime(2);
    let handle = runtime.run(|| {
        let handle = spawn!(long());
        wait_until(|| BEGUN.load(Ordering::SeqCst));
        handle
    });
    thread::scope(|scope| {
        scope.spawn(|| MAY_END.store(true, Ordering::SeqCst));
        drop(runtime);
    });
    assert!(handle.is_done());
}

/// Handles synced from the first to the last leave references in the deque that
/// nobody looks at, if the strand never ends.
#[test]
fn regression_handles_synced_in_order_leave_nothing_behind() {
    #[atlas::spawn]
    fn nothing() -> [u64; 16] {
        [0; 16]
    }
    if !is_child() {
        let test = "regression_handles_synced_in_order_leave_nothing_behind";
        let output = run_as_child(test, &[]);
        return assert!(output.status.success(), "{}", stderr(&output));
    }
    let runtime = runtime(1);
    let before = resident_bytes();
    runtime.run(|| {
        for _ in 0..50_000 {
            let handles = [spawn!(nothing()), spawn!(nothing())];
            let _ = handles.map(Handle::sync);
        }
    });
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes for closures that are done");
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split_whitespace().nth(1);
    let pages = pages.and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second number is the resident pages") * 4096
}

mod environment {
    use super::*;

    #[test]
    fn number_of_workers_is_read() {
        if is_child() {
            let runtime = atlas::Runtime::builder().build().unwrap();
            return assert_eq!(runtime.workers(), 3);
        }
        let test = "environment::number_of_workers_is_read";
        let output = run_as_child(test, &[("ATLAS_WORKERS", "3")]);
        assert!(output.status.success(), "{}", stderr(&output));
    }

    #[test]
    fn nonsense_is_an_error_that_names_the_variable() {
        if is_child() {
            let error = atlas::Runtime::builder().build().unwrap_err();
            eprintln!("the error is: {error}");
            // The global runtime says the same.
            atlas::join(|| (), || ());
            return;
        }
        let nonsense = [
            ("ATLAS_WORKERS", "0"),
            ("ATLAS_WORKERS", "many"),
            ("ATLAS_WORKERS", "-1"),
            ("ATLAS_WORKERS", "1025"),
            ("ATLAS_STACK", "0"),
            ("ATLAS_STACK", "64X"),
            ("ATLAS_STACK", ""),
            ("ATLAS_STACK", "99999999999G"),
        ];
        for (name, value) in nonsense {
            let test = "environment::nonsense_is_an_error_that_names_the_variable";
            let output = run_as_child(test, &[(name, value)]);
            let said = stderr(&output);
            assert!(!output.status.success(), "{said}");
            let expected = format!("the error is: {name}={value}: ");
            assert!(said.contains(&expected), "{said}");
            let expected = format!("the global runtime cannot be built: {name}={value}: ");
            assert!(said.contains(&expected), "{said}");
        }
    }

    #[test]
    fn builder_goes_before_the_environment() {
        if is_child() {
            let builder = atlas::Runtime::builder().workers(2).stack_bytes(1 << 20);
            return assert_eq!(builder.build().unwrap().workers(), 2);
        }
        let test = "environment::builder_goes_before_the_environment";
        let variables = [("ATLAS_WORKERS", "many"), ("ATLAS_STACK", "much")];
        let output = run_as_child(test, &variables);
        assert!(output.status.success(), "{}", stderr(&output));
    }

    #[test]
    fn builder_refuses_numbers_that_make_no_sense() {
        for workers in [0, 1025] {
            let error = atlas::Runtime::builder().workers(workers).build();
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with(&format!("{workers} workers")), "{error}");
        }
    }
}

mod main {
    use super::*;

    mod succeeds {
        #[atlas::main]
        pub(super) fn main() -> Result<(), String> {
            assert_eq!(super::fib(10), 55);
            Ok(())
        }
    }

    mod fails {
        #[atlas::main]
        pub(super) fn main() -> Result<(), Box<dyn std::error::Error>> {
            Err("as it must".into())
        }
    }

    mod panics {
        use super::*;

        #[atlas::spawn]
        fn fail() {
            panic!("as it must");
        }

        #[atlas::main]
        pub(super) fn main() {
            join!(fail(), fib(3));
        }
    }

    mod chooses {
        #[atlas::main]
        pub(super) fn main() -> std::process::ExitCode {
            std::process::ExitCode::from(7)
        }
    }

    /// Exit codes can be compared as text only.
    fn assert_code(found: ExitCode, expected: u8) {
        assert_eq!(
            format!("{found:?}"),
            format!("{:?}", ExitCode::from(expected))
        );
    }

    #[test]
    fn main_ends_with_the_exit_code_of_its_result() {
        assert_code(succeeds::main(), 0);
        assert_code(fails::main(), 1);
        assert_code(chooses::main(), 7);
        assert_code(panics::main(), 101);
    }

    #[test]
    fn failed_main_says_which_task_has_panicked() {
        if is_child() {
            return assert_code(panics::main(), 101);
        }
        let output = run_as_child("main::failed_main_says_which_task_has_panicked", &[]);
        let said = stderr(&output);
        assert!(output.status.success(), "{said}");
        assert!(
            said.contains("task `runtimes::main::panics::fail` panicked: as it must"),
            "{said}"
        );
    }
}
