//! What went wrong once, told as claims: each was found in a simulated world, and is here as its shortest story.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are not seen to be tests"
)]

use std::sync::Arc;
use std::time::Duration;

use atlas_proto::domain::DomainPattern;
use atlas_proto::engine::Above;
use atlas_proto::ids::{Epoch, GlobalJobId, JobAlias, LeaseId, NodeId, TaskId};
use atlas_proto::job::{Closure, ClosureKind, JobSpec};
use atlas_proto::message::{ChildInfo, JobHeader, LeasedClosure, Load, Message, Packet};
use atlas_proto::policy::Policy;
use atlas_proto::time::Time;
use atlas_proto::{Manager, ManagerConfig, Transmit};
use bytes::Bytes;

/// A manager, and neighbours whose words the test chooses.
struct Scene {
    manager: Manager,
    now: Time,
}

/// A child of the manager: what it says is numbered.
struct Child {
    node: NodeId,
    epoch: Epoch,
    said: u32,
}

impl Scene {
    fn new() -> Self {
        let config = ManagerConfig {
            node: NodeId(0),
            domain: "example.edu".parse().unwrap(),
            parent: None,
            policy: Policy::default(),
            incarnation: 1,
        };
        Self {
            manager: Manager::new(config, 1, Time::ZERO),
            now: Time::ZERO,
        }
    }

    fn join(&mut self, number: u64, domain: &str) -> Child {
        let node = NodeId(number);
        let child = ChildInfo::Manager {
            domain: domain.parse().unwrap(),
            inflow: vec![DomainPattern::ANY],
        };
        self.join_as(node, child)
    }

    fn join_server(&mut self, number: u64) -> Child {
        self.join_as(NodeId(number), ChildInfo::Server { workers: 4 })
    }

    fn join_as(&mut self, node: NodeId, child: ChildInfo) -> Child {
        let packet = Packet {
            from: Epoch::NONE,
            to: Epoch::NONE,
            seq: 0,
            ack: 0,
            message: Message::JoinDomain { nonce: 1, child },
        };
        self.manager.handle_packet(self.now, node, packet);
        let epoch = self.manager.session(node).unwrap();
        Child {
            node,
            epoch,
            said: 0,
        }
    }

    fn hear(&mut self, child: &mut Child, message: Message) {
        let is_sequenced = !matches!(message, Message::ReportLoad(_));
        child.said += u32::from(is_sequenced);
        let packet = Packet {
            from: child.epoch,
            to: child.epoch,
            seq: if is_sequenced { child.said } else { 0 },
            ack: 0,
            message,
        };
        self.manager.handle_packet(self.now, child.node, packet);
    }

    /// Who was told of siblings with surplus since the last call.
    fn hinted(&mut self) -> Vec<NodeId> {
        let said = std::iter::from_fn(|| self.manager.poll_transmit());
        let hints = said.filter(|t| matches!(t.packet.message, Message::HintPeers { .. }));
        hints.map(|transmit| transmit.to).collect()
    }

    /// The job as the manager has named it in a grant to a child.
    fn granted_to(&mut self, child: &Child) -> JobHeader {
        let said = std::iter::from_fn(|| self.manager.poll_transmit());
        let to_child = said.filter(|transmit| transmit.to == child.node);
        let granted = |transmit: Transmit| {
            if let Message::GrantClosures { job, .. } = transmit.packet.message {
                Some(job)
            } else {
                None
            }
        };
        to_child.filter_map(granted).last().unwrap()
    }
}

fn job(alias: u64) -> JobHeader {
    let spec = JobSpec {
        id: GlobalJobId(7),
        origin: "cs.example.edu".parse().unwrap(),
        engine: String::from("native"),
        artifact: [0; 32],
        options: Bytes::new(),
    };
    JobHeader {
        alias: JobAlias(alias),
        spec: Arc::new(spec),
    }
}

fn grant(job: JobHeader, lease: u64) -> Message {
    let kind = ClosureKind {
        task: TaskId(1),
        depth: 1,
    };
    let closure = Closure {
        kind,
        args: Bytes::new(),
        expected: Duration::from_secs(1),
        shared: Vec::new(),
        above: Above::NONE,
    };
    Message::GrantClosures {
        request: None,
        more: false,
        load: Load::default(),
        job,
        closures: vec![LeasedClosure {
            again: false,
            goes_on: false,
            hops: 1,
            lease: LeaseId(lease),
            closure,
        }],
    }
}

fn hungry() -> Message {
    Message::ReportLoad(Load {
        version: 1,
        workers: 4,
        hungry: 4,
        ..Load::default()
    })
}

/// A borrower that had stolen goods on their way back up when it was told that the job is over made its manager
/// take the job in again, as one of the borrower's; nobody was left to end it.
#[test]
fn regression_a_grant_under_way_does_not_bring_a_job_back() {
    let mut scene = Scene::new();
    let (mut cs, mut bio) = (
        scene.join(1, "cs.example.edu"),
        scene.join(2, "bio.example.edu"),
    );
    scene.hear(&mut bio, hungry());
    scene.hear(&mut cs, grant(job(7), 1));
    let as_bio_knows_it = scene.granted_to(&bio);
    assert_eq!(scene.manager.job_count(), 1);
    scene.hear(
        &mut cs,
        Message::EndJob {
            job: JobAlias(7),
            lost: false,
        },
    );
    assert_eq!(scene.manager.job_count(), 0);
    scene.hear(&mut bio, grant(as_bio_knows_it, 1));
    assert_eq!(scene.manager.job_count(), 0, "nobody would end it again");
    assert!(scene.manager.ledger().is_empty());
}

/// The same job comes again when its domain has lost its way up and found it again.
#[test]
fn a_job_that_was_ended_on_a_link_comes_back_under_another_name() {
    let mut scene = Scene::new();
    let mut cs = scene.join(1, "cs.example.edu");
    scene.hear(&mut cs, grant(job(7), 1));
    scene.hear(
        &mut cs,
        Message::EndJob {
            job: JobAlias(7),
            lost: false,
        },
    );
    scene.hear(&mut cs, grant(job(8), 2));
    assert_eq!(scene.manager.job_count(), 1);
}

/// Two servers that asked ahead of need were told of every surplus before all others, and refused each time; the
/// others, with nothing to run, were never told.
#[test]
fn regression_hints_of_surplus_go_round() {
    let mut scene = Scene::new();
    let mut rich = scene.join_server(1);
    let mut hungry = [2, 3, 4].map(|number| scene.join_server(number));
    let mut told = Vec::new();
    for version in 1..=3 {
        let load = Load {
            version,
            workers: 4,
            ..Load::default()
        };
        for child in &mut hungry {
            scene.hear(child, Message::ReportLoad(Load { hungry: 1, ..load }));
        }
        let surplus = Load {
            surplus: 1,
            surplus_work: Duration::from_secs(50),
            ..load
        };
        scene.hear(&mut rich, Message::ReportLoad(surplus));
        told.extend(scene.hinted());
    }
    told.sort_unstable();
    assert_eq!(told, [NodeId(2), NodeId(3), NodeId(4)]);
}
