//! Messages survive the socket; damaged ones are refused, or are other messages, but never a panic.

use std::fmt::Write as _;
use std::time::Duration;

use atlas_engine::above::{ABOVE_MAX, Above};
use atlas_engine::frame::{decode, encode, read, write};
use atlas_engine::limits::{
    CLOSURE_BYTES_MAX, FRAME_BYTES_MAX, LENT_BYTES_MAX, LENT_CLOSURES_MAX, READY_RUNS_MAX,
    RECORDS_BYTES_MAX, RECORDS_MAX, RESULT_BYTES_MAX, SAMPLES_MAX, SHARED_NAMES_MAX,
    TASK_PATH_BYTES_MAX, TASKS_MAX,
};
use atlas_engine::{
    Closure, ClosureKind, CommandLine, DecodeError, EncodeError, Finished, FromEngine, Key, Lease,
    Lent, Load, Measured, Outcome, Program, ReadError, ReadyRun, Recorded, RequestId, SharedName,
    ShortKey, TaskId, TaskPath, Ticket, ToEngine, WIRE_VERSION,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

/// Version stability. One line for each sample.
const GOLDEN: &str = include_str!("golden.txt");

fn kind() -> ClosureKind {
    ClosureKind {
        task: TaskId(0x0102_0304_0506_0708),
        depth: 9,
    }
}

fn closure() -> Closure {
    Closure {
        kind: kind(),
        args: Bytes::from_static(b"args"),
        expected: Duration::new(1, 2),
        shared: Vec::new(),
        above: above(1),
    }
}

fn above(keys: u64) -> Above {
    (0..keys)
        .map(|key| ShortKey(0x0807_0605_0403_0201 + key))
        .collect()
}

fn closure_with(shared: usize) -> Closure {
    Closure {
        shared: vec![SharedName([0xab; 32]); shared],
        ..closure()
    }
}

fn finished(outcome: fn(Bytes) -> Outcome) -> Finished {
    Finished {
        outcome: outcome(Bytes::from_static(b"out")),
        work: Duration::new(3, 4),
    }
}

fn blob(bytes: u64) -> Finished {
    Finished {
        outcome: Outcome::Blob {
            name: SharedName([12; 32]),
            bytes,
        },
        work: Duration::new(3, 4),
    }
}

fn recorded() -> Recorded {
    Recorded {
        key: Key([0xcd; 32]),
        result: Bytes::from_static(b"out"),
        work: Duration::new(5, 6),
        above: above(2),
    }
}

fn path(bytes: usize) -> TaskPath {
    TaskPath {
        task: kind().task,
        path: "p".repeat(bytes),
        impure: true,
    }
}

fn commands() -> Vec<ToEngine> {
    vec![
        ToEngine::Hello { workers_max: 300 },
        ToEngine::SetWorkers { workers: 2 },
        ToEngine::Accept {
            ticket: Ticket(5),
            closure: closure(),
        },
        ToEngine::Abort { ticket: Ticket(6) },
        ToEngine::Lend {
            request: RequestId(7),
            closures_max: 8,
        },
        ToEngine::ReturnResult {
            lease: Lease(9),
            finished: finished(Outcome::Value),
        },
        ToEngine::Reclaim { lease: Lease(10) },
        ToEngine::Stop,
        ToEngine::Remember {
            entries: vec![recorded()],
        },
        ToEngine::Ping,
    ]
}

fn events() -> Vec<FromEngine> {
    vec![
        FromEngine::Hello {
            program: Program {
                fingerprint: [7; 32],
                tasks: 11,
            },
        },
        FromEngine::Load(Load {
            idle: 1,
            stopped: 2,
            ready: 2,
            oldest: vec![ReadyRun {
                kind: kind(),
                closures: 3,
            }],
        }),
        FromEngine::Lent {
            request: RequestId(4),
            closures: vec![Lent {
                lease: Lease(5),
                closure: closure(),
                accepted: true,
            }],
        },
        FromEngine::Finished {
            ticket: Ticket(6),
            finished: finished(Outcome::Panic),
        },
        FromEngine::Unwanted { lease: Lease(7) },
        FromEngine::Measured {
            samples: vec![Measured {
                kind: kind(),
                work: Duration::new(8, 9),
                finished: 10,
            }],
        },
        FromEngine::Share {
            name: SharedName([12; 32]),
        },
        FromEngine::Lent {
            request: RequestId(13),
            closures: vec![Lent {
                lease: Lease(14),
                closure: closure_with(2),
                accepted: true,
            }],
        },
        FromEngine::Record {
            entries: vec![recorded()],
        },
        FromEngine::Tasks {
            paths: vec![path("a::b".len())],
        },
        FromEngine::Finished {
            ticket: Ticket(15),
            finished: blob(300 << 20),
        },
        FromEngine::Pong,
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes all");
        hex
    })
}

#[test]
fn every_message_keeps_its_bytes() {
    let mut now = format!("version {WIRE_VERSION}\n");
    for frame in commands()
        .iter()
        .map(encode)
        .chain(events().iter().map(encode))
    {
        writeln!(now, "{}", hex(&frame.unwrap())).unwrap();
    }
    writeln!(
        now,
        "{}",
        hex(&CommandLine(vec![b"-n".to_vec(), b"30".to_vec()]).to_args())
    )
    .unwrap();
    assert!(
        now == GOLDEN,
        "the bytes have changed, so that engines of the version before would misread them. If that was meant, add 1 \
         to WIRE_VERSION unless it has gone up since the last release, and replace tests/golden.txt by:\n{now}"
    );
}

#[test]
fn a_stream_of_messages_is_read_to_its_end() {
    let mut stream = Vec::new();
    for command in commands() {
        write(&mut stream, &command).unwrap();
    }
    let mut rest = &stream[..];
    for command in commands() {
        assert_eq!(read(&mut rest).unwrap(), Some(command));
    }
    assert_eq!(read::<ToEngine>(&mut rest).unwrap(), None);
    for cut in [1, 3, 4, 6] {
        let error = read::<ToEngine>(&mut &stream[..cut]).unwrap_err();
        assert!(matches!(error, ReadError::Io(_)), "{error:?}");
    }
}

#[test]
fn other_versions_and_long_frames_are_refused() {
    let mut frame = encode(&ToEngine::Stop).unwrap();
    frame[4] = 9;
    let error = read::<ToEngine>(&mut &frame[..]).unwrap_err();
    assert!(matches!(
        error,
        ReadError::Decode(DecodeError::Version { version: 9 })
    ));
    let long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
    let error = read::<ToEngine>(&mut &long[..]).unwrap_err();
    assert!(matches!(
        error,
        ReadError::Decode(DecodeError::TooLarge { .. })
    ));
    assert_eq!(decode::<ToEngine>(&[]), Err(DecodeError::Empty));
    let longer = [&encode(&ToEngine::Stop).unwrap()[4..], &[0]].concat();
    assert_eq!(
        decode::<ToEngine>(&longer),
        Err(DecodeError::Trailing { bytes: 1 })
    );
}

#[test]
fn limits_hold_in_both_directions() {
    let lent = |closures| FromEngine::Lent {
        request: RequestId(0),
        closures,
    };
    let one = Lent {
        lease: Lease(1),
        closure: closure(),
        accepted: true,
    };
    let run = ReadyRun {
        kind: kind(),
        closures: 1,
    };
    let sample = Measured {
        kind: kind(),
        work: Duration::ZERO,
        finished: 1,
    };
    let record = |entries| FromEngine::Record { entries };
    let tasks = |paths| FromEngine::Tasks { paths };
    let large = Outcome::Value(vec![0; CLOSURE_BYTES_MAX + 1].into());
    let over = [
        lent(vec![one; LENT_CLOSURES_MAX + 1]),
        lent(vec![Lent {
            lease: Lease(1),
            closure: closure_with(SHARED_NAMES_MAX + 1),
            accepted: true,
        }]),
        FromEngine::Load(Load {
            oldest: vec![run; READY_RUNS_MAX + 1],
            ..Load::default()
        }),
        FromEngine::Measured {
            samples: vec![sample; SAMPLES_MAX + 1],
        },
        FromEngine::Finished {
            ticket: Ticket(1),
            finished: Finished {
                outcome: large,
                work: Duration::ZERO,
            },
        },
        record(vec![recorded(); RECORDS_MAX + 1]),
        record(vec![Recorded {
            result: vec![0; CLOSURE_BYTES_MAX + 1].into(),
            ..recorded()
        }]),
        tasks(vec![path(1); TASKS_MAX + 1]),
        tasks(vec![path(TASK_PATH_BYTES_MAX + 1)]),
    ];
    for message in over {
        assert!(matches!(encode(&message), Err(EncodeError::OverLimit(_))));
    }
    let remember = |entries| encode(&ToEngine::Remember { entries });
    assert!(matches!(
        remember(vec![recorded(); RECORDS_MAX + 1]),
        Err(EncodeError::OverLimit(_))
    ));
    // Version, `Measured`, and a promise of 2^32 - 1 entries.
    let promise = [WIRE_VERSION, 5, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(matches!(
        decode::<FromEngine>(&promise),
        Err(DecodeError::Malformed(_))
    ));
}

#[test]
fn the_length_of_a_result_is_bounded_in_both_directions() {
    let finished = |bytes| FromEngine::Finished {
        ticket: Ticket(1),
        finished: blob(bytes),
    };
    assert!(matches!(
        encode(&finished(RESULT_BYTES_MAX + 1)),
        Err(EncodeError::OverLimit(_))
    ));
    let mut longer = encode(&finished(RESULT_BYTES_MAX)).unwrap();
    // It is the last number but those of the work.
    let last = longer.len() - 3;
    assert_eq!(longer[last], 4);
    longer[last] += 1;
    assert!(matches!(
        decode::<FromEngine>(&longer[4..]),
        Err(DecodeError::Malformed(_))
    ));
}

#[test]
fn naming_no_shared_value_takes_a_byte() {
    let bytes = |shared| postcard::to_stdvec(&closure_with(shared)).unwrap().len();
    assert_eq!(bytes(1) - bytes(0), SharedName::BYTES);
    let args = closure().args.len();
    assert_eq!(
        [0, 2].map(|shared| closure_with(shared).size()),
        [args, args + 64]
    );
    let of_root = Closure {
        above: Above::NONE,
        ..closure()
    };
    assert!(postcard::to_stdvec(&of_root).unwrap().ends_with(&[0, 0]));
}

#[test]
fn no_more_than_the_nearest_closures_above_one_are_read() {
    let said = |keys: usize| postcard::to_stdvec(&vec![[7_u8; 8]; keys]).unwrap();
    for keys in 0..=ABOVE_MAX {
        let above: Above = postcard::from_bytes(&said(keys)).unwrap();
        assert_eq!(postcard::to_stdvec(&above).unwrap(), said(keys));
    }
    assert!(postcard::from_bytes::<Above>(&said(ABOVE_MAX + 1)).is_err());
}

#[test]
fn the_largest_closure_fits_into_an_answer() {
    let mut closure = closure_with(SHARED_NAMES_MAX);
    closure.args = vec![0; CLOSURE_BYTES_MAX].into();
    assert!(closure.is_within_limits());
    assert!(closure.size() <= LENT_BYTES_MAX);
    let lease = Lease(u64::MAX);
    let lent = FromEngine::Lent {
        request: RequestId(u64::MAX),
        closures: vec![Lent {
            lease,
            closure,
            accepted: false,
        }],
    };
    encode(&lent).unwrap();
}

#[test]
fn as_many_results_as_may_be_fit_into_one_message() {
    let entry = Recorded {
        key: Key([0xff; 32]),
        result: vec![0; CLOSURE_BYTES_MAX / RECORDS_MAX].into(),
        work: Duration::MAX,
        above: above(4),
    };
    assert!(entry.size() * RECORDS_MAX <= RECORDS_BYTES_MAX);
    let largest = Recorded {
        result: vec![0; CLOSURE_BYTES_MAX].into(),
        ..entry.clone()
    };
    assert!(largest.size() <= RECORDS_BYTES_MAX);
    for entries in [vec![entry; RECORDS_MAX], vec![largest]] {
        encode(&ToEngine::Remember { entries }).unwrap();
    }
    let paths = vec![path(TASK_PATH_BYTES_MAX); TASKS_MAX];
    encode(&FromEngine::Tasks { paths }).unwrap();
}

#[test]
fn a_key_is_of_a_task_and_its_arguments() {
    let key = Key::of(TaskId(1), b"args");
    assert_eq!(key, Key::of(TaskId(1), b"args"));
    assert_ne!(key, Key::of(TaskId(2), b"args"));
    assert_ne!(key, Key::of(TaskId(1), b"argt"));
    // It is kept from one version to the next.
    let expected = blake3::hash(b"\x01\0\0\0\0\0\0\0args");
    assert_eq!(key, Key(expected.into()));
}

#[test]
fn of_the_closures_above_one_the_nearest_are_named() {
    let key = Key(std::array::from_fn(|at| u8::try_from(at + 1).unwrap()));
    assert_eq!(key.short(), ShortKey(0x0807_0605_0403_0201));
    for keys in 0..=ABOVE_MAX as u64 + 2 {
        let above = above(keys);
        let first = (0..keys).take(ABOVE_MAX);
        let expected: Vec<ShortKey> = first
            .map(|key| ShortKey(0x0807_0605_0403_0201 + key))
            .collect();
        assert_eq!(above.keys(), expected);
        assert_eq!(above.size(), expected.len() * 8);
    }
    assert_eq!(above(0), Above::NONE);
}

#[test]
fn a_shared_value_is_named_in_hexadecimal_digits() {
    let name = SharedName(std::array::from_fn(|at| u8::try_from(at).unwrap()));
    let text = name.to_string();
    assert_eq!(text.len(), 64);
    assert!(text.starts_with("000102030405060708090a0b"), "{text}");
}

fn any_kind() -> impl Strategy<Value = ClosureKind> {
    (any::<u64>(), any::<u32>()).prop_map(|(task, depth)| ClosureKind {
        task: TaskId(task),
        depth,
    })
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

fn any_closure() -> impl Strategy<Value = Closure> {
    let shared = vec(any::<[u8; 32]>().prop_map(SharedName), 0..3);
    (
        any_kind(),
        any_bytes(),
        any::<Duration>(),
        shared,
        any_above(),
    )
        .prop_map(|(kind, args, expected, shared, above)| Closure {
            kind,
            args,
            expected,
            shared,
            above,
        })
}

fn any_above() -> impl Strategy<Value = Above> {
    let keys = vec(any::<u64>().prop_map(ShortKey), 0..=ABOVE_MAX);
    keys.prop_map(|keys| keys.into_iter().collect())
}

fn any_finished() -> impl Strategy<Value = Finished> {
    let outcome = prop_oneof![
        any_bytes().prop_map(Outcome::Value),
        any_bytes().prop_map(Outcome::Panic),
        (any::<[u8; 32]>(), 0..=RESULT_BYTES_MAX).prop_map(|(name, bytes)| Outcome::Blob {
            name: SharedName(name),
            bytes,
        }),
    ];
    (outcome, any::<Duration>()).prop_map(|(outcome, work)| Finished { outcome, work })
}

fn any_recorded() -> impl Strategy<Value = Recorded> {
    (
        any::<[u8; 32]>(),
        any_bytes(),
        any::<Duration>(),
        any_above(),
    )
        .prop_map(|(key, result, work, above)| Recorded {
            key: Key(key),
            result,
            work,
            above,
        })
}

fn any_command() -> impl Strategy<Value = ToEngine> {
    let ticket = || any::<u64>().prop_map(Ticket);
    let lease = || any::<u64>().prop_map(Lease);
    prop_oneof![
        any::<u32>().prop_map(|workers_max| ToEngine::Hello { workers_max }),
        any::<u32>().prop_map(|workers| ToEngine::SetWorkers { workers }),
        (ticket(), any_closure())
            .prop_map(|(ticket, closure)| ToEngine::Accept { ticket, closure }),
        ticket().prop_map(|ticket| ToEngine::Abort { ticket }),
        (any::<u64>(), any::<u32>()).prop_map(|(request, closures_max)| ToEngine::Lend {
            request: RequestId(request),
            closures_max,
        }),
        (lease(), any_finished())
            .prop_map(|(lease, finished)| ToEngine::ReturnResult { lease, finished }),
        lease().prop_map(|lease| ToEngine::Reclaim { lease }),
        Just(ToEngine::Stop),
        vec(any_recorded(), 0..9).prop_map(|entries| ToEngine::Remember { entries }),
        Just(ToEngine::Ping),
    ]
}

fn any_event() -> impl Strategy<Value = FromEngine> {
    let lent = (any::<u64>(), any_closure(), any::<bool>());
    let lent = lent.prop_map(|(lease, closure, accepted)| Lent {
        lease: Lease(lease),
        closure,
        accepted,
    });
    let path = (any::<u64>(), ".{0,32}", any::<bool>());
    let path = path.prop_map(|(task, path, impure)| TaskPath {
        task: TaskId(task),
        path,
        impure,
    });
    let run = (any_kind(), any::<u32>()).prop_map(|(kind, closures)| ReadyRun { kind, closures });
    let sample =
        (any_kind(), any::<Duration>(), any::<u32>()).prop_map(|(kind, work, finished)| Measured {
            kind,
            work,
            finished,
        });
    prop_oneof![
        (any::<[u8; 32]>(), any::<u32>()).prop_map(|(fingerprint, tasks)| FromEngine::Hello {
            program: Program { fingerprint, tasks },
        }),
        (any::<[u32; 3]>(), vec(run, 0..=READY_RUNS_MAX)).prop_map(
            |([idle, stopped, ready], oldest)| FromEngine::Load(Load {
                idle,
                stopped,
                ready,
                oldest
            })
        ),
        (any::<u64>(), vec(lent, 0..9)).prop_map(|(request, closures)| FromEngine::Lent {
            request: RequestId(request),
            closures,
        }),
        (any::<u64>(), any_finished()).prop_map(|(ticket, finished)| FromEngine::Finished {
            ticket: Ticket(ticket),
            finished,
        }),
        any::<u64>().prop_map(|lease| FromEngine::Unwanted {
            lease: Lease(lease)
        }),
        vec(sample, 0..9).prop_map(|samples| FromEngine::Measured { samples }),
        any::<[u8; 32]>().prop_map(|name| FromEngine::Share {
            name: SharedName(name)
        }),
        vec(any_recorded(), 0..9).prop_map(|entries| FromEngine::Record { entries }),
        vec(path, 0..9).prop_map(|paths| FromEngine::Tasks { paths }),
        Just(FromEngine::Pong),
    ]
}

/// Reads all that is there; the number of messages.
fn read_all<M: DeserializeOwned>(mut stream: &[u8]) -> usize {
    let mut messages = 0;
    while let Ok(Some(_)) = read::<M>(&mut stream) {
        messages += 1;
    }
    messages
}

proptest! {
    #[test]
    fn commands_survive_the_way(command in any_command()) {
        let frame = encode(&command).unwrap();
        prop_assert_eq!(read(&mut &frame[..]).unwrap(), Some(command));
    }

    #[test]
    fn events_survive_the_way(event in any_event()) {
        let frame = encode(&event).unwrap();
        prop_assert_eq!(read(&mut &frame[..]).unwrap(), Some(event));
    }

    #[test]
    fn garbage_is_no_panic(garbage in vec(any::<u8>(), 0..512)) {
        read_all::<ToEngine>(&garbage);
        read_all::<FromEngine>(&garbage);
        let body = [&[WIRE_VERSION], &garbage[..]].concat();
        let _ = decode::<ToEngine>(&body);
        let _ = decode::<FromEngine>(&body);
    }

    #[test]
    fn damaged_messages_are_no_panic(event in any_event(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut frame = encode(&event).unwrap();
        let at = at.index(frame.len());
        frame[at] = byte;
        read_all::<FromEngine>(&frame);
    }
}
