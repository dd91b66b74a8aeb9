//! One fixed packet of each kind of message, and more where a message has several shapes.
//!
//! The golden bytes and the table of messages are held against these, and the fuzzers' bodies start from
//! them. A test fails until a new message has a sample.
#![expect(
    clippy::unwrap_used,
    reason = "also outside of the test functions themselves, a failure here is the test's"
)]

use std::sync::Arc;
use std::time::Duration;

use atlas_engine::{Key, Recorded, ShortKey};
use atlas_proto::domain::DomainPattern;
use atlas_proto::ids::{Epoch, GlobalJobId, JobAlias, LeaseId, NodeId, RequestId, TaskId};
use atlas_proto::job::{Closure, ClosureKind, Finished, JobSpec, Outcome, SharedName};
use atlas_proto::message::{
    ChildInfo, Destination, EndStealReason, JobHeader, LeaseResult, LeasedClosure, Load, Message,
    OrphanName, Packet, PeerHint, RefuseChildReason, ReturnReason, Share, StealTerms,
};
use atlas_proto::suspicion::Suspicion;
use bytes::Bytes;

/// The samples, in the enum's order, but for those that have more shapes than they had.
pub(crate) fn packets() -> Vec<Packet> {
    let messages = [
        membership(),
        load(),
        steals(),
        leases(),
        checkpoints(),
        failures(),
        blobs(),
    ]
    .concat();
    let packet = |(message, at): (Message, u32)| Packet {
        from: Epoch(0x0102_0304),
        to: Epoch(300),
        seq: if message.is_sequenced() { at + 1 } else { 0 },
        ack: 200,
        message,
    };
    messages.into_iter().zip(0..).map(packet).collect()
}

fn membership() -> Vec<Message> {
    let nonce = 0xfeed_beef_dead_cafe;
    let join = |child| Message::JoinDomain { nonce, child };
    let refuse = |reason| Message::RefuseChild { nonce, reason };
    vec![
        join(ChildInfo::Server { workers: 64 }),
        join(ChildInfo::Manager {
            domain: "cs.example.edu".parse().unwrap(),
            inflow: inflow(),
        }),
        Message::WelcomeChild {
            nonce,
            epoch: Epoch(9),
        },
        refuse(RefuseChildReason::Full),
        refuse(RefuseChildReason::NotBelow),
        Message::ExpelChild,
        Message::LeaveDomain,
        Message::KeepAlive,
    ]
}

fn load() -> Vec<Message> {
    vec![
        Message::ReportLoad(sample_load()),
        Message::HintPeers {
            peers: vec![
                PeerHint {
                    peer: NodeId(u64::MAX),
                    epoch: Epoch(4),
                    surplus: 129,
                },
                PeerHint {
                    peer: NodeId(1),
                    epoch: Epoch(5),
                    surplus: 1,
                },
            ],
        },
        Message::ForgetPeer {
            peer: NodeId(0xabcd),
            epoch: Epoch(5),
        },
    ]
}

fn sample_load() -> Load {
    Load {
        version: 70_000,
        workers: 16,
        hungry: 3,
        surplus: 500,
        surplus_work: Duration::new(12, 345_678_901),
        reach: Duration::from_micros(250),
    }
}

fn steals() -> Vec<Message> {
    let request = RequestId(21);
    let ask = |idle, destination| Message::RequestSteal {
        request,
        terms: StealTerms {
            share: Share(512),
            idle,
            work_min: Duration::from_millis(7),
            work_min_per_kib: Duration::from_nanos(8),
            destination,
        },
    };
    let destination = Destination {
        domain: "bio.example.edu".parse().unwrap(),
        inflow: inflow(),
    };
    let end = |reason| Message::EndSteal {
        request,
        reason,
        load: sample_load(),
    };
    vec![
        ask(true, None),
        ask(false, Some(destination)),
        end(EndStealReason::Done),
        end(EndStealReason::NoSurplus),
        end(EndStealReason::NotWorthMoving),
        end(EndStealReason::Policy),
        end(EndStealReason::Leaving),
        grant(Some(request), true),
        grant(None, false),
    ]
}

fn grant(request: Option<RequestId>, more: bool) -> Message {
    let closure = |args, shared: &[SharedName]| Closure {
        kind: ClosureKind {
            task: TaskId(0x1234_5678_9abc_def0),
            depth: 11,
        },
        args: Bytes::from_static(args),
        expected: Duration::from_secs(90),
        shared: shared.to_vec(),
        above: [ShortKey(0xa3)].into_iter().collect(),
    };
    Message::GrantClosures {
        request,
        more,
        load: sample_load(),
        job: JobHeader {
            alias: JobAlias(0x77),
            spec: Arc::new(JobSpec {
                id: GlobalJobId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
                origin: "lab.cs.example.edu".parse().unwrap(),
                engine: "native".to_owned(),
                artifact: std::array::from_fn(|at| u8::try_from(at * 7).unwrap()),
                options: Bytes::from_static(b"\x01\x02"),
            }),
        },
        closures: vec![
            LeasedClosure {
                lease: LeaseId(1000),
                closure: closure(b"arguments", &[]),
                again: false,
                goes_on: false,
                hops: 1,
            },
            LeasedClosure {
                lease: LeaseId(1001),
                closure: closure(b"", &[SharedName([0xcd; 32])]),
                again: true,
                goes_on: true,
                hops: 1,
            },
        ],
    }
}

fn leases() -> Vec<Message> {
    let leases = || vec![LeaseId(1), LeaseId(128), LeaseId(1 << 40)];
    let give_back = |reason| Message::ReturnClosures {
        leases: leases(),
        reason,
    };
    let result = |lease, outcome| LeaseResult {
        lease: LeaseId(lease),
        finished: Finished {
            outcome,
            work: Duration::new(3, 999_999_999),
        },
    };
    vec![
        give_back(ReturnReason::Retreat),
        give_back(ReturnReason::Inflow),
        give_back(ReturnReason::NoRoom),
        give_back(ReturnReason::EngineFailed),
        give_back(ReturnReason::Asked { request: None }),
        give_back(ReturnReason::Asked {
            request: Some(RequestId(9)),
        }),
        Message::ReturnResults {
            results: vec![
                result(5, Outcome::Value(Bytes::from_static(b"value"))),
                result(6, Outcome::Panic(Bytes::from_static(b"panic"))),
            ],
        },
        Message::AbortLeases { leases: leases() },
        Message::EndJob {
            job: JobAlias(0x77),
            lost: true,
        },
    ]
}

fn failures() -> Vec<Message> {
    let kind = ClosureKind {
        task: TaskId(0x99),
        depth: 3,
    };
    vec![
        Message::KeepPace {
            bound: true,
            answer: false,
        },
        Message::SuspectLeases {
            leases: vec![LeaseId(1), LeaseId(1 << 40)],
            suspicion: Suspicion {
                engines: 2,
                kind,
                bytes: 1000,
            },
            returned: true,
        },
        Message::NameOrphans {
            job: JobAlias(0x77),
            holder: Some((NodeId(3), Epoch(0x1_0000_0002))),
            orphans: vec![OrphanName {
                key: Key([0xcd; 32]),
                hops: 3,
            }],
        },
    ]
}

fn blobs() -> Vec<Message> {
    let outcome = Outcome::Blob {
        name: SharedName([0xcd; 32]),
        bytes: 300 << 20,
    };
    let finished = Finished {
        outcome,
        work: Duration::new(3, 4),
    };
    let lease = LeaseId(7);
    vec![Message::ReturnResults {
        results: vec![LeaseResult { lease, finished }],
    }]
}

fn checkpoints() -> Vec<Message> {
    let job = JobAlias(0x77);
    let entries = || {
        vec![Recorded {
            key: Key([0xef; 32]),
            result: Bytes::from_static(b"result"),
            work: Duration::new(4, 5),
            above: [ShortKey(0xa1), ShortKey(0xa2)].into_iter().collect(),
        }]
    };
    vec![
        Message::RecordResults {
            job,
            entries: entries(),
        },
        Message::RequestCheckpoint { job, after: 300 },
        Message::GrantCheckpoint {
            job,
            entries: entries(),
            until: 301,
            more: true,
        },
    ]
}

fn inflow() -> Vec<DomainPattern> {
    vec![DomainPattern::ANY, "example.edu".parse().unwrap()]
}
