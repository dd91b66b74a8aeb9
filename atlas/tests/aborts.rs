//! Who drops a handle, or unwinds out of a join, does not want the other
//! children: those that have not begun never run, those that run are unwound at
//! their next join, with all that descends from them.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use atlas::prelude::*;
use support::{Ledger, Token, join_endlessly, join_until, runtime, this_thread, wait_until};

#[atlas::spawn]
fn echo(token: Token) -> Token {
    token
}

/// Counts the tasks of one test that have begun.
static BEGUN: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];

fn begun(test: usize) -> usize {
    BEGUN[test].load(Ordering::SeqCst)
}

fn begin(test: usize) {
    BEGUN[test].fetch_add(1, Ordering::SeqCst);
}

/// Runs until it is aborted.
#[atlas::spawn]
fn endless(test: usize, token: Token) -> Token {
    begin(test);
    join_endlessly();
    token
}

/// Two endless tasks at each level: all but one are to be stolen.
#[atlas::spawn]
fn endless_tree(test: usize, depth: u32, token: Token) -> Token {
    if depth == 0 {
        return endless(test, token);
    }
    join!(
        endless(test, token.clone()),
        endless_tree(test, depth - 1, token)
    )
    .1
}

/// Its child is stolen, and it waits.
#[atlas::spawn]
fn waits_for_endless(test: usize, token: Token) -> Token {
    let handle = spawn!(endless(test, token.clone()));
    wait_until(|| begun(test) == 1);
    begin(test);
    handle.sync()
}

#[test]
fn child_that_has_not_begun_never_runs() {
    static LEDGER: Ledger = Ledger::new();
    let runtime = runtime(1);
    runtime.run(|| {
        let handle = spawn!(endless(0, LEDGER.token()));
        drop(handle);
        LEDGER.assert_balanced();
    });
    drop(runtime);
    assert_eq!(begun(0), 0);
    LEDGER.assert_balanced();
}

#[test]
fn latent_sibling_of_a_panic_never_runs() {
    static LEDGER: Ledger = Ledger::new();
    #[atlas::spawn]
    fn fail(token: Token) -> Token {
        drop(token);
        panic!("as it must");
    }
    let panicked =
        runtime(1).run(|| atlas::catch(|| join!(fail(LEDGER.token()), endless(1, LEDGER.token()))));
    assert!(panicked.is_err());
    assert_eq!(begun(1), 0);
    LEDGER.assert_balanced();
}

#[test]
fn running_child_is_unwound_at_its_next_join() {
    static LEDGER: Ledger = Ledger::new();
    let runtime = runtime(2);
    runtime.run(|| {
        let handle = spawn!(endless(2, LEDGER.token()));
        wait_until(|| begun(2) == 1);
        assert!(!handle.is_done());
        drop(handle);
        wait_until(|| LEDGER.is_balanced());
    });
}

#[test]
fn stolen_descendants_are_unwound_with_it() {
    static LEDGER: Ledger = Ledger::new();
    let runtime = runtime(4);
    runtime.run(|| {
        let handle = spawn!(endless_tree(3, 2, LEDGER.token()));
        wait_until(|| begun(3) == 3);
        drop(handle);
        wait_until(|| LEDGER.is_balanced());
    });
}

#[test]
fn child_that_waits_is_unwound_with_what_it_waits_for() {
    static LEDGER: Ledger = Ledger::new();
    let runtime = runtime(3);
    runtime.run(|| {
        let handle = spawn!(waits_for_endless(4, LEDGER.token()));
        wait_until(|| begun(4) == 2);
        drop(handle);
        wait_until(|| LEDGER.is_balanced());
    });
}

#[test]
fn aborted_task_may_catch_it_and_is_unwound_again() {
    static LEDGER: Ledger = Ledger::new();
    static CAUGHT: AtomicBool = AtomicBool::new(false);
    #[atlas::spawn]
    fn stubborn(token: Token) -> Token {
        begin(5);
        let result = atlas::catch(|| endless(5, token.clone()));
        CAUGHT.store(
            result.is_err_and(|panic| panic.is_abort()),
            Ordering::SeqCst,
        );
        endless(5, token)
    }
    let runtime = runtime(2);
    runtime.run(|| {
        let handle = spawn!(stubborn(LEDGER.token()));
        wait_until(|| begun(5) == 2);
        drop(handle);
        wait_until(|| LEDGER.is_balanced());
    });
    assert!(CAUGHT.load(Ordering::SeqCst));
}

#[test]
fn panic_aborts_a_stolen_sibling() {
    static LEDGER: Ledger = Ledger::new();
    #[atlas::spawn]
    fn fail_then() -> u8 {
        join_until(|| begun(6) == 1);
        panic!("as it must");
    }
    let runtime = runtime(2);
    let panic = runtime
        .run(|| atlas::catch(|| join!(fail_then(), endless(6, LEDGER.token()))))
        .expect_err("the first child panics");
    assert_eq!(panic.message(), "as it must");
    LEDGER.assert_balanced();
}

#[test]
fn continuation_passing_child_is_unwound() {
    static LEDGER: Ledger = Ledger::new();
    #[atlas::spawn]
    fn passing(depth: u32, token: Token) -> Next<Token> {
        if depth == 0 {
            return spawn_next!(endless(7, token) => echo());
        }
        spawn_next!(passing(depth - 1, token) => echo())
    }
    let runtime = runtime(2);
    runtime.run(|| {
        let handle = spawn!(passing(10, LEDGER.token()));
        wait_until(|| begun(7) == 1);
        drop(handle);
        wait_until(|| LEDGER.is_balanced());
    });
}

#[test]
fn endless_chain_of_continuations_is_unwound() {
    static LEDGER: Ledger = Ledger::new();
    #[atlas::spawn]
    fn chain(token: Token) -> Next<Token> {
        begin(8);
        spawn_next!(echo(token) => chain())
    }
    let runtime = runtime(2);
    runtime.run(|| {
        let handle = spawn!(chain(LEDGER.token()));
        wait_until(|| begun(8) > 1000);
        drop(handle);
        wait_until(|| LEDGER.is_balanced());
    });
}

/// The worker that runs the child may have a number that the dropping thread's
/// own runtime does not have.
#[test]
fn regression_handle_is_dropped_outside_of_its_runtime() {
    static LEDGER: Ledger = Ledger::new();
    let runtime = runtime(8);
    // Enough that some of them run on workers with high numbers.
    let handles = runtime.run(|| {
        let handles = [(); 8].map(|()| spawn!(endless(9, LEDGER.token())));
        wait_until(|| begun(9) == 7);
        handles
    });
    drop(handles);
    wait_until(|| LEDGER.is_balanced());
}

#[test]
fn regression_handle_is_dropped_on_a_worker_of_another_runtime() {
    static LEDGER: Ledger = Ledger::new();
    let (runtime, other) = (runtime(4), runtime(1));
    let handle = runtime.run(|| {
        let me = this_thread();
        let handle = spawn!(endless(10, LEDGER.token()));
        wait_until(|| begun(10) == 1);
        assert_eq!(me, this_thread());
        handle
    });
    other.run(|| drop(handle));
    wait_until(|| LEDGER.is_balanced());
}
