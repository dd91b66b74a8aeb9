//! Packets as a world carries them: sizes, names, and what is counted of them.

use atlas_proto::Transmit;
use atlas_proto::codec;
use atlas_proto::ids::NodeId;
use atlas_proto::message::{Message, Packet};
use atlas_proto::standby::StandbyMessage;

use super::child::Hello;
use super::replica::ReplicaWord;

use crate::topology::Role;
use crate::world::{HEADER_BYTES, Parcel, Stage};

/// What nodes send each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtlasPacket {
    /// A packet of the protocol.
    Node(Packet),
    /// Who acts, where a domain has a standby.
    Standby(StandbyMessage),
    /// A node is there, for a manager of a domain with a standby.
    Hello(Hello),
    /// What a standby comes to have.
    Replica(ReplicaWord),
}

impl AtlasPacket {
    /// A packet of the protocol, if it is one.
    #[must_use]
    pub fn packet(&self) -> Option<&Packet> {
        match self {
            Self::Node(packet) => Some(packet),
            Self::Standby(_) | Self::Hello(_) | Self::Replica(_) => None,
        }
    }
}

impl Parcel for AtlasPacket {
    fn bytes(&self) -> u64 {
        HEADER_BYTES
            + match self {
                Self::Node(packet) => codec::encoded_len(packet) as u64,
                Self::Standby(_) | Self::Hello(_) => WORD_BYTES,
                Self::Replica(word) => WORD_BYTES + word.bytes(),
            }
    }

    fn kind(&self) -> &'static str {
        let packet = match self {
            Self::Node(packet) => packet,
            Self::Standby(message) => return kind_of_standby(message),
            Self::Hello(_) => return "Hello",
            Self::Replica(_) => return "Replica",
        };
        match &packet.message {
            Message::JoinDomain { .. } => "JoinDomain",
            Message::WelcomeChild { .. } => "WelcomeChild",
            Message::RefuseChild { .. } => "RefuseChild",
            Message::ExpelChild => "ExpelChild",
            Message::LeaveDomain => "LeaveDomain",
            Message::KeepAlive => "KeepAlive",
            Message::ReportLoad(_) => "ReportLoad",
            Message::HintPeers { .. } => "HintPeers",
            Message::ForgetPeer { .. } => "ForgetPeer",
            Message::RequestSteal { .. } => "RequestSteal",
            Message::EndSteal { .. } => "EndSteal",
            Message::GrantClosures { .. } => "GrantClosures",
            Message::ReturnClosures { .. } => "ReturnClosures",
            Message::ReturnResults { .. } => "ReturnResults",
            Message::AbortLeases { .. } => "AbortLeases",
            Message::EndJob { .. } => "EndJob",
            Message::RecordResults { .. } => "RecordResults",
            Message::RequestCheckpoint { .. } => "RequestCheckpoint",
            Message::GrantCheckpoint { .. } => "GrantCheckpoint",
            Message::KeepPace { .. } => "KeepPace",
            Message::SuspectLeases { .. } => "SuspectLeases",
            Message::NameOrphans { .. } => "NameOrphans",
        }
    }
}

/// Sends what a machine wants to be sent; over the wire form if `wire` says so.
pub(super) fn send(stage: &mut Stage<AtlasPacket>, from: NodeId, transmit: Transmit, wire: bool) {
    let Transmit { to, packet } = transmit;
    if let Message::GrantClosures { closures, .. } = &packet.message {
        count_grant(stage, from, to, closures.len());
    }
    let packet = if wire { over_the_wire(packet) } else { packet };
    stage.send(from, to, AtlasPacket::Node(packet));
}

/// What a peer would read of it, which must be the same.
fn over_the_wire(packet: Packet) -> Packet {
    let encoded = codec::encode(&packet)
        .unwrap_or_else(|error| panic!("{packet:?} cannot be encoded: {error}"));
    assert_eq!(
        encoded.len(),
        codec::encoded_len(&packet),
        "the length of {packet:?}"
    );
    let decoded = codec::decode(&encoded)
        .unwrap_or_else(|error| panic!("{packet:?} cannot be decoded: {error}"));
    assert_eq!(decoded, packet, "a packet changes on the wire");
    decoded
}

/// A closure is counted at the level where it turns downward: what comes down from the domain around is taken
/// off there when it goes on.
fn count_grant(stage: &mut Stage<AtlasPacket>, from: NodeId, to: NodeId, closures: usize) {
    let count = i64::try_from(closures).unwrap_or(i64::MAX);
    let height = |depth: u32| stage.tally.steals.len().saturating_sub(1 + depth as usize);
    let depth = |domain| stage.topology.place(domain).depth;
    let (here, below) = match (stage.topology.role(from), stage.topology.role(to)) {
        (Some(Role::Manager(lender)), Some(Role::Manager(borrower)))
            if depth(borrower) > depth(lender) =>
        {
            (height(depth(lender)), Some(height(depth(borrower))))
        }
        (Some(Role::Manager(lender)), Some(Role::Server(_))) => (height(depth(lender)), None),
        (Some(Role::Server(_)), Some(Role::Server(_))) => (0, None),
        _ => return,
    };
    stage.tally.stole(here, count);
    if let Some(below) = below {
        stage.tally.stole(below, -count);
    }
}

fn kind_of_standby(message: &StandbyMessage) -> &'static str {
    match message {
        StandbyMessage::LeadDomain { .. } => "LeadDomain",
        StandbyMessage::HeedManager { .. } => "HeedManager",
        StandbyMessage::RequestVote { .. } => "RequestVote",
        StandbyMessage::GrantVote { .. } => "GrantVote",
        StandbyMessage::RefuseManager { .. } => "RefuseManager",
    }
}

/// What is said of who acts is some numbers.
const WORD_BYTES: u64 = 32;
