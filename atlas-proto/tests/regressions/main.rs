//! What once went wrong when peers, engines or submitters did not keep to the rules: one machine, told by
//! hand.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "also outside of the test functions themselves, a failure here is the test's"
)]

mod manager;
mod server;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use atlas_engine::{Key, Recorded};
use atlas_proto::engine::{
    Above, Crash, CrashKind, EngineCommand, EngineEvent, EngineLoad, Lent, Measured, ReadyRun,
};
use atlas_proto::ids::{
    EngineLease, EngineRequest, Epoch, GlobalJobId, JobAlias, LeaseId, NodeId, RequestId, TaskId,
    Ticket,
};
use atlas_proto::job::{Closure, ClosureKind, Finished, JobSpec, Outcome};
use atlas_proto::limits::{
    ASKS_PER_CHILD_MAX, Bound, CLOSURE_BYTES_MAX, ENGINE_CRASHES_MAX, ENGINE_NAME_BYTES_MAX,
    ENGINE_OPTIONS_BYTES_MAX, ENGINES_NOT_BEGUN_MAX, FORGOTTEN_MAX, JOBS_MAX, KEEP_ALIVE,
    PATHS_MAX,
};
use atlas_proto::manager::SubmitError;
use atlas_proto::message::{
    ChildInfo, Destination, EndStealReason, JobHeader, LeaseResult, LeasedClosure, Load, Message,
    Packet, ReturnReason, Share, StealTerms,
};
use atlas_proto::path::Path;
use atlas_proto::policy::Policy;
use atlas_proto::time::Time;
use atlas_proto::{Manager, ManagerConfig, ManagerEvent, Server, ServerConfig, Transmit, codec};

const NOW: Time = Time::ZERO;
const ABOVE: NodeId = NodeId(2);
const FIRST: NodeId = NodeId(3);
const SECOND: NodeId = NodeId(4);
const JOB: JobAlias = JobAlias(9);

const MEMBER: Epoch = Epoch(7);

/// Of a link that is never quiet.
const STEP: Duration = Duration::from_millis(500);
const STEPS: u32 = 12;

/// The next packet of a session.
fn numbered(
    said: &mut BTreeMap<NodeId, u32>,
    from: NodeId,
    (theirs, ours): (Epoch, Epoch),
    message: Message,
) -> Packet {
    let count = said.entry(from).or_default();
    let seq = if message.is_sequenced() {
        *count += 1;
        *count
    } else {
        0
    };
    Packet {
        from: theirs,
        to: ours,
        seq,
        ack: 0,
        message,
    }
}

fn checked(transmit: Transmit) -> (NodeId, Message) {
    codec::encode(&transmit.packet).expect("all that is sent is within its limits");
    (transmit.to, transmit.packet.message)
}

fn ends(sent: &[(NodeId, Message)]) -> Vec<(NodeId, RequestId, EndStealReason)> {
    let end = |(to, message): &(NodeId, Message)| match message {
        Message::EndSteal {
            request, reason, ..
        } => Some((*to, *request, *reason)),
        _ => None,
    };
    sent.iter().filter_map(end).collect()
}

fn grants(sent: &[(NodeId, Message)]) -> usize {
    let is_grant = |message: &Message| matches!(message, Message::GrantClosures { .. });
    sent.iter().filter(|(_, message)| is_grant(message)).count()
}

fn returns(sent: &[(NodeId, Message)]) -> usize {
    let is_return = |message: &Message| matches!(message, Message::ReturnClosures { .. });
    sent.iter()
        .filter(|(_, message)| is_return(message))
        .count()
}

/// How many results went to [`ABOVE`].
fn returned(sent: &[(NodeId, Message)]) -> usize {
    let results = |(to, message): &(NodeId, Message)| match message {
        Message::ReturnResults { results } if *to == ABOVE => results.len(),
        _ => 0,
    };
    sent.iter().map(results).sum()
}

/// The loads that were reported to [`ABOVE`].
fn reported(sent: &[(NodeId, Message)]) -> Vec<Load> {
    let report = |(to, message): &(NodeId, Message)| match message {
        Message::ReportLoad(load) if *to == ABOVE => Some(*load),
        _ => None,
    };
    sent.iter().filter_map(report).collect()
}

fn held(bounds: &[Bound], what: &str) -> usize {
    bounds.iter().find(|bound| bound.what == what).unwrap().held
}

fn steal(request: u64) -> Message {
    steal_share(request, Share::WHOLE)
}

fn steal_share(request: u64, share: Share) -> Message {
    Message::RequestSteal {
        request: RequestId(request),
        terms: StealTerms {
            share,
            idle: true,
            work_min: Duration::ZERO,
            work_min_per_kib: Duration::ZERO,
            destination: None,
        },
    }
}

fn grant(alias: JobAlias, leases: &[u64], bytes: usize) -> Message {
    let leased = |&lease: &u64| LeasedClosure {
        lease: LeaseId(lease),
        closure: Closure {
            expected: Duration::MAX,
            ..closure(bytes)
        },
        again: false,
        goes_on: false,
        hops: 1,
    };
    Message::GrantClosures {
        request: None,
        more: false,
        load: Load::default(),
        job: JobHeader {
            alias,
            spec: spec(),
        },
        closures: leases.iter().map(leased).collect(),
    }
}

/// An answer to a steal.
fn grant_for(request: RequestId, leases: &[u64], more: bool) -> Message {
    match grant(JobAlias(1), leases, 8) {
        Message::GrantClosures {
            job,
            closures,
            load,
            ..
        } => Message::GrantClosures {
            request: Some(request),
            more,
            load,
            job,
            closures,
        },
        other => other,
    }
}

/// The answer of who has nothing to give.
fn nothing(request: RequestId) -> Message {
    Message::EndSteal {
        request,
        reason: EndStealReason::NoSurplus,
        load: Load::default(),
    }
}

fn spec() -> Arc<JobSpec> {
    Arc::new(JobSpec {
        id: GlobalJobId(7),
        origin: "lab.cs.example.edu".parse().unwrap(),
        engine: "native".to_owned(),
        artifact: [7; 32],
        options: Vec::new().into(),
    })
}

fn closure(bytes: usize) -> Closure {
    Closure {
        kind: kind(),
        args: vec![0; bytes].into(),
        expected: Duration::ZERO,
        shared: Vec::new(),
        above: Above::NONE,
    }
}

fn kind() -> ClosureKind {
    ClosureKind {
        task: TaskId(1),
        depth: 1,
    }
}

fn run(closures: u32) -> ReadyRun {
    ReadyRun {
        kind: kind(),
        closures,
    }
}

fn finished(outcome: Outcome) -> Finished {
    Finished {
        outcome,
        work: Duration::ZERO,
    }
}

fn hungry(hungry: u32) -> Load {
    Load {
        version: 1,
        workers: 4,
        hungry,
        ..Load::default()
    }
}

fn rich(version: u32) -> Load {
    Load {
        version,
        workers: 4,
        surplus: 40,
        surplus_work: Duration::from_secs(4000),
        ..Load::default()
    }
}
