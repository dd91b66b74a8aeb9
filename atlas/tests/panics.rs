//! A panic of a task surfaces at its parent's sync, wherever the task ran, after
//! all siblings are done with what they borrow; and nothing is dropped twice, or
//! never.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use atlas::prelude::*;
use support::{Ledger, Token, join_endlessly, join_until, runtime, this_thread, wait_until};

const FAIL: &str = "panics::fail";

#[atlas::spawn]
fn fail(token: Token) -> Token {
    let _held = token.clone();
    panic!("as it must");
}

#[atlas::spawn]
fn echo(token: Token) -> Token {
    token
}

/// A task around the one that fails: the innermost is named, not this one.
#[atlas::spawn]
fn outer(token: Token) -> Token {
    join!(echo(token.clone()), fail(token)).1
}

#[track_caller]
fn assert_failed<R>(result: Result<R, atlas::TaskPanic>, path: &str) {
    let panic = result.err().expect("the task has panicked");
    assert_eq!(panic.task(), Some(path));
    assert_eq!(panic.message(), "as it must");
    assert!(!panic.is_abort());
}

mod inline {
    use super::*;

    #[test]
    fn panic_of_any_child_of_a_join_names_its_task() {
        static LEDGER: Ledger = Ledger::new();
        let t = || LEDGER.token();
        runtime(1).run(|| {
            assert_failed(atlas::catch(|| join!(fail(t()), echo(t()))), FAIL);
            assert_failed(atlas::catch(|| join!(echo(t()), fail(t()))), FAIL);
            assert_failed(
                atlas::catch(|| join!(fail(t()), echo(t()), echo(t()))),
                FAIL,
            );
            assert_failed(
                atlas::catch(|| join!(echo(t()), fail(t()), echo(t()))),
                FAIL,
            );
            assert_failed(
                atlas::catch(|| join!(echo(t()), echo(t()), fail(t()))),
                FAIL,
            );
            assert_failed(atlas::catch(|| join!(outer(t()), outer(t()))), FAIL);
        });
        LEDGER.assert_balanced();
    }

    #[test]
    fn first_panic_wins_if_both_children_panic() {
        let result = runtime(1).run(|| {
            atlas::catch(|| atlas::join::<_, _, (), ()>(|| panic!("first"), || panic!("second")))
        });
        assert_eq!(result.expect_err("both panic").message(), "first");
    }

    #[test]
    fn handle_gives_the_panic_of_its_child() {
        static LEDGER: Ledger = Ledger::new();
        runtime(1).run(|| {
            assert_failed(spawn!(fail(LEDGER.token())).try_sync(), FAIL);
            assert_failed(spawn!(outer(LEDGER.token())).try_sync(), FAIL);
            assert_failed(atlas::catch(|| spawn!(outer(LEDGER.token())).sync()), FAIL);
        });
        LEDGER.assert_balanced();
    }

    #[test]
    fn panic_outside_of_any_task_names_none() {
        let panic = runtime(2).run(|| atlas::catch(|| -> u8 { panic!("plain") }));
        let panic = panic.expect_err("it panics");
        assert_eq!((panic.task(), panic.message()), (None, "plain"));
        assert_eq!(panic.to_string(), "panicked: plain");
    }

    #[test]
    fn scope_raises_the_first_panic_after_all_children() {
        static LEDGER: Ledger = Ledger::new();
        for workers in [1, 4] {
            let done = AtomicBool::new(false);
            let result = runtime(workers).run(|| {
                atlas::catch(|| {
                    atlas::scope(|scope| {
                        scope.spawn(|_| done.store(true, Ordering::Relaxed));
                        scope.spawn(|_| drop(fail(LEDGER.token())));
                    });
                })
            });
            let panic = result.expect_err("a child panics");
            assert_eq!(panic.message(), "as it must");
            assert!(done.into_inner());
        }
        LEDGER.assert_balanced();
    }

    #[test]
    fn payload_reaches_the_thread_that_entered() {
        #[derive(Debug, PartialEq)]
        struct Payload(u8);
        for workers in [1, 4] {
            let runtime = runtime(workers);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                runtime.run(|| atlas::join(|| (), || panic_any(Payload(7))));
            }));
            let payload = caught.expect_err("it panics");
            assert_eq!(payload.downcast_ref(), Some(&Payload(7)));
        }
    }
}

mod stolen {
    use super::*;

    /// One orchestrated theft: the victim joins until the thief has begun.
    struct Theft {
        begun: AtomicBool,
        released: AtomicBool,
    }

    impl Theft {
        const fn new() -> Self {
            Self {
                begun: AtomicBool::new(false),
                released: AtomicBool::new(false),
            }
        }

        fn begin(&self, victim: u64) {
            assert_ne!(this_thread(), victim, "it was to be stolen");
            self.begun.store(true, Ordering::SeqCst);
        }

        fn has_begun(&self) -> bool {
            self.begun.load(Ordering::SeqCst)
        }
    }

    static THEFTS: [Theft; 16] = [const { Theft::new() }; 16];

    /// Runs on the victim until `theft` has begun.
    #[atlas::spawn]
    fn victim(theft: usize, token: Token) -> Token {
        join_until(|| THEFTS[theft].has_begun());
        token
    }

    #[atlas::spawn]
    fn fail_at_thief(theft: usize, victim: u64, token: Token) -> Token {
        THEFTS[theft].begin(victim);
        join!(echo(token.clone()), fail(token)).1
    }

    #[atlas::spawn]
    fn echo_at_thief(theft: usize, victim: u64, token: Token) -> Token {
        THEFTS[theft].begin(victim);
        wait_until(|| THEFTS[theft].released.load(Ordering::SeqCst));
        token
    }

    #[atlas::spawn]
    fn victim_fails(theft: usize, token: Token) -> Token {
        join_until(|| THEFTS[theft].has_begun());
        THEFTS[theft].released.store(true, Ordering::SeqCst);
        fail(token)
    }

    #[test]
    fn panic_of_a_stolen_child_names_its_task() {
        static LEDGER: Ledger = Ledger::new();
        let t = || LEDGER.token();
        let runtime = runtime(4);
        let result = runtime.run(|| {
            let me = this_thread();
            atlas::catch(|| join!(victim(0, t()), fail_at_thief(0, me, t())))
        });
        assert_failed(result, FAIL);
        drop(runtime);
        LEDGER.assert_balanced();
    }

    #[test]
    fn panic_of_a_stolen_child_among_several_names_its_task() {
        static LEDGER: Ledger = Ledger::new();
        let t = || LEDGER.token();
        let runtime = runtime(4);
        let result = runtime.run(|| {
            let me = this_thread();
            atlas::catch(|| join!(victim(1, t()), fail_at_thief(1, me, t()), echo(t())))
        });
        assert_failed(result, FAIL);
        drop(runtime);
        LEDGER.assert_balanced();
    }

    #[test]
    fn panic_of_a_stolen_spawned_child_reaches_the_handle() {
        static LEDGER: Ledger = Ledger::new();
        let runtime = runtime(2);
        let result = runtime.run(|| {
            let handle = spawn!(fail_at_thief(2, this_thread(), LEDGER.token()));
            wait_until(|| THEFTS[2].has_begun());
            handle.try_sync()
        });
        assert_failed(result, FAIL);
        drop(runtime);
        LEDGER.assert_balanced();
    }

    #[test]
    fn panic_at_the_victim_drops_what_the_thief_brings() {
        static LEDGER: Ledger = Ledger::new();
        let t = || LEDGER.token();
        let runtime = runtime(4);
        let result = runtime.run(|| {
            let me = this_thread();
            atlas::catch(|| join!(victim_fails(3, t()), echo_at_thief(3, me, t()), echo(t())))
        });
        let panic = result.expect_err("the victim panics");
        assert_eq!(panic.message(), "as it must");
        drop(runtime);
        LEDGER.assert_balanced();
    }

    #[test]
    fn stolen_sibling_has_left_before_the_frame_unwinds() {
        let runtime = runtime(2);
        for joins in [true, false] {
            let (begun, unwinding, left) = (flag(), flag(), flag());
            let result = runtime.run(|| {
                atlas::catch(|| {
                    let _unwinding = SetOnDrop(&unwinding);
                    let victim = || {
                        let _unwinding = SetOnDrop(&unwinding);
                        join_until(|| begun.load(Ordering::SeqCst));
                        panic!("at the victim");
                    };
                    let thief = || {
                        let _left = SetOnDrop(&left);
                        begun.store(true, Ordering::SeqCst);
                        let over = || unwinding.load(Ordering::SeqCst);
                        if joins {
                            join_until(over);
                            join_endlessly();
                        } else {
                            wait_until(over);
                        }
                    };
                    atlas::join(victim, thief);
                })
                .map_err(|panic| {
                    assert!(left.load(Ordering::SeqCst), "the thief still runs");
                    panic.message().to_owned()
                })
            });
            assert_eq!(result, Err("at the victim".to_owned()));
        }
    }

    fn flag() -> AtomicBool {
        AtomicBool::new(false)
    }

    struct SetOnDrop<'flag>(&'flag AtomicBool);

    impl Drop for SetOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    static OTHER: Mutex<Option<Handle<()>>> = Mutex::new(None);

    #[atlas::spawn]
    fn fail_with_other_work_left(theft: usize) {
        join_until(|| THEFTS[theft].has_begun());
        *OTHER.lock().expect("not poisoned") = Some(spawn!(release_and_fail(theft, this_thread())));
        panic!("as it must");
    }

    #[atlas::spawn]
    fn release_and_fail(theft: usize, unwinding: u64) {
        assert_eq!(this_thread(), unwinding, "the thief is busy");
        THEFTS[theft].released.store(true, Ordering::SeqCst);
        panic!("otherwise");
    }

    /// The first strand unwinds, and waits for its stolen child meanwhile; the
    /// second one panics on the same worker.
    #[test]
    fn regression_paths_of_two_strands_of_one_worker_are_not_mixed() {
        static LEDGER: Ledger = Ledger::new();
        let runtime = runtime(2);
        let (first, second) = runtime.run(|| {
            let me = this_thread();
            let join = || {
                join!(
                    fail_with_other_work_left(6),
                    echo_at_thief(6, me, LEDGER.token())
                )
            };
            let first = atlas::catch(join).map(drop);
            let other = OTHER.lock().unwrap().take();
            (first, other.expect("spawned").try_sync())
        });
        assert_failed(first, "panics::stolen::fail_with_other_work_left");
        let second = second.expect_err("it panics");
        assert_eq!(second.task(), Some("panics::stolen::release_and_fail"));
        assert_eq!(second.message(), "otherwise");
    }

    mod next {
        use super::*;

        #[atlas::spawn]
        fn three(a: Token, b: Token, c: Token, captured: Token) -> (Token, Token, Token, Token) {
            (a, b, c, captured)
        }

        /// Two of these are the children of a frame: any child of a frame may be
        /// handed out, so who is the victim is seen when it runs.
        #[atlas::spawn]
        fn fails_at_thief(theft: usize, victim: u64, token: Token) -> Next<Token> {
            if this_thread() != victim {
                THEFTS[theft].begin(victim);
                return spawn_next!(fail(token) => echo());
            }
            join_until(|| THEFTS[theft].has_begun());
            spawn_next!(echo(token) => echo())
        }

        #[atlas::spawn]
        fn fails_at_victim(theft: usize, victim: u64, token: Token) -> Token {
            if this_thread() != victim {
                return echo_at_thief(theft, victim, token);
            }
            victim_fails(theft, token)
        }

        #[test]
        fn panic_of_a_stolen_child_drops_the_frame_once() {
            static LEDGER: Ledger = Ledger::new();
            let t = || LEDGER.token();
            let runtime = runtime(2);
            let result = runtime.run(|| {
                let me = this_thread();
                atlas::catch(|| {
                    spawn_next!(
                        fails_at_thief(4, me, t()), fails_at_thief(4, me, t()), echo(t()) => three(t())
                    )
                    .sync()
                })
            });
            assert_failed(result, FAIL);
            drop(runtime);
            LEDGER.assert_balanced();
        }

        #[test]
        fn panic_at_the_victim_waits_for_the_stolen_child() {
            static LEDGER: Ledger = Ledger::new();
            let t = || LEDGER.token();
            let runtime = runtime(2);
            let result = runtime.run(|| {
                let me = this_thread();
                atlas::catch(|| {
                    spawn_next!(
                        fails_at_victim(5, me, t()), fails_at_victim(5, me, t()), echo(t()) => three(t())
                    )
                    .sync()
                })
            });
            let panic = result.expect_err("the victim panics");
            assert_eq!(panic.message(), "as it must");
            drop(runtime);
            LEDGER.assert_balanced();
        }
    }
}

mod next {
    use super::*;

    #[atlas::spawn]
    fn pair(a: Token, b: Token, captured: Token) -> (Token, Token, Token) {
        (a, b, captured)
    }

    #[atlas::spawn]
    fn fail_after(a: Token, b: Token, captured: Token) -> (Token, Token, Token) {
        let _all = (a, b, captured);
        panic!("as it must");
    }

    #[atlas::spawn]
    fn fail_deep(depth: u32, token: Token) -> Next<Token> {
        if depth == 0 {
            return spawn_next!(fail(token) => echo());
        }
        spawn_next!(fail_deep(depth - 1, token.clone()), echo(token) => first())
    }

    #[atlas::spawn]
    fn first(a: Token, b: Token) -> Token {
        drop(b);
        a
    }

    #[test]
    fn panic_of_any_child_names_its_task() {
        static LEDGER: Ledger = Ledger::new();
        let t = || LEDGER.token();
        for workers in [1, 4] {
            let runtime = runtime(workers);
            runtime.run(|| {
                let failed = || spawn_next!(fail(t()), echo(t()) => pair(t())).sync();
                assert_failed(atlas::catch(failed), FAIL);
                let failed = || spawn_next!(echo(t()), fail(t()) => pair(t())).sync();
                assert_failed(atlas::catch(failed), FAIL);
                let failed = || spawn_next!(fail(t()), fail(t()) => pair(t())).sync();
                assert_failed(atlas::catch(failed), FAIL);
                let failed = || spawn_next!(outer(t()), echo(t()) => pair(t())).sync();
                assert_failed(atlas::catch(failed), FAIL);
            });
            drop(runtime);
            LEDGER.assert_balanced();
        }
    }

    #[test]
    fn panic_of_the_continuation_names_it() {
        static LEDGER: Ledger = Ledger::new();
        let t = || LEDGER.token();
        for workers in [1, 4] {
            let runtime = runtime(workers);
            let result = runtime.run(|| {
                atlas::catch(|| spawn_next!(echo(t()), echo(t()) => fail_after(t())).sync())
            });
            assert_failed(result, "panics::next::fail_after");
            drop(runtime);
            LEDGER.assert_balanced();
        }
    }

    #[test]
    fn panic_passes_through_waiting_frames_under_its_own_name() {
        static LEDGER: Ledger = Ledger::new();
        for workers in [1, 4] {
            let runtime = runtime(workers);
            runtime.run(|| {
                let token = || LEDGER.token();
                assert_failed(
                    atlas::catch(|| join!(fail_deep(50, token()), echo(token()))),
                    FAIL,
                );
                assert_failed(
                    atlas::catch(|| join!(echo(token()), fail_deep(50, token()))),
                    FAIL,
                );
                assert_failed(spawn!(fail_deep(50, token())).try_sync(), FAIL);
            });
            drop(runtime);
            LEDGER.assert_balanced();
        }
    }

    #[test]
    fn frame_that_was_never_returned_drops_its_arguments() {
        static LEDGER: Ledger = Ledger::new();
        let t = || LEDGER.token();
        drop(spawn_next!(echo(t()), echo(t()) => pair(t())));
        LEDGER.assert_balanced();
    }
}

#[test]
fn regression_path_is_not_that_of_an_older_panic_which_was_caught_without_atlas() {
    let runtime = runtime(1);
    static LEDGER: Ledger = Ledger::new();
    let caught = runtime.run(|| catch_unwind(|| join!(echo(LEDGER.token()), fail(LEDGER.token()))));
    assert!(caught.is_err());
    let result = runtime.run(|| spawn!(fail_otherwise()).try_sync());
    let panic = result.expect_err("it panics");
    assert_eq!(panic.task(), Some("panics::fail_otherwise"));
}

#[atlas::spawn]
fn fail_otherwise() {
    panic!("otherwise");
}
