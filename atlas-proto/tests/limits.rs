//! Each limit of a message holds in both directions: allowed at the limit, refused one above.
//!
//! Since encoding refuses what is over a limit, the hostile bytes are made beside the codec, from tuples
//! with the same layout as the messages.
#![expect(
    clippy::unwrap_used,
    reason = "also outside of the test functions themselves, a failure here is the test's"
)]

use std::sync::Arc;
use std::time::Duration;

use atlas_engine::{Above, Key, Recorded};
use atlas_proto::codec::{DecodeError, EncodeError, PROTOCOL_VERSION, decode, encode, encoded_len};
use atlas_proto::domain::DomainPattern;
use atlas_proto::ids::{Epoch, GlobalJobId, JobAlias, LeaseId, NodeId, RequestId, TaskId};
use atlas_proto::job::{Closure, ClosureKind, Finished, JobSpec, Outcome, SharedName};
use atlas_proto::limits;
use atlas_proto::message::{
    ChildInfo, Destination, JobHeader, LeaseResult, LeasedClosure, Load, Message, Packet, PeerHint,
    ReturnReason, Share, StealTerms,
};
use bytes::Bytes;
use serde::Serialize;

const ZERO: Duration = Duration::ZERO;

#[test]
fn lists_are_bounded() {
    let leases = |len| vec![LeaseId(5); len];
    holds(
        limits::LEASES_PER_MESSAGE_MAX,
        |len| Message::ReturnClosures {
            leases: leases(len),
            reason: ReturnReason::NoRoom,
        },
        |len| raw(&(12_u8, leases(len), 2_u8)),
    );
    holds(
        limits::LEASES_PER_MESSAGE_MAX,
        |len| Message::AbortLeases {
            leases: leases(len),
        },
        |len| raw(&(14_u8, leases(len))),
    );
    holds(
        limits::LEASES_PER_MESSAGE_MAX,
        |len| results(len, Outcome::Value(Bytes::new())),
        |len| raw(&(13_u8, vec![(5_u8, (0_u8, Bytes::new(), ZERO)); len])),
    );
    holds(
        limits::HINT_PEERS_MAX,
        |len| Message::HintPeers {
            peers: vec![
                PeerHint {
                    peer: NodeId(1),
                    epoch: Epoch(2),
                    surplus: 3
                };
                len
            ],
        },
        |len| raw(&(7_u8, vec![(1_u8, 2_u8, 3_u8); len])),
    );
    holds(
        limits::GRANT_CLOSURES_MAX,
        |len| grant(len, 0, spec("", 0)),
        |len| raw_grant(len, 0, "", 0),
    );
    holds(
        limits::RECORDS_MAX,
        |len| Message::RecordResults {
            job: JobAlias(6),
            entries: recorded(len, 0),
        },
        |len| raw(&(16_u8, 6_u8, raw_recorded(len, 0))),
    );
    holds(
        limits::RECORDS_MAX,
        |len| checkpoint(recorded(len, 0)),
        |len| raw(&(18_u8, 6_u8, raw_recorded(len, 0), 7_u8, false)),
    );
    holds(limits::SHARED_NAMES_MAX, grant_naming, |len| {
        raw_naming(1, 0, len, "", 0)
    });
}

#[test]
fn patterns_are_bounded() {
    let domain = || "a".parse().unwrap();
    let patterns = |len| vec![DomainPattern::ANY; len];
    holds(
        limits::PATTERNS_MAX,
        |len| Message::JoinDomain {
            nonce: 1,
            child: ChildInfo::Manager {
                domain: domain(),
                inflow: patterns(len),
            },
        },
        |len| raw(&(0_u8, 1_u8, 1_u8, "a", vec!["*"; len])),
    );
    holds(
        limits::PATTERNS_MAX,
        |len| {
            steal(
                0,
                Some(Destination {
                    domain: domain(),
                    inflow: patterns(len),
                }),
            )
        },
        |len| {
            let destination = Some(("a", vec!["*"; len]));
            raw(&(9_u8, 4_u8, (0_u8, true, ZERO, ZERO, destination)))
        },
    );
}

#[test]
fn byte_strings_are_bounded() {
    let bytes = |len| Bytes::from(vec![7; len]);
    holds(
        limits::CLOSURE_BYTES_MAX,
        |len| grant(1, len, spec("", 0)),
        |len| raw_grant(1, len, "", 0),
    );
    holds(
        limits::CLOSURE_BYTES_MAX,
        |len| results(1, Outcome::Value(bytes(len))),
        |len| raw(&(13_u8, [(5_u8, (0_u8, bytes(len), ZERO))].as_slice())),
    );
    holds(
        limits::CLOSURE_BYTES_MAX,
        |len| results(1, Outcome::Panic(bytes(len))),
        |len| raw(&(13_u8, [(5_u8, (1_u8, bytes(len), ZERO))].as_slice())),
    );
    let blob = |bytes| Outcome::Blob {
        name: SharedName([5; 32]),
        bytes,
    };
    holds(
        limits::RESULT_BYTES_MAX.try_into().unwrap(),
        |len| results(1, blob(len.try_into().unwrap())),
        |len| raw(&(13_u8, [(5_u8, (2_u8, [5_u8; 32], len, ZERO))].as_slice())),
    );
    holds(
        limits::CLOSURE_BYTES_MAX,
        |len| checkpoint(recorded(1, len)),
        |len| raw(&(18_u8, 6_u8, raw_recorded(1, len), 7_u8, false)),
    );
    holds(
        limits::ENGINE_OPTIONS_BYTES_MAX,
        |len| grant(1, 0, spec("", len)),
        |len| raw_grant(1, 0, "", len),
    );
    holds(
        limits::ENGINE_NAME_BYTES_MAX,
        |len| grant(1, 0, spec(&"n".repeat(len), 0)),
        |len| raw_grant(1, 0, &"n".repeat(len), 0),
    );
}

#[test]
fn a_share_is_at_most_the_whole() {
    holds(
        Share::WHOLE.0.into(),
        |share| steal(share, None),
        |share| raw(&(9_u8, 4_u8, (share, true, ZERO, ZERO, None::<()>))),
    );
}

#[test]
fn packets_are_bounded() {
    let last = |len| {
        let mut message = grant(4, 1 << 20, spec("", 0));
        if let Message::GrantClosures { closures, .. } = &mut message {
            closures[3].closure.args = Bytes::from(vec![7; len]);
        }
        packet(message)
    };
    // Between 2^14 and 2^21 the length of the arguments takes the same number of bytes.
    let rest = limits::PACKET_BYTES_MAX - (encoded_len(&last(1 << 19)) - (1 << 19));
    let full = encode(&last(rest)).unwrap();
    assert_eq!(full.len(), limits::PACKET_BYTES_MAX);
    assert_eq!(decode(&full), Ok(last(rest)));

    let bytes = limits::PACKET_BYTES_MAX + 1;
    assert_eq!(
        encode(&last(rest + 1)),
        Err(EncodeError::TooLarge { bytes })
    );
    assert_eq!(encoded_len(&last(rest + 1)), bytes);
    let over = [&full[..], &[0]].concat();
    assert_eq!(decode(&over), Err(DecodeError::TooLarge { bytes }));
}

#[test]
fn durations_beyond_what_can_be_held_are_refused() {
    let ask = |secs: u64, nanos: u32| {
        let work_min = (secs, nanos);
        raw(&(9_u8, 4_u8, (0_u8, true, work_min, ZERO, None::<()>)))
    };
    let longest = decode(&ask(u64::MAX, 999_999_999)).unwrap().message;
    let Message::RequestSteal { terms, .. } = longest else {
        panic!("{longest:?}");
    };
    assert_eq!(terms.work_min, Duration::MAX);
    let over = decode(&ask(u64::MAX, 1_000_000_000));
    assert!(
        matches!(over, Err(DecodeError::Malformed { .. })),
        "{over:?}"
    );
}

/// `message(len)` encodes to `raw(len)` and back up to `len == max`, and neither goes beyond.
fn holds(max: usize, message: impl Fn(usize) -> Message, raw: impl Fn(usize) -> Vec<u8>) {
    for len in [0, 1, max] {
        let packet = packet(message(len));
        let encoded = encode(&packet).unwrap();
        assert!(encoded == raw(len), "layout of {len} in {packet:?}");
        assert_eq!(decode(&encoded), Ok(packet));
    }
    let over = packet(message(max + 1));
    let encoded = encode(&over);
    assert!(
        matches!(encoded, Err(EncodeError::OverLimit(_))),
        "{over:?}"
    );
    assert!(encoded_len(&over) > limits::PACKET_BYTES_MAX);
    let decoded = decode(&raw(max + 1));
    assert!(
        matches!(decoded, Err(DecodeError::Malformed { .. })),
        "{decoded:?}"
    );
}

fn packet(message: Message) -> Packet {
    Packet {
        from: Epoch(1),
        to: Epoch(2),
        seq: 3,
        ack: 4,
        message,
    }
}

/// A packet whose message is a tuple: its number in the enum, then its fields. Small numbers are single
/// bytes, whatever their type.
fn raw(message: &impl Serialize) -> Vec<u8> {
    let body = postcard::to_stdvec(&(1_u8, 2_u8, 3_u8, 4_u8, message)).unwrap();
    [&[PROTOCOL_VERSION], &body[..]].concat()
}

fn raw_grant(closures: usize, args: usize, engine: &str, options: usize) -> Vec<u8> {
    raw_naming(closures, args, 0, engine, options)
}

fn raw_naming(
    closures: usize,
    args: usize,
    shared: usize,
    engine: &str,
    options: usize,
) -> Vec<u8> {
    let bytes = |len| Bytes::from(vec![7; len]);
    let job = (6_u8, (u128::MAX, "a", engine, [8_u8; 32], bytes(options)));
    let load = [0_u8; 8];
    let closure = (
        9_u8,
        (10_u8, 11_u8),
        bytes(args),
        ZERO,
        vec![[5_u8; 32]; shared],
        Vec::<[u8; 8]>::new(),
        (false, false, 1_u8),
    );
    raw(&(11_u8, None::<()>, false, load, job, vec![closure; closures]))
}

fn grant(closures: usize, args: usize, spec: JobSpec) -> Message {
    let closure = LeasedClosure {
        again: false,
        goes_on: false,
        hops: 1,
        lease: LeaseId(9),
        closure: Closure {
            kind: ClosureKind {
                task: TaskId(10),
                depth: 11,
            },
            args: Bytes::from(vec![7; args]),
            expected: ZERO,
            shared: Vec::new(),
            above: Above::NONE,
        },
    };
    Message::GrantClosures {
        request: None,
        more: false,
        load: Load::default(),
        job: JobHeader {
            alias: JobAlias(6),
            spec: Arc::new(spec),
        },
        closures: vec![closure; closures],
    }
}

/// A grant of one closure that names so many shared values.
fn grant_naming(shared: usize) -> Message {
    let mut message = grant(1, 0, spec("", 0));
    if let Message::GrantClosures { closures, .. } = &mut message {
        closures[0].closure.shared = vec![SharedName([5; 32]); shared];
    }
    message
}

fn spec(engine: &str, options: usize) -> JobSpec {
    JobSpec {
        id: GlobalJobId(u128::MAX),
        origin: "a".parse().unwrap(),
        engine: engine.to_owned(),
        artifact: [8; 32],
        options: Bytes::from(vec![7; options]),
    }
}

fn results(len: usize, outcome: Outcome) -> Message {
    let finished = Finished {
        outcome,
        work: ZERO,
    };
    Message::ReturnResults {
        results: vec![
            LeaseResult {
                lease: LeaseId(5),
                finished
            };
            len
        ],
    }
}

fn recorded(len: usize, bytes: usize) -> Vec<Recorded> {
    let entry = Recorded {
        key: Key([5; 32]),
        result: Bytes::from(vec![7; bytes]),
        work: ZERO,
        above: Above::NONE,
    };
    vec![entry; len]
}

fn raw_recorded(len: usize, bytes: usize) -> Vec<impl Serialize + Clone> {
    let above = Vec::<[u8; 8]>::new();
    vec![([5_u8; 32], Bytes::from(vec![7; bytes]), ZERO, above); len]
}

fn checkpoint(entries: Vec<Recorded>) -> Message {
    Message::GrantCheckpoint {
        job: JobAlias(6),
        entries,
        until: 7,
        more: false,
    }
}

fn steal(share: usize, destination: Option<Destination>) -> Message {
    Message::RequestSteal {
        request: RequestId(4),
        terms: StealTerms {
            share: Share(share.try_into().unwrap()),
            idle: true,
            work_min: ZERO,
            work_min_per_kib: ZERO,
            destination,
        },
    }
}
