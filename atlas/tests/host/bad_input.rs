//! What no runtime made, and what a program's own code makes of it: each is an
//! error that names the task, and no worker or host thread dies of it.

use std::error::Error;
use std::sync::LazyLock;

use atlas::host::{
    AcceptError, CodecError, DecodeError, EncodeError, Lease, Outcome, PortableClosure,
    ReturnError, TaskId, Ticket,
};
use atlas::prelude::*;
use proptest::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::notes::{Gate, Rig};

/// Fails in the way that it is told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Faulty {
    Fine,
    SerializeFails,
    SerializePanics,
    DeserializeFails,
    DeserializePanics,
    DropPanics,
}

impl Serialize for Faulty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::SerializeFails => Err(ser::Error::custom("will not be written")),
            Self::SerializePanics => panic!("cannot be written"),
            Self::Fine | Self::DeserializeFails | Self::DeserializePanics | Self::DropPanics => {
                serializer.serialize_u8(*self as u8)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Faulty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            3 => Err(de::Error::custom("will not be read")),
            4 => panic!("cannot be read"),
            5 => Ok(Self::DropPanics),
            _ => Ok(Self::Fine),
        }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        if self.0 == Faulty::DropPanics && !std::thread::panicking() {
            panic!("cannot be dropped");
        }
    }
}

/// Panics when it is dropped, if it is told so.
#[derive(Serialize, Deserialize)]
struct Fuse(Faulty);

#[atlas::spawn]
fn takes(fault: Faulty) -> u64 {
    fault as u64
}

#[atlas::spawn]
fn gives(fault: u8) -> Faulty {
    match fault {
        1 => Faulty::SerializeFails,
        2 => Faulty::SerializePanics,
        3 => Faulty::DeserializeFails,
        4 => Faulty::DeserializePanics,
        _ => Faulty::Fine,
    }
}

#[atlas::spawn]
fn holds(fuse: Fuse) -> u64 {
    std::mem::forget(fuse);
    7
}

#[atlas::spawn]
fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

#[atlas::spawn]
fn many(a: String, b: Vec<(u32, Option<Box<[u64]>>)>, c: Result<u8, char>) -> String {
    format!("{a}{b:?}{c:?}")
}

const PATH: &str = "host::bad_input::";

fn closure_of(task: &str, args: &[u8]) -> PortableClosure {
    PortableClosure {
        task: TaskId::of_path(&format!("{PATH}{task}")),
        args: args.to_vec(),
    }
}

/// What the closures of a spawned child give that are lent while it waits, and
/// the child's value in the end.
fn beside_child<R: atlas::Portable, S>(
    rig: &Rig,
    child: impl FnOnce() -> Handle<R> + Send,
    test: impl FnOnce() -> S,
) -> (R, S) {
    let (_, spawned) = Gate::closed();
    let (_, gate) = Gate::closed();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            rig.runtime.run(|| {
                let child = child();
                spawned.open();
                gate.wait();
                child.sync()
            })
        });
        spawned.wait();
        let seen = test();
        gate.open();
        (run.join().unwrap(), seen)
    })
}

fn source(error: &dyn Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn arguments_that_are_too_large_stay_and_run_here() {
    let rig = Rig::with(|builder| builder.closure_bytes_max(100));
    for (size, fits) in [
        (97, true),
        (98, true),
        (99, true),
        (100, false),
        (5000, false),
    ] {
        let child = move || spawn!(length(vec![0; size]));
        let (result, lent) = beside_child(&rig, child, || {
            let lent = rig.runtime.lend(1);
            for one in &lent.closures {
                assert!(one.closure.args.len() <= 100);
                assert!(rig.runtime.reclaim(one.lease));
            }
            let again = rig.runtime.lend(1);
            assert!(again.kept.is_empty(), "each is named once");
            again.closures.iter().for_each(|one| {
                assert!(rig.runtime.reclaim(one.lease));
            });
            lent
        });
        assert_eq!(result, size);
        assert_eq!(
            (lent.closures.len(), lent.kept.len()),
            (usize::from(fits), usize::from(!fits))
        );
        for error in &lent.kept {
            assert!(matches!(
                error,
                EncodeError::TooLarge { bytes_max: 100, .. }
            ));
            assert_eq!(
                error.to_string(),
                "the arguments of task `host::bad_input::length` take more than 100 bytes, and are \
                 not moved: pass large read-only data as a shared value, or raise \
                 `Builder::closure_bytes_max`"
            );
        }
    }
}

#[test]
fn closures_that_are_too_large_are_not_accepted() {
    let rig = Rig::with(|builder| builder.closure_bytes_max(100));
    let error = rig
        .runtime
        .accept(Ticket(0), &closure_of("length", &[0; 101]))
        .unwrap_err();
    assert!(matches!(
        error,
        AcceptError::Decode(DecodeError::TooLarge {
            bytes: 101,
            bytes_max: 100,
            ..
        })
    ));
    assert!(
        error
            .to_string()
            .contains("`host::bad_input::length` take 101 bytes")
    );
}

#[test]
fn arguments_that_cannot_be_encoded_stay_and_run_here() {
    for (fault, why) in [
        (Faulty::SerializeFails, ""),
        (Faulty::SerializePanics, "cannot be written"),
    ] {
        let rig = Rig::new();
        let child = move || spawn!(takes(fault));
        let (result, lent) = beside_child(&rig, child, || rig.runtime.lend(1));
        assert_eq!(result, fault as u64);
        assert!(lent.closures.is_empty());
        let [error] = lent.kept.as_slice() else {
            panic!("{:?}", lent.kept);
        };
        assert_eq!(
            error.to_string(),
            "the arguments of task `host::bad_input::takes` cannot be encoded"
        );
        assert!(source(error).ends_with(why), "{}", source(error));
    }
}

#[test]
fn arguments_that_cannot_be_decoded_are_refused() {
    let rig = Rig::new();
    let too_long = [0x05, b'x'];
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let cases: &[(&str, &[u8])] = &[
        ("takes", &[3]),
        ("takes", &[4]),
        ("takes", &[]),
        ("takes", &[0, 0]),
        ("length", &too_long),
        ("length", &huge),
        ("many", &too_long),
        ("many", &huge),
        ("many", &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        (
            "many",
            &[0, 1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ),
        ("many", &[1, 0xff, 0, 0, 0]),
    ];
    for (task, args) in cases {
        let error = rig
            .runtime
            .accept(Ticket(0), &closure_of(task, args))
            .unwrap_err();
        let expected = format!("the arguments of task `{PATH}{task}` cannot be decoded");
        assert_eq!(error.to_string(), expected, "{args:?}");
        assert!(!source(&error).is_empty());
    }
    let panicked = rig
        .runtime
        .accept(Ticket(0), &closure_of("takes", &[4]))
        .unwrap_err();
    assert!(matches!(
        panicked,
        AcceptError::Decode(DecodeError::Arguments { source: CodecError::Panicked { message }, .. })
            if message == "cannot be read"
    ));
    let left_over = rig
        .runtime
        .accept(Ticket(0), &closure_of("takes", &[0, 0, 0]))
        .unwrap_err();
    assert!(matches!(
        left_over,
        AcceptError::Decode(DecodeError::Arguments {
            source: CodecError::LeftOver { bytes: 2 },
            ..
        })
    ));
    // The ticket was not taken by any of them, and the runtime works.
    rig.runtime
        .accept(Ticket(0), &closure_of("takes", &[0]))
        .unwrap();
    assert_eq!(rig.notes.outcome(Ticket(0)), Outcome::Value(vec![0]));
}

#[test]
fn result_that_cannot_be_encoded_is_computed_by_the_lender() {
    for fault in [1, 2] {
        let [lender, borrower] = [Rig::new(), Rig::new()];
        let (result, ()) = beside_child(
            &lender,
            move || spawn!(gives(fault)),
            || {
                let lent = lender.lend_one();
                let outcome = borrower.serve(&lent);
                let Outcome::Refused { reason } = &outcome else {
                    panic!("{outcome:?}");
                };
                assert!(
                    reason.contains("`host::bad_input::gives` cannot be encoded"),
                    "{reason}"
                );
                lender.runtime.return_result(lent.lease, outcome).unwrap();
            },
        );
        assert_eq!(result as u8, fault);
    }
}

#[test]
fn result_that_cannot_be_decoded_leaves_the_closure_lent() {
    let rig = Rig::new();
    let (result, ()) = beside_child(
        &rig,
        || spawn!(gives(0)),
        || {
            let lent = rig.lend_one();
            for (byte, why) in [(3, ""), (4, "cannot be read")] {
                let outcome = Outcome::Value(vec![byte]);
                let error = rig.runtime.return_result(lent.lease, outcome).unwrap_err();
                assert!(matches!(error, ReturnError::Malformed { .. }));
                assert!(source(&error).ends_with(why), "{}", source(&error));
            }
            let outcome = Outcome::Value(vec![0]);
            rig.runtime.return_result(lent.lease, outcome).unwrap();
        },
    );
    assert_eq!(result, Faulty::Fine);
}

#[test]
fn arguments_whose_drop_panics_end_no_thread() {
    let rig = Rig::new();
    let fused = || spawn!(holds(Fuse(Faulty::DropPanics)));
    // Given back with a result: the kept arguments are dropped by the host's thread.
    let panic = rig.runtime.run(|| {
        let child = fused();
        let (_, gate) = Gate::closed();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let lent = rig.lend_one();
                rig.runtime
                    .return_result(lent.lease, Outcome::Value(vec![7]))
                    .unwrap();
                gate.open();
            });
            gate.wait();
        });
        child.try_sync().unwrap_err()
    });
    assert_eq!(panic.message(), "cannot be dropped");
    assert_eq!(panic.task(), Some("host::bad_input::holds"));
    // Aborted, before it has begun and while it is lent.
    rig.runtime.run(|| drop(fused()));
    rig.runtime.run(|| {
        let child = fused();
        let (_, gate) = Gate::closed();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                rig.lend_one();
                gate.open();
            });
            gate.wait();
        });
        drop(child);
    });
    assert_eq!(rig.runtime.run(|| spawn!(takes(Faulty::Fine)).sync()), 0);
}

#[test]
fn bytes_that_end_early_or_are_of_another_version_are_no_closure() {
    let closure = closure_of("takes", &[0]);
    let bytes = closure.to_bytes();
    assert_eq!(PortableClosure::from_bytes(&bytes).unwrap(), closure);
    for length in 0..9 {
        let error = PortableClosure::from_bytes(&bytes[..length]).unwrap_err();
        assert!(matches!(error, DecodeError::Truncated { bytes } if bytes == length));
    }
    let error = PortableClosure::from_bytes(&[7; 20]).unwrap_err();
    assert!(matches!(error, DecodeError::Format { found: 7 }));
}

static FUZZED: LazyLock<Rig> = LazyLock::new(|| Rig::with(|builder| builder.workers(2)));

/// Tasks that any arguments may be given to.
const HARMLESS: [&str; 3] = ["takes", "length", "many"];

proptest! {
    #[test]
    fn any_bytes_are_a_closure_or_an_error(bytes: Vec<u8>) {
        if let Ok(closure) = PortableClosure::from_bytes(&bytes) {
            prop_assert_eq!(closure.to_bytes(), bytes);
            prop_assert!(FUZZED.runtime.accept(Ticket(0), &closure).is_err());
        }
    }

    #[test]
    fn any_arguments_run_or_are_refused(
        which in 0..HARMLESS.len(),
        args in proptest::collection::vec(prop_oneof![0_u8..6, any::<u8>()], 0..40),
        ticket in 1_u64..u64::MAX,
    ) {
        let rig = &*FUZZED;
        let closure = closure_of(HARMLESS[which], &args);
        match rig.runtime.accept(Ticket(ticket), &closure) {
            Ok(()) => {
                let outcome = rig.notes.outcome(Ticket(ticket));
                prop_assert!(matches!(outcome, Outcome::Value(_)), "{:?}", outcome);
            }
            Err(AcceptError::Decode(error)) => {
                prop_assert!(error.to_string().contains(HARMLESS[which]));
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn any_result_of_no_lease_is_unknown(lease: u64, bytes: Vec<u8>) {
        let outcome = Outcome::Value(bytes);
        let error = FUZZED.runtime.return_result(Lease(lease), outcome).unwrap_err();
        prop_assert!(matches!(error, ReturnError::Unknown(unknown) if unknown == Lease(lease)));
    }

    #[test]
    fn any_result_is_a_value_or_malformed(results: Vec<Vec<u8>>) {
        let rig = Rig::new();
        let child = || spawn!(many(String::new(), Vec::new(), Ok(1)));
        let (result, expected) = beside_child(&rig, child, || {
            let lent = rig.lend_one();
            for bytes in &results {
                let decoded = postcard::from_bytes::<String>(bytes).ok();
                match rig.runtime.return_result(lent.lease, Outcome::Value(bytes.clone())) {
                    Ok(()) => return decoded,
                    Err(ReturnError::Malformed { task, .. }) => {
                        assert_eq!(task, "host::bad_input::many");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(rig.runtime.reclaim(lent.lease));
            Some("[]Ok(1)".to_owned())
        });
        prop_assert_eq!(Some(result), expected);
    }
}
