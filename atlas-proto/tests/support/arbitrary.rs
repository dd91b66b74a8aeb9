//! Strategies for everything that nodes say to each other, within its limits.
//!
//! Lists are kept short, since a property seldom needs a long one; the tests of the limits make those.
#![expect(
    clippy::unwrap_used,
    reason = "also outside of the test functions themselves, a failure here is the test's"
)]

use std::sync::Arc;
use std::time::Duration;

use atlas_engine::{Above, Key, Recorded, ShortKey};
use atlas_proto::domain::{Domain, DomainPattern};
use atlas_proto::ids::{Epoch, GlobalJobId, JobAlias, LeaseId, NodeId, RequestId, TaskId};
use atlas_proto::job::{Closure, ClosureKind, Finished, JobSpec, Outcome, SharedName};
use atlas_proto::limits::RESULT_BYTES_MAX;
use atlas_proto::message::{
    ChildInfo, Destination, EndStealReason, JobHeader, LeaseResult, LeasedClosure, Load, Message,
    OrphanName, Packet, PeerHint, RefuseChildReason, ReturnReason, Share, StealTerms,
};
use atlas_proto::suspicion::Suspicion;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::{collection, option, sample};

/// Any packet, whether or not a session would send it.
pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    (number(), number(), any::<u32>(), any::<u32>(), message()).prop_map(
        |(from, to, seq, ack, message)| Packet {
            from: Epoch(from),
            to: Epoch(to),
            seq,
            ack,
            message,
        },
    )
}

/// Any message, each kind equally likely.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (number(), child()).prop_map(|(nonce, child)| Message::JoinDomain { nonce, child }),
        (number(), number()).prop_map(|(nonce, epoch)| Message::WelcomeChild {
            nonce,
            epoch: Epoch(epoch)
        }),
        (number(), refusal()).prop_map(|(nonce, reason)| Message::RefuseChild { nonce, reason }),
        Just(Message::ExpelChild),
        Just(Message::LeaveDomain),
        Just(Message::KeepAlive),
        load().prop_map(Message::ReportLoad),
        collection::vec(hint(), 0..=4).prop_map(|peers| Message::HintPeers { peers }),
        (number(), number()).prop_map(|(peer, epoch)| Message::ForgetPeer {
            peer: NodeId(peer),
            epoch: Epoch(epoch)
        }),
        request_steal(),
        end_steal(),
        grant(),
        (leases(), return_reason())
            .prop_map(|(leases, reason)| Message::ReturnClosures { leases, reason }),
        collection::vec(result(), 0..9).prop_map(|results| Message::ReturnResults { results }),
        leases().prop_map(|leases| Message::AbortLeases { leases }),
        (number(), any::<bool>()).prop_map(|(job, lost)| Message::EndJob {
            job: JobAlias(job),
            lost
        }),
        (number(), recorded()).prop_map(|(job, entries)| Message::RecordResults {
            job: JobAlias(job),
            entries
        }),
        (number(), number()).prop_map(|(job, after)| Message::RequestCheckpoint {
            job: JobAlias(job),
            after
        }),
        (number(), recorded(), number(), any::<bool>()).prop_map(|(job, entries, until, more)| {
            Message::GrantCheckpoint {
                job: JobAlias(job),
                entries,
                until,
                more,
            }
        }),
        (any::<bool>(), any::<bool>())
            .prop_map(|(bound, answer)| Message::KeepPace { bound, answer }),
        (leases(), suspicion(), any::<bool>()).prop_map(|(leases, suspicion, returned)| {
            Message::SuspectLeases {
                leases,
                suspicion,
                returned,
            }
        }),
        (
            number(),
            collection::vec(any::<([u8; 32], u32)>(), 0..4),
            any::<Option<(u64, u64)>>()
        )
            .prop_map(|(job, orphans, holder)| Message::NameOrphans {
                job: JobAlias(job),
                holder: holder.map(|(node, epoch)| (NodeId(node), Epoch(epoch))),
                orphans: orphans
                    .into_iter()
                    .map(|(key, hops)| OrphanName {
                        key: Key(key),
                        hops,
                    })
                    .collect(),
            }),
    ]
}

fn suspicion() -> impl Strategy<Value = Suspicion> {
    (any::<u32>(), number(), any::<u32>(), number()).prop_map(|(engines, task, depth, bytes)| {
        Suspicion {
            engines,
            kind: ClosureKind {
                task: TaskId(task),
                depth,
            },
            bytes,
        }
    })
}

/// Any valid name, mostly a short one.
fn domain() -> impl Strategy<Value = Domain> {
    let label = "[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?";
    collection::vec(label, 1..6).prop_map(|labels| labels.join(".").parse().unwrap())
}

fn pattern() -> impl Strategy<Value = DomainPattern> {
    option::weighted(0.8, domain())
        .prop_map(|top| top.map_or(DomainPattern::ANY, DomainPattern::from))
}

fn patterns() -> impl Strategy<Value = Vec<DomainPattern>> {
    collection::vec(pattern(), 0..4)
}

fn child() -> impl Strategy<Value = ChildInfo> {
    prop_oneof![
        any::<u32>().prop_map(|workers| ChildInfo::Server { workers }),
        (domain(), patterns()).prop_map(|(domain, inflow)| ChildInfo::Manager { domain, inflow }),
    ]
}

fn load() -> impl Strategy<Value = Load> {
    let counts = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    (counts, duration(), duration()).prop_map(
        |((version, workers, hungry, surplus), surplus_work, reach)| Load {
            version,
            workers,
            hungry,
            surplus,
            surplus_work,
            reach,
        },
    )
}

fn hint() -> impl Strategy<Value = PeerHint> {
    (number(), number(), any::<u32>()).prop_map(|(peer, epoch, surplus)| PeerHint {
        peer: NodeId(peer),
        epoch: Epoch(epoch),
        surplus,
    })
}

fn request_steal() -> impl Strategy<Value = Message> {
    let destination =
        (domain(), patterns()).prop_map(|(domain, inflow)| Destination { domain, inflow });
    let terms = (
        (0..=Share::WHOLE.0).prop_map(Share),
        any::<bool>(),
        duration(),
        duration(),
        option::of(destination),
    )
        .prop_map(
            |(share, idle, work_min, work_min_per_kib, destination)| StealTerms {
                share,
                idle,
                work_min,
                work_min_per_kib,
                destination,
            },
        );
    (number(), terms).prop_map(|(request, terms)| Message::RequestSteal {
        request: RequestId(request),
        terms,
    })
}

fn end_steal() -> impl Strategy<Value = Message> {
    let reasons = sample::select(vec![
        EndStealReason::Done,
        EndStealReason::NoSurplus,
        EndStealReason::NotWorthMoving,
        EndStealReason::Policy,
        EndStealReason::Leaving,
    ]);
    (number(), reasons, load()).prop_map(|(request, reason, load)| Message::EndSteal {
        request: RequestId(request),
        reason,
        load,
    })
}

fn grant() -> impl Strategy<Value = Message> {
    let answer = (option::of(number()), any::<bool>(), load());
    (answer, job(), collection::vec(leased_closure(), 0..9)).prop_map(
        |((request, more, load), job, closures)| Message::GrantClosures {
            request: request.map(RequestId),
            more,
            load,
            job,
            closures,
        },
    )
}

fn job() -> impl Strategy<Value = JobHeader> {
    let spec = (
        any::<u128>(),
        domain(),
        "[a-z]{0,32}",
        any::<[u8; 32]>(),
        bytes(),
    )
        .prop_map(|(id, origin, engine, artifact, options)| JobSpec {
            id: GlobalJobId(id),
            origin,
            engine,
            artifact,
            options,
        });
    (number(), spec).prop_map(|(alias, spec)| JobHeader {
        alias: JobAlias(alias),
        spec: Arc::new(spec),
    })
}

fn leased_closure() -> impl Strategy<Value = LeasedClosure> {
    let shared = prop::collection::vec(any::<[u8; 32]>().prop_map(SharedName), 0..3);
    (
        number(),
        number(),
        any::<u32>(),
        bytes(),
        duration(),
        shared,
        any::<(bool, bool, u32)>(),
        above(),
    )
        .prop_map(
            |(lease, task, depth, args, expected, shared, (again, goes_on, hops), above)| {
                LeasedClosure {
                    again,
                    goes_on,
                    hops,
                    lease: LeaseId(lease),
                    closure: Closure {
                        kind: ClosureKind {
                            task: TaskId(task),
                            depth,
                        },
                        args,
                        expected,
                        shared,
                        above,
                    },
                }
            },
        )
}

fn result() -> impl Strategy<Value = LeaseResult> {
    let outcome = prop_oneof![
        bytes().prop_map(Outcome::Value),
        bytes().prop_map(Outcome::Panic),
        (any::<[u8; 32]>(), 0..=RESULT_BYTES_MAX).prop_map(|(name, bytes)| Outcome::Blob {
            name: SharedName(name),
            bytes,
        }),
    ];
    (number(), outcome, duration()).prop_map(|(lease, outcome, work)| LeaseResult {
        lease: LeaseId(lease),
        finished: Finished { outcome, work },
    })
}

fn above() -> impl Strategy<Value = Above> {
    let keys = collection::vec(any::<u64>().prop_map(ShortKey), 0..=4);
    keys.prop_map(|keys| keys.into_iter().collect())
}

fn recorded() -> impl Strategy<Value = Vec<Recorded>> {
    let entry =
        (any::<[u8; 32]>(), bytes(), duration(), above()).prop_map(|(key, result, work, above)| {
            Recorded {
                key: Key(key),
                result,
                work,
                above,
            }
        });
    collection::vec(entry, 0..9)
}

fn leases() -> impl Strategy<Value = Vec<LeaseId>> {
    collection::vec(number().prop_map(LeaseId), 0..20)
}

fn refusal() -> impl Strategy<Value = RefuseChildReason> {
    sample::select(vec![RefuseChildReason::Full, RefuseChildReason::NotBelow])
}

fn return_reason() -> impl Strategy<Value = ReturnReason> {
    sample::select(vec![
        ReturnReason::Retreat,
        ReturnReason::Inflow,
        ReturnReason::NoRoom,
        ReturnReason::EngineFailed,
        ReturnReason::Asked { request: None },
        ReturnReason::Asked {
            request: Some(RequestId(4)),
        },
    ])
}

/// Small numbers and large ones: their encodings differ in length.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift)
}

fn duration() -> impl Strategy<Value = Duration> {
    (number(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

fn bytes() -> impl Strategy<Value = Bytes> {
    collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}
