//! Lending one step at a time: who may do what with a lease, and when.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use atlas::host::{AcceptError, LentClosure, Outcome, ReturnError, Ticket};
use atlas::prelude::*;
use serde::{Deserialize, Serialize, Serializer};

use crate::notes::{Gate, Rig};

#[atlas::spawn]
fn double(n: u64) -> u64 {
    2 * n
}

#[atlas::spawn]
fn fails(n: u64) -> u64 {
    panic!("no {n} today")
}

#[atlas::spawn]
fn text(n: u64) -> String {
    n.to_string()
}

/// Joins until the gate is open: a worker that can be asked, and aborted.
#[atlas::spawn]
fn join_until(gate: u64) -> u64 {
    let open = Gate::find(gate);
    while !open.is_open() {
        join!(double(1), double(2));
    }
    gate
}

/// Runs `program` on the rig while `test` acts as its host.
fn beside<R: Send, S>(
    rig: &Rig,
    program: impl FnOnce() -> R + Send,
    test: impl FnOnce() -> S,
) -> (R, S) {
    thread::scope(|scope| {
        let run = scope.spawn(|| rig.runtime.run(program));
        let seen = test();
        (run.join().unwrap(), seen)
    })
}

/// Lends the one child that `program` spawns before it waits at a gate.
fn lend_child<R: Send, S>(
    rig: &Rig,
    program: impl FnOnce(&Gate) -> R + Send,
    test: impl FnOnce(LentClosure) -> S,
) -> (R, S) {
    let (_, gate) = Gate::closed();
    let inside = gate.clone();
    beside(
        rig,
        move || program(&inside),
        || {
            let lent = rig.lend_one();
            gate.open();
            test(lent)
        },
    )
}

fn value<T: Serialize>(value: &T) -> Outcome {
    Outcome::Value(postcard::to_stdvec(value).unwrap())
}

#[test]
fn result_of_the_borrower_is_the_result_of_the_handle() {
    let [lender, borrower] = [Rig::new(), Rig::new()];
    let program = |gate: &Gate| {
        let child = spawn!(double(21));
        gate.wait();
        child.sync()
    };
    let (result, ()) = lend_child(&lender, program, |lent| {
        let outcome = borrower.serve(&lent);
        assert_eq!(outcome, value(&42_u64));
        lender.runtime.return_result(lent.lease, outcome).unwrap();
    });
    assert_eq!(result, 42);
}

#[test]
fn second_child_of_a_join_is_lent_at_the_next_poll() {
    let rig = Rig::new();
    let (number, gate) = Gate::closed();
    let (results, ()) = beside(
        &rig,
        || join!(join_until(number), double(4)),
        || {
            let lent = rig.lend_one();
            rig.runtime
                .return_result(lent.lease, value(&9_u64))
                .unwrap();
            gate.open();
        },
    );
    assert_eq!(results, (number, 9), "what the borrower says is believed");
}

#[test]
fn second_and_late_results_are_unknown_and_change_nothing() {
    let rig = Rig::new();
    let program = |gate: &Gate| {
        let child = spawn!(double(21));
        gate.wait();
        child.sync()
    };
    let (result, lent) = lend_child(&rig, program, |lent| {
        rig.runtime
            .return_result(lent.lease, value(&1_u64))
            .unwrap();
        for outcome in [
            value(&2_u64),
            Outcome::Panic {
                task: None,
                message: "late".to_owned(),
            },
            Outcome::Refused {
                reason: "late".to_owned(),
            },
        ] {
            let error = rig.runtime.return_result(lent.lease, outcome).unwrap_err();
            assert!(matches!(error, ReturnError::Unknown(lease) if lease == lent.lease));
        }
        assert!(!rig.runtime.reclaim(lent.lease));
        lent
    });
    assert_eq!(result, 1);
    let never = atlas::host::Lease(lent.lease.0 + 1);
    let error = rig.runtime.return_result(never, value(&3_u64)).unwrap_err();
    assert!(matches!(error, ReturnError::Unknown(_)));
    assert!(!rig.runtime.reclaim(never));
}

#[test]
fn malformed_result_leaves_the_closure_lent() {
    let rig = Rig::new();
    let program = |gate: &Gate| {
        let child = spawn!(text(21));
        gate.wait();
        child.sync()
    };
    let malformed: [&[u8]; 4] = [&[], &[9, b'x'], &[1, 0xff], &[1, b'x', 0]];
    for again in [true, false] {
        let (result, ()) = lend_child(&rig, program, |lent| {
            for bytes in malformed {
                let outcome = Outcome::Value(bytes.to_vec());
                let error = rig.runtime.return_result(lent.lease, outcome).unwrap_err();
                assert_eq!(
                    error.to_string(),
                    "the result of task `host::lending::text` cannot be decoded"
                );
                assert!(matches!(error, ReturnError::Malformed { .. }));
            }
            if again {
                rig.runtime
                    .return_result(lent.lease, value(&"other"))
                    .unwrap();
            } else {
                assert!(rig.runtime.reclaim(lent.lease));
            }
        });
        assert_eq!(result, if again { "other" } else { "21" });
    }
}

#[test]
fn reclaimed_closure_is_lent_again_under_another_lease() {
    let rig = Rig::new();
    let (_, gate) = Gate::closed();
    let inside = gate.clone();
    let program = move || {
        let child = spawn!(double(21));
        inside.wait();
        child.sync()
    };
    let (result, ()) = beside(&rig, program, || {
        let first = rig.lend_one();
        assert!(rig.runtime.reclaim(first.lease));
        let second = rig.lend_one();
        gate.open();
        assert_ne!(first.lease, second.lease);
        assert_eq!(first.closure, second.closure);
        assert!(
            rig.runtime
                .return_result(first.lease, value(&1_u64))
                .is_err()
        );
        rig.runtime
            .return_result(second.lease, value(&2_u64))
            .unwrap();
    });
    assert_eq!(result, 2);
}

#[test]
fn panic_on_the_other_side_surfaces_at_the_sync() {
    let [lender, borrower] = [Rig::new(), Rig::new()];
    let program = |gate: &Gate| {
        let child = spawn!(fails(7));
        gate.wait();
        child.try_sync().unwrap_err()
    };
    let (panic, ()) = lend_child(&lender, program, |lent| {
        let outcome = borrower.serve(&lent);
        lender.runtime.return_result(lent.lease, outcome).unwrap();
    });
    assert_eq!(panic.task(), Some("host::lending::fails"));
    assert_eq!(panic.message(), "no 7 today");
    assert!(!panic.is_abort());
}

#[test]
fn dropped_handle_ends_the_lease_at_once() {
    let rig = Rig::new();
    let program = |gate: &Gate| {
        let child = spawn!(double(21));
        gate.wait();
        drop(child);
    };
    let ((), lease) = lend_child(&rig, program, |lent| {
        rig.notes.wait_for("an unwanted lease", |told| {
            told.unwanted.contains(&lent.lease).then_some(lent.lease)
        })
    });
    assert!(rig.runtime.return_result(lease, value(&1_u64)).is_err());
}

#[test]
fn panic_of_the_parent_does_not_wait_for_the_borrower() {
    #[atlas::spawn]
    fn panic_after(gate: u64) {
        join_until(gate);
        panic!("the gate is open")
    }
    let rig = Rig::new();
    let (number, gate) = Gate::closed();
    let program = || atlas::catch(|| join!(panic_after(number), double(4))).unwrap_err();
    let (panic, ()) = beside(&rig, program, || {
        let lent = rig.lend_one();
        gate.open();
        rig.notes.wait_for("an unwanted lease", |told| {
            told.unwanted.contains(&lent.lease).then_some(())
        });
    });
    assert_eq!(panic.message(), "the gate is open");
}

#[test]
fn shutdown_fails_what_is_lent() {
    // A child that nobody syncs: `run` returns, and the closure is still lent.
    let Rig { runtime, notes } = Rig::new();
    let child = runtime.run(|| spawn!(double(21)));
    let lent = loop {
        if let Some(lent) = runtime.lend(1).closures.pop() {
            break Some(lent);
        }
        if child.is_done() {
            break None;
        }
    };
    drop(runtime);
    let Some(lent) = lent else {
        return assert_eq!(child.sync(), 42);
    };
    assert!(notes.look(|told| told.unwanted.contains(&lent.lease)));
    let panic = child.try_sync().unwrap_err();
    assert_eq!(panic.task(), Some("host::lending::double"));
    assert_eq!(
        panic.message(),
        "its runtime was shut down while it was lent"
    );
}

#[test]
fn refused_closure_runs_at_its_lender_and_is_lent_no_more() {
    let rig = Rig::new();
    let (_, gate) = Gate::closed();
    let inside = gate.clone();
    let program = move || {
        let child = spawn!(double(21));
        inside.wait();
        child.sync()
    };
    let (result, ()) = beside(&rig, program, || {
        let lent = rig.lend_one();
        let reason = "no room".to_owned();
        rig.runtime
            .return_result(lent.lease, Outcome::Refused { reason })
            .unwrap();
        let again = rig.runtime.lend(1);
        assert!(again.closures.is_empty() && again.kept.is_empty());
        gate.open();
    });
    assert_eq!(result, 42);
}

#[test]
fn nothing_is_encoded_that_is_not_lent() {
    static ENCODED: AtomicUsize = AtomicUsize::new(0);
    #[derive(Deserialize)]
    struct Counted(u64);
    impl Serialize for Counted {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            ENCODED.fetch_add(1, Ordering::Relaxed);
            serializer.serialize_newtype_struct("Counted", &self.0)
        }
    }
    #[atlas::spawn]
    fn halved(n: Counted) -> Counted {
        if n.0 < 2 {
            return n;
        }
        let (a, b) = join!(halved(Counted(n.0 / 2)), halved(Counted(n.0 - n.0 / 2)));
        Counted(a.0 + b.0)
    }
    let many = Rig::with(|builder| builder.workers(2));
    assert_eq!(many.runtime.run(|| halved(Counted(5000))).0, 5000);
    assert_eq!(ENCODED.load(Ordering::Relaxed), 0);

    let [rig, borrower] = [Rig::new(), Rig::new()];
    let program = |gate: &Gate| {
        let child = spawn!(halved(Counted(3)));
        gate.wait();
        child.sync().0 + halved(Counted(100)).0
    };
    let (result, ()) = lend_child(&rig, program, |lent| {
        assert_eq!(ENCODED.load(Ordering::Relaxed), 1, "the arguments");
        let outcome = borrower.serve(&lent);
        assert_eq!(ENCODED.load(Ordering::Relaxed), 2, "the result");
        rig.runtime.return_result(lent.lease, outcome).unwrap();
    });
    assert_eq!((result, ENCODED.load(Ordering::Relaxed)), (103, 2));
}

#[test]
fn aborted_closure_that_runs_is_unwound_and_not_reported() {
    let [lender, borrower] = [Rig::new(), Rig::new()];
    let (number, gate) = Gate::closed();
    let program = |gate: &Gate| {
        let child = spawn!(join_until(number));
        gate.wait();
        child.sync()
    };
    let (result, ()) = lend_child(&lender, program, |lent| {
        let ticket = Ticket(5);
        borrower.runtime.accept(ticket, &lent.closure).unwrap();
        let twice = borrower.runtime.accept(ticket, &lent.closure).unwrap_err();
        assert!(matches!(twice, AcceptError::TicketInUse(Ticket(5))));
        assert!(borrower.runtime.abort_accepted(ticket));
        assert!(!borrower.runtime.abort_accepted(ticket), "it is forgotten");
        // The ticket is free again, and the aborted closure does not answer for it.
        borrower.runtime.accept(ticket, &lent.closure).unwrap();
        gate.open();
        let outcome = borrower.notes.outcome(ticket);
        lender.runtime.return_result(lent.lease, outcome).unwrap();
    });
    assert_eq!(result, number);
    assert!(!borrower.runtime.abort_accepted(Ticket(5)), "it is done");
    let Rig { runtime, notes } = borrower;
    drop(runtime);
    assert!(notes.look(|told| told.finished.is_empty()));
}

#[test]
fn aborted_closure_that_waits_for_its_borrower_ends_at_once() {
    #[atlas::spawn]
    fn parent(gate: u64) -> u64 {
        let child = spawn!(double(1));
        Gate::find(gate).wait();
        child.sync()
    }
    let [lender, middle] = [Rig::new(), Rig::new()];
    let (number, gate) = Gate::closed();
    let program = |gate: &Gate| {
        let child = spawn!(parent(number));
        gate.wait();
        child.sync()
    };
    let (result, ()) = lend_child(&lender, program, |lent| {
        middle.runtime.accept(Ticket(0), &lent.closure).unwrap();
        let child = middle.lend_one();
        gate.open();
        assert!(middle.runtime.abort_accepted(Ticket(0)));
        middle.notes.wait_for("an unwanted lease", |told| {
            told.unwanted.contains(&child.lease).then_some(())
        });
        assert!(lender.runtime.reclaim(lent.lease));
    });
    assert_eq!(result, 2);
}

#[test]
fn closure_is_lent_on_by_its_borrower() {
    let rigs: [Rig; 3] = std::array::from_fn(|_| Rig::new());
    let (_, hold) = Gate::closed();
    let busy = hold.clone();
    let program = |gate: &Gate| {
        let child = spawn!(double(21));
        gate.wait();
        child.sync()
    };
    let (result, ()) = lend_child(&rigs[0], program, |lent| {
        let ((), ()) = beside(
            &rigs[1],
            move || busy.wait(),
            || {
                while rigs[1].runtime.ready_count() > 0 {
                    thread::yield_now();
                }
                rigs[1].runtime.accept(Ticket(0), &lent.closure).unwrap();
                assert_eq!(rigs[1].runtime.ready_count(), 1);
                let on = rigs[1].lend_one();
                let outcome = rigs[2].serve(&on);
                rigs[1].runtime.return_result(on.lease, outcome).unwrap();
                let outcome = rigs[1].notes.outcome(Ticket(0));
                rigs[0].runtime.return_result(lent.lease, outcome).unwrap();
                hold.open();
            },
        );
    });
    assert_eq!(result, 42);
}

#[test]
fn counts_tell_hunger_and_surplus() {
    let rig = Rig::new();
    rig.notes
        .wait_for("hunger", |told| (told.hungry > 0).then_some(()));
    assert_eq!(
        (rig.runtime.idle_workers(), rig.runtime.ready_count()),
        (1, 0)
    );
    let (_, gate) = Gate::closed();
    let (_, spawned) = Gate::closed();
    let (inside, ready) = (gate.clone(), spawned.clone());
    let program = move || {
        let children = [1, 2, 3].map(|n| spawn!(double(n)));
        ready.open();
        inside.wait();
        children.map(Handle::sync)
    };
    let (results, ()) = beside(&rig, program, || {
        spawned.wait();
        assert_eq!(
            (rig.runtime.idle_workers(), rig.runtime.ready_count()),
            (0, 3)
        );
        let lent = rig.runtime.lend(2).closures;
        assert_eq!((lent.len(), rig.runtime.ready_count()), (2, 1));
        gate.open();
        for one in lent {
            assert!(rig.runtime.reclaim(one.lease));
        }
    });
    assert_eq!(results, [2, 4, 6]);
}

#[test]
fn handle_may_leave_its_runtime_and_be_dropped_or_synced_there() {
    let rig = Rig::new();
    // Never opened: only an abort ends the child, and the runtime waits for that.
    let (number, _shut) = Gate::closed();
    let child = rig.runtime.run(|| spawn!(join_until(number)));
    while rig.runtime.ready_count() > 0 {
        thread::yield_now();
    }
    drop(child);
    let (number, gate) = Gate::closed();
    let child = rig.runtime.run(|| spawn!(join_until(number)));
    gate.open();
    assert_eq!(child.sync(), number);
}
