//! Strands: parents are never buried, stacks do not grow by theft, deep
//! recursion fits, and waiting closures hold no stack.

mod support;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use atlas::prelude::*;
use support::{join_until, runtime, this_thread, wait_until};

/// The parent waits for a stolen child; its worker has begun other, long work.
/// The joins of that work between the child's return and the parent's resumption
/// are counted.
#[test]
fn parent_is_resumed_at_the_next_join_but_one_after_its_child_is_back() {
    static CHILD_BEGUN: AtomicBool = AtomicBool::new(false);
    static CHILD_MAY_END: AtomicBool = AtomicBool::new(false);
    static RESUMED: AtomicBool = AtomicBool::new(false);
    static JOINS_AFTER: AtomicU64 = AtomicU64::new(0);

    let runtime = runtime(2);
    runtime.run(|| {
        let me = this_thread();
        let child = spawn!(returns_at_once());
        wait_until(|| CHILD_BEGUN.load(Ordering::SeqCst));
        let younger = spawn!(counts(me));
        child.sync();
        RESUMED.store(true, Ordering::SeqCst);
        younger.sync();
    });
    assert!(JOINS_AFTER.load(Ordering::SeqCst) <= 2);

    #[atlas::spawn]
    fn returns_at_once() {
        CHILD_BEGUN.store(true, Ordering::SeqCst);
        wait_until(|| CHILD_MAY_END.load(Ordering::SeqCst));
    }

    #[atlas::spawn]
    fn counts(parent: u64) {
        assert_eq!(this_thread(), parent, "the other worker is busy");
        // The thief, once it has returned the child, has no work but this:
        // when it has begun it, the child is back.
        static THIEF_IS_FREE: AtomicBool = AtomicBool::new(false);
        let handle = spawn!(probe());
        CHILD_MAY_END.store(true, Ordering::SeqCst);
        wait_until(|| THIEF_IS_FREE.load(Ordering::SeqCst));
        while !RESUMED.load(Ordering::SeqCst) {
            JOINS_AFTER.fetch_add(1, Ordering::SeqCst);
            atlas::join(|| (), || ());
        }
        handle.sync();

        #[atlas::spawn]
        fn probe() {
            THIEF_IS_FREE.store(true, Ordering::SeqCst);
        }
    }
}

/// Each level's rest is stolen before the level's item ends, back and forth
/// between two workers: all levels are alive at once, each on its own stack.
#[test]
fn nested_thefts_do_not_grow_any_stack() {
    const LEVELS: usize = 10_000;
    const STACK_BYTES: usize = 256 << 10;
    static BEGUN: [AtomicBool; LEVELS + 1] = [const { AtomicBool::new(false) }; LEVELS + 1];
    static STACKS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

    fn level(at: usize) {
        let local = 0_u8;
        STACKS.lock().unwrap().push((&raw const local).addr());
        BEGUN[at].store(true, Ordering::SeqCst);
        if at == 0 {
            return;
        }
        atlas::join(
            || join_until(|| BEGUN[at - 1].load(Ordering::SeqCst)),
            || level(at - 1),
        );
    }

    let runtime = atlas::Runtime::builder()
        .workers(2)
        .stack_bytes(STACK_BYTES)
        .build()
        .unwrap();
    runtime.run(|| level(LEVELS));
    let stacks: BTreeSet<_> = STACKS.lock().unwrap().iter().copied().collect();
    assert_eq!(stacks.len(), LEVELS + 1);
    let closest = stacks.iter().zip(stacks.iter().skip(1)).map(|(a, b)| b - a);
    assert!(
        closest.min() >= Some(STACK_BYTES),
        "two levels share a stack"
    );
    assert!(runtime.stats().steals >= LEVELS as u64);
}

/// A strand's latent work is for thieves, too, while it waits for something else.
#[test]
fn latent_work_of_a_blocked_strand_can_be_stolen() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    static SIBLING_RUNS: AtomicBool = AtomicBool::new(false);

    #[atlas::spawn]
    fn child() {
        BEGUN.store(true, Ordering::SeqCst);
        wait_until(|| SIBLING_RUNS.load(Ordering::SeqCst));
    }

    runtime(2).run(|| {
        let handle = spawn!(child());
        wait_until(|| BEGUN.load(Ordering::SeqCst));
        // The thief is busy: after a few joins nobody wants anything any more.
        for _ in 0..8 {
            atlas::join(|| (), || ());
        }
        atlas::join(
            || handle.sync(),
            || SIBLING_RUNS.store(true, Ordering::SeqCst),
        );
    });
}

mod deep {
    use super::*;

    const DEPTH: u32 = 20_000;

    #[atlas::spawn]
    fn rest_last(depth: u32) -> u32 {
        match depth {
            0 => 0,
            _ => {
                let (item, rest) = join!(item(), rest_last(depth - 1));
                item + rest
            }
        }
    }

    #[atlas::spawn]
    fn rest_first(depth: u32) -> u32 {
        match depth {
            0 => 0,
            _ => {
                let (rest, item) = join!(rest_first(depth - 1), item());
                rest + item
            }
        }
    }

    #[atlas::spawn]
    fn item() -> u32 {
        1
    }

    #[test]
    fn joins_may_nest_twenty_thousand_deep() {
        for workers in [1, 2, 4] {
            let runtime = runtime(workers);
            assert_eq!(runtime.run(|| rest_last(DEPTH)), DEPTH);
            assert_eq!(runtime.run(|| rest_first(DEPTH)), DEPTH);
        }
    }
}

mod next {
    use super::*;

    /// How many closures wait at once: 10 million, but for the slow profile.
    const LEVELS: u64 = if cfg!(debug_assertions) {
        1 << 20
    } else {
        10_000_000
    };

    #[atlas::spawn]
    fn chain(levels: u64) -> Next<u64> {
        if levels == 0 {
            return Next::value(0);
        }
        spawn_next!(chain(levels - 1) => plus_one())
    }

    #[atlas::spawn]
    fn plus_one(n: u64) -> u64 {
        n + 1
    }

    #[atlas::spawn]
    fn comb(levels: u64) -> Next<u64> {
        if levels == 0 {
            return Next::value(0);
        }
        spawn_next!(comb(levels - 1), plus_one(0) => plus())
    }

    #[atlas::spawn]
    fn plus(a: u64, b: u64) -> u64 {
        a + b
    }

    #[test]
    fn chain_of_waiting_closures_needs_no_stack() {
        let runtime = atlas::Runtime::builder()
            .workers(2)
            .stack_bytes(64 << 10)
            .build()
            .unwrap();
        assert_eq!(runtime.run(|| chain(LEVELS).sync()), LEVELS);
        assert_eq!(runtime.run(|| comb(LEVELS / 4).sync()), LEVELS / 4);
    }

    #[test]
    fn chain_of_waiting_closures_is_dropped_without_stack() {
        #[atlas::spawn]
        fn fails_below(levels: u64) -> Next<u64> {
            assert!(levels > 0, "the end");
            spawn_next!(fails_below(levels - 1), plus_one(0) => plus())
        }
        let runtime = atlas::Runtime::builder()
            .workers(2)
            .stack_bytes(64 << 10)
            .build()
            .unwrap();
        let panic = runtime.run(|| atlas::catch(|| fails_below(LEVELS / 4).sync()));
        assert_eq!(panic.expect_err("it panics").message(), "the end");
    }
}
